"""Messages that no producer of ours would write: each is dead-lettered byte for byte, and the queue goes on."""

from __future__ import annotations

import json

import pytest

from rpqueue.inspection import Inspection
from tests.hostile.hand import NOW, Hand
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench

HEAD = b"1 " + NOW + b"|"
#: What 0.33 had as entries of its queues.
LEGACY = b'["c5df1bd7-9a6e-4d0b-a94f","note",["x"],{"_attempts":1},1700000000.5]'

MESSAGES = {
    "malformed JSON": HEAD + b'["note",["x"],{}',
    "no UTF-8": HEAD + b'["note",["\xff\xfe"],{}]',
    "depth 100,000": HEAD + b'["note",[' + b"[" * 100_000 + b"]" * 100_000 + b"],{}]",
    "5,000 digits": HEAD + b'["note",[' + b"7" * 5000 + b"],{}]",
    "more than a float holds": HEAD + b'["note",[1e400],{}]',
    "NaN": HEAD + b'["note",[NaN],{}]',
    "NUL": HEAD + b'["note",["\0"],{}]',
    "64 MB": HEAD + b'["note",["' + b"x" * 64 * 1024 * 1024 + b'"],{}]',
    "half a character as name": HEAD + b'["\\ud800",[],{}]',
    "an entry of 0.33": LEGACY,
    "a header that only int() reads": b"1 +1700000000000|" + b'["note",["x"],{}]',
    "another that only int() reads": b"1 17_00000000000 0 1 0|" + b'["note",["x"],{}]',
    "a header with 400 digits": b"1 " + b"9" * 400 + b'|["note",["x"],{}]',
    "version 0": b"0 " + NOW + b'|["note",["x"],{}]',
    "NULs": b"\0" * 100,
    "nothing": b"",
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_an_unreadable_message_is_dead_lettered_as_it_is(bench: Bench, hand: Hand, message: bytes) -> None:
    note = bench.task("note")
    worker = bench.start()
    hand.put(b"odd", message)
    note.execute("next")
    bench.until_noted("ran", "next")
    wait_until(lambda: hand.grave() == {b"odd": message}, SOON, "dead-lettered as it was")
    assert hand.reason(b"odd") == b"undecodable"
    assert len(worker.children()) == 1
    # From Python, and by `rpqueue dead`.
    [view] = Inspection(bench.app).buried()
    [row] = bench.app.Data("DEADLETTER_QUEUE", is_tasks=True).get_data(1, vis_timeout=-1).values()
    if len(message) > 2**20:  # too large for a worker, and otherwise good
        assert (view.name, len(row[2][0])) == ("note", 2**26)
    else:
        assert ((view.raw or b""), row[2]) == (message, [message])


IDS = {
    "no UTF-8": b"\xff\xfe",
    "half a character": b"\xed\xa0\x80",
    "513 bytes": b"x" * 513,
    "a megabyte": b"y" * 2**20,
}


@pytest.mark.parametrize("message_id", [*IDS.values(), b""], ids=[*IDS, "empty"])
def test_a_message_under_an_id_that_none_can_have_is_dead_lettered(bench: Bench, hand: Hand, message_id: bytes) -> None:
    note = bench.task("note")
    bench.start()
    message = HEAD + b'["note",["odd"],{}]'
    hand.put(message_id, message)
    note.execute("next")
    bench.until_noted("ran", "next")
    wait_until(lambda: hand.grave() == {message_id: message}, SOON, "dead-lettered as it was")
    assert bench.labels() == ["next"]
    [view] = Inspection(bench.app).buried()
    assert view.id.encode("utf-8", "surrogateescape") == message_id
    assert "message id" in view.error["message"]
    # It can be deleted for good.
    assert bench.app.clear_queue("DEADLETTER_QUEUE") == 1
    assert not bench.client.hexists(hand.keys().messages, message_id)


@pytest.mark.parametrize("message_id", [b"ghost", LEGACY, b"\xff"], ids=["an id", "an entry of 0.33", "no UTF-8"])
def test_an_id_without_a_message_is_dead_lettered_as_missing(bench: Bench, hand: Hand, message_id: bytes) -> None:
    note = bench.task("note")
    bench.start()
    hand.put(message_id, None)
    note.execute("next")
    bench.until_noted("ran", "next")
    wait_until(lambda: hand.grave() == {message_id: b""}, SOON, "dead-lettered")
    assert hand.reason(message_id) == b"missing"
    [view] = Inspection(bench.app).buried()
    assert (view.id.encode("utf-8", "surrogateescape"), view.reason) == (message_id, "missing")


def test_an_id_that_is_ready_many_times_runs_once(bench: Bench, hand: Hand) -> None:
    bench.task("hold")
    note = bench.task("note")
    bench.start(threads=3)
    hand.put(b"double", HEAD + b'["hold",["double"],{}]')
    bench.until_noted("start", "double")
    bench.client.rpush(hand.keys().ready, "double", "double")
    hand.show()
    note.execute("next")
    bench.until_noted("ran", "next")
    bench.go("double")
    bench.until_noted("end", "double")
    bench.until_empty()
    assert len(bench.notes("start", "double")) == 1


def test_what_a_caller_may_not_say_of_its_attempts_is_let_be(bench: Bench, hand: Hand) -> None:
    bench.task("fail_until_zero", attempts=3)
    bench.start()
    for number, said in enumerate(['"x"', "1e308", "[]", "null", "true"]):
        hand.put(b"odd %d" % number, HEAD + b'["fail_until_zero",[0],{"_attempts":%s}]' % said.encode())
    bench.until_noted("succeeded", 0, number=5)


def test_counts_and_errors_that_cannot_be_read_do_no_harm(bench: Bench, hand: Hand) -> None:
    note = bench.task("note")
    bench.task("boom")
    keys = hand.keys()
    for number, junk in enumerate([b"\xff", b"1", b"-1 0 0 0", b"9" * 400 + b" 0 0 0", b"1 x 0 0"]):
        for name in (b"note", b"boom"):
            message_id = name + b"%d" % number
            bench.client.hset(keys.counts, message_id, junk)
            bench.client.hset(keys.errors, message_id, junk)
            hand.put(message_id, b"1 " + NOW + b" 60000 1 1|" + json.dumps([name.decode(), ["x"], {}]).encode())
    assert len(Inspection(bench.app).page("default").messages) == 10
    bench.start()
    note.execute("last")
    bench.until_noted("ran", "last")
    wait_until(lambda: len(hand.grave()) == 5, SOON, "those that failed are dead")
    bench.until_empty(timeout=60)
    assert len(Inspection(bench.app).buried()) == 5
    assert bench.labels().count("x") == 5


def test_instants_far_away_do_not_keep_a_worker_busy(bench: Bench, hand: Hand) -> None:
    note = bench.task("note")
    bench.start()
    bench.client.zadd(hand.keys().scheduled, {"never": 1e300, "nor this": "inf"})
    bench.client.zadd(bench.app.keys.app.due_queues, {"default": 1e300})
    note.execute("first")
    bench.until_noted("ran", "first")
    before = bench.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    wait_until(lambda: bench.client.time()[0] >= bench.notes("ran", "first")[0]["at"] + 2, SOON, "two seconds later")
    assert bench.client.info("commandstats")["cmdstat_evalsha"]["calls"] - before < 60
