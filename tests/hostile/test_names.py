"""Names of queues, tasks and ids: each works or is refused by name, and no two collide."""

from __future__ import annotations

import string

import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st

from rpqueue import App
from rpqueue.errors import RefusedName
from rpqueue.inspection import Inspection
from rpqueue.keys import LONGEST_NAME, Keys
from tests.worker.here import working

GOOD = [
    *[
        "}",
        "{",
        "{}",
        "a{b}",
        "}{",
        "a:b",
        "*?[",
        "[a-z]*",
        "a\0b",
        "a\nb",
        " ",
        "%7B",
        "%",
        "../",
        "<script>",
        "größer",
    ],
    *["🙂", "'; DROP", "$(x)", "-1", "events:", "memo:x", "x" * LONGEST_NAME],
]
BAD = ["", "x" * (LONGEST_NAME + 1), "y" * 10_000, "\ud800", b"\xff", b"\xed\xa0\x80"]


@pytest.mark.parametrize("name", GOOD, ids=ascii)
def test_a_strange_name_goes_round(app: App, redis_client: redis.Redis, name: str) -> None:
    seen = []
    task = app.task(name=name, queue=name)(seen.append)
    call = task.execute("x", taskid=name[:LONGEST_NAME])
    items = app.Data(name, vis_timeout=60)
    items.put_data([name])
    assert call.status == "waiting"
    assert [view.name for view in Inspection(app).queues()] == [name, name]
    with working(app):
        call.get(20)
    assert seen == ["x"]
    got = items.get_data()
    assert list(got.values()) == [name]
    assert items.done_data(got) == list(got)


@pytest.mark.parametrize("name", BAD, ids=lambda name: ascii(name[:20]))
def test_a_name_that_cannot_be_used_is_refused(app: App, redis_client: redis.Redis, name: str | bytes) -> None:
    for use in (
        lambda: app.Data(name),
        lambda: app.task(queue=name or "x" * 513)(print),  # an empty one is the default queue
        lambda: app.set_priority(name, 1),
        lambda: app.clear_queue(name),
        lambda: Inspection(app).page(name),
        lambda: App(prefix=name),
        lambda: app.task(name="t")(print).execute(taskid=name or "x" * 513),
    ):
        with pytest.raises(RefusedName, match="expected"):
            use()
    assert not redis_client.exists(app.keys.app.queues)


NAMES = st.text(
    st.sampled_from("{}:%*?[]\0\n\\/" + string.ascii_lowercase[:3]) | st.characters(), min_size=1, max_size=20
)
GOOD_NAMES = NAMES.filter(lambda name: name.isprintable() or all(not "\ud800" <= one <= "\udfff" for one in name))


@given(GOOD_NAMES, GOOD_NAMES, GOOD_NAMES, GOOD_NAMES)
@example("a", "b:{tasks:c}", "a:{tasks:b}", "c")
@example("a", "}", "a", "{")
@example("a", "%7B", "a", "{")
def test_no_two_names_share_a_key_and_all_keys_of_a_queue_share_a_slot(
    prefix: str, name: str, other_prefix: str, other_name: str
) -> None:
    keys, others = Keys(prefix), Keys(other_prefix)
    mine = [*keys.tasks(name).block, keys.tasks(name).memo(b"s"), keys.tasks(name).outcome(name)]
    assert len({tag(key) for key in mine}) == 1
    assert tag(mine[0])
    theirs = [*others.data(other_name).block, *others.app[:-1]]
    if (prefix, name) != (other_prefix, other_name):
        theirs += others.tasks(other_name).block
    assert not set(mine) & set(theirs)


def tag(key: bytes) -> bytes:
    """What Redis Cluster hashes of a key."""
    begin = key.find(b"{")
    end = key.find(b"}", begin + 1)
    return key[begin + 1 : end] if begin >= 0 and end > begin + 1 else key


def test_names_that_somebody_else_put_into_the_index_are_shown_and_go(app: App, redis_client: redis.Redis) -> None:
    seen = []
    task = app.task(name="t")(seen.append)
    names = [b"\xff", b"", b"x" * 10_000, b"\xed\xa0\x80", b"ghost"]
    index = app.keys.app
    for name in names:
        redis_client.zadd(index.queues, {name: -5})
        redis_client.zadd(index.ready_queues, {name: -5})
        redis_client.zadd(index.due_queues, {name: 1})
        redis_client.zadd(index.data_queues, {name: 0})
    assert len(Inspection(app).queues()) == 2 * len(names)
    call = task.execute("x")
    with working(app):
        call.get(20)
    assert seen == ["x"]
    if not app.broker.is_cluster:  # where nobody reads these
        assert redis_client.zcard(index.ready_queues) == redis_client.zcard(index.due_queues) == 0


def test_messages_in_a_queue_that_none_can_name_are_dead_lettered(app: App, redis_client: redis.Redis) -> None:
    task = app.task(name="t", queue="good")(lambda: None)
    keys = app.keys.tasks("\udcff")
    redis_client.hset(keys.messages, "m", b'1 1700000000000|["t",[],{}]')
    redis_client.rpush(keys.ready, "m")
    redis_client.zadd(app.keys.app.queues, {b"\xff": 1})
    redis_client.zadd(app.keys.app.ready_queues, {b"\xff": 1})
    call = task.execute()
    with working(app):
        call.get(20)
    assert redis_client.zrange(keys.dead, 0, -1) == [b"m"]
