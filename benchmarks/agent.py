"""
Runs in a peer's environment, for the runner: one JSON line in, one out.

``{"call": NAME, "with": {...}}`` is answered by ``{"value": ...}`` or ``{"error": "..."}``. NAME is one of the verbs
below, or a method of the adapter's own. What the library prints goes to stderr.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import inspect
import json
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from . import jobs
from .peer import Peer


class Agent:
    """
    The verbs that need only the interface of `Peer`, timed here, next to the library.

    Args:
        adapter: the peer's.
    """

    #: Calls of one bulk, and calls under way at a time when an untimed stock is made without bulk.
    BULK = 1000
    #: Seconds after which something that was submitted should long have started.
    PATIENCE = 20.0

    def __init__(self, adapter: Peer) -> None:
        self.adapter = adapter

    async def enqueue(self, number: int, job: str = "noop", argument: Any = None) -> float:
        """Submit one by one; returns seconds."""
        submit = self.adapter.submit
        arguments = range(number) if argument is None else [argument] * number
        await settle(submit(job, arguments[0]))  # connections and scripts are there now
        started = time.perf_counter()
        if inspect.iscoroutinefunction(submit):
            for value in arguments:
                await submit(job, value)
        else:
            for value in arguments:
                submit(job, value)
        return time.perf_counter() - started

    async def bulk(self, number: int, size: int = BULK) -> float:
        """Submit in bulk; returns seconds."""
        await settle(self.adapter.bulk("noop", range(2)))
        started = time.perf_counter()
        for some in chunks(number, size):
            await settle(self.adapter.bulk("noop", some))
        return time.perf_counter() - started

    async def stock(self, number: int, job: str = "noop", argument: Any = None) -> None:
        """Have so many calls waiting, the quickest way there is."""
        if self.adapter.bulk is not None:
            for some in chunks(number, self.BULK):
                await settle(self.adapter.bulk(job, some if argument is None else [argument] * len(some)))
            return
        for value in range(number):
            await settle(self.adapter.submit(job, value if argument is None else argument))

    async def latencies(self, number: int, pause: float) -> list[float]:
        """Submit to idle workers, one at a time; returns milliseconds until each started."""
        for _ in range(number):
            before = stamps_size()
            await settle(self.adapter.submit("stamp", time.monotonic()))
            await until(partial(has_more_stamps, before), self.PATIENCE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        data = (jobs.NOTES / "stamps").read_bytes()
        return [late for _, late in jobs.STAMP.iter_unpack(data)][-number:]

    async def roundtrips(self, number: int, pause: float) -> list[float]:
        """Submit and get the result, one at a time; returns milliseconds."""
        times = []
        for value in range(number):
            started = time.perf_counter()
            came = await settle(self.adapter.roundtrip(value))
            times.append((time.perf_counter() - started) * 1000)
            if came != value:
                raise ValueError(f"expected the result {value}, got {came!r}")
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        return times

    async def can(self, name: str) -> bool:
        """Whether the adapter does that."""
        return getattr(self.adapter, name, None) is not None

    async def versions(self, package: str) -> dict[str, str]:
        """Of Python, the package, and what it stands on."""
        found = {"python": sys.version.split()[0]}
        for name in (package, "redis", "hiredis"):
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return found


async def settle(value: Any) -> Any:
    """The value, awaited when it has to be."""
    return await value if inspect.isawaitable(value) else value


async def until(condition: Callable[[], bool], timeout: float) -> None:
    """Look every half millisecond until it is true."""
    ends_at = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > ends_at:
            raise TimeoutError(f"expected a task to start within {timeout:g} s")
        await asyncio.sleep(0.0005)


def stamps_size() -> int:
    """Bytes that `jobs.stamp` has written."""
    try:
        return (jobs.NOTES / "stamps").stat().st_size
    except FileNotFoundError:
        return 0


def has_more_stamps(size: int) -> bool:
    """Whether `jobs.stamp` has written more than so many bytes."""
    return stamps_size() > size


def chunks(number: int, size: int) -> Iterator[range]:
    """0 to *number*, in ranges."""
    for first in range(0, number, size):
        yield range(first, min(first + size, number))


async def answer(agent: Agent, line: str) -> dict[str, Any]:
    """Do what a line asks for."""
    request = json.loads(line)
    try:
        name = request["call"]
        # An adapter may know a quicker way to have a stock than `submit` and `bulk` are.
        own_way = name == "stock" and hasattr(agent.adapter, name)
        verb = getattr(agent.adapter if own_way or not hasattr(agent, name) else agent, name)
        return {"value": await settle(verb(**request["with"]))}
    except Exception:
        return {"error": traceback.format_exc()}


async def main(name: str) -> None:
    """Serve the runner until it hangs up."""
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)
        agent = Agent(importlib.import_module(f"benchmarks.peers.{name}").Adapter())
        await settle(getattr(agent.adapter, "open", lambda: None)())
        while line := await asyncio.to_thread(sys.stdin.readline):
            reply = await answer(agent, line)
            replies.write(json.dumps(reply) + "\n")
            replies.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
