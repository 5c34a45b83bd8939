"""Blocks whose calls and items go to Redis together, at their end."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import redis

from rpqueue import App, aio
from rpqueue.aio import Aio
from rpqueue.errors import NotEnqueued, RedisUnavailable, RefusedInput, UnknownTask, UnserializableValue
from rpqueue.tasks import Task
from tests.monitor import Monitor
from tests.servers import Server, free_port, wait_until

StartWorker = Callable[..., None]


@pytest.fixture
def add(app: App) -> Task[..., Any]:
    @app.task(name="add", save_results=60)
    def add(x: int, y: int = 1) -> int:
        return x + y

    return add


@pytest.fixture
def face(app: App) -> Aio:
    return aio.of(app)


async def until(predicate: Callable[[], Any]) -> None:
    """Wait for something to become true, while the event loop goes on."""
    await asyncio.to_thread(wait_until, predicate)


def waiting(app: App, queue: str = "default") -> list[Any]:
    """The first arguments of the calls that wait in a queue, in order."""
    return [row[2][0] for row in app.get_page(queue, 1, 1000)]


def items(app: App, queue: str = "items") -> list[Any]:
    return list(app.Data(queue).get_data(1000, vis_timeout=-1).values())


# ---- What goes into one.


def test_everything_that_is_made_in_the_block_is_there_when_it_ends(
    app: App, add: Task[..., Any], redis_client: redis.Redis
) -> None:
    box = app.Data("items", vis_timeout=30)
    with app.pipeline() as pipe:
        made: list[Any] = [
            add.execute(1),
            add.delay(2, y=3, delay=60),
            add.execute(3, _queue="other", taskid="mine"),
            add.retry(4, _attempts=3, delay=0),
            app.call_task("add", None, 5),
            *add.execute_many([(6,), (7,)]),
        ]
        ids = [*box.put_data(["a", "b"]), *box.put_data("c", is_one=True, delay=60)]
        letters = app.Data("items", is_dead=True).put_data(["dead"])
        assert add.retry(8, _attempts=1) is None
        assert add.execute(1, 1, execute_inline_now=True).result == 2
        assert len(pipe) == 11
        assert redis_client.keys() == []
    assert len(pipe) == 0
    assert [call.status for call in made] == ["waiting", "early", *["waiting"] * 5]
    assert waiting(app) == [1, 4, 5, 6, 7, 2]
    assert waiting(app, "other") == [3]
    assert made[2].taskid == "mine"
    assert app.EnqueuedTask("add", made[3].taskid, "default").args[3] == {"_attempts": 2}
    assert list(box.get_data(10, vis_timeout=-1)) == ids[:2]
    assert box.currently_available() == (2, 1)
    assert list(app.Data("items", is_dead=True).get_data(10)) == letters


def test_calls_of_a_pipeline_run(app: App, add: Task[..., Any], start_worker: StartWorker) -> None:
    start_worker()
    with app.pipeline():
        calls = [add.execute(n, _queue="abc"[n % 3]) for n in range(100)]
    assert [call.get(20) for call in calls] == [n + 1 for n in range(100)]


def test_tasks_may_have_pipelines_too(app: App, add: Task[..., Any], start_worker: StartWorker) -> None:
    @app.task(name="outer", save_results=60)
    def outer(number: int) -> list[str]:
        with app.pipeline():
            return [add.execute(n).taskid for n in range(number)]

    @app.task(name="aouter", save_results=60)
    async def aouter(number: int) -> list[str]:
        async with aio.of(app).pipeline():
            return [(await aio.of(app).execute(add, n)).taskid for n in range(number)]

    start_worker()
    for task in (outer, aouter):
        ids = task.execute(3).get(20)
        assert [app.EnqueuedTask("add", one, "default", add).get(20) for one in ids] == [1, 2, 3]


def test_a_task_that_never_ends_its_block_takes_nothing_of_the_next_one(
    app: App, add: Task[..., Any], start_worker: StartWorker
) -> None:
    @app.task(name="careless", save_results=60)
    def careless() -> int:
        app.pipeline().open()
        add.execute(1)
        return threading.get_ident()

    @app.task(name="careful", save_results=60)
    def careful() -> list[Any]:
        return [threading.get_ident(), add.execute(2).taskid]

    start_worker()
    thread = careless.execute().get(20)
    again, taskid = careful.execute().get(20)
    assert again == thread
    assert app.EnqueuedTask("add", taskid, "default", add).get(20) == 3


def test_an_empty_block_says_nothing() -> None:
    nowhere = App(f"redis://127.0.0.1:{free_port()}/0", prefix="test")
    with nowhere.pipeline() as pipe:
        assert nowhere.task(name="x")(lambda: None).execute_many([]) == []
        assert nowhere.Data("items").put_data([]) == []
    assert not len(pipe)
    assert pipe


def test_order_in_a_queue_is_that_of_the_calls_whatever_their_options(app: App, add: Task[..., Any]) -> None:
    other = app.task(name="other", vis_timeout=5, attempts=2)(lambda x: x)
    with app.pipeline():
        for n in range(50):
            [add, other, add][n % 3].execute(n, **({"taskid": f"id-{n}"} if n % 7 == 0 else {}))
            add.execute(n, _queue="other")
    assert waiting(app) == waiting(app, "other") == list(range(50))


def test_more_than_one_batch_keeps_the_order(app: App, add: Task[..., Any]) -> None:
    with app.pipeline():
        for n in range(1500):
            add.execute(n, _queue="ab"[n % 2])
        app.Data("items").put_data(range(700))
    assert waiting(app, "a") == list(range(0, 1500, 2))
    assert waiting(app, "b") == list(range(1, 1500, 2))
    assert items(app) == list(range(700))


def test_what_cannot_be_sent_is_refused_where_it_is_made(app: App, add: Task[..., Any]) -> None:
    box = app.Data("items")
    with app.pipeline() as pipe:
        add.execute(1)
        with pytest.raises(UnserializableValue):
            add.execute(float("nan"))
        with pytest.raises(UnserializableValue, match="nothing was sent"):
            add.execute_many([(2,), (float("nan"),)])
        with pytest.raises(UnserializableValue, match=r"item 600 of data.*nothing was put"):
            box.put_data([*range(600), float("nan")])
        with pytest.raises(UnknownTask):
            app.call_task("nobody", None, 3)
        assert len(pipe) == 1
    assert (waiting(app), items(app)) == ([1], [])


def test_a_task_that_is_looked_up_is_looked_up_once(
    app: App, server: Server, redis_client: redis.Redis, add: Task[..., Any], start_worker: StartWorker
) -> None:
    start_worker()
    add.execute(1).get(20)
    app.settings.should_quit[0] = 1
    stranger = App(server.url, prefix="test")
    stranger.known_queues()
    with Monitor(server).listening() as monitor:
        with stranger.pipeline():
            calls = [stranger.call_task("add", None, n) for n in range(5)]
            with pytest.raises(NotEnqueued):
                calls[0].wait(1)
        monitor.wait_for_mark()
        assert monitor.sent().count("HGET") == 1
    assert [call.queue for call in calls] == ["default"] * 5
    stranger.broker.close()


# ---- Before its end, and when there is none.


def test_a_call_says_nothing_about_itself_before_it_is_sent(app: App, add: Task[..., Any]) -> None:
    with app.pipeline():
        call = add.execute(1)
        asks = [call.wait, call.get, call.cancel, lambda: call.status, lambda: call.args, lambda: call.result]
        for ask in asks:
            with pytest.raises(
                NotEnqueued, match=r"^<EnqueuedTask taskid=.*> is not in its queue: it waits in a pipeline"
            ):
                ask()
    assert call.status == "waiting"
    assert call.cancel() is True


class Oops(Exception):
    """What a block may raise."""


def test_a_block_that_raises_sends_nothing(app: App, add: Task[..., Any], redis_client: redis.Redis) -> None:
    made = []
    with suppress(Oops), app.pipeline() as pipe:
        made += [add.execute(1), *add.execute_many([(2,)])]
        app.Data("items").put_data([1])
        raise Oops
    assert redis_client.keys() == []
    assert len(pipe) == 0
    for call in made:
        with pytest.raises(NotEnqueued, match="not sent, because the block of its pipeline raised"):
            call.get()
    add.execute(3)
    assert waiting(app) == [3]


def test_a_block_that_is_left_early_sends_what_it_has(app: App, add: Task[..., Any]) -> None:
    def leave() -> None:
        with app.pipeline():
            add.execute(1)
            return

    leave()
    for n in (2, 3):
        with app.pipeline():
            add.execute(n)
            break
    assert waiting(app) == [1, 2]


def test_a_pipeline_has_one_block(app: App, add: Task[..., Any]) -> None:
    with app.pipeline() as pipe:
        add.execute(1)
        with pytest.raises(RefusedInput, match="it has had its block"):
            pipe.open()
    with pytest.raises(RefusedInput, match=r"every block needs a pipeline\(\) of its own"):
        pipe.open()
    with pytest.raises(RefusedInput, match="its block has ended"):
        pipe.add(add.put((1,), {})[0])
    assert waiting(app) == [1]
    assert repr(pipe) == "<Pipeline of <App prefix='test'> holding 0>"


# ---- Blocks inside others.


def test_an_inner_block_joins_the_outer_one(app: App, add: Task[..., Any], redis_client: redis.Redis) -> None:
    with app.pipeline() as outer:
        first = add.execute(1)
        with app.pipeline() as inner:
            second = add.execute(2)
            assert (len(outer), len(inner)) == (1, 1)
        third = add.execute(3)
        assert (len(outer), len(inner)) == (3, 0)
        with pytest.raises(NotEnqueued, match="waits in a pipeline"):
            second.get()
        assert redis_client.keys() == []
    assert waiting(app) == [1, 2, 3]
    assert [call.status for call in (first, second, third)] == ["waiting"] * 3


def test_an_inner_block_that_raises_takes_back_its_own_alone(app: App, add: Task[..., Any]) -> None:
    with app.pipeline():
        add.execute(1)
        with suppress(Oops), app.pipeline():
            call = add.execute(2)
            raise Oops
        add.execute(3)
    assert waiting(app) == [1, 3]
    with pytest.raises(NotEnqueued, match="because the block of its pipeline raised"):
        call.get()


def test_what_an_inner_block_made_shares_the_fate_of_the_outer_one(app: App, add: Task[..., Any]) -> None:
    with suppress(Oops), app.pipeline():
        add.execute(1)
        with app.pipeline():
            calls = [add.execute(2), add.execute(3, _queue="other")]
        raise Oops
    assert waiting(app) == []
    for call in calls:
        with pytest.raises(NotEnqueued, match="because the block of its pipeline raised"):
            call.get()


def test_many_inner_blocks_go_in_one_command(app: App, server: Server, add: Task[..., Any]) -> None:
    add.execute(-1)
    with Monitor(server).listening() as monitor:
        del monitor.commands[:]
        with app.pipeline():
            for n in range(200):
                with app.pipeline():
                    add.execute(n)
        monitor.wait_for_mark()
        assert monitor.sent() == ["EVALSHA"]
    assert waiting(app) == list(range(-1, 200))


def test_apps_do_not_mix(app: App, server: Server, add: Task[..., Any]) -> None:
    other = App(server.url, prefix="test-other")
    task = other.task(name="add")(lambda x: x)
    with app.pipeline() as mine, other.pipeline() as theirs:
        add.execute(1)
        task.execute(2)
        task.execute(3)
        assert (len(mine), len(theirs)) == (1, 2)
    with app.pipeline():
        task.execute(4)
        assert waiting(other) == [2, 3, 4]
    assert waiting(app) == [1]
    other.broker.close()


# ---- Whom it concerns.


def test_other_threads_are_not_concerned(app: App, add: Task[..., Any]) -> None:
    with app.pipeline() as pipe:
        add.execute(1)
        thread = threading.Thread(target=add.execute, args=(2,))
        thread.start()
        thread.join()
        assert len(pipe) == 1
        assert waiting(app) == [2]
    assert waiting(app) == [2, 1]


def test_pipelines_of_several_threads_do_not_meet(app: App, add: Task[..., Any]) -> None:
    def produce(queue: str) -> None:
        for first in range(0, 200, 20):
            with app.pipeline():
                for n in range(first, first + 20):
                    add.execute(n, _queue=queue)

    threads = [threading.Thread(target=produce, args=(queue,)) for queue in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [waiting(app, queue) for queue in "abcdef"] == [list(range(200))] * 6


def test_a_forked_child_sends_nothing_of_its_parents(app: App, add: Task[..., Any]) -> None:
    with app.pipeline():
        add.execute(1)
        child = os.fork()
        if not child:
            with suppress(BaseException):
                add.execute(2)  # at once, since nobody will end the child's block
                app.pipeline().__exit__(None, None, None)
            os._exit(0)
        os.waitpid(child, 0)
        assert waiting(app) == [2]
    assert waiting(app) == [2, 1]


def test_a_forked_child_that_leaves_the_block_sends_nothing(app: App, add: Task[..., Any]) -> None:
    child = -1
    with app.pipeline() as pipe:
        add.execute(1)
        child = os.fork()
    if not child:
        os._exit(len(pipe))
    assert os.waitpid(child, 0)[1] == 0
    assert waiting(app) == [1]


def test_a_generator_that_stops_in_its_block_takes_nothing_with_it(app: App, add: Task[..., Any]) -> None:
    def numbers() -> Any:
        with app.pipeline():
            for n in range(3):
                add.execute(n)
                yield n

    whole, half = numbers(), numbers()
    assert next(half) == 0
    assert list(whole) == [0, 1, 2]
    half.close()
    add.execute(9)
    assert waiting(app) == [9], "the block of the first was around the second, and was left by an exception"


# ---- Coroutines.


def asynchronous(test: Callable[..., Any]) -> Callable[..., None]:
    def run(app: App, face: Aio, add: Task[..., Any]) -> None:
        asyncio.run(test(app, face, add))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@asynchronous
async def test_both_faces_put_into_both_kinds_of_pipelines(app: App, face: Aio, add: Task[..., Any]) -> None:
    box = face.Data("items")
    async with face.pipeline() as pipe:
        made = [await face.execute(add, 1), await face.call_task("add", None, 2)]
        made += await face.execute_many(add, [(3,), (4,)])
        made += [await face.retry(add, 5, _attempts=2, delay=0)]
        plain = add.execute(6)
        await box.put_data(["a"])
        assert len(pipe) == 7
        assert (await face.queue_sizes()) == []
        with pytest.raises(NotEnqueued):
            await made[0].status()
        assert repr(pipe) == "<Pipeline of <App prefix='test'> holding 7>"
    with app.pipeline():
        made.append(await face.execute(add, 7))
    assert len(pipe) == 0
    assert pipe
    assert [await call.status() for call in made] == ["waiting"] * 6
    assert plain.status == "waiting"
    assert waiting(app) == [1, 2, 3, 4, 5, 6, 7]
    assert items(app) == ["a"]


@asynchronous
async def test_a_block_of_a_coroutine_that_raises_sends_nothing(app: App, face: Aio, add: Task[..., Any]) -> None:
    with suppress(Oops):
        async with face.pipeline():
            call = await face.execute(add, 1)
            raise Oops
    assert waiting(app) == []
    with pytest.raises(NotEnqueued):
        await call.get()


@asynchronous
async def test_coroutines_side_by_side_have_pipelines_of_their_own(app: App, face: Aio, add: Task[..., Any]) -> None:
    async def produce(queue: str, fails: bool) -> None:
        async with face.pipeline() as pipe:
            for n in range(20):
                await face.execute(add, n, _queue=queue)
                await asyncio.sleep(0)
            assert len(pipe) == 20
            if fails:
                raise Oops

    await asyncio.gather(*(produce(queue, queue > "d") for queue in "abcdef"), return_exceptions=True)
    assert [waiting(app, queue) for queue in "abcdef"] == [list(range(20))] * 4 + [[]] * 2


@asynchronous
async def test_coroutines_that_are_started_in_a_block_belong_to_it_while_it_lasts(
    app: App, face: Aio, add: Task[..., Any]
) -> None:
    ended = asyncio.Event()

    async def late() -> None:
        await ended.wait()
        await face.execute(add, 3)
        async with face.pipeline():
            await face.execute(add, 4)

    async with face.pipeline() as pipe:
        await asyncio.gather(face.execute(add, 1), face.execute(add, 2))
        straggler = asyncio.create_task(late())
        assert len(pipe) == 2
        assert waiting(app) == []
    assert waiting(app) == [1, 2]
    ended.set()
    await straggler
    assert waiting(app) == [1, 2, 3, 4]


@asynchronous
async def test_a_straggler_whose_block_outlives_the_outer_one_sends_by_itself(
    app: App, face: Aio, add: Task[..., Any]
) -> None:
    ended = asyncio.Event()

    async def late() -> None:
        async with face.pipeline():
            await face.execute(add, 2)
            await ended.wait()

    async with face.pipeline():
        straggler = asyncio.create_task(late())
        await face.execute(add, 1)
        await asyncio.sleep(0)
    assert waiting(app) == [1]
    ended.set()
    await straggler
    assert waiting(app) == [1, 2]


@asynchronous
async def test_a_straggler_joins_the_outermost_block_that_still_lasts(app: App, face: Aio, add: Task[..., Any]) -> None:
    ended = asyncio.Event()

    async def late() -> None:
        async with face.pipeline():
            await face.execute(add, 2)
            await ended.wait()

    async with face.pipeline() as outermost:
        async with face.pipeline():
            straggler = asyncio.create_task(late())
            await face.execute(add, 1)
            await asyncio.sleep(0)
        ended.set()
        await straggler
        assert len(outermost) == 2
        assert waiting(app) == []
    assert waiting(app) == [1, 2]


@asynchronous
async def test_threads_that_a_coroutine_asks_are_not_concerned(app: App, face: Aio, add: Task[..., Any]) -> None:
    async with face.pipeline():
        await asyncio.to_thread(add.execute, 1)
        assert waiting(app) == [1]


@asynchronous
async def test_who_is_cancelled_in_its_block_has_sent_nothing(app: App, face: Aio, add: Task[..., Any]) -> None:
    made: list[Any] = []

    async def produce() -> None:
        async with face.pipeline():
            made.append(await face.execute(add, 1))
            await asyncio.sleep(60)

    task = asyncio.create_task(produce())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiting(app) == []
    with pytest.raises(NotEnqueued):
        await made[0].get()


def test_who_is_cancelled_while_it_sends_has_sent_whole_batches(own_server: Server) -> None:
    app = App(own_server.url, prefix="test")
    face, add = aio.of(app), app.task(name="add")(lambda x: x)
    made: list[Any] = []

    async def produce() -> None:
        async with face.pipeline():
            for n in range(2500):
                made.append(await face.execute(add, n))

    async def main() -> None:
        await face.known_queues()
        own_server.pause()
        try:
            task = asyncio.create_task(produce())
            await until(lambda: made and made[0].sync.fate.is_sent)
            task.cancel()
            await asyncio.sleep(0.1)
        finally:
            own_server.resume()
        with pytest.raises(asyncio.CancelledError):
            await task
        await face.close()
        assert await made[0].status() == "waiting"
        with pytest.raises(NotEnqueued, match="it was not sent, because sending was interrupted"):
            await made[1000].get()
        assert waiting(app) == list(range(1000))

    asyncio.run(main())
    app.broker.close()


def test_the_fates_of_an_awaited_pipeline_are_those_calls_that_it_returned(own_server: Server) -> None:
    app = App(prefix="test")
    app.set_redis_connection_settings(own_server.host, own_server.port, socket_timeout=0.3)
    face, add = aio.of(app), app.task(name="add")(lambda x: x)

    async def produce(made: list[Any]) -> None:
        async with face.pipeline():
            made += [await face.execute(add, 1), *(await face.execute_many(add, [(2,)]))]
            made += await face.Data("items").put_data([3])

    async def main() -> None:
        first = await face.execute(add, 0)
        own_server.kill()
        made: list[Any] = []
        with pytest.raises(RedisUnavailable, match="of 3 sent together: 3 perhaps in") as caught:
            await produce(made)
        assert caught.value.fates == ([], [], made)
        with pytest.raises(RedisUnavailable, match="of 1 sent together: 1 perhaps in") as caught:
            await face.execute_many(add, [(4,)])
        [doubtful] = caught.value.fates.unknown
        own_server.start()
        for call in (*made[:2], doubtful):
            with pytest.raises(NotEnqueued, match="may never have been: Redis at"):
                await call.get(5)
            assert await call.cancel() is False
        assert await first.status() == "waiting"

    asyncio.run(main())
    app.broker.close()
