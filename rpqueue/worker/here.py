"""
Here: a call from its bytes to its end, with all that a worker does around it, and nobody else taking part.

Nothing is said to Redis. Runs that are to be tried again are tried at once, and what tasks say about themselves is kept
in memory for the next run of the same call.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Generator
from typing import Any, NamedTuple

from ..current import RunningTask, note_in
from ..keys import QueueKeys
from ..loops import run_to_end
from ..messages import Flags
from ..middleware import Failure
from ..protocol.claimed import Claimed, Past
from ..protocol.moves import Whereabouts
from ..protocol.operation import Flow, run, run_async
from ..running import enter, leave
from ..states import State
from ..system import System
from ..tasks import Task
from . import claims
from .performing import Ending, Failed, failed, perform, perform_async
from .telling import Telling

#: What becomes of calls that are over, by the word that middleware hears.
STATES = {"failed": State.FAILED, "dead": State.DEAD, "dropped": State.FAILED, "cancelled": State.CANCELLED}


class Over(NamedTuple):
    """A call that is over."""

    where: Whereabouts
    executions: list[dict[str, Any]]  #: records of its failed runs, oldest first
    progress: Any  #: what it told last of how far it is
    error: BaseException | None  #: what its last run raised; None: it came to its end


class RunningHere(RunningTask):
    """A run that nobody else knows of: its lease never ends, and what it notes is kept beside it."""

    _run: HeldHere

    # In place of what is said to Redis.

    def beating(self) -> Flow[float]:
        """Have the deadline be moved on, as it would be for a worker. See `RunningTask.heartbeat`."""
        yield from ()
        if self._run.deadline:
            self._run.move_deadline(time.time() + self.task.lease)
        return self._run.deadline

    def recounting(self) -> Flow[list[dict[str, Any]]]:
        """Records of earlier runs that failed, oldest first, at most KEEP_EXECUTIONS."""
        yield from ()
        return self._run.records[-self.task.app.settings.keep_executions :]

    def _note(self, place: bytes, note: bytes, keep_for: float, news: bytes) -> Flow[bool]:
        yield from ()
        self._run.notes[place] = note
        return True

    def _noted(self, place: bytes) -> Flow[bytes]:
        yield from ()
        return self._run.notes.get(place, b"")


class HeldHere(claims.Claim):
    """A message that nobody else knows of."""

    __slots__ = ("notes", "records")

    seen_as = RunningHere

    def __init__(self, keys: QueueKeys, message_id: str, past: Past) -> None:
        super().__init__(keys, message_id, past)
        self.notes: dict[bytes, bytes] = {}  #: by the key that they would have
        self.records: list[dict[str, Any]] = []  #: of earlier runs that failed


def complete(task: Task[..., Any], keys: QueueKeys, message_id: str, message: bytes) -> Over:
    """Run a call until it is over. *message* is what Redis would hand to a worker."""
    settings = task.app.settings

    def one_run(claim: HeldHere) -> Ending:
        if not task.is_async:
            ending = perform(task, claim, settings)
        else:
            started_at = time.time()
            try:
                ending = run_to_end(lambda: perform_async(task, claim, settings))
            except asyncio.CancelledError as error:  # its own: nobody else knows the loop
                ending = failed(task, claim, settings, error, started_at)
        return _unless_interrupted(ending)

    with contextlib.closing(_running(task, keys, message_id, message)) as steps:
        return run(steps, one_run)


async def complete_async(task: Task[..., Any], keys: QueueKeys, message_id: str, message: bytes) -> Over:
    """As `complete`; an ``async def`` task is awaited in the running event loop."""
    settings = task.app.settings

    async def one_run(claim: HeldHere) -> Ending:
        ending = await _awaited(task, claim) if task.is_async else perform(task, claim, settings)
        return _unless_interrupted(ending)

    with contextlib.closing(_running(task, keys, message_id, message)) as steps:
        return await run_async(steps, one_run)


async def _awaited(task: Task[..., Any], claim: HeldHere) -> Ending:
    """What comes of a run in an asyncio Task of its own, since its limits, and it itself, may cancel that."""
    settings, started_at = task.app.settings, time.time()
    own = asyncio.ensure_future(perform_async(task, claim, settings))
    try:
        await asyncio.wait([own])
    except asyncio.CancelledError:
        own.cancel()
        await asyncio.wait([own])
        raise
    if own.cancelled():
        return failed(task, claim, settings, asyncio.CancelledError(), started_at)
    return own.result()


def is_for_the_caller(error: BaseException) -> bool:
    """Whether an exception of a run means whoever runs it here: KeyboardInterrupt, or what test runners raise."""
    return not isinstance(error, (Exception, SystemExit, asyncio.CancelledError))


def _unless_interrupted(ending: Ending) -> Ending:
    if isinstance(ending, Failed) and ending.error is not None and is_for_the_caller(ending.error):
        raise ending.error
    return ending


def _running(
    task: Task[..., Any], keys: QueueKeys, message_id: str, message: bytes
) -> Generator[HeldHere, Ending, Over]:
    """Yields a claim to be run, and is sent what came of that, until the call is over."""
    telling = Telling(task.app.settings)
    notes: dict[bytes, bytes] = {}
    records: list[dict[str, Any]] = []
    for attempt in itertools.count(1):
        claim = _claimed(task.app, keys, message_id, message, attempt)
        claim.belongs_to(task)
        claim.notes, claim.records = notes, records
        current, started = enter(claim), time.monotonic()
        try:
            ending = yield claim
            seconds = time.monotonic() - started
            if not isinstance(ending, Failed):
                telling.succeeds(task, claim, seconds)
                telling.succeeded(task, claim, seconds)
                break
            records.append(ending.record)
            word = _what_becomes_of(claim, ending)
            telling.failed(task, claim, Failure(ending.record, ending.error, word, ending.log_error), seconds)
            if word in STATES:
                break
        finally:
            leave(current)
    return _over(claim, message, ending)


def _claimed(system: System, keys: QueueKeys, message_id: str, message: bytes, attempt: int) -> HeldHere:
    """The message as a worker has it once it has decoded it; Undecodable when it cannot."""
    again = [1, *Past(token=attempt, failures=attempt - 1, crashes=0)] if attempt > 1 else []
    some, limit = Claimed(keys, [message_id.encode()], [message], again), system.settings.max_message_bytes
    [claim] = claims.decode([some], time.time(), limit, system.signer, HeldHere)
    if claim.error is not None:
        raise claim.error
    assert isinstance(claim, HeldHere)
    return claim


def _what_becomes_of(claim: HeldHere, ending: Failed) -> str:
    """What Redis decides of a failed run, where nobody crashes: see end_lease.lua."""
    if ending.again == "retry":
        return "ready"
    if ending.again in ("drop", "cancel"):
        return {"drop": "dropped", "cancel": "cancelled"}[ending.again]
    if ending.again == "auto" and claim.is_repeatable and claim.counted < claim.attempts:
        return "ready"
    return "dead" if Flags.USE_DEAD in claim.flags else "failed"


def _over(claim: HeldHere, message: bytes, ending: Ending) -> Over:
    system, records = claim.task.app, claim.records  # type: ignore[union-attr]
    state, reason, outcome, error = State.DONE, "", b"", None
    if isinstance(ending, Failed):
        state, reason, error = STATES[_what_becomes_of(claim, ending)], "failed", ending.error
    elif ending is not None:
        outcome, signer = b'{"state":"done","result":%s}' % ending, system.signer
        outcome = signer.signed(claim.keys.outcome(claim.id), b"", b"", outcome) if signer else outcome
    stored = [json.dumps(record).encode() for record in reversed(records)] or [b""]
    where = Whereabouts(
        claim.id, state, 0.0, time.time(), len(records), 0, 0, message, reason, stored[0], tuple(stored[1:]), outcome
    )
    place = claim.keys.progress(claim.id)
    return Over(where, records, note_in(claim.notes.get(place, b""), place, system.signer, "progress"), error)
