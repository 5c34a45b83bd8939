"""What is sent to a child, and what comes back: a claim there, the ending of its run here."""

from __future__ import annotations

import pickle
import traceback
from typing import Any, NamedTuple

from ...protocol.claimed import Past
from ...system import System
from ...tasks import Task
from ..claims import NO_FLAGS, Claim
from ..ledger import Ledger
from ..performing import Ending, Failed

#: What a run sees of its claim, beside id and queue.
SENT = ("name", "args", "kwargs", "meta", "token", "attempt", "crashes", "attempts", "told", "deadline", "record")


class Call(NamedTuple):
    """A claim, as it goes to a child."""

    task: str  #: its name, by which the registry has it
    queue: str
    id: str
    flags: int
    values: list[Any]  #: of SENT

    @classmethod
    def of(cls, task: Task[..., Any], claim: Claim) -> Call:
        """The call of a claim."""
        values = [getattr(claim, name) for name in SENT]
        return cls(task.name, claim.keys.name, claim.id, int(claim.flags), values)

    def claim(self, task: Task[..., Any], system: System, ledger: Ledger) -> Claim:
        """The claim of a call, in the child."""
        claim = Claim(system.task_keys(self.queue), self.id, Past(0, 0, 0))
        for name, value in zip(SENT, self.values, strict=True):
            setattr(claim, name, value)
        claim.flags = type(NO_FLAGS)(self.flags) if self.flags else NO_FLAGS
        claim.task, claim.ledger = task, ledger
        return claim


class Reply(NamedTuple):
    """What came of a call."""

    ending: Ending  #: without the exception of a failed run
    error: bytes  #: that exception, pickled; empty where there is none, or where it cannot be
    traceback: str  #: of it, as text
    deadline: float  #: of the lease, which the run may have moved
    has_checkpoint: bool
    grown: int  #: bytes by which the child has grown since its first run; 0 where nobody wants to know

    @classmethod
    def of(cls, ending: Ending, claim: Claim, grown: int) -> Reply:
        """The reply to a call."""
        error, text = b"", ""
        if isinstance(ending, Failed) and ending.error is not None:
            error = _pickled(ending.error)
            text = "".join(traceback.format_exception(ending.error)) if error else ""
            ending = ending._replace(error=None)
        return cls(ending, error, text, claim.deadline, claim.has_checkpoint, grown)

    def ending_of(self, claim: Claim) -> Ending:
        """The ending, in the worker. What the run changed of its claim is written into it."""
        claim.deadline, claim.has_checkpoint = self.deadline, self.has_checkpoint
        if isinstance(self.ending, Failed) and self.error:
            return self.ending._replace(error=_unpickled(self.error, self.traceback))
        return self.ending


class Elsewhere(Exception):
    """The traceback of an exception that was raised in another process; it is that one's cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _pickled(error: BaseException | None) -> bytes:
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)  # many classes of exceptions can be pickled, and not be made again
    except Exception:
        return b""
    return pickled


def _unpickled(pickled: bytes, text: str) -> BaseException | None:
    try:
        error = pickle.loads(pickled)
    except Exception:
        return None
    if not isinstance(error, BaseException):
        return None
    if text:
        error.__cause__ = Elsewhere(text)
    return error
