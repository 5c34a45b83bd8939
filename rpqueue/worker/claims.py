"""Claim: a message that this process holds, decoded."""

from __future__ import annotations

import json
from typing import Any

from ..errors import RpqueueError
from ..keys import QueueKeys
from ..messages import Flags, Undecodable, decode_task, parse_header
from ..protocol.cycle import Claimed

#: Length of a header that says nothing but version and instant; the rest has its defaults then.
_PLAIN = len(b"1 1700000000000")


class Claim:
    """One leased task message, from claim to ack."""

    __slots__ = (
        "args",
        "attempt",
        "attempts",
        "deadline",
        "error",
        "flags",
        "id",
        "keys",
        "kwargs",
        "name",
        "record",
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
        self.flags = Flags(0)
        self.name = ""
        self.args: list[Any] = []
        self.kwargs: dict[str, Any] = {}
        self.error: RpqueueError | None = None  #: why it cannot be decoded

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be delivered again (1+)."""
        return self.deadline > 0


def decode(claimed: list[Claimed], now: float, limit: int) -> list[Claim]:
    """
    Claims of what a round brought.

    Args:
        claimed: as they came.
        now: of the round, epoch seconds by Redis's clock.
        limit: most bytes of a body; 0: no limit.
    """
    claims, bodies = [], []
    for keys, message_id, token, message, tries in claimed:
        claim = Claim(keys, message_id.decode(), token, tries + 1)
        header, _, body = message.partition(b"|")
        if len(header) != _PLAIN or not header.startswith(b"1 "):
            try:
                _, lease, claim.attempts, claim.flags = parse_header(header)
                claim.deadline = now + lease if lease else 0.0
            except Undecodable as error:
                claim.error = error
        claims.append(claim)
        bodies.append(body)
    if not _decode_together(claims, bodies, limit):
        for claim, body in zip(claims, bodies, strict=True):
            _decode_alone(claim, body, limit)
    return claims


def _decode_together(claims: list[Claim], bodies: list[bytes], limit: int) -> bool:
    """Decode all bodies in one call, which costs a third of one call each. False when any of them is odd."""
    if limit and any(len(body) > limit for body in bodies):
        return False
    try:
        values = json.loads(b"[" + b",".join(bodies) + b"]", parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    if len(values) != len(claims):
        return False
    for claim, value in zip(claims, values, strict=True):
        if claim.error is not None:
            return False
        try:
            claim.name, claim.args, claim.kwargs = value
        except (TypeError, ValueError):
            return False
        if type(claim.args) is not list or type(claim.kwargs) is not dict or type(claim.name) is not str:
            return False
    return True


def _decode_alone(claim: Claim, body: bytes, limit: int) -> None:
    if claim.error is None:
        try:
            claim.name, claim.args, claim.kwargs = decode_task(body, limit)
        except Undecodable as error:
            claim.error = error


def _refuse(text: str) -> Any:
    raise ValueError(text)
