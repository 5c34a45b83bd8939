"""A pipeline leaves in Redis what the same calls one by one leave there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from rpqueue import App, aio, puts
from rpqueue.tasks import Task
from tests.servers import Server

#: What one step makes: ("execute", task, queue, delay, id or None), ("many", task, number, delay, has ids),
#: ("items", queue, number, delay, chunksize), ("dead", number), ("block", steps, whether it raises).
Step = tuple[Any, ...]

delays = st.sampled_from([0, 0, 0, 100, 200, 0.5])
queues = st.sampled_from(["default", "a", "b {c}"])
simple = st.one_of(
    st.tuples(st.just("execute"), st.integers(0, 2), queues, delays, st.none() | st.sampled_from("xyz")),
    st.tuples(st.just("many"), st.integers(0, 2), st.integers(0, 12), delays, st.booleans()),
    st.tuples(st.just("items"), st.sampled_from(["a", "d"]), st.integers(0, 12), delays, st.integers(1, 12)),
    st.tuples(st.just("dead"), st.integers(1, 3)),
)
steps: st.SearchStrategy[list[Step]] = st.recursive(
    st.lists(simple, max_size=8),
    lambda inner: st.lists(simple | st.tuples(st.just("block"), inner, st.booleans()), max_size=8),
    max_leaves=5,
)


class Oops(Exception):
    """What a block raises."""


class Maker:
    """Makes what steps say, by one App, with arguments that count up."""

    def __init__(self, url: str, prefix: str) -> None:
        self.app = App(url, prefix)
        self.tasks: list[Task[..., Any]] = [
            self.app.task(name="plain")(lambda: None),
            self.app.task(name="leased", vis_timeout=9, attempts=2, use_dead=True)(lambda: None),
            self.app.task(name="elsewhere", queue="a", save_results=5)(lambda: None),
        ]
        self._count = 0

    def number(self) -> int:
        self._count += 1
        return self._count

    def make(self, some: list[Step], block: Callable[[], contextlib.AbstractContextManager[Any]]) -> None:
        for step in some:
            if step[0] != "block":
                self.make_one(step)
                continue
            count = self._count
            if step[2] and block is contextlib.nullcontext:
                self._count += self.size(step[1])  # one by one, nothing takes it back, so it is left out
                continue
            with contextlib.suppress(Oops), block():
                self.make(step[1], block)
                if step[2]:
                    raise Oops
            assert self._count == count + self.size(step[1])

    def size(self, some: list[Step]) -> int:
        """Messages that steps make."""
        numbers = {"execute": lambda step: not step[4], "many": lambda step: step[2], "items": lambda step: step[2]}
        numbers |= {"dead": lambda step: step[1], "block": lambda step: self.size(step[1])}
        return sum(int(numbers[step[0]](step)) for step in some)

    def make_one(self, step: Step) -> None:
        kind, *told = step
        if kind == "execute":
            task, queue, delay, taskid = told
            # What has an id of its own is the same call every time: another one would be refused.
            argument = taskid or self.number()
            self.tasks[0 if taskid else task].execute(argument, _queue=queue, delay=delay, taskid=taskid)
        elif kind == "many":
            task, number, delay, has_ids = told
            calls: list[Any] = [(n,) if n % 2 else {"n": n} for n in (self.number() for _ in range(number))]
            ids = [f"id-{n}" for n in range(self._count - number, self._count)] if has_ids else None
            self.tasks[task].execute_many(calls, delay=delay, taskids=ids)
        elif kind == "items":
            queue, number, delay, chunksize = told
            data = self.app.Data(queue, vis_timeout=5)
            data.put_data([self.number() for _ in range(number)], delay=delay, chunksize=chunksize)
        else:
            self.app.Data("d", is_dead=True, use_dead=True).put_data([self.number() for _ in range(told[0])])


def found(client: redis.Redis, prefix: str) -> dict[str, Any]:
    """
    Every key but memos, its prefix taken away. Ids are replaced by what the messages say, and instants by how many
    seconds they lie ahead, in steps of fifty.
    """
    now = client.time()[0]
    keys = {key.decode().partition(":")[2]: key for key in client.scan_iter(prefix + ":*", count=1000)}
    bodies: dict[tuple[str, bytes], str] = {}
    for name, key in keys.items():
        if name.endswith(":messages"):
            for message_id, message in client.hgetall(key).items():
                header, _, body = message.decode().partition("|")
                version, at, *rest = header.split(" ")
                bodies[tag_of(name), message_id] = f"{version} {ahead(int(at) / 1000, now)} {rest} {body}"

    result: dict[str, Any] = {}
    for name, key in keys.items():
        kind, tag = name.rpartition(":")[2], tag_of(name)

        def said(word: bytes, tag: str = tag) -> str:
            return bodies.get((tag, word), word.decode())

        if ":memo:" in name:
            continue
        if kind in ("ready", "wake"):
            result[name] = [said(word) for word in client.lrange(key, 0, -1)]
        elif kind == "stats":
            result[name] = client.hgetall(key)
        elif kind in ("messages", "counts", "errors"):
            fields = client.hgetall(key)
            result[name] = sorted((said(field), kind != "counts" or value[-6:]) for field, value in fields.items())
        else:
            scored = client.zrange(key, 0, -1, withscores=True)
            rows = [
                (score if kind in ("queues", "ready_queues") else ahead(score / 1000, now), said(word))
                for word, score in scored
            ]
            # Of what is due in the same millisecond, only one call keeps the order.
            result[name] = sorted(rows) if kind in ("scheduled", "dead", "due_queues") else rows
    return result


def tag_of(name: str) -> str:
    return name.partition("}")[0]


def ahead(instant: float, now: float) -> float:
    return round((instant - now) / 50) * 50


@pytest.mark.parametrize("is_async", [False, True])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=steps, limits=st.sampled_from([(1000, 100), (1000, 100), (7, 100), (1000, 3), (5, 2)]))
def test_a_pipeline_leaves_what_calls_one_by_one_leave(
    server: Server, redis_client: redis.Redis, is_async: bool, some: list[Step], limits: tuple[int, int]
) -> None:
    redis_client.flushall()
    single, together = Maker(server.url, "test-single"), Maker(server.url, "test-together")
    single.make(some, contextlib.nullcontext)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(puts, "MOST_MESSAGES", limits[0])
        patch.setattr(puts, "MOST_CALLS", limits[1])
        if is_async:
            asyncio.run(make_in_coroutine(together, some))
        else:
            with together.app.pipeline() as pipe:
                together.make(some, together.app.pipeline)
                event(f"{len(pipe) // 10 * 10} and more")
    single.app.broker.close()
    together.app.broker.close()
    assert found(redis_client, "test-together") == found(redis_client, "test-single")


async def make_in_coroutine(maker: Maker, some: list[Step]) -> None:
    async with aio.of(maker.app).pipeline():
        maker.make(some, maker.app.pipeline)
