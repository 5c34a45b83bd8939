"""Many calls of one task at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis

from rpqueue import App, aio
from rpqueue.errors import IdTaken, RefusedInput, RefusedName, UnserializableValue, WrongType
from rpqueue.tasks import Task

StartWorker = Callable[..., None]
Enqueue = Callable[..., list[Any]]


@pytest.fixture
def add(app: App) -> Task[..., Any]:
    @app.task(name="add", save_results=60)
    def add(x: int = 0, y: int = 1, **more: Any) -> int:
        return x + y

    return add


@pytest.fixture(params=["threads", "coroutines"])
def enqueue(request: pytest.FixtureRequest, app: App, add: Task[..., Any]) -> Enqueue:
    """``execute_many`` of that task, by both faces; returns what code that does not await holds."""

    async def awaited(*args: Any, **options: Any) -> list[Any]:
        face = aio.of(app)
        calls = await face.execute_many(add, *args, **options)
        assert all(isinstance(call, face.EnqueuedTask) for call in calls)
        return [call.sync for call in calls]

    if request.param == "threads":
        return add.execute_many
    return lambda *args, **options: asyncio.run(awaited(*args, **options))


def waiting(app: App, queue: str = "default") -> list[tuple[list[Any], dict[str, Any]]]:
    """The arguments of the calls that wait in a queue, in order."""
    return [(row[2], row[3]) for page in range(1, 6) for row in app.get_page(queue, page, 1000)]


def test_calls_run_with_their_arguments(app: App, enqueue: Enqueue, start_worker: StartWorker) -> None:
    calls = enqueue([(1, 2), [3], {"y": 5}, (), {}])
    start_worker()
    assert [call.get(20) for call in calls] == [3, 4, 5, 1, 1]


def test_what_comes_back_are_calls_like_any_other(app: App, add: Task[..., Any], enqueue: Enqueue) -> None:
    calls = enqueue([(n,) for n in range(3)])
    one = add.execute(3)
    assert [(call.name, call.queue, call.task) for call in calls] == [(one.name, one.queue, one.task)] * 3
    assert all(isinstance(call, app.EnqueuedTask) for call in calls)
    assert len({call.taskid for call in calls}) == 3
    assert [call.status for call in calls] == ["waiting"] * 3
    assert [call.args[2] for call in calls] == [[0], [1], [2]]
    assert calls[1].cancel() is True
    assert waiting(app) == [([0], {}), ([2], {}), ([3], {})]


@pytest.mark.parametrize("number", [0, 1, 1000, 1001, 2500])
def test_calls_wait_in_order_however_many(app: App, enqueue: Enqueue, number: int) -> None:
    calls = enqueue((n,) for n in range(number))
    assert len(calls) == number
    assert waiting(app) == [([n], {}) for n in range(number)]
    assert [call.args[2] for call in calls[::100]] == [[n] for n in range(0, number, 100)]


def test_options_hold_for_all_calls(app: App, redis_client: redis.Redis, enqueue: Enqueue) -> None:
    calls = enqueue([(1,), {"x": 2}], delay=timedelta(seconds=60), _queue="elsewhere", _attempts=3)
    assert [(call.queue, call.status) for call in calls] == [("elsewhere", "early")] * 2
    assert waiting(app, "elsewhere") == [([1], {"_attempts": 3}), ([], {"x": 2, "_attempts": 3})]
    assert [row[2] for row in app.get_page("default", 0)] == []
    enqueue([(1,)], delay=0, _attempts=1)
    assert waiting(app) == [([1], {})]


def test_messages_are_those_of_calls_one_by_one(app: App, redis_client: redis.Redis, enqueue: Enqueue) -> None:
    task = app.task(name="other", vis_timeout=7, attempts=3, use_dead=True)(lambda x: x)
    call, [one] = task.execute("ä", taskid="one"), task.execute_many([("ä",)], taskids=["many"])
    stored = redis_client.hmget(app.task_keys("default").messages, call.taskid, one.taskid)
    [one_by_one, in_bulk] = [message.split(b" ", 2)[2] for message in stored]
    assert in_bulk == one_by_one == b'7000 3 1|["other",["\\u00e4"],{}]'


def test_ids_of_ones_own_make_it_safe_to_say_it_twice(app: App, enqueue: Enqueue) -> None:
    ids = [f"id-{n}" for n in range(1500)]
    for _ in range(2):
        calls = enqueue(((n,) for n in range(1500)), taskids=iter(ids))
        assert [call.taskid for call in calls] == ids
    assert waiting(app) == [([n], {}) for n in range(1500)]


def test_an_id_that_is_taken_refuses_its_batch(app: App, enqueue: Enqueue) -> None:
    enqueue([("mine",)], taskids=[b"id-1200"])
    with pytest.raises(IdTaken, match=r"'id-1200'.*of 2500 sent together: 1000 in, 1500 not in$") as caught:
        enqueue([(n,) for n in range(2500)], taskids=[f"id-{n}" for n in range(2500)])
    assert waiting(app) == [(["mine"], {}), *(([n], {}) for n in range(1000))]
    done, refused, unknown = caught.value.fates
    assert ([call.taskid for call in done], unknown) == ([f"id-{n}" for n in range(1000)], [])
    assert [call.taskid for call in refused] == [f"id-{n}" for n in range(1000, 2500)]


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"taskids": ["a"]}, RefusedInput, "taskids of add: expected 2, one for each call, got 1; nothing was sent"),
        ({"taskids": ["a", "b", "c"]}, RefusedInput, "got 3"),
        ({"taskids": "ab"}, WrongType, "expected an id for each call, got 'ab'"),
        ({"taskids": 7}, WrongType, "expected an id for each call, got 7"),
        ({"taskids": ["a", ""]}, RefusedName, "expected 1 to 512 bytes"),
        ({"delay": -1}, RefusedInput, "delay of add: expected seconds >= 0"),
        ({"_queue": "DEADLETTER_QUEUE"}, RefusedInput, "is the dead-letter view"),
        ({"_attempts": 0}, RefusedInput, "_attempts of add: expected a whole number >= 1"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    redis_client: redis.Redis, enqueue: Enqueue, options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        enqueue([(1,), (2,)], **options)
    assert redis_client.keys() == []


@pytest.mark.parametrize(
    ("bad", "kind"), [((float("nan"),), UnserializableValue), (7, WrongType), ({"delay": 1}, RefusedInput)]
)
def test_nothing_is_sent_when_one_call_cannot_be(
    redis_client: redis.Redis, enqueue: Enqueue, bad: Any, kind: type[Exception]
) -> None:
    def calls() -> Iterator[Any]:
        yield from ((n,) for n in range(1500))
        yield bad

    with pytest.raises(kind, match=r"^call 1500: .*; nothing was sent$"):
        enqueue(calls())
    assert redis_client.keys() == []


def test_large_calls_go_in_smaller_batches(app: App, redis_client: redis.Redis, enqueue: Enqueue) -> None:
    enqueue([(n, "x" * 1_000_000) for n in range(10)])
    assert [args[0] for args, _ in waiting(app)] == list(range(10))
    scripts = redis_client.info("commandstats")
    assert scripts["cmdstat_evalsha"]["calls"] >= 3


def test_a_task_of_another_app_is_refused_by_its_awaited_face(app: App) -> None:
    task = App(prefix="other").task(name="add")(lambda: None)
    with pytest.raises(WrongType, match="task: expected one of"):
        asyncio.run(aio.of(app).execute_many(task, []))


def test_a_task_that_is_known_by_name_only_is_called_in_bulk(
    app: App, add: Task[..., Any], start_worker: StartWorker
) -> None:
    start_worker()
    call = add.execute(1)
    call.get(20)
    stranger = App(app.broker.endpoint.url, prefix="test")
    calls = stranger.known_tasks["add"].execute_many([(n,) for n in range(3)])
    assert [call.get(20) for call in calls] == [n + 1 for n in range(3)]
    stranger.broker.close()
