"""
Ledger: what one worker process holds, in memory that it shares with its supervisor.

A process that is killed cannot say what it had claimed. So it writes each claimed message here before it runs it, and
flips one byte when it starts and when it ends. From this the supervisor extends the leases (also of a task that never
lets go of the GIL), and after a death gives back at once what was not started and reports what was.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from ..keys import LONGEST_NAME
from ..protocol.operation import Stamp


class Stage(IntEnum):
    """How far a held message is."""

    FREE = 0  #: the record holds nothing
    CLAIMED = 1  #: not started
    STARTED = 2
    FINISHED = 3  #: it ran to its end; its ack, which keeps no outcome, is not confirmed yet


class Held(NamedTuple):
    """A record: one message that the process holds."""

    stage: Stage
    queue: str
    id: str
    token: int
    deadline: float  #: epoch seconds past which its lease is never extended; 0: none
    ends_at: float  #: monotonic seconds at which its lease ends unless it is extended


_RECORD = struct.Struct("<B x H H q d d")  # stage, queue length, id length, token, deadline, ends_at
_SIZE = _RECORD.size + 2 * LONGEST_NAME
_HEADER = struct.Struct("<B B 12s q q")  # session length, orders to quit, session, number sent, number recorded
_QUIT_AT = 1
_FIRST = 64


class Ledger:
    """
    Fixed records in anonymous shared memory; made before the fork. One process writes, its supervisor reads.

    Args:
        capacity: most messages that the process may hold.
    """

    def __init__(self, capacity: int = 2048) -> None:
        self.capacity = capacity
        self._memory = mmap.mmap(-1, _FIRST + capacity * _SIZE)
        self._free = list(range(capacity - 1, -1, -1))

    @property
    def room(self) -> int:
        """How many more messages it can hold."""
        return len(self._free)

    # Written by the worker process.

    def sending(self, stamp: Stamp) -> None:
        """A claim is on its way: until `recorded`, Redis may have leased what is not written down here."""
        session = stamp.session[:12]
        recorded = _HEADER.unpack_from(self._memory, 0)[4]
        quit_order = self._memory[_QUIT_AT]
        _HEADER.pack_into(self._memory, 0, len(session), quit_order, session, stamp.number, recorded)

    def recorded(self, stamp: Stamp) -> None:
        """Everything that the claim brought is written down."""
        struct.pack_into("<q", self._memory, _HEADER.size - 8, stamp.number)

    def add(self, queue: bytes, message_id: bytes, token: int, deadline: float, ends_at: float) -> int:
        """Write a claimed message down. Returns its record's number."""
        number = self._free.pop()
        at = _FIRST + number * _SIZE
        body = at + _RECORD.size
        middle = body + len(queue)
        self._memory[body:middle] = queue
        self._memory[middle : middle + len(message_id)] = message_id
        _RECORD.pack_into(self._memory, at, Stage.CLAIMED, len(queue), len(message_id), token, deadline, ends_at)
        return number

    def move(self, number: int, stage: Stage) -> None:
        """The message of a record started or finished."""
        self._memory[_FIRST + number * _SIZE] = stage

    def remove(self, number: int) -> None:
        """The process does not hold the message any more."""
        self._memory[_FIRST + number * _SIZE] = Stage.FREE
        self._free.append(number)

    # Read, and written, by whoever extends the leases.

    def held(self) -> Iterator[tuple[int, Held]]:
        """``(record number, message)`` of everything that is held."""
        for number in range(self.capacity):
            at = _FIRST + number * _SIZE
            if self._memory[at]:
                stage, queue, message_id, token, deadline, ends_at = _RECORD.unpack_from(self._memory, at)
                body = at + _RECORD.size
                names = self._memory[body : body + queue + message_id]
                try:
                    yield number, Held(
                        Stage(stage), names[:queue].decode(), names[queue:].decode(), token, deadline, ends_at
                    )
                except ValueError:  # read while it was being written; the next look sees it whole
                    continue

    def extended(self, number: int, ends_at: float) -> None:
        """The lease of a record's message ends later now."""
        struct.pack_into("<d", self._memory, _FIRST + number * _SIZE + _RECORD.size - 8, ends_at)

    def unrecorded(self) -> Stamp | None:
        """The claim that was on its way when the process died, if its messages were not written down."""
        length, _, session, sent, recorded = _HEADER.unpack_from(self._memory, 0)
        return Stamp(session[:length], sent) if sent != recorded else None

    # Orders from the supervisor.

    @property
    def quit_order(self) -> int:
        """0: go on; 1: finish and stop; 2: stop now."""
        return self._memory[_QUIT_AT]

    def order_quit(self, order: int) -> None:
        """Tell the process to stop. A signal would not do: a service manager that signals all processes would be heard twice."""
        self._memory[_QUIT_AT] = max(order, self._memory[_QUIT_AT])

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
