"""Clock: the clock of a sandbox, which can be turned on, so that what is due later is due now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from ..errors import RefusedInput, WrongType
from ..instants import instant
from ..messages import seconds
from ..protocol.workers import redis_time

if TYPE_CHECKING:
    from ..app import App

#: Kinds of keys that hold instants as scores, by which it is decided what is due, over, or old.
MOVED = frozenset({"scheduled", "leased", "dead", "lost", "failed", "due_queues"})
#: Lasting kinds that stay as they are. `schedules` tell their slots by the turned clock, which the sandbox's worker
#: goes by; `beats` are of processes, whose time is not turned. In the others no instant decides anything.
STAYS = frozenset(
    {
        *("messages", "ready", "counts", "errors", "parked", "stats", "schedules"),
        *("queues", "ready_queues", "data_queues", "workers", "beats", "registry"),
    }
)
#: Kinds whose time to live is about calls to Redis and not about what users see.
OWN_TIME = frozenset({"memo", "wake"})

#: KEYS are moved ARGV[1] ms into the past: scores where ARGV says "scores" for a key, and what is left of its time to
#: live where it says "ttl".
_TURN = """
local ms = tonumber(ARGV[1])
for i, key in ipairs(KEYS) do
  if ARGV[i + 1] == 'scores' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      redis.call('ZINCRBY', key, -ms, member)
    end
  else
    local left = redis.call('PTTL', key)
    if left > ms then
      redis.call('PEXPIRE', key, left - ms)
    elseif left >= 0 then
      redis.call('DEL', key)
    end
  end
end
"""
#: Keys that one call of it takes.
_CHUNK = 1000


class Clock:
    """
    The clock of a sandbox. Redis's own is the only one that the library goes by, and that cannot be turned; so
    everything in the sandbox is moved into its past instead.

    Args:
        app: of the sandbox.
        before_turning: called each time.
    """

    def __init__(self, app: App, before_turning: Callable[[], None]) -> None:
        self._app = app
        self._before_turning = before_turning
        self._turn = app.script_load(_TURN)
        self.offset = 0.0  #: seconds by which it has been turned on, in all
        #: Spans of the turned clock in which something may have been done; the last one goes on.
        self._spans: list[tuple[float, float]] = []
        self._since = self._redis_time()

    def now(self) -> datetime:
        """What it shows: Redis's clock, turned; aware, in UTC."""
        return datetime.fromtimestamp(self.time(), timezone.utc)

    def time(self) -> float:
        """The same in epoch seconds."""
        return self._redis_time() + self.offset

    def advance(self, duration: float | timedelta) -> None:
        """
        Turn it on.

        Calls and items with a delay are due that much sooner, and so are retries; leases end, results, locks, progress
        and checkpoints expire, and what was given up has been so for longer. Recurring tasks are fired by the next
        `BurstWorker.run`, and only by that. What only tells of an instant, and decides nothing, stays: since when a
        ready message waits, the instants in records of failures, the heartbeats of other workers. So does Redis's own
        clock, by which ``when=`` of later calls is understood, and Python's.

        Args:
            duration: seconds, or a timedelta; 0 or greater.
        """
        by = seconds(duration, "duration")
        self._before_turning()
        self._spans.append((self._since, self.time()))
        self._move(round(by * 1000))
        self.offset += round(by * 1000) / 1000
        self._since = self.time()

    def move_to(self, moment: datetime) -> None:
        """
        Turn it on until it shows *moment*, which is UTC when it has no time zone. See `advance`.

        Raises:
            RefusedInput: it shows a later instant already.
        """
        if not isinstance(moment, datetime):
            raise WrongType(f"moment: expected a datetime, got {moment!r}; advance() takes seconds")
        ahead = instant(moment, "moment") - self.time()
        if ahead < 0:
            raise RefusedInput(f"moment: expected one after {self.now().isoformat()}, got {moment.isoformat()}")
        self.advance(ahead)

    def may_have_been(self, at: float) -> bool:
        """Whether something may have been done at that instant, epoch seconds of the turned clock, to a millisecond."""
        return any(start - 0.002 <= at <= end + 0.002 for start, end in [*self._spans, (self._since, self.time())])

    def _redis_time(self) -> float:
        return self._app.broker.execute(redis_time())

    def _move(self, ms: int) -> None:
        stem = self._app.keys.app.stem.partition(b"{")[0]
        keys = sorted(set(self._app.get_connection().scan_iter(match=stem + b"*", count=1000)))
        told = [(key, how) for key in keys if (how := _how(key, len(stem)))]
        for some in self._together(told):
            self._turn(keys=[key for key, _ in some], args=[ms, *(how for _, how in some)])

    def _together(self, told: Sequence[tuple[bytes, str]]) -> Iterable[Sequence[tuple[bytes, str]]]:
        """Keys that one script may touch."""
        size = 1 if self._app.broker.is_cluster else _CHUNK
        return (told[at : at + size] for at in range(0, len(told), size))


def _how(key: bytes, stem: int) -> str:
    """How a key is moved; empty: not at all."""
    kind = key[stem:].partition(b"}:")[2].partition(b":")[0].decode()
    if kind in MOVED:
        return "scores"
    return "" if kind in STAYS or kind in OWN_TIME else "ttl"
