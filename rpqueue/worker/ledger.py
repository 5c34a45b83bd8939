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

from ..keys import LONGEST_NAME, text_of, wire
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
    ends_at: float  #: monotonic seconds at which the lease ends that the claim gave; see Heartbeat for later ones


_RECORD = struct.Struct("<B x H H q d d")  # stage, queue length, id length, token, deadline, ends_at
_SIZE = _RECORD.size + 2 * LONGEST_NAME
_DEADLINE, _DEADLINE_AT = struct.Struct("<d"), struct.calcsize("<B x H H q")
# The header: session length, order to quit, session, number of the last claim that was sent, and of the last recorded,
# how many messages were claimed and kept, when Redis answered a round last, when it was found away, order to retire,
# length and name of the queue. Each is written alone, for the orders have another writer.
_QUIT_AT, _SESSION_AT, _SENT_AT, _RECORDED_AT = 1, 2, 16, 24
_TASKS_AT, _ANSWERED_AT, _AWAY_AT, _RETIRE_AT, _QUEUE_AT = 32, 40, 48, 56, 64
_NUMBER, _INSTANT = struct.Struct("<q"), struct.Struct("<d")
_FIRST = _QUEUE_AT + _NUMBER.size + LONGEST_NAME


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
        self._tasks = 0

    @property
    def room(self) -> int:
        """How many more messages it can hold."""
        return len(self._free)

    # Written by the worker process.

    def sending(self, stamp: Stamp, queue: str = "") -> None:
        """
        A claim is on its way: until `recorded`, Redis may have leased what is not written down here.

        Args:
            stamp: of the round.
            queue: on Cluster, the queue that it visits, and that its memo belongs to.
        """
        if queue:
            name = wire(queue)
            _NUMBER.pack_into(self._memory, _QUEUE_AT, len(name))
            self._memory[_QUEUE_AT + _NUMBER.size : _QUEUE_AT + _NUMBER.size + len(name)] = name
        self._memory[_SESSION_AT : _SESSION_AT + len(stamp.session)] = stamp.session
        self._memory[0] = len(stamp.session)
        _NUMBER.pack_into(self._memory, _SENT_AT, stamp.number)

    def recorded(self, claimed: int = 0) -> None:
        """Everything that claims brought is written down: *claimed* messages."""
        if claimed:
            self.count(claimed)
        self._memory[_RECORDED_AT : _RECORDED_AT + 8] = self._memory[_SENT_AT : _SENT_AT + 8]

    def count(self, claimed: int) -> None:
        """So many more messages are this process's to run; fewer, when it gives some back that had not started."""
        self._tasks += claimed
        _NUMBER.pack_into(self._memory, _TASKS_AT, self._tasks)

    def answered(self, instant: float) -> None:
        """Redis answered a round, at *instant*, monotonic seconds."""
        _INSTANT.pack_into(self._memory, _ANSWERED_AT, instant)

    def found_away(self, instant: float) -> None:
        """Redis did not answer, or refused, at *instant*, monotonic seconds. The process tries on."""
        _INSTANT.pack_into(self._memory, _AWAY_AT, instant)

    def add(self, queue: bytes, message_id: bytes, token: int, deadline: float, ends_at: float) -> int:
        """Write a claimed message down. Returns its record's number."""
        number = self._free.pop()
        at = _FIRST + number * _SIZE
        body = at + _RECORD.size
        middle = body + len(queue)
        self._memory[body:middle] = queue
        self._memory[middle : middle + len(message_id)] = message_id
        _RECORD.pack_into(self._memory, at, Stage.FREE, len(queue), len(message_id), token, deadline, ends_at)
        self._memory[at] = Stage.CLAIMED  # last, so that nobody reads half a record
        return number

    def move(self, number: int, stage: Stage) -> None:
        """The message of a record started or finished."""
        self._memory[_FIRST + number * _SIZE] = stage

    def postpone(self, number: int, deadline: float) -> None:
        """The lease of a record may be extended up to another instant."""
        _DEADLINE.pack_into(self._memory, _FIRST + number * _SIZE + _DEADLINE_AT, deadline)

    def stage(self, number: int) -> Stage:
        """How far the message of a record is."""
        return Stage(self._memory[_FIRST + number * _SIZE])

    def remove(self, number: int) -> None:
        """The process does not hold the message any more."""
        self._memory[_FIRST + number * _SIZE] = Stage.FREE
        self._free.append(number)

    # Read by whoever extends the leases.

    def held(self) -> Iterator[Held]:
        """Everything that is held."""
        for number in range(self.capacity):
            at = _FIRST + number * _SIZE
            if self._memory[at]:
                stage, queue, message_id, token, deadline, ends_at = _RECORD.unpack_from(self._memory, at)
                body = at + _RECORD.size
                names = self._memory[body : body + queue + message_id]
                try:
                    yield Held(Stage(stage), names[:queue].decode(), names[queue:].decode(), token, deadline, ends_at)
                except ValueError:  # the record is being used again this moment; the next look sees it whole
                    continue

    def unrecorded(self) -> Stamp | None:
        """The claim that was on its way when the process died, if its messages were not written down."""
        sent, recorded = (_NUMBER.unpack_from(self._memory, at)[0] for at in (_SENT_AT, _RECORDED_AT))
        session = self._memory[_SESSION_AT : _SESSION_AT + self._memory[0]]
        return Stamp(session, sent) if sent != recorded else None

    @property
    def rounds(self) -> int:
        """A number that changes before the process claims anything more."""
        number: int = _NUMBER.unpack_from(self._memory, _SENT_AT)[0]
        return number

    @property
    def tasks(self) -> int:
        """How many messages the process has claimed, and not given back before they started."""
        number: int = _NUMBER.unpack_from(self._memory, _TASKS_AT)[0]
        return number

    @property
    def answered_at(self) -> float:
        """Monotonic instant at which Redis answered a round last; 0: it never did."""
        instant: float = _INSTANT.unpack_from(self._memory, _ANSWERED_AT)[0]
        return instant

    @property
    def away_at(self) -> float:
        """Monotonic instant at which the process found Redis away, or refusing, last; 0: it never did."""
        instant: float = _INSTANT.unpack_from(self._memory, _AWAY_AT)[0]
        return instant

    @property
    def queue(self) -> str:
        """The queue that the last claim visited, on Cluster; else empty."""
        (length,) = _NUMBER.unpack_from(self._memory, _QUEUE_AT)
        return text_of(self._memory[_QUEUE_AT + _NUMBER.size : _QUEUE_AT + _NUMBER.size + length])

    # Orders from the supervisor.

    @property
    def quit_order(self) -> int:
        """0: go on; 1: finish and stop; 2: stop now."""
        return self._memory[_QUIT_AT]

    def order_quit(self, order: int) -> None:
        """Tell the process to stop. Not by a signal: a service manager that signals all processes would count twice."""
        self._memory[_QUIT_AT] = max(order, self._memory[_QUIT_AT])

    @property
    def is_retired(self) -> bool:
        """Whether the process is to claim no more, and to end once what it runs has ended, however long that takes."""
        return bool(self._memory[_RETIRE_AT])

    def retire(self) -> None:
        """Tell the process that another one takes its place."""
        self._memory[_RETIRE_AT] = 1

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
