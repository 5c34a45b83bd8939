"""Calling by name and fetching by id, as flows whose replies are fed by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from rpqueue.app import App
from rpqueue.errors import RefusedName, UnknownTask
from rpqueue.keys import Keys
from rpqueue.messages import decode_task
from tests.unit.feeding import Redis

KEYS = Keys("test").tasks("mail")


@pytest.fixture
def app() -> App:
    return App("redis://127.0.0.1:1", prefix="test")  # nothing listens there


# ---- tasks by name


def test_finding_a_task_of_this_process_asks_nobody(app: App) -> None:
    @app.task(name="mail.send")
    def send() -> None: ...

    redis = Redis()
    assert redis.carry(app.finding_task("mail.send")) is send
    assert redis.steps == []


def test_finding_a_task_makes_it_as_a_worker_told_of_it(app: App) -> None:
    told = {"queue": "mail", "attempts": 3, "vis_timeout": 60, "use_dead": True, "told_at": 1.0, "newer": "option"}
    redis = Redis(json.dumps(told).encode())
    task = redis.carry(app.finding_task("mail.send"))
    assert redis.commands == [["HGET", b"test:{app}:registry", "mail.send"]]
    assert (task.name, task.queue, task.attempts, task.vis_timeout) == ("mail.send", "mail", 3, 60.0)
    assert task.use_dead is True
    assert task.function is None
    assert "mail.send" not in app.settings.registry


def test_finding_a_task_that_nobody_knows_says_what_is_known(app: App) -> None:
    app.settings.registry["mail.read"] = object()
    redis = Redis(None, [b"mail.send", b"other"])
    with pytest.raises(UnknownTask) as unknown:
        redis.carry(app.finding_task("mail.sned"))
    assert [words[0] for words in redis.commands] == ["HGET", "HKEYS"]
    assert str(unknown.value) == (
        "no task is named 'mail.sned'; did you mean 'mail.send'? Known: mail.read, mail.send, other."
    )


@pytest.mark.parametrize(
    ("known", "words"),
    [([], "Known: none."), ([b"task%02d" % number for number in range(12)], "task09 and 2 more.")],
)
def test_the_list_of_known_tasks_is_kept_short(app: App, known: Sequence[bytes], words: str) -> None:
    with pytest.raises(UnknownTask) as unknown:
        Redis(None, known).carry(app.finding_task("zebra"))
    assert str(unknown.value).endswith(words)


def test_a_task_name_that_is_none_is_refused_before_anything_is_said(app: App) -> None:
    with pytest.raises(RefusedName, match="task name: expected 1 to 512 bytes, got 0"):
        Redis().carry(app.finding_task(""))


def test_calling_enqueues_into_the_queue_that_the_task_was_told_with(app: App) -> None:
    redis = Redis(b'{"queue": "mail"}', 1500)
    call = redis.carry(app.calling("mail.send", "other", (1,), {"a": 2, "taskid": "1d"}))
    assert (call.name, call.taskid, call.queue) == ("mail.send", "1d", "mail")
    asked, put = redis.steps
    assert asked.args[0] == "HGET"
    assert put.script.name == "enqueue"
    assert put.keys[:12] == KEYS.block
    assert decode_task(put.args[-1]) == ("mail.send", [1], {"a": 2})


@pytest.mark.parametrize(("queue", "used"), [(None, "default"), ("post", "post"), (b"post", "post")])
def test_calling_an_unknown_task_is_possible_when_it_is_not_verified(
    app: App, queue: str | bytes | None, used: str
) -> None:
    redis = Redis(None, [], 1500)
    call = redis.carry(app.calling("mail.send", queue, (), {"_verify_call": False}))
    assert call.queue == used
    assert decode_task(redis.steps[-1].args[-1]) == ("mail.send", [], {})


def test_calling_an_unknown_task_enqueues_nothing(app: App) -> None:
    redis = Redis(None, [])
    with pytest.raises(UnknownTask):
        redis.carry(app.calling("mail.send", None, (), {}))
    assert [step.script for step in redis.steps] == [None, None]


def test_knowing_tasks_prefers_those_of_this_process(app: App) -> None:
    @app.task(name="a")
    def mine() -> None: ...

    told = [b"a", b'{"queue": "other"}', b"b", b'{"queue": "mail"}']
    for reply in (told, dict(zip(told[::2], told[1::2], strict=True))):  # as by RESP2 and by RESP3
        tasks = Redis(reply).carry(app.knowing_tasks())
        assert tasks["a"] is mine
        assert tasks["b"].queue == "mail"
        assert len(tasks) == 2


# ---- results by id


def test_fetching_looks_into_every_queue_and_keeps_the_order(app: App) -> None:
    redis = Redis([b"mail", b"post"], [None, None, None, b'{"result": 2}'])
    assert redis.carry(app.fetching(["1d", "2d"])) == [None, 2]
    assert redis.commands[1] == [
        "MGET",
        *(f"test:{{tasks:{queue}}}:outcome:{taskid}".encode() for taskid in ("1d", "2d") for queue in ("mail", "post")),
    ]


def test_fetching_asks_no_further_for_what_was_found(app: App) -> None:
    queues = [b"q%d" % number for number in range(101)]
    redis = Redis(queues, [b'{"result": 1}'] + [None] * 199, [b'{"result": 2}'])
    assert redis.carry(app.fetching(["1d", "2d"])) == [1, 2]
    assert redis.commands[2] == ["MGET", b"test:{tasks:q100}:outcome:2d"]


def test_fetching_without_queues_or_ids_asks_for_no_outcome(app: App) -> None:
    redis = Redis([])
    assert redis.carry(app.fetching(["1d"])) == [None]
    assert Redis([b"mail"]).carry(app.fetching([])) == []
    assert [words[0] for words in redis.commands] == ["ZRANGE"]
