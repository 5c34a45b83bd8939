"""Strays: what a round brought and cannot be claimed, for ids and queues that no record of the Ledger could name."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import Undecodable
from ..keys import LONGEST_NAME, QueueKeys, are_names, wire
from ..protocol.claimed import Claimed
from ..protocol.data import quarantine
from ..system import System
from .patience import Patience

log = logging.getLogger("rpqueue.worker")

#: Seconds between two complaints about one queue.
PAUSE = 60.0


class Stray(NamedTuple):
    """A message under an id, or in a queue, whose name this library never gives: no UTF-8, empty, or too long."""

    keys: QueueKeys
    id: bytes
    token: int


def sort_out(claimed: list[Claimed]) -> tuple[list[Claimed], list[Stray]]:
    """What can be claimed, and strays."""
    strays: list[Stray] = []
    return [
        some if are_names(some.ids) and _is_named(some.keys) else _without_strays(some, strays) for some in claimed
    ], strays


def _is_named(keys: QueueKeys) -> bool:
    return (keys.name.isascii() and 0 < len(keys.name) <= LONGEST_NAME) or are_names([wire(keys.name)])


def _without_strays(some: Claimed, strays: list[Stray]) -> Claimed:
    kept = Claimed(some.keys, [], [], [], some.token)
    for message_id, message, past in some.rows():
        if are_names([message_id]) and _is_named(some.keys):
            kept.ids.append(message_id)
            kept.messages.append(message)
            kept.again.extend((len(kept.ids), *past))
        else:
            strays.append(Stray(some.keys, message_id, past.token))
    return kept


def bury(system: System, patience: Patience, strays: list[Stray]) -> None:
    """Dead-letter strays as they are."""
    for keys in dict.fromkeys(stray.keys for stray in strays):
        mine = [stray for stray in strays if stray.keys == keys]
        said = []
        for stray in mine:
            error = Undecodable(
                f"message id and queue: expected 1 to {LONGEST_NAME} bytes of UTF-8 each, "
                f"got {stray.id[:80]!r} in {wire(keys.name)[:80]!r}"
            )
            record = json.dumps({"exception": type(error).__name__, "message": str(error)})
            said.append((stray.id, stray.token, b"", record))
        patience.say(quarantine(keys, system.index, said), [])
        fields = {"queue": keys.name, "count": len(mine)}
        log.error("messages with unusable ids are in the dead-letter queue", extra=fields)


class Complaints:
    """Says of queues that rounds passed over what is wrong with them, not more often than every minute."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}  #: queue -> monotonic instant

    def tell(self, spoilt: Mapping[str, str]) -> None:
        """Log what Redis said of each."""
        now = time.monotonic()
        self._told = {queue: at for queue, at in self._told.items() if now - at < PAUSE}
        for queue, text in spoilt.items():
            if queue not in self._told:
                self._told[queue] = now
                what = f"queue {queue!r} is passed over" if queue else "the index of queues cannot be used"
                log.error("%s: one of its keys holds what rpqueue did not put there (%s)", what, text)
