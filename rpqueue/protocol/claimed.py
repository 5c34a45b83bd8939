"""What a claim brought: messages of one queue, column by column, as the scripts tell them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..keys import QueueKeys


class Claimed(NamedTuple):
    """Messages of one queue that were claimed together, as they came."""

    keys: QueueKeys
    ids: list[bytes]  #: in the order to run them
    messages: list[bytes]
    again: list[int]  #: of those that were leased before: place among the ids, from 1, token and tries, in turn
    token: int = 1  #: of all others; 0 for what was only looked at

    def tokens_and_tries(self) -> dict[int, tuple[int, int]]:
        """
        Of those that were leased before: ``{place: (token, tries)}``, places from 0.

        Tries are the deliveries before this one that failed or crashed.
        """
        again = iter(self.again)
        return {place - 1: (token, tries) for place, token, tries in zip(again, again, again, strict=True)}

    def rows(self) -> Iterator[tuple[bytes, int, bytes, int]]:
        """``(id, token, message, tries)`` one by one."""
        special = self.tokens_and_tries()
        for place, (message_id, message) in enumerate(zip(self.ids, self.messages, strict=True)):
            token, tries = special.get(place, (self.token, 0))
            yield message_id, token, message, tries
