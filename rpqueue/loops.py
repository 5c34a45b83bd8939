"""Running a coroutine to its end from code that does not await."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def run_to_end(begin: Callable[[], Awaitable[T]]) -> T:
    """
    What comes of the awaitable that *begin* makes, in an event loop of its own.

    It is that of this thread, or, where the caller itself was called by a coroutine, of a thread made for it: a loop
    that runs cannot run anything else to its end. Context variables have the values that they have here.
    """
    import asyncio

    async def whole() -> T:
        return await begin()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(whole())
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="rpqueue-loop") as pool:
        return pool.submit(contextvars.copy_context().run, lambda: asyncio.run(whole())).result()
