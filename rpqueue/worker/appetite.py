"""
Appetite: how many messages the next round should claim.

One for each slot that is free, and what fits into a budget of time behind them: as many as take about CLAIM_AHEAD
seconds, going by what tasks took lately. Bytes bound it as well, for a round should not be heavy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..settings import Settings
from .claims import Claim

#: Most messages that one round claims.
LARGEST_CLAIM = 500
#: Bytes of messages that one round should bring; it always asks for one.
ROUND_BYTES = 1_048_576
#: Seconds for which nobody guesses when tasks will end, after a guess was wrong.
MISTRUST = 1.0


class Appetite:
    """
    What a worker process can make use of. It learns from what tasks take and weigh.

    Args:
        settings: for CLAIM_AHEAD.
        slots: threads that run tasks.
    """

    def __init__(self, settings: Settings, slots: int) -> None:
        self._settings = settings
        self._slots = slots
        self.running: Callable[[], list[Claim]] = list  #: what the pool runs now
        self._ahead = 0  #: messages to claim ahead, the free slots' own among them
        self._pace = 0.0  #: seconds that a task took lately
        self._weight = 0.0  #: bytes that a message had lately
        self._misjudged = -MISTRUST  #: monotonic instant at which claims last had to go back because no slot took them

    def took(self, seconds: float) -> None:
        """A task took that long."""
        self._pace = seconds if seconds > 10 * self._pace else 0.8 * self._pace + 0.2 * seconds

    def weighed(self, sizes: Sequence[int]) -> None:
        """Messages came that had so many bytes."""
        if sizes:
            mean = sum(sizes) / len(sizes)
            self._weight = max(mean, 0.8 * self._weight + 0.2 * mean)

    def misjudged(self) -> None:
        """What was claimed ahead waited for too long."""
        self._misjudged = time.monotonic()

    def calm(self) -> None:
        """Begin with little again."""
        self._ahead = 0

    def outgrows(self, claimed: int) -> bool:
        """Whether it wants at least as many as were *claimed*. Never while tasks are slow."""
        return self._ahead >= claimed

    def wanted(self, free: int) -> int:
        """How many messages to claim now, when *free* could start at once."""
        budget = self._settings.claim_ahead
        if self._pace * 2 > budget:
            self._ahead = 0
            free += self._soon_free(budget)
        else:
            # Half of the budget: while these run, as many more may be on their way.
            fitting = max(int(budget / 2 * self._slots / self._pace), 1) if self._pace else LARGEST_CLAIM
            self._ahead = min(max(self._ahead * 2, free), fitting, LARGEST_CLAIM)
        light = max(int(ROUND_BYTES / self._weight), 1) if self._weight else LARGEST_CLAIM
        return min(max(free, self._ahead), light)

    def _soon_free(self, budget: float) -> int:
        """Slots whose tasks should end within the budget. Tasks often end together."""
        now = time.monotonic()
        if now - self._misjudged < MISTRUST:
            return 0
        return sum(abs(claim.started + self._pace - now) < budget for claim in self.running() if claim.started)
