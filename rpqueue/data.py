"""Data: a queue of plain items, leased or taken, and the views over dead letters."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from . import messages
from .connections import LONGEST_BLOCK
from .durability import Durability, durability_of
from .errors import RefusedInput, WrongType
from .hiding import redacted
from .keys import QueueKeys, name_text, text_of
from .messages import Flags
from .options import attempts_number, queue_size
from .pipelines import alone, current
from .protocol import data as protocol
from .protocol import moves, views
from .protocol.data import Catch, Items
from .protocol.moves import Index, Lease, Reason, Rules
from .protocol.operation import Flow, Wait, Watch, as_is, command
from .puts import Put
from .states import State
from .together import run_together

if TYPE_CHECKING:
    from datetime import timedelta

    from .app import App

log = logging.getLogger("rpqueue.data")

#: Most items of one `Data.get_data`.
MOST_ITEMS = 1000
#: Seconds for which an item that only a newer rpqueue can read is out of the way of others.
NEWER_DELAY = 5.0
#: Most items that one call to Redis puts; Lua cannot unpack many more.
MOST_PUT = 3000


class Data:
    """
    A queue of items, or a view of dead letters or of a task queue.

    Making one sends nothing. Queues with the same name are the same queue, whatever the other arguments are.

    Args:
        queue: its name, str or bytes. DEADLETTER_QUEUE is the view over the dead letters of all data queues; with
            *is_tasks*, of all task queues.
        attempts: deliveries that an item put by this object may have; 1 or greater.
        vis_timeout: seconds for which `get_data` leases items unless it is told otherwise; 0: it takes them for good.
        use_dead: whether items that were delivered *attempts* times without `done_data` become dead letters; else they
            are dropped.
        is_tasks: whether this is a view of the task queue of that name.
        is_dead: whether this is a view of the queue's dead letters.
        max_queue_size: items that the queue may hold, ready, delayed and leased, when this object puts some; more are
            refused with QueueFull, a chunk at a time. 0: as many as there are.
    """

    app: ClassVar[App]

    def __init__(
        self,
        queue: str | bytes,
        attempts: int = 1,
        vis_timeout: float | timedelta = 0,
        use_dead: bool | None = None,
        is_tasks: bool = False,
        is_dead: bool = False,
        *,
        max_queue_size: int = 0,
    ) -> None:
        self.queue = name_text(queue, "queue")
        self.attempts = attempts_number(attempts, f"attempts of {self.queue}")
        self.vis_timeout = messages.seconds(vis_timeout, f"vis_timeout of {self.queue}")
        self.use_dead = bool(use_dead)
        self.max_queue_size = queue_size(max_queue_size, f"max_queue_size of {self.queue}")
        self.is_tasks = bool(is_tasks)
        self.is_dead = bool(is_dead) or self.queue == self.app.settings.deadletter_queue

    def __repr__(self) -> str:
        kind = ("dead letters of " if self.is_dead else "") + ("tasks" if self.is_tasks else "items")
        return f"<Data queue={self.queue} of {kind}>"

    @property
    def keys(self) -> QueueKeys:
        """The keys of its queue."""
        return self.app.task_keys(self.queue) if self.is_tasks else self.app.data_keys(self.queue)

    @property
    def _index(self) -> Index:
        return self.app.index if self.is_tasks else ()

    @property
    def _rules(self) -> Rules:
        return self.app.task_rules if self.is_tasks else Rules("data")

    # Counting and deleting.

    def currently_available(self) -> tuple[int, int]:
        """``(available, invisible)``: how many `get_data` would find now, and how many are leased or delayed."""
        return self.app.broker.run(self.counting())

    def counting(self) -> Flow[tuple[int, int]]:
        """What `currently_available` says to Redis."""
        if not self.is_dead:
            counts: tuple[int, int] = yield from protocol.measure(self.keys, self._index, self._rules)
            return counts
        queues = yield from self._queues()
        return sum(size.dead for size in (yield from views.sizing(queues, self._per_call))), 0

    def delete_all(self) -> int:
        """
        Delete everything in the queue, leased and delayed items included; its dead letters stay.

        Of a dead-letter view, delete the dead letters instead. Redis serves others in between, however many there are.

        Returns:
            How many were deleted.
        """
        return self.app.broker.run(self.deleting())

    def deleting(self) -> Flow[int]:
        """What `delete_all` says to Redis."""
        if not self.is_dead:
            return (yield from views.clearing(self.keys, self._index))
        queues = yield from self._queues()
        return (yield from views.purging(queues, State.DEAD, chunk=self._per_call))

    # Putting.

    def put_data(
        self,
        data: Any,
        use_dead: bool | None = None,
        is_one: bool = False,
        chunksize: int = 512,
        delay: float | timedelta = 0,
        durability: Durability | None = None,
    ) -> list[str]:
        """
        Put items into the queue. Into a dead-letter view: as dead letters.

        Args:
            data: an iterable of items that JSON can carry; generators are read as they are sent.
            use_dead: as for the queue; None: what the queue says.
            is_one: whether *data* is one item, list or not.
            chunksize: items that one call to Redis puts, all or none; 1 or greater, more than 3,000 are split.
            delay: seconds until they can be got; only for a queue with vis_timeout > 0.
            durability: "replicated": wait, after each chunk, until DURABILITY_REPLICAS replicas have it; "fsync": until
                it is on the master's disk; False: for Redis's answer. None: what DURABILITY says.

        Returns:
            The ids of the items, in order.

        Raises:
            RefusedInput: something cannot be used. Where it is an item, the error says which, and what is put; of its
                chunk nothing is.
            RedisError: Redis could not do it; chunks before are put.
            DurabilityNotConfirmed: a chunk is put, and not as safe as *durability* asks, or not in time; chunks before
                are. `fates.done` of this error holds its ids.

        In the block of a `pipeline`, all items are checked at once, and put when the block ends.
        """
        return run_together(self.app.broker, self.putting(data, use_dead, is_one, chunksize, delay, durability))

    def putting(
        self,
        data: Any,
        use_dead: bool | None = None,
        is_one: bool = False,
        chunksize: int = 512,
        delay: float | timedelta = 0,
        durability: Durability | None = None,
    ) -> Flow[list[str]]:
        """What `put_data` says to Redis."""
        proof = self.app.proof(durability_of(durability, f"durability of {self.queue}"))
        size = min(_count(chunksize, "chunksize", most=None), MOST_PUT)
        seconds = self._delay(delay)
        if self.is_tasks:
            raise RefusedInput(
                f"put_data into task queue {self.queue!r}: it holds calls of tasks; use execute() of a Task"
            )
        flags = Flags.USE_DEAD * (self.use_dead if use_dead is None else bool(use_dead))
        tail = messages.header_tail(0, self.attempts, flags)
        ids: list[str] = []
        if is_one:
            data = [data]
        elif isinstance(data, (Mapping, str, bytes, bytearray)) or not hasattr(type(data), "__iter__"):
            kind = type(data).__name__
            raise WrongType(f"data: expected an iterable of items, got a {kind}; say is_one=True to put it as one item")
        chunks = protocol.Ahead(self._encoded(data, size))
        for bodies in chunks:
            fresh = messages.new_ids(len(bodies))
            pairs, signer = list(zip(fresh, bodies, strict=True)), self.app.signer
            if signer:
                pairs = signer.sign(self.keys.stem, tail, pairs)
            put = Put(
                self.keys,
                self.app.data_index,
                pairs,
                fresh,
                delay=seconds,
                tail=tail,
                is_dead=self.is_dead,
                proof=proof,
                most=self.max_queue_size,
            )
            ids += fresh
            pipeline = current(self.app)
            if pipeline is not None:
                pipeline.add(put)
            elif proof is not None:
                yield from alone(put)
            else:
                operation = put.operation()
                if isinstance(data, Sequence):  # others may be read from somewhere, and no further than was put
                    operation.meanwhile = chunks.prepare
                yield from operation
        return ids

    def _encoded(self, data: Any, size: int) -> Iterator[list[bytes]]:
        limit = self.app.settings.max_message_bytes
        if current(self.app) is None:
            yield from protocol.encoded(data, size, limit)
            return
        # Nothing is put before the pipeline's block ends, so everything is checked first.
        for bodies in protocol.encoded(data, sys.maxsize, limit):
            yield from (bodies[first : first + size] for first in range(0, len(bodies), size))

    def _delay(self, delay: float | timedelta | None) -> float:
        if delay and (self.is_dead or not self.vis_timeout):
            raise RefusedInput(
                f"delay of {self.queue}: expected a queue with vis_timeout > 0, got delay={delay!r}; "
                f"say Data({self.queue!r}, vis_timeout=...)"
            )
        return 0.0 if delay is None else messages.seconds(delay, f"delay of {self.queue}")

    # Getting.

    def get_data(
        self,
        items: int = 1,
        vis_timeout: float | timedelta | None = None,
        get_timeout: float | timedelta | None = None,
    ) -> Items:
        """
        Get items, oldest first.

        Args:
            items: most items to get, 1 to 1,000.
            vis_timeout: seconds to lease them for: unless `done_data` is said until then, they are delivered again, as
                often as *attempts* allows. 0: they are yours, and gone from the queue. Below 0: look, and leave
                everything as it is. None: the queue's own. A dead-letter view knows looking and taking only.
            get_timeout: seconds to wait for the first item; None or 0: not at all. Returns as soon as there is one. A
                dead-letter view is looked at every two seconds.

        Returns:
            ``{id: item}``, empty when there is none. Of tasks, dead ones included: ``{id: [id, name, args, kwargs,
            scheduled at]}``. Of dead items: ``{id: [id, '', item, extra fields, put at]}`` with a dict of queue,
            reason, failures, crashes, died_at and, where it is known, error. Instants are epoch seconds.
        """
        return self.app.broker.run(self.getting(items, vis_timeout, get_timeout))

    def getting(
        self,
        items: int = 1,
        vis_timeout: float | timedelta | None = None,
        get_timeout: float | timedelta | None = None,
    ) -> Flow[Items]:
        """What `get_data` says to Redis."""
        return (yield from self.catching(items, vis_timeout, get_timeout)).items

    def catching(
        self,
        items: int = 1,
        vis_timeout: float | timedelta | None = None,
        get_timeout: float | timedelta | None = None,
    ) -> Flow[Catch]:
        """What `get_data` says to Redis, for who may want to give it back."""
        wanted = _count(items, "items", most=MOST_ITEMS)
        lease_for = self.vis_timeout if vis_timeout is None else _span(vis_timeout, "vis_timeout")
        patience = 0.0 if get_timeout is None else messages.seconds(get_timeout, "get_timeout")
        ends_at = time.monotonic() + patience
        if self.is_dead:
            return (yield from self._catching_dead(wanted, lease_for < 0, ends_at))
        ask = wanted
        while True:
            left = ends_at - time.monotonic()
            haul = yield from protocol.lease(
                self.keys,
                self._index,
                self._rules,
                ask,
                lease_for,
                limit=max(self.app.settings.queue_items_per_pass, wanted),
                leaving=left <= 0,
            )
            found, unreadable = haul.decoded(
                lease_for, self.app.settings.max_message_bytes, self.app.signer, are_tasks=self.is_tasks
            )
            if unreadable and lease_for >= 0:
                yield from self._putting_off([one for one in unreadable if one.version], lease_for, haul.now)
                yield from self._quarantining([one for one in unreadable if not one.version], lease_for)
            if lease_for < 0 and len(found) < wanted and len(haul.messages) == ask < MOST_ITEMS:
                ask = min(wanted + len(unreadable), MOST_ITEMS)  # look past what nobody can read
                continue
            if found:
                if lease_for < 0 and self.is_tasks:
                    yield from redacted(self.app, list(found.values()))
                return Catch(found, lease_for, haul)
            if (unreadable and lease_for >= 0) or haul.wait <= 0:
                continue
            if left <= 0:
                return Catch(found, lease_for)
            # A token that was lost, with the process that took it, costs one of these rounds.
            look_again = protocol.lease(self.keys, self._index, self._rules, 0, 0)
            yield from Wait([self.keys.wake], min(left, LONGEST_BLOCK, haul.wait), hand_on=look_again)

    def giving_back(self, catch: Catch) -> Flow[None]:
        """Leave everything as if `get_data` had not been called: its caller went away before it had the items."""
        return catch.giving_back(self.keys, self._index, self._rules)

    def _putting_off(self, newer: list[protocol.Unreadable], lease_for: float, now: float) -> Flow[None]:
        """Leave what only a newer rpqueue can read to one; no attempt is used."""
        if not newer:
            return
        log.warning(
            "queue %s: %d messages were written by a newer rpqueue, and are left for one; the first is %r: %s",
            *(self.queue, len(newer), newer[0].id, newer[0].error),
        )
        if not lease_for:
            taken = [one.taken(now + NEWER_DELAY) for one in newer]
            yield from moves.put_back(self.keys, self._index, State.SCHEDULED, taken)
        elif self.is_tasks:
            names = [(text_of(one.id), one.token, messages.parking_name(one.version)) for one in newer]
            yield from moves.park(self.keys, names)
        else:
            leases: list[tuple[str, int | str, Reason]] = [(text_of(one.id), one.token, "interrupted") for one in newer]
            yield from moves.release(self.keys, self._index, leases, self._rules, delay=NEWER_DELAY)

    def _quarantining(self, unreadable: list[protocol.Unreadable], lease_for: float) -> Flow[None]:
        for one in unreadable:
            log.warning("queue %s: message %r goes to the dead letters: %s", self.queue, one.id, one.error)
        # What was taken for good is no longer in Redis, and comes back with its bytes.
        said = [(one.id, one.token if lease_for else "", one.message, _record(one.error)) for one in unreadable]
        if said:
            yield from protocol.quarantine(self.keys, self._index, said)

    def _catching_dead(self, wanted: int, is_peek: bool, ends_at: float) -> Flow[Catch]:
        while True:
            queues = yield from self._queues()
            look = views.reading_buried if is_peek else views.taking_buried
            letters = yield from look(queues, State.DEAD, wanted, chunk=self._per_call)
            left = ends_at - time.monotonic()
            if letters or left <= 0:
                found = protocol.dead_letters(letters, self.app.signer, are_tasks=self.is_tasks)
                if is_peek and self.is_tasks:
                    yield from redacted(self.app, list(found.values()))
                return Catch(found, 0, letters=() if is_peek else letters)
            some = (queues or [self.keys])[: self._per_call]
            question = views.oldest([keys.dead for keys in some], 1)
            yield from Watch([keys.events for keys in some], question, bool, min(left, LONGEST_BLOCK))

    @property
    def _per_call(self) -> int:
        """Queues that one call of a dead-letter view may look into."""
        return 1 if self.app.broker.is_cluster else views.CHUNK

    def _queues(self) -> Flow[list[QueueKeys]]:
        """The queues of a dead-letter view."""
        if self.queue != self.app.settings.deadletter_queue:
            return [self.keys]
        known = self.app.keys.app
        names = yield from command(as_is, "ZRANGE", known.queues if self.is_tasks else known.data_queues, 0, -1)
        keys_of = self.app.keys.tasks if self.is_tasks else self.app.keys.data
        return [keys_of(text_of(name)) for name in names]

    # What is leased.

    def refresh_data(self, items: Any, vis_timeout: float | timedelta | None = None) -> list[str]:
        """
        Let leases end later: *vis_timeout* seconds from now.

        Args:
            items: what `get_data` returned, or ids; see `done_data`.
            vis_timeout: seconds, greater than 0; None: the queue's own.

        Returns:
            The ids of those that were held and are refreshed.
        """
        return self.app.broker.run(self.refreshing(items, vis_timeout))

    def refreshing(self, items: Any, vis_timeout: float | timedelta | None = None) -> Flow[list[str]]:
        """What `refresh_data` says to Redis."""
        seconds = self.vis_timeout if vis_timeout is None else messages.seconds(vis_timeout, "vis_timeout")
        if not seconds:
            raise RefusedInput(
                f"vis_timeout of {self.queue}: expected seconds > 0 to refresh for, got {seconds:g}"
                + ("" if vis_timeout is not None else ", the queue's own; say refresh_data(items, vis_timeout=...)")
            )
        refreshed: list[str] = []
        for leases in self._leases(items):
            refreshed += yield from moves.extend(self.keys, [(*lease, 0.0) for lease in leases], seconds)
        if refreshed and (self.is_tasks or seconds <= LONGEST_BLOCK):
            # It may end sooner than before: whoever waits has to hear of it.
            yield from protocol.lease(self.keys, self._index, self._rules, 0, 0)
        return refreshed

    def done_data(self, items: Any) -> list[str]:
        """
        Say that leased items are done; they are not delivered again.

        Args:
            items: what `get_data` returned, which speaks for its own leases alone; or ids, one or an iterable of them,
                which speak for whoever holds these items now.

        Returns:
            The ids of those that were held and are done now.
        """
        return self.app.broker.run(self.finishing(items))

    def finishing(self, items: Any) -> Flow[list[str]]:
        """What `done_data` says to Redis."""
        done: list[str] = []
        for leases in self._leases(items):
            done += yield from moves.ack(self.keys, leases)
        return done

    def _leases(self, items: Any) -> Iterator[list[Lease]]:
        """The leases that *items* speaks for, as many at a time as one call may take."""
        tokens: Mapping[str, int | str] = items.tokens if isinstance(items, Items) else {}
        ids: Any = [items] if isinstance(items, (str, bytes)) else items
        if not hasattr(type(ids), "__iter__"):
            raise WrongType(f"items: expected what get_data returned, or ids, got {items!r}")
        if not tokens or not tokens.keys() >= items.keys():
            ids = dict.fromkeys(name_text(one, "id of an item") for one in ids)
        leases: list[Lease] = [(one, tokens.get(one, "")) for one in ids]
        if self.is_dead:
            return  # nobody holds dead letters
        for first in range(0, len(leases), protocol.PER_CALL):
            yield leases[first : first + protocol.PER_CALL]


def _record(error: Exception) -> str:
    return json.dumps({"exception": type(error).__name__, "message": str(error)})


def _count(value: Any, what: str, most: int | None) -> int:
    """*value* as a whole number >= 1, and at most *most*."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongType(f"{what}: expected a whole number, got {value!r}")
    if value < 1 or (most is not None and value > most):
        raise RefusedInput(f"{what}: expected {'1 or greater' if most is None else f'1 to {most}'}, got {value!r}")
    return value


def _span(value: Any, what: str) -> float:
    """*value* as seconds, which may be below 0 here."""
    return messages.seconds(value, what, least=-1e10)
