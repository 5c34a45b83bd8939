"""The data queue of rpqueue, which its two versions share; no other peer has one."""

from __future__ import annotations

import time
from typing import Any

import rpqueue


class Items:
    """Verbs of adapters that have `rpqueue.Data`."""

    @staticmethod
    def _queue() -> Any:
        return rpqueue.Data(b"items", vis_timeout=60, attempts=3)

    def put_items(self, number: int) -> float:
        """Items of about 100 bytes; returns seconds."""
        queue = self._queue()
        items = [{"n": n, "text": "x" * 80} for n in range(number)]
        queue.put_data(items[:1])
        started = time.perf_counter()
        queue.put_data(items)
        return time.perf_counter() - started

    def get_items(self, number: int) -> float:
        """A hundred at a time, got and done; returns seconds."""
        queue = self._queue()
        left, started = number, time.perf_counter()
        while left > 0:
            items = queue.get_data(items=100)
            if not items:
                raise ValueError(f"expected {left} more items, found none")
            queue.done_data(items)
            left -= len(items)
        return time.perf_counter() - started
