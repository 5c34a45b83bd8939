"""Arguments are in no log, and those that a task redacts are seen by nobody who only looks."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import rpqueue
from rpqueue import App, aio
from rpqueue.cli import main
from rpqueue.errors import RefusedInput, UnserializableValue, WrongType
from rpqueue.inspection import Inspection
from rpqueue.redaction import HIDDEN, Redaction, redaction_of
from rpqueue.states import State
from rpqueue.tasks import Task
from tests.servers import Server, wait_until

MARK = "MaRkEd"


def sign_up(name: str, password: str = "", *, token: str = "", **more: Any) -> None: ...


# What is hidden.


@pytest.mark.parametrize(
    ("asked", "args", "kwargs", "seen"),
    [
        (("password",), ["me", MARK], {}, (["me", HIDDEN], {})),
        (("password",), ["me"], {"password": MARK}, (["me"], {"password": HIDDEN})),
        (["token", "extra"], ["me"], {"token": MARK, "extra": [MARK]}, (["me"], {"token": HIDDEN, "extra": HIDDEN})),
        ((0,), [MARK, "b"], {}, ([HIDDEN, "b"], {})),
        (True, [MARK, 1], {"a": MARK}, ([HIDDEN, HIDDEN], {"a": HIDDEN})),
        (("password",), [], {}, ([], {})),
    ],
)
def test_named_parameters_are_hidden_however_they_are_given(asked: Any, args: Any, kwargs: Any, seen: Any) -> None:
    redaction = redaction_of(asked, "redact", sign_up)
    assert redaction is not None
    assert redaction.arguments(args, kwargs) == seen
    again = redaction_of(json.loads(json.dumps(redaction.told)), "redact")
    assert again == redaction


@pytest.mark.parametrize("nothing", [None, False, (), []])
def test_nothing_is_hidden_unless_asked_for(nothing: Any) -> None:
    assert redaction_of(nothing, "redact", sign_up) is None


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        ("password", WrongType, r"as in redact=\('password',\)"),
        (("passwort",), RefusedInput, r"got 'passwort'; did you mean 'password'\?; redact=True hides all"),
        ((-1,), WrongType, "numbers of positional ones"),
        ((1.5,), WrongType, "numbers of positional ones"),
        (7, WrongType, "or True, got 7"),
    ],
)
def test_what_no_parameter_has_is_refused(app: App, asked: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        app.task(name="job", redact=asked)(lambda name, password: None)


VALUES = st.recursive(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=12) | st.integers(1000) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(VALUES, st.text(max_size=10))
def test_texts_keep_no_long_value(value: Any, around: str) -> None:
    redaction = Redaction(places=frozenset({0}))
    secret = MARK + "\n'\"ü" + MARK
    text = f"{around} {secret} {secret!r} {json.dumps(secret)} {around}"
    assert MARK not in redaction.text(text, [[value, {"deep": [secret]}]], {})
    assert redaction.text(around, [], {}) == around


def test_short_values_are_hidden_as_words() -> None:
    redaction = Redaction(names=frozenset({"pin"}))
    assert redaction.text("pin 1234, not 12345 of line 12", [], {"pin": 1234}) == f"pin {HIDDEN}, not 12345 of line 12"
    assert redaction.text("a banana, a", [], {"pin": "a"}) == f"{HIDDEN} banana, {HIDDEN}"


# Where it is hidden.


@pytest.fixture
def job(app: App) -> Task[..., Any]:
    def job(name: str, password: str, **more: Any) -> None:
        raise ValueError(f"{name} cannot log in with {password!r} or {more}")

    return app.task(name="job", use_dead=True, vis_timeout=30, redact=("password", "token"))(job)


def looks(app: App, queue: str = "default") -> list[Any]:
    """All that somebody sees who looks at a queue with one call in it."""
    inspection = Inspection(app)
    [taskid] = app.broker.client.hkeys(app.task_keys(queue).messages)

    async def awaited() -> list[Any]:
        verbs = aio.of(app)
        return [
            await verbs.get_page(queue, 1),
            await verbs.read_deadletter(),
            dict(await verbs.Data(queue, is_tasks=True).get_data(vis_timeout=-1)),
        ]

    return [
        inspection.message(taskid.decode()),
        *[inspection.page(queue, state) for state in (State.READY, State.SCHEDULED, State.DEAD)],
        inspection.buried(),
        app.get_page(queue, 1),
        app.get_page("DEADLETTER_QUEUE", 1),
        app.read_deadletter(),
        dict(app.Data(queue, is_tasks=True).get_data(vis_timeout=-1)),
        dict(app.Data(queue, is_tasks=True, is_dead=True).get_data(vis_timeout=-1)),
        *asyncio.run(awaited()),
    ]


def test_who_looks_does_not_see_it(app: App, job: Task[..., Any], start_worker: Any) -> None:
    call = job.execute("me", f"{MARK}-1", token=f"{MARK}-2", other="seen")
    assert MARK in str(app.broker.client.hgetall(call.keys.messages))
    assert MARK not in str(looks(app))
    assert "'me', '***'" in str(looks(app))
    assert "'seen'" in str(looks(app))
    assert (call.args or [])[2] == ["me", f"{MARK}-1"]
    start_worker()
    wait_until(lambda: call.status == "dead")
    assert MARK not in str(looks(app))
    assert "'me', '***'" in str(looks(app))
    [row] = app.read_deadletter(delete=True)
    assert row[2:4] == [["me", f"{MARK}-1"], {"token": f"{MARK}-2", "other": "seen"}]


def test_a_process_that_never_imported_the_task_knows_it_from_a_worker(
    app: App, server: Server, job: Task[..., Any], start_worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_worker()
    wait_until(lambda: "job" in app.told_tasks())
    job.execute("me", f"{MARK}-1", token=f"{MARK}-2", delay=600)
    other = App(server.url, prefix="test")
    assert MARK not in str(looks(other))
    other.broker.close()
    for arguments in (["page", "default", "--state", "scheduled"], ["page", "default", "--state=scheduled", "--json"]):
        monkeypatch.setattr(rpqueue, "app", App(prefix="test"))
        result = CliRunner().invoke(main, [*arguments, "--url", server.url])
        assert result.exit_code == 0, result.output
        assert "***" in result.output
        assert MARK not in result.output
        rpqueue.app.broker.close()


def test_the_error_and_the_log_of_a_failure_do_not_show_it(
    app: App, job: Task[..., Any], start_worker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    call = job.execute("me", f"{MARK}-1", token=f"{MARK}-2")
    start_worker()
    wait_until(lambda: call.status == "dead")
    stored = app.broker.client.hget(call.keys.errors, call.taskid)
    assert MARK not in str(stored)
    assert "me cannot log in with '***'" in str(stored).replace("\\", "")
    assert "ValueError" in str(stored)
    [record] = wait_until(lambda: [record for record in caplog.records if record.getMessage() == "task failed"])
    assert record.exc_info is None
    assert "cannot log in" in vars(record)["traceback"]
    assert MARK not in caplog.text + str([vars(record) for record in caplog.records])
    with pytest.raises(rpqueue.errors.TaskFailed) as failed:
        call.get(timeout=5)
    assert MARK not in str(failed.value)


@pytest.mark.parametrize(
    "enqueue",
    [
        lambda job: job.execute("me", {MARK}),
        lambda job: job.execute("me", {1: MARK}),
        lambda job: job.execute_many([("me", {MARK})]),
        lambda job: job.execute_many([f"{MARK}"]),
    ],
)
def test_an_error_at_enqueueing_does_not_show_it(job: Task[..., Any], enqueue: Callable[..., Any]) -> None:
    with pytest.raises(UnserializableValue, match="not shown, since the task redacts arguments") as refused:
        enqueue(job)
    assert MARK not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


# Arguments in logs.


def test_no_arguments_are_logged(app: App, start_worker: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    @app.task(name="fine", save_results=30)
    def fine(value: Any) -> Any:
        return value

    @app.task(name="wrong")
    def wrong(value: Any) -> None:
        raise ValueError("meant")

    client = app.broker.client
    spoilt = [fine.execute(MARK) for _ in range(3)]
    for call, message in zip(spoilt, [b'|{"MaRkEd":1}', b'|["fine",["MaRkEd"],{}', b"MaRkEd"], strict=True):
        client.hset(call.keys.messages, call.taskid, b"1 1700000000000" * message.startswith(b"|") + message)
    start_worker()
    fine.execute(f"{MARK}-1").get(timeout=20)
    failed, unknown = wrong.execute(f"{MARK}-2"), app.call_task("nobody", None, MARK, _verify_call=False)
    wait_until(lambda: failed.status == "failed")
    wait_until(lambda: unknown.status == "waiting" and "parked" in caplog.text)
    wait_until(lambda: [call.status for call in spoilt] == ["dead"] * 3)
    assert caplog.text.count("cannot be decoded") == 3
    ours = [record for record in caplog.records if record.name.startswith("rpqueue")]  # redis-py shows pushes at DEBUG
    assert MARK not in str([(record.getMessage(), vars(record)) for record in ours])
    assert MARK not in str(client.hgetall(app.task_keys("default").errors))
