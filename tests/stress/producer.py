"""A producer: enqueues messages of all kinds, at a rate, until it is told to stop."""

from __future__ import annotations

import random
import time
from typing import Any

from rpqueue import App
from rpqueue.errors import RedisError, RedisUnavailable, RpqueueError
from tests.stress import work
from tests.stress.history import History
from tests.stress.points import Board
from tests.stress.work import KINDS

#: Most messages of one batch.
LARGEST_BATCH = 60


class Producer:
    """
    One process's producing.

    Args:
        app: with the tasks declared.
        history: of this process.
        board: says when to stop.
        name: first part of its messages' keys.
        seed: what it sends follows from this.
    """

    def __init__(self, app: App, history: History, board: Board, name: str, seed: int) -> None:
        self.app, self.history, self.board, self.name = app, history, board, name
        self.random = random.Random(seed)
        self.sent = 0
        self._kept: list[tuple[str, Any]] = []

    def run(self, messages: int, rate: float) -> None:
        """Send *messages* in all, *rate* in a second (0: as fast as it goes), in bursts."""
        began = time.monotonic()
        while self.sent < messages and not self.board.is_set("stop_producing"):
            owed = messages if not rate else int((time.monotonic() - began) * rate) - self.sent
            if owed < self.random.randint(1, 40) and rate:
                time.sleep(0.01)
                continue
            self.batch(min(owed, messages - self.sent, self.random.choice((1, 1, 5, 20, LARGEST_BATCH))))
        self.ask_for_results()

    def batch(self, number: int) -> None:
        """Send so many messages of one kind, in one of the ways to do it."""
        [kind] = self.random.choices(list(KINDS), [one.weight for one in KINDS.values()])
        keys = [f"{kind}-{self.name}-{self.sent + n}" for n in range(number)]
        self.sent += number
        if kind == "cancelled":
            self._send_and_cancel(keys)
        elif kind == "item" or kind == "taken":
            self._put(kind, keys)
        elif len(keys) == 1:
            call = work.send_one(self.app, self.history, kind, keys[0], *self._arguments(kind), **self._options(kind))
            self._keep(kind, keys, [call])
        else:
            self._send_many(kind, keys)

    def _arguments(self, kind: str) -> tuple[Any, ...]:
        seconds = self.random.choice(
            (0, 0, 0, 0.002, *(round(self.random.uniform(0, most), 4) for most in (0.05, 0.15)))
        )
        return (seconds, self.random.randint(0, 3)) if kind == "raises" else (seconds,)

    def _options(self, kind: str) -> dict[str, Any]:
        return {"delay": round(self.random.uniform(0.05, 1.5), 3)} if kind == "later" else {}

    def _send_many(self, kind: str, keys: list[str]) -> None:
        options = self._options(kind)
        calls = [(key, work.payload_of(key), *self._arguments(kind)) for key in keys]
        chosen: dict[str, Any] = {"taskids": keys} if self.random.random() < 0.3 else {}
        self.history.write("enqueue", "invoke", *keys, of=kind, **options)
        task = self.app.get_task(kind)
        try:
            if self.random.random() < 0.5:
                made: list[Any] = list(task.execute_many(calls, **options, **chosen))
            else:
                with self.app.pipeline():
                    made = [
                        task.execute(*call, **options, **({"taskid": key} if chosen else {}))
                        for key, call in zip(keys, calls, strict=True)
                    ]
        except RpqueueError as error:
            self._failed(keys, error)
            return
        self.history.write("enqueue", "ok", *keys)
        self._keep(kind, keys, made)

    def _put(self, kind: str, keys: list[str]) -> None:
        self.history.write("enqueue", "invoke", *keys, of=kind)
        items = [{"key": key, "payload": work.payload_of(key)} for key in keys]
        try:
            work.data_queue(self.app, kind).put_data(items)
        except RpqueueError as error:
            self._failed(keys, error)
            return
        self.history.write("enqueue", "ok", *keys)

    def _failed(self, keys: list[str], error: RpqueueError) -> None:
        if not isinstance(error, RedisError):
            raise error
        # One batch, one fate: all of these keys were sent together.
        certain = not isinstance(error, RedisUnavailable)
        self.history.write("enqueue", "fail" if certain else "unknown", *keys, error=str(error)[:200])

    def _send_and_cancel(self, keys: list[str]) -> None:
        for key in keys[:5]:
            delay = self.random.choice((0.0, 0.1, 2.0))
            call = work.send_one(self.app, self.history, "cancelled", key, **({"delay": delay} if delay else {}))
            if call is None:
                continue
            if self.random.random() < 0.5:
                time.sleep(self.random.uniform(0, 0.05))
            self.history.write("cancel", "invoke", key)
            try:
                answer = call.cancel()
            except RedisError as error:
                certain = not isinstance(error, RedisUnavailable)
                self.history.write("cancel", "fail" if certain else "unknown", key, error=str(error)[:200])
            else:
                self.history.write("cancel", "ok" if answer is True else "fail", key)

    def _keep(self, kind: str, keys: list[str], calls: list[Any]) -> None:
        if kind == "kept":
            self._kept += [(key, call) for key, call in zip(keys, calls, strict=True) if call is not None]

    def ask_for_results(self, timeout: float = 40.0) -> None:
        """Wait for what the calls whose results are kept return, and compare."""
        ends_at = time.monotonic() + timeout
        for key, call in self._kept:
            self.history.write("result", "invoke", key)
            while True:
                try:
                    value = call.get(max(ends_at - time.monotonic(), 0.1))
                except RedisError:
                    if time.monotonic() < ends_at:
                        time.sleep(0.1)
                        continue
                    self.history.write("result", "unknown", key)
                except RpqueueError as error:
                    self.history.write("result", "unknown", key, error=str(error)[:200])
                else:
                    self.history.write("result", "ok", key, value=value)
                break
