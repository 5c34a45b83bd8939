"""
The dead sets of many queues as one.

Every queue keeps its own dead, in its own Cluster slot. A view over several of them asks which hold anything, looks at
the oldest of those, and takes what it chose from each queue by itself. Whoever was quicker leaves it with less; then it
looks again. On Cluster, where a script may touch one queue only, *per_call* is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import messages
from ..keys import QueueKeys
from ..messages import Undecodable
from . import scripts
from .operation import Flow, Operation

#: Dead sets that one call asks about.
AT_ONCE = 1000


class Dead(NamedTuple):
    """One message that was given up."""

    id: bytes
    keys: QueueKeys  #: of its queue
    died_at: float  #: epoch seconds
    message: bytes  #: header and body
    failures: int
    crashes: int
    reason: str
    error: bytes  #: JSON of its last error, or empty

    def as_item(self) -> list[Any]:
        """``[id, '', item, extra fields, put at]``; or with None for it and its bytes in ``extra['message']``."""
        extra: dict[str, Any] = {
            "queue": self.keys.name,
            "reason": self.reason,
            "failures": self.failures,
            "crashes": self.crashes,
            "died_at": self.died_at,
        }
        item, put_at = None, 0.0
        try:
            if self.error:
                extra["error"] = messages.decode(self.error, "error record")
            message = messages.split(self.id, 0, self.message)
            put_at, item = message.available_at, messages.decode(message.body)
        except Undecodable:
            extra["message"] = self.message
        return [self.text_id, "", item, extra, put_at]

    def as_task(self) -> list[Any]:
        """``[id, name, args, kwargs, scheduled at]``; of bytes that are no task, no name and them as the argument."""
        try:
            return task_row(messages.split(self.id, 0, self.message))
        except Undecodable:
            return [self.text_id, "", [self.message], {}, 0.0]

    @property
    def text_id(self) -> str:
        """The id as users see it."""
        return self.id.decode("utf-8", "backslashreplace")


def task_row(message: messages.Leased, limit: int = 0) -> list[Any]:
    """``[id, name, args, kwargs, scheduled at]`` of a task's message; Undecodable when it is none."""
    return [message.id, *messages.decode_task(message.body, limit), message.available_at]


def heads(queues: Sequence[QueueKeys]) -> Operation[list[tuple[int, float]]]:
    """``(how many are dead, when the oldest died)`` of each queue, at most `AT_ONCE`; instants in epoch seconds."""

    def read(reply: list[Any]) -> list[tuple[int, float]]:
        return [(int(count), float(died) / 1000) for count, died in zip(reply[::2], reply[1::2], strict=True)]

    return Operation(scripts.load("dead_heads"), [keys.dead for keys in queues], (), read)


def peek(keys: QueueKeys, wanted: int) -> Operation[list[Dead]]:
    """The *wanted* messages of a queue that died first, oldest death first."""

    def read(reply: list[list[bytes]]) -> list[Dead]:
        return [_dead(keys, *row) for row in reply]

    return Operation(scripts.load("dead_peek"), keys.block, [str(wanted)], read)


def _dead(keys: QueueKeys, message_id: bytes, died: bytes, message: bytes, counts: bytes, last: bytes) -> Dead:
    _, failures, crashes, _ = (int(word) for word in (counts or b"1 0 0 0").split())
    reason, _, error = last.partition(b"|")
    word = reason.partition(b" ")[0].decode()
    return Dead(message_id, keys, float(died) / 1000, message, failures, crashes, word, error)


def take(keys: QueueKeys, dead: Sequence[Dead]) -> Operation[set[bytes]]:
    """Remove these from the queue's dead set. Returns the ids of those that were still there."""
    words = [word for one in dead for word in (one.id, str(round(one.died_at * 1000)))]
    return Operation(scripts.load("dead_take"), keys.block, words, set, keys.memo)


def surveying(queues: Sequence[QueueKeys], per_call: int = AT_ONCE) -> Flow[list[tuple[int, float, QueueKeys]]]:
    """``(how many are dead, when the oldest died, queue)`` of those queues that have any, the oldest death first."""
    found: list[tuple[int, float, QueueKeys]] = []
    for first in range(0, len(queues), per_call):
        some = queues[first : first + per_call]
        counted = yield from heads(some)
        found += [(count, died, keys) for (count, died), keys in zip(counted, some, strict=True) if count]
    return sorted(found, key=lambda one: one[1])


def peeking(queues: Sequence[QueueKeys], wanted: int, per_call: int = AT_ONCE) -> Flow[list[Dead]]:
    """The *wanted* messages of all these queues that died first, oldest death first."""
    chosen: list[Dead] = []
    for _, oldest, keys in (yield from surveying(queues, per_call)):
        if len(chosen) == wanted and chosen[-1].died_at <= oldest:
            break  # this queue's dead, and those of the queues after it, are all younger
        chosen += yield from peek(keys, wanted)
        # Users choose ids, and may use one in two queues. The younger one has to wait: an answer names each id once.
        unique: dict[bytes, Dead] = {}
        for one in sorted(chosen, key=lambda dead: dead.died_at):
            unique.setdefault(one.id, one)
        chosen = list(unique.values())[:wanted]
    return chosen


def taking(queues: Sequence[QueueKeys], wanted: int, per_call: int = AT_ONCE) -> Flow[list[Dead]]:
    """As `peeking`, and what comes back is gone from Redis. Each goes to one taker only."""
    taken: list[Dead] = []
    while len(taken) < wanted:
        ids = {one.id for one in taken}
        chosen = [one for one in (yield from peeking(queues, wanted - len(taken), per_call)) if one.id not in ids]
        mine: dict[QueueKeys, set[bytes]] = {}
        for keys in dict.fromkeys(dead.keys for dead in chosen):
            mine[keys] = yield from take(keys, [dead for dead in chosen if dead.keys == keys])
        got = [dead for dead in chosen if dead.id in mine[dead.keys]]
        taken += got
        if len(got) == len(chosen):
            break  # nobody was in between, so there are no others
    return taken
