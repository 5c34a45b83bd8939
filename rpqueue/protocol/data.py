"""
What users of items say to Redis: put, get, look, count, and bury what cannot be read; and the rows that they get.

Dead letters of many queues are found, taken and deleted by the flows in views.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from .. import messages
from ..errors import BadSignature, NewerMessage, RefusedInput, Undecodable
from ..keys import LONGEST_NAME, QueueKeys, are_names, text_of, wire
from ..signing import Signer, tail_of
from ..states import State
from . import scripts
from .claimed import Claimed
from .moves import Index, Reason, Rules, Taken, listed, ms, put_back, release
from .operation import Flow, Operation, Word
from .views import Buried, giving_back_buried

T = TypeVar("T")

#: Leases that one call acks or extends; keeps each call to about a millisecond.
PER_CALL = 1000


class Items(dict[str, Any]):
    """
    ``{id: item}``, oldest first, as ``Data.get_data`` returned it. A dict in every way, and it remembers its leases.

    Handed to ``Data.done_data`` or ``Data.refresh_data``, it speaks for these leases alone: where one has ended and
    another consumer has the item now, nothing happens to that.
    """

    tokens: dict[str, int]  #: ``{id: token of its lease}``; what was only looked at has token 0, which holds nothing
    ends_at: float  #: epoch seconds, Redis's clock: when the leases end if nobody refreshes them; 0: there are none

    def __init__(
        self,
        items: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        tokens: Mapping[str, int] | None = None,
        ends_at: float = 0.0,
    ) -> None:
        super().__init__(items)
        self.tokens = dict(tokens or {})
        self.ends_at = ends_at

    def copy(self) -> Items:
        """The same items under the same leases."""
        return Items(self, self.tokens, self.ends_at)


class Catch(NamedTuple):
    """What one `Data.get_data` brought, and what has to be known to give it back."""

    items: Items
    lease_for: float  #: seconds; 0: they were taken for good; below 0: they were only looked at
    haul: Haul | None = None
    letters: Sequence[Buried] = ()  #: dead letters that were taken

    def giving_back(self, keys: QueueKeys, index: Index, rules: Rules) -> Flow[None]:
        """Leave everything as it was, for a consumer that went away before it had the items."""
        if self.letters:
            yield from giving_back_buried(self.letters, State.DEAD)
        if self.haul is None or self.lease_for < 0:
            return
        # What could not be decoded is buried by now.
        mine = [row for row in self.haul.claimed.rows() if text_of(row[0]) in self.items]
        if mine and self.lease_for > 0:
            leases: list[tuple[str, int | str, Reason]] = [
                (text_of(message_id), past.token, "unstarted") for message_id, _, past in mine
            ]
            yield from release(keys, index, leases, rules)
        elif mine:
            taken = [
                Taken(message_id, message, f"{past.token + 1} 0 0 0" if past.token > 1 else "")
                for message_id, message, past in mine
            ]
            yield from put_back(keys, index, State.READY, taken)


class Unreadable(NamedTuple):
    """A message that cannot be decoded."""

    id: bytes
    token: int
    message: bytes
    error: Undecodable

    @property
    def version(self) -> int:
        """Of the newer form that it has; 0: it has none."""
        return self.error.version if isinstance(self.error, NewerMessage) else 0

    def taken(self, at: float) -> Taken:
        """The message, taken out for good, to be put back as due *at* (epoch seconds)."""
        return Taken(self.id, self.message, f"{self.token + 1} 0 0 0", at)


class Haul(NamedTuple):
    """What one look at a queue brought."""

    now: float  #: epoch seconds by Redis's clock
    claimed: Claimed  #: under token 0 when it was only looked at
    due: float  #: epoch seconds: when something becomes ready by itself; 0: never

    @property
    def messages(self) -> list[bytes]:
        """The messages, in order."""
        return self.claimed.messages

    @property
    def wait(self) -> float:
        """Seconds until something becomes ready by itself: infinite when nothing does, 0 when there is more now."""
        return max(self.due - self.now, 0.0) if self.due else float("inf")

    def decoded(
        self, lease_for: float, limit: int, signer: Signer, *, are_tasks: bool
    ) -> tuple[Items, list[Unreadable]]:
        """What is in the messages, leased for *lease_for* seconds; and those over *limit*, badly signed, or no JSON."""
        ends_at = self.now + lease_for if self.claimed.ids and lease_for > 0 else 0.0
        items = None if are_tasks else self._items(limit, signer, ends_at)
        if items is not None:
            return items, []
        found, unreadable = Items(ends_at=ends_at), []
        for message_id, message, past in self.claimed.rows():
            try:
                if not are_names([message_id]):
                    raise Undecodable(
                        f"message id: expected 1 to {LONGEST_NAME} bytes of UTF-8, got {message_id[:80]!r}"
                    )
                leased = messages.split(message_id, past.token, message)
                body = signer.body_of(self.claimed.keys.stem, message_id, message)
                value = task_row(leased, body, limit) if are_tasks else messages.decode(body, "item", limit)
            except Undecodable as error:
                unreadable.append(Unreadable(message_id, past.token, message, error))
            else:
                found[leased.id] = value
                found.tokens[leased.id] = past.token
        return found, unreadable

    def _items(self, limit: int, signer: Signer, ends_at: float) -> Items | None:
        """The items, decoded together; None when one of them is odd."""
        headers, bodies, checks = set(), [], bool(signer)
        for message_id, message in zip(self.claimed.ids, self.messages, strict=True):
            header, bar, body = message.partition(b"|")
            if checks:
                try:
                    body = signer.opened(self.claimed.keys.stem, message_id, tail_of(header), body)
                except BadSignature:
                    return None
            if not bar or (limit and len(body) > limit):
                return None
            headers.add(header)
            bodies.append(body)
        values = messages.decode_each(bodies)
        if values is None:
            return None
        try:
            for header in headers:
                messages.check_version(header)
        except Undecodable:
            return None
        if not are_names(self.claimed.ids):
            return None
        ids = [message_id.decode() for message_id in self.claimed.ids]
        items = Items(zip(ids, values, strict=True), ends_at=ends_at)
        items.tokens = dict.fromkeys(ids, self.claimed.token)
        for place, past in self.claimed.past().items():
            items.tokens[ids[place]] = past.token
        return items


def encoded(items: Iterable[Any], size: int, limit: int) -> Iterator[list[bytes]]:
    """*items* as JSON, *size* at a time. Nothing of a chunk comes out before all of it is encoded."""
    put, rest = 0, iter(items)
    while chunk := list(islice(rest, size)):
        yield messages.encode_each(chunk, limit) or _encoded_alone(chunk, put, limit)
        put += len(chunk)


class Ahead(Generic[T]):
    """An iterator that can be told to have its next one ready. What that raises is raised when it is asked for."""

    def __init__(self, rest: Iterator[T]) -> None:
        self._rest = rest
        self._next: T | Exception | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        self.prepare()
        one, self._next = self._next, None
        if isinstance(one, Exception):
            raise one
        assert one is not None
        return one

    def prepare(self) -> None:
        """Have the next one ready."""
        if self._next is None:
            try:
                self._next = next(self._rest)
            except Exception as error:
                self._next = error


def _encoded_alone(chunk: list[Any], put: int, limit: int) -> list[bytes]:
    """One of these may have to be refused; so many are put already."""
    bodies: list[bytes] = []
    for number, item in enumerate(chunk, put):
        try:
            bodies.append(messages.encode(item, f"item {number} of data", limit))
        except RefusedInput as error:
            if not put:
                raise type(error)(f"{error}; nothing was put") from error
            what = (
                f"items 0 to {put - 1} are put, and none from {put} on" if put > 1 else "item 0 is put, none after it"
            )
            raise type(error)(f"{error}; {what}") from error
    return bodies


def lease(
    keys: QueueKeys,
    index: Index,
    rules: Rules,
    wanted: int,
    lease_for: float,
    *,
    limit: int = 100,
    leaving: bool = True,
) -> Operation[Haul]:
    """
    Ready → leased, oldest first.

    Args:
        keys: of the queue.
        index: the app's keys for tasks, () for items.
        rules: for what is given up on the way.
        wanted: most messages to get, up to 1,000; 0 only promotes and reaps.
        lease_for: seconds; 0 takes the messages for good, below 0 leaves them where they are.
        limit: most messages to promote, and to reap.
        leaving: whether the caller goes away after this look instead of waiting for more.
    """
    words: list[Word] = [str(wanted), str(ms(lease_for) if lease_for >= 0 else -1), str(limit), "1" if leaving else "0"]
    words += (keys.name, rules.kind, str(rules.poison), str(rules.keep))

    def read(reply: list[Any]) -> Haul:
        now, ids, messages, again, due = reply
        claimed = Claimed(keys, ids, messages, again, token=1 if lease_for >= 0 else 0)
        return Haul(int(now) / 1000, claimed, int(due) / 1000)

    return Operation(scripts.load("lease"), (*keys.block, *index), words, read, keys.memo)


def measure(keys: QueueKeys, index: Index, rules: Rules, limit: int = PER_CALL) -> Operation[tuple[int, int]]:
    """``(available, invisible)``: how many messages a consumer would get now, and how many are scheduled or leased."""
    words = [str(limit), keys.name, rules.kind, str(rules.poison), str(rules.keep)]
    return Operation(
        scripts.load("measure"), (*keys.block, *index), words, lambda reply: (int(reply[0]), int(reply[1]))
    )


def quarantine(
    keys: QueueKeys, index: Index, messages: Iterable[tuple[bytes, int | str, bytes, str]]
) -> Operation[list[bytes]]:
    """
    Bury ``(id, token, message, JSON of the error)`` that cannot be decoded; returns the ids that are buried now.

    An empty token stands for a message that was taken for good: it comes back with these bytes.
    """
    words: list[Word] = [keys.name]
    for message_id, token, message, error in messages:
        words += (message_id, str(token), message, error)
    return Operation(scripts.load("quarantine"), (*keys.block, *index), words, list, keys.memo)


def bury_new(
    keys: QueueKeys, index: Index, messages: Iterable[tuple[str, bytes]], *, tail: str = "", reason: str = "put"
) -> Operation[float]:
    """New ``(id, body)``, dead from the start. Returns the instant by Redis's clock."""
    words: list[Word] = [keys.name, tail, reason]
    for message_id, body in messages:
        words += (message_id, body)
    buried = Operation(
        scripts.load("bury_new"), (*keys.block, *index), words, lambda reply: int(reply) / 1000, keys.memo
    )
    return listed(buried, keys, index)


def task_row(message: messages.Leased, body: bytes, limit: int = 0) -> list[Any]:
    """``[id, name, args, kwargs, scheduled at]`` of a message with a task's *body*; Undecodable when it is none."""
    return [message.id, *messages.decode_task(body, limit), message.available_at]


def dead_task_row(letter: Buried, signer: Signer) -> list[Any]:
    """The same of a dead task; of bytes that are none, an empty name and them as the argument."""
    where = letter.where
    try:
        message = messages.split(wire(where.id), 0, where.message)
        return task_row(message, signer.body_of(letter.queue.stem, wire(where.id), where.message))
    except Undecodable:
        return [where.id, "", [where.message], {}, 0.0]


def dead_item_row(letter: Buried, signer: Signer) -> list[Any]:
    """``[id, '', item, extra fields, put at]``; of bytes that are no item, None with them in ``extra['message']``."""
    where = letter.where
    extra: dict[str, Any] = {
        "queue": letter.queue.name,
        "reason": where.reason,
        "failures": where.failures,
        "crashes": where.crashes,
        "died_at": where.at,
    }
    item, put_at = None, 0.0
    try:
        if where.error:
            extra["error"] = messages.decode(where.error, "error record")
        message = messages.split(wire(where.id), 0, where.message)
        body = signer.body_of(letter.queue.stem, wire(where.id), where.message)
        put_at, item = message.available_at, messages.decode(body)
    except Undecodable:
        extra["message"] = where.message
    return [where.id, "", item, extra, put_at]


def dead_letters(letters: Iterable[Buried], signer: Signer, *, are_tasks: bool) -> Items:
    """``{id: row}`` in order. Of a second one with the same id, which only users choose, the key is ``queue:id``."""
    rows: dict[str, list[Any]] = {}
    for letter in letters:
        row = dead_task_row(letter, signer) if are_tasks else dead_item_row(letter, signer)
        rows[row[0] if row[0] not in rows else f"{letter.queue.name}:{row[0]}"] = row
    return Items(rows, dict.fromkeys(rows, 0))
