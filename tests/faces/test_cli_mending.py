"""The command line that finds messages, runs them again, reschedules and deletes them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

import rpqueue
from rpqueue import App
from rpqueue.cli import main
from rpqueue.protocol import moves
from rpqueue.protocol.moves import Taken
from rpqueue.states import State
from rpqueue.tasks import Task
from tests.servers import Server

Run = Callable[..., Result]


@pytest.fixture
def run(server: Server, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Run:
    """run("ls", "--json"): a command on the test's server, in this process."""
    monkeypatch.delenv("RPQUEUE_URL", raising=False)

    def run(*arguments: str, **options: Any) -> Result:
        monkeypatch.setattr(rpqueue, "app", App(prefix="test"))
        result = CliRunner().invoke(main, [*arguments, "--url", server.url], **options)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        rpqueue.app.broker.close()
        return result

    return run


@pytest.fixture
def work(app: App) -> Task[..., Any]:
    return app.task(queue="mail", name="work")(lambda *args: None)


def told(result: Result) -> Any:
    return json.loads(result.stdout)


def bury(app: App, queue: str, grave: str, names: list[str], *, days: float = 0, data: bool = False) -> list[str]:
    keys = app.data_keys(queue) if data else app.task_keys(queue)
    app.broker.client.zadd(keys.listed_in, {queue: 0 if data else "inf"})
    at = time.time() - days * 86_400 - 1
    record = b'{"exception":"ValueError","message":"no","started_at":5.0,"failed_at":7.5,"host":"here","pid":42}'
    taken = [
        Taken(
            f"{queue}-{grave}-{n}",
            b'1 5 0 1 1|["%s",[%d],{}]' % (name.encode(), n) if not data else b"1 5|1",
            "3 1 1 0",
            at + n / 1000,
            b"failed 5|" + record + b"\n" + record.replace(b"no", b"before"),
        )
        for n, name in enumerate(names)
    ]
    app.broker.execute(moves.put_back(keys, (), State(grave), taken))
    return [str(one.id) for one in taken]


def lease(app: App, call: Any) -> None:
    app.broker.client.lrem(call.keys.ready, 1, call.taskid)
    app.broker.client.zadd(call.keys.leased, {call.taskid: time.time() * 1000 + 60_000})


# Finding.


def test_ls_shows_one_queue_or_all_either_way(app: App, run: Run) -> None:
    made = [*bury(app, "a", "dead", ["work"] * 3), *bury(app, "b", "dead", ["work"] * 2)]
    first = told(run("ls", "--state", "dead", "--limit", "2", "--json"))
    rest = told(run("ls", "--state", "dead", "--after", first["after"], "--json"))
    assert [message["id"] for message in first["messages"] + rest["messages"]] == made
    newest = told(run("ls", "a", "--state", "error", "--newest", "--json"))
    assert [message["id"] for message in newest["messages"]] == made[:3][::-1]
    output = run("ls", "--state", "dead", "--limit", "2").output
    assert "More: --after" in output
    assert "a-dead-0" in output


def test_ls_selects_by_task_and_by_error(app: App, run: Run) -> None:
    made = bury(app, "mail", "dead", ["work", "other"])
    for options, ids in (
        (["--name", "other"], made[1:]),
        (["--error", "ValueError: no"], made),
        (["--error", "KeyError"], []),
    ):
        found = told(run("ls", "mail", "--state", "dead", *options, "--json"))
        assert [message["id"] for message in found["messages"]] == ids


def test_page_is_how_ls_was_said_before(app: App, run: Run, work: Task[..., Any]) -> None:
    work.execute()
    assert run("page", "mail", "--json").output == run("ls", "mail", "--json").output


def test_names_counts_the_messages_of_each_task(app: App, run: Run) -> None:
    bury(app, "mail", "dead", ["work", "work", "other"])
    found = told(run("names", "mail", "--state", "dead", "--json"))
    assert found == {"names": {"work": 2, "other": 1}, "looked": 3, "total": 3, "is_all": True}
    assert "Tasks of 1 of 3 dead messages" in run("names", "--state", "dead", "--limit", "1").output


def test_task_shows_how_its_runs_failed(app: App, run: Run) -> None:
    [one] = bury(app, "mail", "dead", ["work"])
    output = run("task", one).output
    for word in ("Runs that failed", "ValueError: before", "ValueError: no", "2.5 s", "here", "42", "n_executions"):
        assert word in output
    shown = told(run("task", one, "--json"))
    assert [record["message"] for record in shown["executions"]] == ["before", "no"]
    assert (shown["n_executions"], shown["recover"]) == (2, False)
    assert run("task", "show", one).output == output
    assert run("task", "nobody").exit_code == 1


# One.


@pytest.mark.parametrize("data", [False, True])
def test_retry_puts_messages_back_and_tells_which_it_did_not(
    app: App, run: Run, work: Task[..., Any], data: bool
) -> None:
    ids = [*bury(app, "a", "dead", ["work"], data=data), *bury(app, "a", "lost", ["work"], data=data)]
    waiting = work.execute().taskid
    assert told(run("retry", *ids, "--json")) == {"retried": ids, "others": {}}
    result = run("retry", ids[0], waiting, "nobody", "--json")
    assert told(result) == {
        "retried": [],
        "others": {ids[0]: "it is waiting", waiting: "it is waiting", "nobody": "no queue knows it"},
    }
    assert result.exit_code == 1
    assert f"{ids[0]} was not put back: it is waiting, nor were 2 more" in result.stderr


def test_delete_takes_a_message_away_wherever_it_is_unless_somebody_holds_it(
    app: App, run: Run, work: Task[..., Any]
) -> None:
    [dead] = bury(app, "mail", "dead", ["work"])
    waiting, held = work.execute(), work.execute()
    lease(app, held)
    assert "2 messages deleted." in run("delete", dead, waiting.taskid, "--yes").output
    assert waiting.status == "cancelled"
    result = run("delete", held.taskid, "--yes")
    assert (result.exit_code, "rpqueue cancel --running" in result.stderr) == (1, True)
    assert run("delete", held.taskid, input="n\n").exit_code == 1
    assert held.status == "started"


def test_cancel_asks_a_run_to_stop(app: App, run: Run, work: Task[..., Any]) -> None:
    call = work.execute()
    lease(app, call)
    assert run("cancel", call.taskid).exit_code == 1
    assert told(run("cancel", call.taskid, "--running", "--json"))["asked"] is True
    assert app.broker.client.exists(call.keys.asked(call.taskid))
    assert "is asked to stop" in run("task", "cancel", call.taskid, "--running").output


@pytest.mark.parametrize(
    ("when", "seconds"),
    [("+2h", 7200), ("+90", 90), ("4070908800", None), ("2099-01-01T00:00", None)],
    ids=["hours from now", "seconds from now", "epoch seconds", "a date"],
)
def test_reschedule_moves_a_scheduled_message(
    app: App, run: Run, work: Task[..., Any], when: str, seconds: float | None
) -> None:
    call = work.execute(delay=600)
    assert told(run("reschedule", call.taskid, when, "--json")) == {
        "id": call.taskid,
        "queue": "mail",
        "rescheduled": True,
        "state": "scheduled",
    }
    due = 4_070_908_800 if seconds is None else time.time() + seconds
    assert (call.args or [])[4] == pytest.approx(due, abs=300)


def test_run_now_starts_a_scheduled_message_and_no_other(app: App, run: Run, work: Task[..., Any]) -> None:
    call = work.execute(delay=600)
    assert f"{call.taskid} is ready." in run("run-now", call.taskid).output
    assert call.status == "late"
    result = run("run-now", call.taskid)
    assert (result.exit_code, "it is late, not scheduled" in result.stderr) == (1, True)
    [item] = app.Data("items", vis_timeout=60).put_data([1], delay=600)
    assert told(run("reschedule", item, "now", "--json"))["state"] == "ready"


# All.


def test_redrive_puts_back_what_was_given_up(app: App, run: Run) -> None:
    bury(app, "a", "dead", ["work", "other", "work"])
    bury(app, "b", "lost", ["work"])
    assert told(run("redrive", "--queue", "a", "--name", "work", "--json")) == {"state": "dead", "redriven": 2}
    assert "0 dead messages put back." in run("redrive", "--all", "--error", "KeyError").output
    assert (
        "2 given up messages put back, 0.5 a second of them to start."
        in run("redrive", "--all", "--state", "error", "--rate", "0.5", "--limit", "5").output
    )
    assert len(told(run("ls", "--state", "scheduled", "--json"))["messages"]) == 2


def test_purge_deletes_what_was_given_up_long_ago(app: App, run: Run) -> None:
    bury(app, "a", "dead", ["work"] * 2, days=100)
    bury(app, "a", "failed", ["work"], days=50)
    bury(app, "b", "lost", ["work"] * 2, days=100)
    bury(app, "items", "dead", ["x"], days=100, data=True)
    assert told(run("purge", "--older-than", "12w", "--limit", "1", "--yes", "--json")) == {
        "state": "error",
        "purged": 1,
    }
    assert told(run("purge", "--older-than", "12w", "--exclude-queue", "a", "--yes", "--json"))["purged"] == 2
    assert told(run("purge", "--queue", "a", "--state", "failed", "--yes", "--json"))["purged"] == 1
    assert told(run("purge", "--all", "--data", "--yes", "--json"))["purged"] == 1
    asked = run("purge", "--queue", "a", "--older-than", "1d", input="n\n")
    assert asked.exit_code == 1
    assert "Delete all given up tasks of a of more than 1 day, 0:00:00 ago for good?" in asked.output
    assert "1 given up message deleted." in run("purge", "--all", input="y\n").output


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("ls", "nobody"), 1, "no task queue is named 'nobody'"),
        (("names", "nobody"), 1, "no task queue is named 'nobody'"),
        (("redrive", "--queue", "nobody"), 1, "no task queue is named 'nobody'"),
        (("purge", "--queue", "nobody", "--yes"), 1, "no task queue is named 'nobody'"),
        (("run-now", "nobody"), 1, "no message 'nobody' in any queue"),
        (("reschedule", "nobody", "tomorrow"), 2, "expected now, +5m"),
        (("reschedule", "nobody", "+5y"), 2, "expected a number greater than 0"),
        (("redrive",), 2, "expected one of: --queue, --all"),
        (("redrive", "--all", "--rate", "-1"), 1, "rate: expected"),
        (("redrive", "--all", "--state", "ready"), 2, "'ready' is not one of"),
        (("purge", "--yes"), 2, "expected one of: --older-than, --queue, --all"),
        (("purge", "--older-than", "12 fortnights"), 2, "expected a number greater than 0"),
        (("retry",), 2, "Missing argument"),
        (("ls", "--after", "x"), 1, "after: expected what a page"),
    ],
)
def test_what_is_wrong_is_said_with_an_exit_code(
    app: App, run: Run, command: tuple[str, ...], code: int, said: str
) -> None:
    app.task(queue="a", name="t")(lambda: None).execute()
    app.task(queue="b", name="u")(lambda: None).execute()
    result = run(*command)
    assert (result.exit_code, said in result.stderr) == (code, True), result.stderr
