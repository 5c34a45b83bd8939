"""What is said about a run while it goes on: notes that it leaves, and whether it is to be stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..keys import QueueKeys
from . import scripts
from .moves import ms
from .operation import Operation, Word, as_is, command

#: Of a lease: it is held; its message is cancelled; somebody else may have it.
Standing = Literal["held", "cancelled", "lost"]


def note(
    keys: QueueKeys, place: bytes, message_id: str, token: int, text: bytes, keep_for: float, news: bytes = b""
) -> Operation[bool]:
    """
    Keep a note beside a held message.

    Args:
        place: its key, `QueueKeys.progress` or `QueueKeys.checkpoint`.
        text: the note; empty: there is none any more.
        keep_for: seconds.
        news: to be published on the message's channel.

    Returns:
        False when the token holds no lease; then nothing was written.
    """
    words: list[Word] = [message_id, str(token), text, str(ms(keep_for)), news]
    return Operation(scripts.load("note"), (*keys.block, place), words, bool)


def noted(keys: QueueKeys, place: bytes, message_id: str) -> Operation[bytes]:
    """The note that was kept beside a message, empty when there is none."""
    return Operation(scripts.load("noted"), (*keys.block, place), [message_id], bytes)


def forget(*places: bytes) -> Operation[int]:
    """Delete notes, of one queue, whose messages are gone."""
    return command(as_is, "DEL", *places)


def asked_to_stop(keys: QueueKeys, leases: Sequence[tuple[str, int]]) -> Operation[list[Standing]]:
    """Whether runs are to be stopped, for each ``(id, token)`` in order."""
    words: list[Word] = [str(word) for lease in leases for word in lease]
    marks = (keys.asked(message_id) for message_id, _ in leases)
    script, places = scripts.load("asked_to_stop"), (*keys.block, *marks)
    return Operation(script, places, words, lambda reply: [word.decode() for word in reply])
