"""
The bookkeeping of one queue: every message is in one place, and nothing is left of those that are gone.

All that moves messages are scripts, so this holds at any instant, however busy the queue is. It breaks when keys are
deleted, evicted, or restored from different moments. A queue is looked through in parts of a few hundred entries, while
others go on. What looks wrong in a part is looked at again, alone and at one instant, before it is told or mended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..app import App
from ..errors import RedisError
from ..keys import QueueKeys
from ..protocol import checkups
from ..protocol.checkups import PLACES, Census, Place
from ..protocol.moves import Index, enlist
from .findings import Finding, note, ok, problem, warning
from .keyspace import Kind

#: Entries of a place that one call looks at.
PART = 200
#: Ids of ready messages that one call hands out.
LIST_PART = 1000
#: Bytes of messages that Redis may have to read for one part, where it cannot leave them out.
_PART_BYTES = 1_048_576
#: Messages of one queue that are looked at alone when nothing is to be mended.
MOST_SUSPECTS = 1000


@dataclass
class Books:
    """One queue, and what is wrong with it."""

    name: str
    kind: Kind
    census: Census
    wrong: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  #: what -> ids, and where each is then
    more: int = 0  #: suspects that were not looked at alone
    unlisted: bool = False
    index: str = ""  #: what the index says wrongly
    mended: bool = False

    @property
    def total(self) -> int:
        """Messages that something is wrong with."""
        return sum(map(len, self.wrong.values()))


class Bookkeeper:
    """
    Looks through queues.

    Args:
        app: whose.
        mends: whether to set right what is wrong.
        quick: whether to compare totals only.
    """

    def __init__(self, app: App, *, mends: bool = False, quick: bool = False) -> None:
        self.app, self.mends, self.quick = app, mends, quick

    def check(self, kind: Kind, name: str) -> Books:
        """One queue."""
        app = self.app
        keys = app.task_keys(name) if kind == "tasks" else app.data_keys(name)
        census = app.broker.execute(checkups.census(keys, app.index if kind == "tasks" else app.data_index))
        if app.broker.is_cluster:  # where no script of a queue reaches the list of all
            census = census._replace(priority=app.broker.execute(checkups.listed_at(keys)))
        books = Books(name, kind, census)
        if not self.quick:
            self._look_through(keys, books)
        self._check_index(keys, books)
        return books

    # Messages.

    def _look_through(self, keys: QueueKeys, books: Books) -> None:
        suspects: dict[str, bool] = {}  #: id -> whether only a missing place is suspected
        places: list[Place] = ["ready", "scheduled", "leased", "dead", "lost", "failed", "parked", "counts", "errors"]
        for place in places:
            if getattr(books.census, place):
                for part in self._parts(keys, place):
                    suspects.update(dict.fromkeys(part.wrong, False))
        suspects.update(dict.fromkeys(self._doubles(keys, books.census), False))
        if suspects or books.census.messages != books.census.placed:
            for one in self._nowhere(keys):
                suspects.setdefault(one, True)
        for number, (one, misses) in enumerate(suspects.items()):
            if number >= MOST_SUSPECTS and not self.mends:
                books.more = len(suspects) - number
                break
            self._look_at(keys, books, one, misses)

    def _parts(self, keys: QueueKeys, place: Place) -> Iterator[checkups.Part]:
        on, size = "0", self._part_size(keys) if place == "messages" else PART
        while True:
            part = self.app.broker.execute(checkups.audit(keys, place, on, size))
            yield part
            on = part.on
            if on == "0":
                return

    def _part_size(self, keys: QueueKeys) -> int:
        """How many messages to look at in one part, so that large ones hold nobody up."""
        try:
            total = self.app.broker.execute(checkups.memory(keys.messages))
            count = self.app.broker.execute(checkups.length(keys.messages))
        except RedisError:
            return 20
        return max(min(PART, _PART_BYTES * count // max(total, 1)), 1)

    def _doubles(self, keys: QueueKeys, census: Census) -> set[str]:
        """Ids that were seen in the list twice, at two looks: as it moves, others are seen twice at one."""
        if census.messages >= census.placed:
            return set()
        return self._seen_twice(keys) & self._seen_twice(keys)

    def _seen_twice(self, keys: QueueKeys) -> set[str]:
        seen: set[str] = set()
        twice: set[str] = set()
        for one in self._ready(keys):
            (twice if one in seen else seen).add(one)
        return twice

    def _ready(self, keys: QueueKeys) -> Iterator[str]:
        """
        The ids of ready messages, last one first by parts.

        Counted from the end, so that none is passed over that stays in the list meanwhile.
        """
        passed = 0
        while ids := self.app.broker.execute(checkups.ready_ids(keys, passed, LIST_PART)):
            yield from ids
            passed += LIST_PART

    def _nowhere(self, keys: QueueKeys) -> list[str]:
        """Messages that were in no place at two looks."""
        missing = self._outside(keys)
        if missing:
            ready = set(self._ready(keys))
            missing = [one for one in missing if one not in ready]
        return missing

    def _outside(self, keys: QueueKeys) -> list[str]:
        ready = set(self._ready(keys))
        found = dict.fromkeys(one for part in self._parts(keys, "messages") for one in part.wrong)
        return [one for one in found if one not in ready]

    def _look_at(self, keys: QueueKeys, books: Books, message_id: str, misses: bool) -> None:
        app = self.app
        index: Index = app.index if books.kind == "tasks" else ()
        verdict = app.broker.execute(
            checkups.mend(keys, index, books.kind, message_id, mends=self.mends, misses=misses)
        )
        if verdict.what != "fine":
            books.wrong.setdefault(verdict.what, []).append((message_id, verdict.where))
            books.mended = books.mended or self.mends

    # The index.

    def _check_index(self, keys: QueueKeys, books: Books) -> None:
        if books.census.is_empty:
            return
        books.unlisted = books.census.priority is None
        index = self.app.index if books.kind == "tasks" else ()
        if index:
            books.index = _denied(books.census)
        if self.mends and (books.index or books.unlisted):
            self.app.broker.execute(checkups.relist(keys, index) if index else enlist(keys))
            books.mended = True


def _denied(census: Census) -> str:
    """What the index of task queues does not say of this one, so that workers do not find it. It may say too much."""
    if census.ready and census.ready_priority is None:
        return f"{census.ready:,} ready messages are not announced to workers"
    if census.ready and census.ready_priority != census.priority:
        return "it is announced under another priority than it has"
    firsts = [instant for instant in (census.first_due, census.first_expiry) if instant is not None]
    if firsts and (census.due_at is None or census.due_at > min(firsts) + 1):
        return "workers are not told when its next message is due"
    return ""


_TROUBLES = {
    "no message": (
        warning,
        "ids without a message",
        "they are deleted, with what is left of them",
    ),
    "twice": (
        problem,
        "messages in two places, which may run twice",
        "each stays in one place only: with its holder, else in its grave, else where it waits",
    ),
    "nowhere": (
        problem,
        "messages in no place, which nobody will ever get",
        "those that may be delivered again go to the end of the queue, the others to the lost and the dead",
    ),
}


def checks(books: Books, *, mends: bool, quick: bool) -> Iterator[Finding]:
    """What is to be told of one queue."""
    queue = f"{'task' if books.kind == 'tasks' else 'data'} queue {books.name!r}"
    census = books.census
    for what, found in books.wrong.items():
        make, words, remedy = _TROUBLES[what]
        places = sorted({where for _, where in found})
        ids = ", ".join(one for one, _ in found[:3]) + (", ..." if len(found) > 3 else "")
        seen = f"{queue}: {len(found):,} {words}: {ids}"
        if mends:
            yield note(f"queue.{what.replace(' ', '-')}", f"{seen}; mended: now {' and '.join(places)}")
        else:
            yield make(f"queue.{what.replace(' ', '-')}", seen, "none", f"rpqueue doctor --repair: {remedy}")
    if books.more:
        yield problem(
            "queue.more",
            f"{queue}: {books.more:,} more look wrong",
            "none",
            "they are looked at one by one by --repair",
        )
    if census.messages != census.placed and not books.total:
        level = problem if quick else warning
        yield level(
            "queue.conservation",
            f"{queue}: {census.messages:,} messages, and {census.placed:,} entries in all places",
            "as many of both, at any instant",
            "run doctor without --quick to see which" if quick else "it has passed since; run doctor again",
        )
    if books.unlisted or books.index:
        wrong = books.index or "it is not listed, so rpqueue status and workers of all queues do not see it"
        if mends:
            yield note("queue.index", f"{queue}: {wrong}; mended")
        else:
            yield problem("queue.index", f"{queue}: {wrong}", "an index that is true", "rpqueue doctor --repair")


def all_well(count: int, messages: int) -> Finding:
    """Of all queues together."""
    return ok("queues", f"{count:,} queues with {messages:,} messages, each in one place")


assert set(PLACES) <= set(Census._fields)
