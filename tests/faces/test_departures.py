"""What middleware does around the enqueueing of calls, and at the end of a process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from rpqueue import App, Middleware, aio
from rpqueue.errors import IdTaken, RefusedInput, UnserializableValue
from rpqueue.middleware import Outgoing
from rpqueue.tasks import Task
from tests.servers import wait_until
from tests.worker.here import working


class Notes(Middleware):
    """Notes what it is called with, and how the blocks around calls ended."""

    def __init__(self) -> None:
        self.calls: list[Outgoing] = []
        self.blocks: list[tuple[list[str], str]] = []
        self.refuses: str | None = None
        self.sends: Any = None
        self.exits = 0

    def on_enqueue(self, call: Outgoing) -> None:
        self.calls.append(call)
        call.meta["seen"] = self.sends or len(self.calls)
        if self.refuses == "on_enqueue":
            raise RefusedInput("refused")

    @contextlib.contextmanager
    def around_enqueue(self, calls: Sequence[Outgoing]) -> Iterator[None]:
        if self.refuses == "around_enqueue":
            raise RefusedInput("refused")
        for call in calls:
            call.meta["together"] = len(calls)
        ids, ended = [call.task_id for call in calls], "well"
        try:
            yield
        except BaseException as error:
            ended = type(error).__name__
            raise
        finally:
            self.blocks.append((ids, ended))

    def on_exit(self) -> None:
        self.exits += 1
        raise OSError("changes nothing")


@pytest.fixture
def notes(app: App) -> Notes:
    app.settings.middleware = [Notes()]
    made: Notes = app.settings.middleware[0]
    return made


@pytest.fixture
def job(app: App) -> Task[..., Any]:
    def job(*args: Any, **kwargs: Any) -> None: ...

    return app.task(name="job", queue="work")(job)


def metas(app: App, *calls: Any) -> list[Any]:
    """What went along with calls."""
    import json

    bodies = [app.broker.client.hget(call.keys.messages, call.taskid) for call in calls]
    return [json.loads(body.partition(b"|")[2])[3:] for body in bodies]


def execute(app: App, job: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    return job.execute(*args, **kwargs)


def awaited(app: App, job: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    return asyncio.run(aio.of(app).execute(job, *args, **kwargs)).sync


def by_name(app: App, job: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    return app.call_task("job", None, *args, **kwargs)


def safely(app: App, job: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    return job.execute(*args, durability=False, **kwargs)


def in_a_pipeline(app: App, job: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    with app.pipeline():
        return job.execute(*args, **kwargs)


WAYS = [execute, awaited, by_name, safely, in_a_pipeline]


@pytest.mark.parametrize("way", WAYS)
def test_middleware_sees_a_call_and_is_around_it(
    app: App, notes: Notes, job: Task[..., Any], way: Callable[..., Any]
) -> None:
    call = way(app, job, 1, size=2)
    [seen] = notes.calls
    assert (seen.task_id, seen.name, seen.queue) == (call.taskid, "job", "work")
    assert (list(seen.args), seen.kwargs, seen.due_at) == ([1], {"size": 2}, 0)
    assert notes.blocks == [([call.taskid], "well")]
    assert metas(app, call) == [[{"seen": 1, "together": 1}]]


@pytest.mark.parametrize("way", [execute, awaited, by_name])
def test_the_block_sees_that_redis_refuses(
    app: App, notes: Notes, job: Task[..., Any], way: Callable[..., Any]
) -> None:
    way(app, job, 1, taskid="mine")
    with pytest.raises(IdTaken):
        way(app, job, 2, taskid="mine")
    assert [ended for _, ended in notes.blocks] == ["well", "IdTaken"]


def test_it_sees_nothing_of_a_call_that_cannot_be_encoded_but_that_its_meta_cannot(
    app: App, notes: Notes, job: Task[..., Any]
) -> None:
    with pytest.raises(UnserializableValue):
        job.execute({1})
    assert (notes.calls, notes.blocks) == ([], [])
    notes.sends = {1}
    with pytest.raises(UnserializableValue, match="meta of"):
        job.execute(1)
    assert [ended for _, ended in notes.blocks] == ["UnserializableValue"]


@pytest.mark.parametrize("refuses", ["on_enqueue", "around_enqueue"])
@pytest.mark.parametrize("way", WAYS)
def test_middleware_may_refuse_a_call(
    app: App, notes: Notes, job: Task[..., Any], way: Callable[..., Any], refuses: str
) -> None:
    notes.refuses = refuses
    with pytest.raises(RefusedInput, match="refused"):
        way(app, job, 1)
    assert app.broker.client.hlen(app.task_keys("work").messages) == 0


def many(app: App, job: Task[..., Any], *args: Any, **options: Any) -> list[Any]:
    return job.execute_many(*args, **options)


def many_awaited(app: App, job: Task[..., Any], *args: Any, **options: Any) -> list[Any]:
    return [call.sync for call in asyncio.run(aio.of(app).execute_many(job, *args, **options))]


@pytest.mark.parametrize("way", [many, many_awaited])
def test_many_calls_are_in_one_block(app: App, notes: Notes, job: Task[..., Any], way: Callable[..., Any]) -> None:
    calls = way(app, job, iter([(1,), {"size": 2}, [3]]), _attempts=5)
    assert [(list(call.args), dict(call.kwargs)) for call in notes.calls] == [
        ([1], {"_attempts": 5}),
        ([], {"size": 2, "_attempts": 5}),
        ([3], {"_attempts": 5}),
    ]
    assert notes.blocks == [([call.taskid for call in calls], "well")]
    assert metas(app, *calls) == [[{"seen": number, "together": 3}] for number in (1, 2, 3)]


def test_delays_and_instants_are_told(app: App, notes: Notes, job: Task[..., Any]) -> None:
    before = time.time()
    job.execute(delay=60)
    job.execute(when=1_000.5)
    job.execute_many([()], delay=60)
    first, second, third = (call.due_at for call in notes.calls)
    assert before + 60 <= first <= third <= time.time() + 60
    assert second == 1_000.5


def test_slots_of_recurring_tasks_are_seen_and_have_no_block(app: App, notes: Notes) -> None:
    app.periodic_task(0.05, name="tick", low_delay_okay=True)(lambda: None)
    with working(app):
        wait_until(lambda: len(notes.calls) >= 2, 30)
    assert notes.calls[0].task_id.startswith("tick@")
    assert notes.blocks == []


def test_blocks_are_left_in_the_reverse_order(app: App, job: Task[..., Any]) -> None:
    order: list[str] = []

    class Ordered(Middleware):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_enqueue(self, call: Outgoing) -> None:
            order.append(f"sees {self.name}")

        @contextlib.contextmanager
        def around_enqueue(self, calls: Sequence[Outgoing]) -> Iterator[None]:
            order.append(f"enters {self.name}")
            yield
            order.append(f"leaves {self.name}")

    app.settings.middleware = [Ordered("a"), Ordered("b")]
    job.execute()
    assert order == ["sees a", "sees b", "enters a", "enters b", "leaves b", "leaves a"]


def test_without_middleware_nothing_goes_along(app: App, job: Task[..., Any]) -> None:
    assert metas(app, job.execute(), *job.execute_many([()])) == [[], []]
    with job.departing() as departure:
        assert departure is None


def test_a_worker_that_ends_says_so_whatever_middleware_does_then(
    app: App, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    app.settings.middleware = [notes, second := Notes()]
    with working(app):
        assert (notes.exits, second.exits) == (0, 0)
    assert (notes.exits, second.exits) == (1, 1)
    assert "middleware failed: on_exit" in caplog.text
