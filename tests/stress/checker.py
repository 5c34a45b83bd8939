"""
Judges a scene after its drain: classes every message, and looks at every invariant.

I1   no loss: what was acknowledged is completed, dead, cancelled, listed as lost, or still queued; repeatable messages
     are never listed as lost, and nothing is that had not started, where only worker processes died.
I2   nothing from nowhere: what runs was sent, was not refused, and has one id.
I3   what is delivered at most once starts once at most.
I4   every further delivery has its reason (the run failed, its process died or was stopped, its lease ended), and there
     are no more than attempts.
I5   fencing: no token is used twice, and the only ack that is accepted is that of the last delivery.
I6   conservation: in Redis a message is in one place, and seen = done + cancelled + dropped + left, so that no
     completion was accepted twice; nothing is left beside what has a message.
I7   first in, first out, where one slot works alone.
I9   every slot of the schedule was fired once.
I10  what is dead has its body unchanged, and a reason.
I12  nothing delayed starts early.
I14  a result is there when its call is over.
I15  work goes on soon after a fault is healed.
I16  what was cancelled does not start any more.
I17  payloads come as they were sent, on every delivery.
"""

from __future__ import annotations

import bisect
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.stress import history, work
from tests.stress.history import Event
from tests.stress.points import POINTS
from tests.stress.remains import Remains
from tests.stress.story import Story, stories

__all__ = ["POINTS", "Broken", "Verdict", "check", "history"]

#: Classes of messages, in the order of the table.
CLASSES = (
    "messages",
    "completed",
    "dead",
    "cancelled",
    "lost-listed",
    "queued",
    "lost",
    "duplicated",
    "unexpected",
    "recovered",
)
#: Seconds that a busy machine may take on top before it counts that work goes on late.
LENIENCE = 3.0
#: ns by which something may seem early: Redis counts in ms.
ROUNDING = 5_000_000


@dataclass
class Broken:
    """An invariant that does not hold, and why that is known."""

    invariant: str
    what: str
    evidence: str = ""

    def __str__(self) -> str:
        return f"{self.invariant} {self.what}\n{self.evidence}"


@dataclass
class Verdict:
    """What came of a scene."""

    counts: Counter[str]
    broken: list[Broken]
    recoveries: dict[str, list[float]]  #: name of a fault -> seconds from its healing until a run ended
    faults: Counter[str]
    told: dict[str, Story] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = ", ".join(f"{self.counts[name]} {name}" for name in CLASSES)
        return "\n".join([counts, *(str(one) for one in self.broken[:20])])


def check(events: Sequence[Event], left: Sequence[Remains], *, supervised: bool = False, fifo: bool = False) -> Verdict:
    """
    Judge.

    Args:
        events: of all processes, in order.
        left: what Redis holds, queue by queue.
        supervised: whether only worker processes died, whose supervisors lived.
        fifo: whether one slot worked alone.
    """
    told = stories(events, left)
    _forgive(told.values(), events)
    lives = Lives(events)
    broken: list[Broken] = []
    for story in told.values():
        broken += _judge(story, lives, supervised)
    for queue in left:
        broken += _conservation(queue)
    broken += _taken(told.values(), events)
    broken += _slots(left, events)
    if fifo:
        broken += _order(told.values())
    recoveries, late = _recoveries(events)
    broken += late
    faults = Counter(event.key for event in events if event.step == "fault" and event.kind == "ok")
    return Verdict(_count(told.values()), broken, recoveries, faults, told)


class Lives:
    """When which processes died, or were told to stop."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._ends: dict[int, int] = {}
        for event in events:
            if event.step in ("kill", "stop"):
                for pid in event.more["target"]:
                    self._ends.setdefault(pid, event.at)
            elif event.step == "death":
                self._ends.setdefault(event.pid, event.at)

    def ended_before(self, pid: int, instant: int) -> bool:
        """Whether a process was told to end before an instant; it is written down first, and may work for a moment."""
        return self._ends.get(pid, instant) < instant


def _judge(story: Story, lives: Lives, supervised: bool) -> Iterator[Broken]:
    def broken(invariant: str, what: str) -> Broken:
        return Broken(invariant, f"{story.key}: {what}", story.tell())

    for start in story.starts:
        if "broken" in start.more:
            yield broken("I17", f"its payload changed into {start.more['broken']}")
    for queue, message_id in story.found:
        if story.of != work.TICKS and not _is_unchanged(story.key, queue.body(message_id)):
            yield broken("I10", "its body changed")
    if story.reason == "undecodable" or ("dead" in story.places and not story.reason):
        yield broken("I10", f"it is dead for the reason {story.reason!r}")
    if story.is_forgiven:
        return
    for result in story.results:
        if result.kind == "ok" and result.more["value"] != story.key:
            yield broken("I14", f"its result is {result.more['value']!r}")
    outcome = story.outcome
    if outcome == "lost" and story.of != "taken":
        yield broken("I1", "it is lost")
    if outcome == "lost-listed" and not story.kind.once:
        yield broken("I1", "it may be delivered again, and is listed as lost")
    if outcome == "lost-listed" and supervised and not story.begins:
        yield broken("I1", "it had not started, and is listed as lost though its supervisor lived")
    if not story.is_known or (story.answer == "fail" and (story.starts or story.found)):
        yield broken("I2", "nobody sent it" if not story.is_known else "it was refused, and is there")
    if len(story.ids) > 1:
        yield broken("I2", f"it is there under several ids: {sorted(story.ids)}")
    if story.kind.once and len(story.starts) > 1:
        yield broken("I3", f"it started {len(story.starts)} times")
    if not story.kind.once:
        yield from (broken("I4", what) for what in _deliveries(story, lives, supervised))
    tokens = [start.token for start in story.starts]
    if len(set(tokens)) < len(tokens) and story.of != "taken":
        yield broken("I5", f"deliveries share a token: {tokens}")
    accepted = [accept.token for accept in story.accepts]
    if len(accepted) > 1 or (accepted and tokens and accepted[0] < max(tokens)):
        yield broken("I5", f"acks were accepted under the tokens {accepted}, of {tokens}")
    delay = story.sent.more.get("delay", 0) if story.sent else 0
    if delay and story.sent and story.starts and story.starts[0].at < story.sent.at + delay * 1e9 - ROUNDING:
        yield broken("I12", f"it started {(story.starts[0].at - story.sent.at) / 1e9:.3f} s after it was sent")
    cancelled_at = min((event.at for event in story.cancels if event.kind == "ok"), default=0)
    if cancelled_at and any(start.at > cancelled_at for start in story.starts):
        yield broken("I16", "it started after it was cancelled")


def _deliveries(story: Story, lives: Lives, supervised: bool) -> Iterator[str]:
    """What is wrong with the deliveries of a message that may have several."""
    most = max((start.attempt for start in story.starts), default=0)
    if most > story.kind.attempts:
        yield f"it was delivered for the {most}. time, of {story.kind.attempts}"
    failed = {end.token for end in story.ends if end.kind == "fail"}
    for start, following in itertools.pairwise(story.starts):
        # A claim may come late and wait before it starts, so the lease is older than the run.
        lease_may_have_ended = following.at - start.more.get("leased", start.at) > work.LEASE * 1e9 - ROUNDING
        if story.kind.lease > work.LEASE and supervised:
            lease_may_have_ended = False
        explained = start.token in failed or lease_may_have_ended or lives.ended_before(start.pid, following.at)
        if not explained:
            yield f"no reason is known for its delivery under token {following.token}"


def _is_unchanged(key: str, body: object) -> bool:
    payload = body.get("payload") if isinstance(body, dict) else body[1][1] if isinstance(body, list) else None
    return json.dumps(payload) == json.dumps(work.payload_of(key))


def _conservation(queue: Remains) -> Iterator[Broken]:
    placed, ids = queue.where, set(queue.messages)
    for message_id, places in placed.items():
        if len(places) > 1:
            yield Broken("I6", f"{queue.name} {message_id} is in {places}")
    for what, some in (("in no place", ids - placed.keys()), ("without a message", placed.keys() - ids)):
        if some:
            yield Broken("I6", f"{queue.name}: {len(some)} {what}: {sorted(some)[:5]}")
    for what, others in queue.others.items():
        if others - ids:
            yield Broken("I6", f"{queue.name}: {what} of what is gone: {sorted(others - ids)[:5]}")
    stats = Counter(queue.stats)
    is_data = queue.is_indexed is None
    dropped = stats["failed"] if is_data else 0
    gone = stats["done"] + stats["cancelled"] + dropped
    if stats["seen"] != gone + len(ids):
        yield Broken(
            "I6", f"{queue.name}: seen {stats['seen']}, but done, cancelled and dropped {gone}, left {len(ids)}"
        )
    if queue.is_indexed is not None and queue.is_indexed != bool(queue.places["ready"]):
        yield Broken(
            "I6", f"{queue.name}: the index says ready={queue.is_indexed}, it has {len(queue.places['ready'])}"
        )


def _taken(told: Iterable[Story], events: Sequence[Event]) -> Iterator[Broken]:
    """Items that were taken for good may be gone with their taker, and no others."""
    gone = [story for story in told if story.of == "taken" and story.outcome == "lost" and not story.is_forgiven]
    takes: Counter[int] = Counter()
    for event in events:
        if event.step == "take":
            takes[event.pid] = event.more["most"] if event.kind == "invoke" else 0
    # A get that raised may have taken what it asked for; the next one of that process says so.
    unanswered = sum(takes.values()) + sum(
        before.more["most"]
        for before, after in _pairs_by_pid(events, "take")
        if before.kind == "invoke" and after.kind == "invoke"
    )
    if len(gone) > unanswered:
        yield Broken("I1", f"{len(gone)} taken items are gone, of {unanswered} that may be", gone[0].tell())


def _pairs_by_pid(events: Sequence[Event], step: str) -> Iterator[tuple[Event, Event]]:
    last: dict[int, Event] = {}
    for event in events:
        if event.step == step:
            if event.pid in last:
                yield last[event.pid], event
            last[event.pid] = event


def _slots(left: Sequence[Remains], events: Sequence[Event]) -> Iterator[Broken]:
    """Every slot from the first one on was fired once: each puts one message, whatever becomes of it."""
    tried = [int(event.key.rpartition(" ")[2]) for event in events if event.step == "slot"]
    for queue in left:
        if queue.name == work.TICKS and tried:
            # Whoever fires a slot says so before, and only the stored slot can be fired: the first was tried first.
            slots = round((int(queue.schedules["tick"]) - min(tried)) / (work.INTERVAL * 1000))
            if slots != queue.stats.get("seen", 0):
                yield Broken("I9", f"{slots} slots were fired {queue.stats.get('seen', 0)} times")


def _order(told: Iterable[Story]) -> Iterator[Broken]:
    started: dict[str, list[tuple[int, int]]] = {}
    for story in told:
        kind, _, rest = story.key.partition("-")
        producer, _, number = rest.partition("-")
        if kind in ("once", "again", "kept", "raises") and story.starts and number.isdigit():
            started.setdefault(producer, []).append((story.starts[0].at, int(number)))
    for producer, firsts in started.items():
        numbers = [number for _, number in sorted(firsts)]
        if numbers != sorted(numbers):
            yield Broken("I7", f"calls of {producer} did not start in the order in which they were sent")


def _recoveries(events: Sequence[Event]) -> tuple[dict[str, list[float]], list[Broken]]:
    ends = [event.at for event in events if event.step == "end"]
    # Nobody sends any more once the drain begins: what comes to its end then says nothing about a fault.
    over = next((event.at for event in events if event.step == "drain"), sys.maxsize)
    recoveries: dict[str, list[float]] = {}
    late = []
    for event in events:
        if event.step == "fault" and event.kind == "ok":
            place = bisect.bisect_right(ends, event.at)
            if place == len(ends) or ends[place] > over:
                continue
            seconds = (ends[place] - event.at) / 1e9
            recoveries.setdefault(event.key, []).append(seconds)
            if seconds > event.more["back"] + LENIENCE:
                late.append(
                    Broken("I15", f"{event.key}: work went on after {seconds:.1f} s, not {event.more['back']:g}")
                )
    return recoveries, late


def _forgive(told: Iterable[Story], events: Sequence[Event]) -> None:
    """Mark what a server may have forgotten some of."""
    spans = [(event.more["since"] - 2 * 10**9, event.at) for event in events if event.step == "forgive"]
    if not spans:
        return
    touches: Callable[[int], bool] = lambda at: any(first <= at <= last for first, last in spans)  # noqa: E731
    for story in told:
        instants = [event.at for event in (*story.starts, *story.ends, *story.accepts, *story.cancels)]
        story.is_forgiven = touches(story.answered_at) or any(touches(at) for at in instants)


def _count(told: Iterable[Story]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for story in told:
        outcome = story.outcome
        counts["messages"] += story.is_known and outcome not in ("refused", "never")
        is_gone_with_its_taker = outcome == "lost" and story.of == "taken"
        if outcome == "lost" and story.is_forgiven:
            outcome = "forgiven"
        counts["taken and gone" if is_gone_with_its_taker else outcome] += 1
        counts["duplicated"] += story.kind.once and len(story.starts) > 1 and not story.is_forgiven
        counts["again"] += max(len(story.starts) - 1, 0)
        counts["unexpected"] += not story.is_known
        counts["recovered"] += story.answer in ("unknown", "") and story.sent is not None and outcome != "never"
    return counts
