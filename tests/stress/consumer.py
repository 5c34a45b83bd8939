"""A consumer of items: leases some and says that they are done, takes others for good."""

from __future__ import annotations

import random
import time

from rpqueue import App
from rpqueue.errors import RedisError
from tests.stress import work
from tests.stress.history import History
from tests.stress.points import Board

#: Most items that it gets at once.
MOST = 20


class Consumer:
    """One process's consuming. Arguments as those of a Producer."""

    def __init__(self, app: App, history: History, board: Board, seed: int) -> None:
        self.history, self.board = history, board
        self.random = random.Random(seed)
        self._leased, self._taken = work.data_queue(app, "item"), work.data_queue(app, "taken")

    def run(self) -> None:
        """Consume until told to stop."""
        while not self.board.is_set("stop_consuming"):
            try:
                self.lease()
                self.take()
            except RedisError:
                time.sleep(0.05)

    def lease(self) -> None:
        leased = time.monotonic_ns()
        items = self._leased.get_data(self.random.randint(1, MOST), get_timeout=0.2)
        for item_id, item in items.items():
            broken = {} if work.is_intact(item["key"], item["payload"]) else {"broken": repr(item["payload"])[:200]}
            told = {"token": items.tokens[item_id], "leased": leased, **broken}
            self.history.write("start", "ok", item["key"], id=item_id, **told)
        if items and self.random.random() < 0.3:
            time.sleep(self.random.uniform(0, 0.03))
        for item_id, item in items.items():
            self.history.write("end", "ok", item["key"], id=item_id, token=items.tokens[item_id])
        for item_id in self._leased.done_data(items) if items else []:
            self.history.write("accept", "ok", items[item_id]["key"], id=item_id, token=items.tokens[item_id])

    def take(self) -> None:
        most = self.random.randint(1, MOST)
        self.history.write("take", "invoke", "", most=most)
        for item_id, item in self._taken.get_data(most).items():
            broken = {} if work.is_intact(item["key"], item["payload"]) else {"broken": repr(item["payload"])[:200]}
            self.history.write("start", "ok", item["key"], id=item_id, **broken)
            self.history.write("end", "ok", item["key"], id=item_id)
        self.history.write("take", "ok", "")
