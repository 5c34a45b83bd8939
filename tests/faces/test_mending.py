"""What was given up is run again or deleted, one or all of it; what is scheduled becomes due at another instant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import rpqueue
from rpqueue import App, aio
from rpqueue.errors import RefusedInput, TaskFailed, WrongType
from rpqueue.inspection import Inspection
from rpqueue.protocol import moves
from rpqueue.protocol.moves import Taken
from rpqueue.states import State
from rpqueue.tasks import Task
from tests.servers import wait_until

DAY = 86_400.0


@pytest.fixture
def work(app: App) -> Task[..., Any]:
    @app.task(queue="mail", name="work", use_dead=True)
    def work(*args: Any, **kwargs: Any) -> None:
        raise ValueError("meant")

    return work


def bury(
    app: App, queue: str, grave: str, names: list[str], *, error: str = "", age: float = 10, data: bool = False
) -> None:
    """Messages in a grave: of these tasks, *age* seconds ago and then a millisecond after the other."""
    keys = app.data_keys(queue) if data else app.task_keys(queue)
    app.broker.client.zadd(keys.listed_in, {queue: 0 if data else "inf"})
    now = app.broker.client.time()[0] - age
    taken = [
        Taken(
            f"{queue}-{grave}-{n}",
            b'1 5 0 1 1|["%s",[],{}]' % name.encode(),
            "3 2 1 0",
            now + n / 1000,
            b'%s 5|{"exception":"ValueError","message":"%s"}' % (grave.encode(), error.encode()),
        )
        for n, name in enumerate(names)
    ]
    app.broker.execute(moves.put_back(keys, (), State(grave), taken))


def sizes(app: App, queue: str) -> dict[str, int]:
    row = next(row for row in Inspection(app).queues() if row.name == queue)
    places = ("ready", "scheduled", "dead", "lost", "failed")
    return {place: getattr(row, place) for place in places if getattr(row, place)}


# One call.


def test_a_call_that_failed_is_retried_and_remembers_its_runs(
    app: App, work: Task[..., Any], start_worker: Callable[..., None]
) -> None:
    call = work.execute(1)
    assert (call.retry(), call.executions, call.n_executions()) == (False, [], 0), "it only waits"
    start_worker()
    for runs in (1, 2):
        with pytest.raises(TaskFailed):
            call.get(timeout=20)
        assert [one["message"] for one in call.executions] == ["meant"] * runs
        assert call.n_executions() == runs
        if runs == 1:
            assert call.retry() is True
            wait_until(lambda: call.n_executions() == 2)
    assert {"exception", "traceback", "host", "pid", "started_at", "failed_at"} <= set(call.executions[0])


@pytest.mark.parametrize("grave", ["dead", "lost", "failed"])
def test_a_call_is_retried_out_of_whichever_grave(app: App, grave: str) -> None:
    bury(app, "mail", grave, ["work"])
    call = app.EnqueuedTask("work", f"mail-{grave}-0", "mail")
    assert call.retry() is True
    assert call.retry() is False
    assert sizes(app, "mail") == {"ready": 1}


def test_a_call_is_deleted_unless_it_runs(app: App, work: Task[..., Any]) -> None:
    call = work.execute()
    assert call.delete() is True
    assert call.status == "cancelled"
    assert app.EnqueuedTask("work", "unknown", "mail").delete() is False
    bury(app, "mail", "dead", ["work"])
    assert app.EnqueuedTask("work", "mail-dead-0", "mail").delete() is True
    running = work.execute()
    app.broker.client.zadd(running.keys.leased, {running.taskid: time.time() * 1000 + 60_000})
    app.broker.client.lrem(running.keys.ready, 1, running.taskid)
    assert running.delete() is False
    assert running.status == "started"


@pytest.mark.parametrize(
    "when",
    [
        lambda now: timedelta(hours=2),
        lambda now: now + timedelta(hours=2),
        lambda now: (now + timedelta(hours=2)).replace(tzinfo=None),
        lambda now: now.timestamp() + 7200,
    ],
    ids=["timedelta", "aware", "naive, which is UTC", "epoch seconds"],
)
def test_a_scheduled_call_becomes_due_at_another_instant(
    app: App, work: Task[..., Any], when: Callable[[datetime], Any]
) -> None:
    call = work.execute(delay=60)
    assert call.update_scheduled_time(when(datetime.now(timezone.utc))) is True
    [_, _, _, _, available_at] = call.args or []
    assert available_at == pytest.approx(time.time() + 7200, abs=300)
    assert app.get_page("mail", 1)[0][4] == available_at
    assert call.status == "early"
    assert call.run_now() is True
    assert call.status == "late"
    assert call.run_now() is call.update_scheduled_time(timedelta(1)) is False
    assert call.args is not None
    assert call.args[4] == pytest.approx(time.time(), abs=300)


@pytest.mark.parametrize(("when", "error"), [("tomorrow", WrongType), (True, WrongType), (-5, RefusedInput)])
def test_what_is_no_instant_is_refused(work: Task[..., Any], when: Any, error: type[Exception]) -> None:
    call = work.execute(delay=60)
    with pytest.raises(error, match="when of work: expected"):
        call.update_scheduled_time(when)


# All that was given up.


def test_all_dead_messages_of_one_queue_or_of_all_go_back(app: App) -> None:
    for queue in ("a", "b"):
        bury(app, queue, "dead", ["work"] * 3)
        bury(app, queue, "lost", ["work"])
    assert app.redrive("a", limit=2) == 2
    assert sizes(app, "a") == {"ready": 2, "dead": 1, "lost": 1}
    assert app.redrive("DEADLETTER_QUEUE") == 4
    assert app.redrive(state="error") == 2
    assert (sizes(app, "a"), sizes(app, "b"), app.redrive(state="error")) == ({"ready": 4}, {"ready": 4}, 0)


def test_those_of_one_task_or_with_one_error_go_back(app: App) -> None:
    bury(app, "a", "dead", ["rare", "common"] * 3, error="no")
    bury(app, "b", "dead", ["rare"] * 2, error="other")
    assert app.redrive(name="rare", error="no", limit=2) == 2
    assert app.redrive("a", name="rare") == 1
    assert app.redrive(error="ValueError: other") == 2
    assert app.redrive(error="nothing") == app.redrive(name="nobody") == 0
    assert [row[0] for row in app.get_page("a", 1)] == ["a-dead-0", "a-dead-2", "a-dead-4"]
    assert sizes(app, "a") == {"ready": 3, "dead": 3}


def test_many_with_one_name_all_go_back_though_they_died_in_one_instant(app: App) -> None:
    keys = app.task_keys("mail")
    app.broker.client.zadd(keys.listed_in, {"mail": "inf"})
    for first in range(0, 2500, 500):
        taken = [Taken(f"{n:05}", b'1 5|["work",[],{}]', "", 1000.0) for n in range(first, first + 500)]
        app.broker.execute(moves.put_back(keys, (), State.DEAD, taken))
    assert app.redrive("mail", name="work") == 2500


def test_what_is_given_up_meanwhile_is_left(app: App) -> None:
    bury(app, "mail", "dead", ["work"] * 2)
    bury(app, "mail", "lost", ["work"], age=-3600)
    client, keys = app.broker.client, app.task_keys("mail")
    later = client.time()[0] * 1000 + 3_600_000
    client.zadd(keys.dead, {"mail-lost-0": later})
    client.zrem(keys.lost, "mail-lost-0")
    assert app.redrive("mail", name="work") == 2
    assert sizes(app, "mail") == {"ready": 2, "dead": 1}


def test_at_a_rate_they_become_due_one_after_the_other_over_all_queues(app: App) -> None:
    bury(app, "a", "dead", ["work"] * 3)
    bury(app, "b", "dead", ["work", "other"])
    begun = app.broker.client.time()[0]
    assert app.redrive(rate=0.1) == 5
    rows = [message for page in (Inspection(app).page(None, "scheduled"),) for message in page.messages]
    assert [message.queue for message in rows] == ["a"] * 3 + ["b"] * 2
    assert [message.at - rows[0].at for message in rows] == pytest.approx([0, 10, 20, 30, 40], abs=5)
    assert rows[0].at == pytest.approx(begun, abs=30)


def test_items_go_back_too(app: App) -> None:
    bury(app, "items", "dead", ["x", "y"], data=True)
    assert app.redrive("items") == 0
    assert app.redrive("items", is_data=True) == 2
    assert len(app.Data("items").get_data(5)) == 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"state": "ready"}, "state: expected dead, lost or failed"),
        ({"state": "dea"}, "did you mean 'dead'"),
        ({"rate": 0}, "rate: expected 0.000001"),
        ({"rate": "fast"}, "rate: expected messages a second"),
        ({"limit": 0}, "limit: expected 1 to"),
        ({"name": 5}, "name: expected str"),
    ],
)
def test_a_redrive_that_makes_no_sense_is_refused(app: App, options: dict[str, Any], error: str) -> None:
    with pytest.raises((RefusedInput, WrongType), match=error):
        app.redrive(**options)


def test_purge_errored_tasks_deletes_what_was_given_up_before_an_instant(app: App) -> None:
    for grave, days in (("failed", 1), ("dead", 50), ("lost", 100)):
        bury(app, "a", grave, ["work"] * 2, age=days * DAY)
    bury(app, "b", "dead", ["work"] * 2, age=100 * DAY)
    assert app.purge_errored_tasks(last_execution_before=timedelta(weeks=52)) == 0
    assert app.purge_errored_tasks(["a"], limit=1, last_execution_before=timedelta(weeks=12)) == 1
    assert app.purge_errored_tasks(exclude_queues=[b"a"], last_execution_before=time.time() - 60 * DAY) == 2
    assert app.purge_errored_tasks(last_execution_before=datetime.now(timezone.utc) - timedelta(days=60)) == 1
    assert sizes(app, "a") == {"dead": 2, "failed": 2}
    assert app.purge_errored_tasks() == 4
    assert (sizes(app, "a"), sizes(app, "b")) == ({}, {})


def test_purge_errored_tasks_goes_on_to_the_end_of_a_long_grave(app: App) -> None:
    for first in range(3):
        taken = [Taken(f"{first}-{n}", b"1 5|1", "", 5.0) for n in range(800)]
        app.broker.execute(moves.put_back(app.task_keys("mail"), (), State.LOST, taken))
    app.broker.client.zadd(app.keys.app.queues, {"mail": "inf"})
    assert app.purge_errored_tasks(limit=1001) == 1001
    assert app.purge_errored_tasks() == 1399


@pytest.mark.parametrize("options", [{"queues": "mail"}, {"exclude_queues": b"mail"}, {"limit": -1}])
def test_a_purge_that_makes_no_sense_is_refused(app: App, options: dict[str, Any]) -> None:
    with pytest.raises(RefusedInput, match="expected"):
        app.purge_errored_tasks(**options)
    with pytest.raises(WrongType, match="last_execution_before: expected"):
        app.purge_errored_tasks(last_execution_before="12w")  # type: ignore[arg-type]


def test_a_recurring_task_may_purge(app: App, start_worker: Callable[..., None]) -> None:
    bury(app, "mail", "lost", ["work"], age=100 * DAY)
    counts: list[int] = []

    @app.periodic_task(0.05, low_delay_okay=True, name="purge")
    def purge() -> None:
        counts.append(app.purge_errored_tasks(limit=1000, last_execution_before=timedelta(weeks=12)))

    start_worker()
    wait_until(lambda: sum(counts) == 1)


def test_the_default_app_has_these_verbs() -> None:
    assert rpqueue.purge_errored_tasks.__self__ is rpqueue.redrive.__self__ is rpqueue.app


# Awaited.


def test_the_awaited_verbs_do_the_same(app: App, work: Task[..., Any]) -> None:
    bury(app, "mail", "dead", ["work"] * 3)
    bury(app, "mail", "failed", ["work"] * 2)

    async def mend() -> list[Any]:
        face = aio.of(app)
        dead = face.EnqueuedTask("work", "mail-dead-0", "mail")
        later = await face.execute(work, delay=60)
        return [
            *(await dead.n_executions(), len(await dead.executions()), await dead.retry(), await dead.retry()),
            *(await later.update_scheduled_time(timedelta(hours=1)), await later.run_now(), await later.run_now()),
            *(await later.delete(), await later.status()),
            *(await face.redrive("mail", limit=1), await face.purge_errored_tasks(limit=2)),
        ]

    assert asyncio.run(mend()) == [3, 1, True, False, True, True, False, True, "cancelled", 1, 2]
    assert sizes(app, "mail") == {"ready": 2, "failed": 1}
