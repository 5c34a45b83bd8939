"""Claim: a message that this process holds, decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..current import RunningTask
from ..errors import BadSignature, RpqueueError, Undecodable
from ..keys import QueueKeys
from ..messages import PLAIN_LENGTH, PLAIN_START, Flags, Headers, decode_call, decode_each
from ..protocol.claimed import Claimed
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
    )

    def __init__(self, keys: QueueKeys, message_id: str, token: int, attempt: int = 1) -> None:
        self.keys = keys
        self.id = message_id
        self.token = token  #: of this lease
        self.attempt = attempt  #: number of this delivery; interrupted ones do not count
        self.record = -1  #: number in the Ledger
        self.deadline = 0.0  #: epoch seconds at which its visibility timeout ends; 0: it has none
        self.attempts = 1  #: deliveries it may have in all
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
    def attempts_left(self) -> int:
        """Runs that are left, this one included: by the call's own count, by deliveries, or as the task says."""
        told = self.kwargs.get("_attempts")
        if type(told) is int:
            return told
        if self.is_repeatable or self.task is None:
            return self.attempts - self.attempt + 1
        return self.task.attempts

    def move_deadline(self, deadline: float) -> None:
        """Have the lease be kept up to another instant, epoch seconds."""
        self.deadline = deadline
        if self.ledger is not None:
            self.ledger.postpone(self.record, deadline)

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be delivered again (1+)."""
        return self.deadline > 0


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
        for message_id, token, message, tries in some.rows():
            claim = kind(some.keys, message_id.decode(), token, tries + 1)
            header, _, body = message.partition(b"|")
            if len(header) != plain or not header.startswith(start) or not header[at:].isdigit():
                try:
                    lease, claim.attempts, claim.flags = headers.terms(header)
                    claim.deadline = now + lease if lease else 0.0
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
