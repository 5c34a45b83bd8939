"""What a claim brought: messages of one queue, column by column, as the scripts tell them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..keys import QueueKeys


class Past(NamedTuple):
    """What a message had been through when it was claimed."""

    token: int  #: of the lease that it has now
    failures: int  #: deliveries that failed, or whose lease ran out
    crashes: int  #: deliveries whose worker died


class Claimed(NamedTuple):
    """Messages of one queue that were claimed together, as they came."""

    keys: QueueKeys
    ids: list[bytes]  #: in the order to run them
    messages: list[bytes]
    again: list[int]  #: of those that were leased before: place among the ids, from 1, and the Past, in turn
    token: int = 1  #: of all others; 0 for what was only looked at

    def past(self) -> dict[int, Past]:
        """Of those that were leased before, by place, from 0."""
        again = iter(self.again)
        return {place - 1: Past(*words) for place, *words in zip(again, again, again, again, strict=True)}

    def rows(self) -> Iterator[tuple[bytes, bytes, Past]]:
        """``(id, message, past)`` one by one."""
        past, none = self.past(), Past(self.token, 0, 0)
        for place, (message_id, message) in enumerate(zip(self.ids, self.messages, strict=True)):
            yield message_id, message, past.get(place, none)
