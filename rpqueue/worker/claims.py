"""Claim: a message that this process holds, decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..current import RunningTask
from ..errors import BadSignature, RpqueueError, Undecodable
from ..keys import QueueKeys
from ..messages import FOREVER, PLAIN_LENGTH, PLAIN_START, Flags, Headers, decode_call, decode_each
from ..protocol.claimed import Claimed, Past
from ..signing import MARK, NO_KEYS, Signer, tail_of

if TYPE_CHECKING:
    from ..tasks import Task
    from .ledger import Ledger

NO_FLAGS = Flags(0)
#: Of calls that no middleware sent anything along with. Nobody writes into it.
NO_META: dict[str, Any] = {}


class Claim:
    """One leased task message, from claim to ack."""

    __slots__ = (
        "args",
        "attempt",
        "attempts",
        "crashes",
        "deadline",
        "error",
        "flags",
        "has_checkpoint",
        "id",
        "keep_for",
        "keys",
        "kwargs",
        "ledger",
        "meta",
        "name",
        "outcome",
        "record",
        "started",
        "stop_asked",
        "task",
        "token",
        "told",
    )

    def __init__(self, keys: QueueKeys, message_id: str, past: Past) -> None:
        self.keys = keys
        self.id = message_id
        #: `token` is of this lease; `crashes` are the deliveries before this one whose worker died.
        self.token, failures, self.crashes = past
        self.attempt = failures + self.crashes + 1  #: number of this delivery; interrupted ones do not count
        self.record = -1  #: number in the Ledger
        self.deadline = 0.0  #: epoch seconds at which its visibility timeout ends; 0: it has none
        self.attempts = 1  #: deliveries it may have in all, as its header says
        self.told: int | None = None  #: runs it may have in all, if that was said at the call; known once it runs
        self.flags = NO_FLAGS
        self.name = ""
        self.args: list[Any] = []
        self.kwargs: dict[str, Any] = {}
        self.meta = NO_META
        self.error: RpqueueError | None = None  #: why it cannot be decoded
        self.task: Task[..., Any] | None = None  #: once it runs
        self.started = 0.0  #: monotonic instant since which it runs
        self.keep_for = 0.0  #: seconds to keep the outcome; 0: none is kept
        self.outcome = b""  #: JSON, once it is over
        self.ledger: Ledger | None = None  #: once it runs
        self.stop_asked = ""  #: "cancelled" or "lost" once its run is to stop
        self.has_checkpoint = False

    #: What the task's own code sees of it.
    seen_as: type[RunningTask] = RunningTask

    @property
    def taskid(self) -> str:
        """The id, as tasks see it."""
        return self.id

    @property
    def queue(self) -> str:
        """Name of its queue."""
        return self.keys.name

    @property
    def is_recovered(self) -> bool:
        """Whether it runs again after its worker died, and that is not held against its attempts."""
        return self.flags is not NO_FLAGS and Flags.RECOVER in self.flags

    @property
    def counted(self) -> int:
        """Number of this run among those that use up attempts."""
        return self.attempt - self.crashes if self.is_recovered else self.attempt

    @property
    def is_bounded(self) -> bool:
        """Whether a number of runs was said, by the call or by its task, that no retry method goes beyond."""
        return self.told is not None or (self.task is not None and self.task.attempts > 1)

    @property
    def runs_allowed(self) -> int:
        """Runs that it may have in all: as its message says, which Redis goes by, else as its call or its task does."""
        if self.is_repeatable or self.task is None:
            return self.attempts
        return self.task.deliveries if self.told is None else self.told

    @property
    def attempts_left(self) -> int:
        """Runs that are left, this one included."""
        return max(self.runs_allowed - self.counted + 1, 1)

    def belongs_to(self, task: Task[..., Any]) -> None:
        """Its task is known. The number of runs that are left goes to functions that take it, and to no other."""
        self.task = task
        if self.kwargs:
            told = self.kwargs.pop("_attempts", None)
            self.told = told if type(told) is int else None
        if task.takes_attempts:
            self.kwargs["_attempts"] = self.attempts_left

    def move_deadline(self, deadline: float) -> None:
        """Have the lease be kept up to another instant, epoch seconds."""
        self.deadline = deadline
        if self.ledger is not None:
            self.ledger.postpone(self.record, deadline)

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be delivered again (1+)."""
        return self.deadline > 0 or self.is_recovered


def decode(
    claimed: list[Claimed], now: float, limit: int, signer: Signer = NO_KEYS, kind: type[Claim] = Claim
) -> list[Claim]:
    """
    Claims of what a round brought.

    Args:
        claimed: as they came.
        now: of the round, epoch seconds by Redis's clock.
        limit: most bytes of a body; 0: no limit.
        signer: checks signatures, before anything of a body is decoded.
        kind: of the claims.
    """
    claims, bodies, headers, checks = [], [], Headers(), bool(signer)
    start, at, plain = PLAIN_START, len(PLAIN_START), PLAIN_LENGTH
    for some in claimed:
        for message_id, message, past in some.rows():
            claim = kind(some.keys, message_id.decode(), past)
            header, _, body = message.partition(b"|")
            if len(header) != plain or not header.startswith(start) or not header[at:].isdigit():
                try:
                    lease, claim.attempts, claim.flags = headers.terms(header)
                    is_endless = not lease or (lease == FOREVER and claim.is_recovered)
                    claim.deadline = 0.0 if is_endless else now + lease
                except Undecodable as error:
                    claim.error = error
            if checks:
                try:
                    body = signer.opened(some.keys.stem, message_id, tail_of(header), body)
                except BadSignature as error:
                    claim.error, body = claim.error or error, b""
            claims.append(claim)
            bodies.append(body)
    if not _decode_together(claims, bodies, limit):
        for claim, body in zip(claims, bodies, strict=True):
            _decode_alone(claim, body, limit)
    return claims


def _decode_together(claims: list[Claim], bodies: list[bytes], limit: int) -> bool:
    """Decode all bodies in one call. False when any of them is odd."""
    if limit and max(map(len, bodies), default=0) > limit:
        return False
    values = decode_each(bodies)
    if values is None:
        return False
    for claim, value in zip(claims, values, strict=True):
        if claim.error is not None or type(value) is not list or not 3 <= len(value) <= 4:
            return False
        if len(value) == 4:
            claim.meta = value.pop()
            if type(claim.meta) is not dict:
                return False
        name, args, kwargs = value
        if type(name) is not str or type(args) is not list or type(kwargs) is not dict:
            return False
        claim.name, claim.args, claim.kwargs = name, args, kwargs
    return True


def _decode_alone(claim: Claim, body: bytes, limit: int) -> None:
    if claim.error is None:
        try:
            if body.startswith(MARK):  # signed, and nobody gave us a key
                body = NO_KEYS.opened(b"", b"", b"", body)
            claim.name, claim.args, claim.kwargs, claim.meta = decode_call(body, limit)
        except Undecodable as error:
            claim.error = error
