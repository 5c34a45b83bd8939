"""Coroutines cancelled in the middle of a verb: nothing is lost or doubled, and nobody reads the reply of another."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import pytest

from rpqueue import App, aio, data
from rpqueue.aio import Aio
from rpqueue.broker_aio import WIDTH, Gate
from rpqueue.errors import NoLock
from tests.faces.test_aio import asynchronous, until
from tests.servers import Server, blocked_clients

T = TypeVar("T")

#: Coroutines of one storm: many times what goes through the gate at once.
MANY = 8 * WIDTH


@pytest.fixture
def face(app: App) -> Aio:
    return aio.of(app)


async def storm(doing: Iterable[Coroutine[Any, Any, T]]) -> list[T | None]:
    """Start all, cancel half of them one after the other at odd moments; the results, None where cancelled."""
    tasks = [asyncio.create_task(one) for one in doing]
    victims = random.sample(tasks, len(tasks) // 2)
    for victim in victims:
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)
        victim.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(one) for one in results if isinstance(one, BaseException)} == {asyncio.CancelledError}
    return [None if isinstance(one, BaseException) else one for one in results]


async def drain(box: Any) -> list[Any]:
    """All that is in a queue of items."""
    there: list[Any] = []
    while items := await box.get_data(1000, vis_timeout=0):
        there += items.values()
    return there


@pytest.fixture(params=range(5))
def seed(request: pytest.FixtureRequest) -> None:
    random.seed(request.param)


# ---- Storms.


@pytest.mark.usefixtures("seed")
@asynchronous
async def test_cancelled_puts_happened_once_or_never(face: Aio) -> None:
    box = face.Data("box")
    put = await storm(box.put_data([number]) for number in range(MANY))
    there = Counter(await drain(box))
    assert set(there.values()) == {1}
    assert {number for number, ids in enumerate(put) if ids is not None} <= set(there)


@pytest.mark.usefixtures("seed")
@asynchronous
async def test_cancelled_calls_are_enqueued_once_or_never(app: App, face: Aio) -> None:
    @app.task(name="job")
    def job(number: int) -> None: ...

    calls = await storm(face.execute(job, number) for number in range(MANY))
    rows = [row for page in range(1, 4) for row in await face.get_page("default", page, 1000)]
    assert len({row[0] for row in rows}) == len(rows) == len({row[2][0] for row in rows})
    for number, call in enumerate(calls):
        if call is not None:
            assert [row[2] for row in rows if row[0] == call.taskid] == [[number]]


@pytest.mark.usefixtures("seed")
@pytest.mark.parametrize("vis_timeout", [0, 60])
@asynchronous
async def test_what_a_cancelled_get_took_is_back(face: Aio, vis_timeout: float) -> None:
    box = face.Data("box", vis_timeout=vis_timeout)
    await box.put_data(range(3 * MANY))
    got = await storm(box.get_data(2) for _ in range(MANY))
    mine = [value for items in got if items for value in items.values()]
    assert len(mine) >= MANY
    assert sorted(mine + await drain(box)) == list(range(3 * MANY))
    if vis_timeout:
        held = [taskid for items in got if items for taskid in await box.done_data(items)]
        assert len(held) == len(mine)
    assert await box.currently_available() == (0, 0)


@pytest.mark.usefixtures("seed")
@pytest.mark.parametrize("vis_timeout", [0, 60])
@asynchronous
async def test_items_find_those_who_still_wait(face: Aio, vis_timeout: float) -> None:
    box = face.Data("box", vis_timeout=vis_timeout)
    started = time.monotonic()

    async def put() -> None:
        for number in range(0, MANY, 8):
            await box.put_data(range(number, number + 8))

    putting = asyncio.create_task(put())
    got = await storm(box.get_data(get_timeout=20) for _ in range(MANY))
    await putting
    mine = [value for items in got if items for value in items.values()]
    assert len(mine) >= MANY // 2
    assert sorted(mine + await drain(box)) == list(range(MANY))
    assert time.monotonic() - started < 10


@pytest.mark.usefixtures("seed")
@asynchronous
async def test_every_reply_goes_to_its_own_caller(app: App, face: Aio) -> None:
    @app.task(name="job", save_results=60)
    def job(number: int) -> None: ...

    calls = await asyncio.gather(*(face.execute(job, number) for number in range(MANY)))
    said = await storm(call.args() for call in calls)
    for number, row in enumerate(said):
        assert row is None or row[2] == [number]
    # Asked again over the same connections: none of them has a reply of before in it.
    assert [(row or [])[2] for row in await asyncio.gather(*(call.args() for call in calls))] == [
        [number] for number in range(MANY)
    ]


@pytest.mark.usefixtures("seed")
@asynchronous
async def test_those_who_wait_for_results_leave_the_others_in_peace(app: App, face: Aio) -> None:
    @app.task(name="job", save_results=60)
    def job(number: int) -> int:
        return number

    calls = await asyncio.gather(*(face.execute(job, number) for number in range(MANY)))
    getting = asyncio.create_task(storm(call.get(30) for call in calls))
    await asyncio.sleep(0.05)
    worker = threading.Thread(target=lambda: app.execute_task_threads(wait_per_thread=5))
    worker.start()
    try:
        got = await getting
    finally:
        app.settings.should_quit[0] = 1
        await asyncio.to_thread(worker.join, 20)
    assert sum(value is not None for value in got) >= MANY // 2
    assert all(value in (number, None) for number, value in enumerate(got))


# ---- One at a time.


async def cancelled_during(face: Aio, script: str, verb: Coroutine[Any, Any, Any]) -> None:
    """Cancel a verb while its call of *script* is under way."""
    task, broker = asyncio.ensure_future(verb), face.broker
    call = broker.call

    async def calling(step: Any) -> Any:
        if step.script is not None and step.script.name == script:
            task.cancel()
        return await call(step)

    broker.call = calling  # type: ignore[method-assign]
    try:
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        broker.call = call  # type: ignore[method-assign]


@pytest.mark.parametrize("reads_letters", [True, False])
@asynchronous
async def test_dead_letters_that_a_cancelled_reader_took_are_dead_again(face: Aio, reads_letters: bool) -> None:
    dead = face.Data("box", is_dead=True)
    await dead.put_data(range(5))
    before = await face.read_deadletter(is_data=True)
    verb: Coroutine[Any, Any, Any] = (
        face.read_deadletter(delete=True, limit=3, is_data=True) if reads_letters else dead.get_data(3)
    )
    await cancelled_during(face, "purge", verb)
    assert await face.read_deadletter(is_data=True) == before


@pytest.mark.parametrize("vis_timeout", [0, 60])
@asynchronous
async def test_a_get_that_is_cancelled_while_it_buries_what_it_cannot_read_gives_back_the_rest(
    app: App, face: Aio, vis_timeout: float
) -> None:
    box = face.Data("box", vis_timeout=vis_timeout)
    [_, spoilt, _] = await box.put_data(["a", "b", "c"])
    app.get_connection().hset(box.sync.keys.messages, spoilt, b"no message of ours")
    await cancelled_during(face, "quarantine", box.get_data(3))
    assert list((await box.get_data(3, vis_timeout=-1)).values()) == ["a", "c"]
    assert await face.Data("box", is_dead=True).currently_available() == (1, 0)


@asynchronous
async def test_no_delivery_is_counted_for_what_comes_back(face: Aio) -> None:
    box = face.Data("box", vis_timeout=60, attempts=2)
    await box.put_data(["a"])
    for _ in range(3):
        await cancelled_during(face, "lease", box.get_data())
    assert list((await box.get_data()).values()) == ["a"]


@asynchronous
async def test_a_gate_lets_the_next_in_when_the_first_leaves_just_as_it_may_enter() -> None:
    gate = Gate(1)
    await gate.enter()
    first, second = (asyncio.create_task(gate.enter()) for _ in range(2))
    await asyncio.sleep(0)
    gate.leave()
    first.cancel()
    await asyncio.wait_for(second, 5)
    assert first.cancelled()


async def cancelled_while_redis_stands_still(server: Server, verb: Awaitable[Any]) -> float:
    """Cancel a verb between its call and the reply; returns the seconds after which it ended."""
    server.pause()
    task = asyncio.ensure_future(verb)
    for _ in range(20):  # until the call is on its way
        await asyncio.sleep(0.005)
    task.cancel()
    started = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    passed = time.monotonic() - started
    server.resume()
    return passed


@pytest.mark.parametrize("vis_timeout", [0, 60])
@asynchronous
async def test_a_reply_that_comes_late_is_given_back_all_the_same(own_server: Server, vis_timeout: float) -> None:
    box = aio.of(App(own_server.url, prefix="test")).Data("box", vis_timeout=vis_timeout, attempts=2)
    await box.put_data(["a", "b", "c"])
    passed = await cancelled_while_redis_stands_still(own_server, box.get_data(2))
    assert passed < 3  # and not for as long as Redis stands still
    items: dict[str, Any] = {}
    while list(items.values()) != ["a", "b", "c"]:
        items = await box.get_data(3, vis_timeout=-1)


@asynchronous
async def test_a_lock_that_came_late_is_free_again(own_server: Server) -> None:
    face = aio.of(App(own_server.url, prefix="test"))
    assert await face.known_queues() == []
    await cancelled_while_redis_stands_still(own_server, face.SimpleLock(None, "door", 60).acquire())
    while True:
        try:
            await face.SimpleLock(None, "door", 60).acquire()
        except NoLock:
            continue
        break


@asynchronous
async def test_who_is_cancelled_before_its_turn_has_sent_nothing(own_server: Server) -> None:
    app = App(own_server.url, prefix="test")
    box = aio.of(app).Data("box")
    await box.put_data(["first"])
    own_server.pause()
    ahead = [asyncio.create_task(box.currently_available()) for _ in range(WIDTH)]
    await asyncio.sleep(0)
    behind = asyncio.create_task(box.put_data(["late"]))
    await asyncio.sleep(0.1)
    behind.cancel()
    with pytest.raises(asyncio.CancelledError):
        await behind
    own_server.resume()
    assert set(await asyncio.gather(*ahead)) == {(1, 0)}
    assert await drain(box) == ["first"]


@asynchronous
async def test_a_token_for_somebody_who_left_goes_to_the_next_process(
    app: App, face: Aio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "LONGEST_BLOCK", 30.0)  # nobody looks by himself
    client = app.get_connection()
    waiting = asyncio.create_task(face.Data("box").get_data(get_timeout=20))
    await until(lambda: blocked_clients(client) == 1)
    other = asyncio.create_task(asyncio.to_thread(app.Data("box").get_data, get_timeout=10))
    await until(lambda: blocked_clients(client) == 2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    # The blocking command of the one who left stands first in Redis's line.
    started = time.monotonic()
    await face.Data("box").put_data([1])
    assert list((await other).values()) == [1]
    assert time.monotonic() - started < 5  # not only at the end of its get_timeout


@asynchronous
async def test_a_token_that_comes_just_as_somebody_leaves_goes_to_the_next_coroutine(
    face: Aio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "LONGEST_BLOCK", 30.0)
    box, lines = face.Data("box"), face.broker._lines._lines
    first = asyncio.create_task(box.get_data(get_timeout=10))
    await until(lambda: [line for line in lines.values() if len(line._places) == 1])
    second = asyncio.create_task(box.get_data(get_timeout=10))
    await until(lambda: [line for line in lines.values() if len(line._places) == 2])
    [line] = lines.values()
    give = line._give

    def give_and_cancel(token: bytes | None) -> None:
        give(token)
        first.cancel()

    monkeypatch.setattr(line, "_give", give_and_cancel)
    started = time.monotonic()
    await box.put_data([1])
    assert list((await second).values()) == [1]
    assert time.monotonic() - started < 5
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.parametrize("vis_timeout", [0, 60])
def test_the_end_of_the_event_loop_loses_nothing(face: Aio, vis_timeout: float) -> None:
    box = face.Data("box", vis_timeout=vis_timeout)
    got: list[Any] = []

    async def get(place: Callable[[Any], None]) -> None:
        place(await box.get_data())

    async def main() -> None:
        for _ in range(MANY):
            asyncio.ensure_future(get(lambda items: got.extend(items.values())))  # noqa: RUF006
        while len(got) < MANY // 4:
            await asyncio.sleep(0)
        # asyncio.run() cancels the others now, and the calls that they have under way.

    async def rest() -> list[Any]:
        return await drain(box)

    asyncio.run(box.put_data(range(MANY)))
    asyncio.run(main())
    assert len(got) < MANY
    assert sorted(got + asyncio.run(rest())) == list(range(MANY))


@asynchronous
async def test_a_timeout_is_a_timeout(face: Aio) -> None:
    """Also where the item comes at the same moment."""
    box = face.Data("box")
    got: list[Any] = []
    for number in range(100):
        waiting = asyncio.create_task(box.get_data(get_timeout=20))
        putting = asyncio.create_task(box.put_data([number]))
        await asyncio.sleep(random.random() / 500)
        waiting.cancel()
        try:
            got += (await waiting).values()
        except asyncio.CancelledError:
            await putting
            got += (await box.get_data()).values()
        else:
            await putting
    assert got == list(range(100))
