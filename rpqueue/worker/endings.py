"""Endings: why a worker ends by itself, without being told to."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from ..broker import Broker
from ..errors import RefusedInput, WrongType
from ..messages import seconds
from ..protocol.workers import due
from ..system import System
from .ledger import Ledger
from .service import Service
from .unparker import Unparker, queues_of

log = logging.getLogger("rpqueue.worker")


@dataclass(frozen=True)
class Endings:
    """When a worker ends by itself: after which time, or once there is nothing to do."""

    exit_after: float | None = None  #: seconds; None: never
    burst: bool = False

    def begin(
        self, system: System, broker: Broker, queues: list[str] | None, ledgers: Callable[[], Iterable[Ledger] | None]
    ) -> tuple[list[Callable[[], int]], list[Service]]:
        """The reasons to end, for `Orders`, and the duties that find them out. See `Burst` for the arguments."""
        reasons, services = [lambda: int(bool(system.settings.should_quit[0]))], list[Service]()
        if self.exit_after is not None:
            reasons.append(Deadline(self.exit_after).order)
        if self.burst:
            burst = Burst(system, broker, queues, ledgers)
            services.append(burst)
            reasons.append(burst.order)
        return reasons, services


def endings_of(exit_after: float | timedelta | None = None, burst: bool = False) -> Endings:
    """Checked Endings. RefusedInput says which value cannot be used."""
    if exit_after is not None:
        exit_after = seconds(exit_after, "exit_after")
        if not exit_after:
            raise RefusedInput("exit_after: expected more than 0 seconds, or None to go on, got 0")
    if not isinstance(burst, bool):
        raise WrongType(f"burst: expected True or False, got {burst!r}")
    return Endings(exit_after, burst)


class Deadline:
    """
    Orders the worker to end after a time.

    Args:
        exit_after: seconds from now.
        clock: monotonic seconds.
    """

    def __init__(self, exit_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._exit_after = exit_after
        self._clock = clock
        self._ends_at = clock() + exit_after
        self._told = False

    def order(self) -> int:
        """1 once the time is over."""
        if self._clock() < self._ends_at:
            return 0
        if not self._told:
            self._told = True
            log.info("the worker ends after its %g seconds", self._exit_after)
        return 1


class Burst:
    """
    Orders the worker to end once its queues hold nothing that could be run at once, and nothing that it claimed runs.

    Scheduled messages that are due count, and so do those of dead workers whose leases are over. Later ones do not, nor
    those whose retry delay is not over, nor what other workers run.

    Args:
        system: registry and keys.
        broker: carries what is asked.
        queues: of the worker; None: all.
        ledgers: of all its processes; None while messages of a dead one wait to be seen to.
    """

    #: Seconds between two looks.
    INTERVAL = 0.2
    #: Queues that one call looks at.
    AT_ONCE = 250

    def __init__(
        self,
        system: System,
        broker: Broker,
        queues: list[str] | None,
        ledgers: Callable[[], Iterable[Ledger] | None],
    ) -> None:
        self._system = system
        self._broker = broker
        self._queues = queues
        self._ledgers = ledgers
        self._unparker = Unparker(system, broker, queues)
        self._is_over = False

    def order(self) -> int:
        """1 once there is nothing left."""
        return int(self._is_over)

    def tick(self) -> float:
        """Look whether anything is left."""
        before = None if self._is_over else self._at_rest()
        if before is not None:
            # A process looks through parked messages when it starts; this is for those that were parked since.
            self._unparker.tick()
            # Nobody claimed between the two looks, so what the queues held was seen nowhere else.
            if not self._due() and self._at_rest() == before:
                self._is_over = True
                log.info("the worker ends, for there is nothing left to do")
        return self.INTERVAL

    def _at_rest(self) -> list[tuple[Ledger, int]] | None:
        """How many rounds each process has run; None while any of them holds a message, or may be given one."""
        ledgers = self._ledgers()
        if ledgers is None:
            return None
        rounds = [(ledger, ledger.rounds) for ledger in ledgers]
        return None if any(ledger.unrecorded() or any(ledger.held()) for ledger, _ in rounds) else rounds

    def _due(self) -> int:
        queues = queues_of(self._system, self._broker, self._queues)
        at_once = 1 if self._broker.is_cluster else self.AT_ONCE
        return sum(
            self._broker.execute(due(queues[first : first + at_once])) for first in range(0, len(queues), at_once)
        )
