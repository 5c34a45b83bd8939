"""
The exceptions, as a tree.

RpqueueError
├── RefusedInput            ValueError: a value or range that cannot be used; nothing was sent
│   ├── UnserializableValue     not JSON: NaN, a set, a key that is no string ...
│   ├── MessageTooLarge         over MAX_MESSAGE_BYTES
│   ├── RefusedName             a queue, task or prefix name that cannot be used
│   └── RefusedSchedule         an interval, cron expression or time zone that cannot be used
├── WrongType               TypeError: a value of the wrong type; nothing was sent
├── UnknownTask             KeyError and ValueError: no task of that name is known
├── IdTaken                 ValueError: another message already has this id
├── QueueFull               the queue holds as many messages as it may; nothing was put
├── NoLock                  the lock is held by somebody else, or no longer by you
├── StaleLease              the lease ended before this call; somebody else may hold it now
├── Undecodable             ValueError: bytes in Redis that are no message of this library, or too large
│   ├── BadSignature            what was signed by none of SIGNING_KEYS, for something else, or not at all
│   └── NewerMessage            a message in a form that only a newer rpqueue reads; it is left for one
├── DurabilityNotConfirmed  it is in its queue, but not as safe in time as `durability` asks
├── NotEnqueued             the call is not in its queue: its pipeline has not sent it, or could not
├── TaskFailed              the task ended without a result; `.error` says how
│   └── TaskLost                its worker died, and it may be run at most once
├── TaskCancelled           the task was cancelled before it ended
├── TaskTimeout             TimeoutError: a run took longer than its hard_timeout, and was stopped
│   └── SoftTimeout             raised inside of a run that took longer than its soft_timeout
├── StopRetry               raised by a retry method, or a task: there is no further run
├── RetryException          raised by a task: run it again, in a way of its own
├── NoCurrentTask           RuntimeError: asked outside of a run what only a run can tell
├── ResultTimeout           TimeoutError: no result in the time given
├── SettingError            ValueError: an assigned setting cannot be used
├── EmbeddedServerError     RuntimeError: the embedded server cannot be found or started
└── RedisError              ConnectionError: Redis could not do what was asked
    ├── RedisUnavailable        not reached, or no answer in time; the call may have had effect
    ├── RedisNotReady           loading, busy with a script, a cluster slot on the move
    ├── RedisReadOnly           a replica, or not enough replicas
    ├── RedisOutOfMemory        maxmemory reached; nothing was written
    ├── RedisDenied             wrong password, or the ACL forbids it
    └── RedisUnsuitable         too old, or a key holds something else than rpqueue put there
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fates import Fates


class RpqueueError(Exception):
    """Every error that rpqueue raises on purpose."""

    #: Of `execute_many` and `pipeline`, when sending failed: what became of each call and item. None everywhere else.
    fates: Fates | None = None


class RefusedInput(RpqueueError, ValueError):
    """A value that cannot be used. Nothing was sent."""


class UnserializableValue(RefusedInput):
    """A payload that JSON cannot carry unchanged."""


class MessageTooLarge(RefusedInput):
    """A payload over the size limit."""


class RefusedName(RefusedInput):
    """A name that cannot be used as a queue, task, id or prefix."""


class RefusedSchedule(RefusedInput):
    """An interval, cron expression or time zone that cannot be used."""


class WrongType(RpqueueError, TypeError):
    """A value of the wrong type. Nothing was sent."""


class UnknownTask(RpqueueError, KeyError, ValueError):
    """No task of that name is known. 0.33 raised KeyError in places and ValueError in others."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""  # KeyError would show the repr


class IdTaken(RpqueueError, ValueError):
    """Another message of the queue already has this id."""


class QueueFull(RpqueueError):
    """The queue holds as many messages as it may, by ``max_queue_size``. None of these was put."""


class NoLock(RpqueueError):
    """The lock cannot be acquired, or is not held any more."""


class StaleLease(RpqueueError):
    """The lease ended before the call; the message may be somebody else's now."""


class Undecodable(RpqueueError, ValueError):
    """Bytes in Redis that are no message of this library."""


class BadSignature(Undecodable):
    """A message or an outcome without a signature that fits it. Nothing of it was decoded."""


class NewerMessage(Undecodable):
    """A message in a form that only a newer rpqueue can read. It is as it was, and waits for one."""

    def __init__(self, message: str, version: int = 0) -> None:
        super().__init__(message)
        self.version = version  #: of its form


class DurabilityNotConfirmed(RpqueueError):
    """
    Messages are in their queue, but Redis did not confirm in time that they are as safe as `durability` asks.

    They run like any others. If the master is lost now, they may be, too. Enqueueing once more under the same
    ``taskid`` asks for confirmation once more, and has no other effect. `fates.done` has all calls that are in.
    """

    @property
    def call(self) -> Any:
        """The call, or the id of the item, that is in; of several the first one."""
        return self.fates.done[0] if self.fates is not None and self.fates.done else None


class NotEnqueued(RpqueueError):
    """The call is not in its queue: its pipeline has not sent it yet, or could not."""


class TaskFailed(RpqueueError):
    """A task ended without a result; `error` holds what its worker recorded."""

    def __init__(self, message: str, error: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.error: dict[str, Any] = error or {}


class TaskLost(TaskFailed):
    """The worker died while it had a task that may be run at most once."""


class TaskCancelled(RpqueueError):
    """The task was cancelled before it ended. A run may raise it, too: that ends the task as cancelled."""


class TaskTimeout(RpqueueError, TimeoutError):
    """A run took longer than its ``hard_timeout`` and was stopped. Name it in ``retry_on`` to have it tried again."""


class SoftTimeout(TaskTimeout):
    """A run took longer than its ``soft_timeout``. It is raised inside of the run, which may clean up and end."""

    def __init__(self, message: str = "the run took longer than its soft_timeout") -> None:
        super().__init__(message)


class StopRetry(RpqueueError):
    """Raised by a retry method, or by a task itself: the call is given up now, whatever attempts are left."""


class RetryException(RpqueueError):
    """
    Raised by a task to be run again, whatever the task's own options say.

    Args:
        method: a retry method for this once (see `retry`); None: the task's own, else DEFAULT_RETRY_METHOD. It gets the
            number of all runs so far, whichever method they were retried by.
        original_traceback: True: when it is raised in an ``except`` block, what was caught there is recorded and logged
            in its place.
        log_error: False: each failure is logged as a warning; and when there is no further run, the task leaves
            nothing behind instead of being kept as failed or dead.
    """

    def __init__(self, method: Any = None, original_traceback: bool = False, log_error: bool = True) -> None:
        super().__init__(method, original_traceback, log_error)  # so that it can be pickled
        self.method = method
        self.original_traceback = original_traceback
        self.log_error = log_error

    def __str__(self) -> str:
        return "the task asked to be run again"


class NoCurrentTask(RpqueueError, RuntimeError):
    """Asked outside of a run of a task what only a run can tell."""


class ResultTimeout(RpqueueError, TimeoutError):
    """There was no result in the time given; the task may still end."""


class SettingError(RpqueueError, ValueError):
    """An assigned setting cannot be used."""


class EmbeddedServerError(RpqueueError, RuntimeError):
    """The embedded server cannot be found or started."""


class RedisError(RpqueueError, ConnectionError):
    """Redis could not do what was asked."""


class RedisUnavailable(RedisError):
    """Redis was not reached, or did not answer in time."""


class RedisNotReady(RedisError):
    """Redis is loading, busy with a script, or moving the slot."""


class RedisReadOnly(RedisError):
    """The server refuses writes: a replica, or too few replicas."""


class RedisOutOfMemory(RedisError):
    """Redis reached maxmemory. Nothing was written."""


class RedisDenied(RedisError):
    """Redis refused the password, or the user may not do this."""


class RedisUnsuitable(RedisError):
    """The server is too old, or a key holds what rpqueue did not write."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
