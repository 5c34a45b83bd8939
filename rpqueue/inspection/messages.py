"""Views of messages: one by its id, pages of a state, what was given up, how many there are of each task."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..errors import RefusedInput
from ..keys import QueueKeys, name_text, text_of
from ..protocol import moves, views
from ..protocol.moves import Whereabouts
from ..protocol.operation import Flow
from ..queues import row_count
from ..seen import MessageView, places_of, redacted_views, view_of
from ..selecting import NAME_BYTES, Selection, name_in
from ..states import GRAVES, State

if TYPE_CHECKING:
    from ..app import App

#: Messages that one page looks at, at most, when it shows only some of them.
LOOK = 10_000
#: Messages that one call looks at.
_PART = 1000

_CURSORS = {State.READY: re.compile(r"[0-9]+"), State.PARKED: re.compile(r"[0-9]+")}
_SCORED = re.compile(r"-?[0-9.]+(?:e[+-]?[0-9]+)? .+", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """Some messages, and where to go on."""

    messages: list[MessageView]
    after: str | None  #: to be given for the next page; None: this was the last one


@dataclass(frozen=True)
class TaskNames:
    """How many messages there are of each task."""

    names: dict[str, int]  #: most messages first; the name of what cannot be read is empty
    looked: int  #: messages that were looked at
    total: int  #: messages that there were
    is_all: bool  #: whether all were looked at


class Spot(NamedTuple):
    """One state of one queue."""

    keys: QueueKeys
    place: State

    def cursor(self, after: str) -> str:
        """Where a page over several spots is to go on."""
        return f"{self.place.value} {text_of(self.keys.stem)} {after}"


def viewing_message(app: App, message_id: str, queue: str | bytes | None) -> Flow[MessageView | None]:
    """What `Inspection.message` says to Redis."""
    found = yield from finding(app, message_id, queue)
    if found is None:
        return None
    [view] = yield from redacted_views(app, [view_of(app, *found)])
    return view


def finding(app: App, message_id: str, queue: str | bytes | None) -> Flow[tuple[QueueKeys, Whereabouts] | None]:
    """Where a message is, and in which queue; None when no queue knows it."""
    wanted = name_text(message_id, "message id")
    found: list[QueueKeys]
    if queue is None:
        tasks, data = (yield from app.queues_of(is_data=False)), (yield from app.queues_of(is_data=True))
        found = yield from views.finding([*tasks, *data], wanted, app.queues_per_call)
    else:
        found = [app.task_keys(queue), app.data_keys(queue)]
    for keys in found:
        [where] = yield from moves.whereabouts(keys, [wanted])
        if where.state is not None:
            return keys, where
    return None


def paging(
    app: App,
    queue: str | bytes | None,
    state: State | str,
    after: str | None,
    limit: int,
    is_data: bool,
    *,
    newest: bool,
    selection: Selection,
    executions: int,
) -> Flow[Page]:
    """What `Inspection.page` says to Redis."""
    most, records = row_count(limit, "limit"), row_count(executions, "executions", least=0)
    places = places_of(state)
    spots, at, cursor = yield from _begin(app, queue, places, after, is_data)
    is_single = queue is not None and len(places) == 1
    rows: list[tuple[QueueKeys, Whereabouts]] = []
    looked = 0
    while at < len(spots):
        spot = spots[at]
        part = most - len(rows) if not selection else min(_PART, LOOK - looked)
        found = yield from views.page(
            spot.keys,
            (spot.place,),
            part,
            after=cursor,
            newest=newest,
            most=NAME_BYTES if selection else 0,
            records=selection.records if selection else max(records, 1),
        )
        looked, cursor = looked + len(found.rows), found.cursor
        if selection:
            taken = [n for n, where in enumerate(found.rows) if selection.takes(where)]
            if len(taken) > most - len(rows) and found.cursors:
                taken = taken[: most - len(rows)]
                cursor = found.cursors[taken[-1]]
            rows += yield from _whole(spot, [found.rows[n].id for n in taken])
        else:
            rows += ((spot.keys, where) for where in found.rows)
        if cursor == "0":
            at, cursor = at + 1, ""
        if len(rows) >= most or (selection and looked >= LOOK):
            break
    shown = yield from redacted_views(app, [view_of(app, *row) for row in rows])
    if at >= len(spots):
        return Page(shown, None)
    return Page(shown, cursor if is_single else spots[at].cursor(cursor))


def _begin(
    app: App, queue: str | bytes | None, places: tuple[State, ...], after: str | None, is_data: bool
) -> Flow[tuple[list[Spot], int, str]]:
    """The spots that hold something, the number of that in which to go on, and the cursor there."""
    if queue is not None:
        queues = [app.data_keys(queue) if is_data else app.task_keys(queue)]
    else:
        queues = yield from app.queues_of(is_data)
    spots = [Spot(keys, place) for keys in queues for place in places]
    if len(spots) == 1:
        return spots, 0, _checked(after or "", places[0])
    sizes = yield from views.sizing(queues, app.queues_per_call)
    counts = (getattr(size, place.value) for size in sizes for place in places)
    holding = {spot for spot, count in zip(spots, counts, strict=True) if count}
    if not after:
        return [spot for spot in spots if spot in holding], 0, ""
    for number, spot in enumerate(spots):
        begin = spot.cursor("")
        if after.startswith(begin):
            rest = [spot, *(other for other in spots[number + 1 :] if other in holding)]
            return rest, 0, _checked(after.removeprefix(begin), spot.place)
    raise RefusedInput(f"after: expected what a page of the same queues and states said, got {after!r}")


def _checked(after: str, place: State) -> str:
    if after and not _CURSORS.get(place, _SCORED).fullmatch(after):
        raise RefusedInput(f"after: expected what a page of {place.value} messages said, got {after!r}")
    return after


def _whole(spot: Spot, ids: list[str]) -> Flow[list[tuple[QueueKeys, Whereabouts]]]:
    """Messages of which only a part was read; those that have left meanwhile are left out."""
    found = []
    for first in range(0, len(ids), views.WHOLE_BATCH):
        for where in (yield from moves.whereabouts(spot.keys, ids[first : first + views.WHOLE_BATCH])):
            if where.state is spot.place:
                found.append((spot.keys, where))
    return found


def naming(app: App, queue: str | bytes | None, state: State | str, limit: int, newest: bool) -> Flow[TaskNames]:
    """What `Inspection.names` says to Redis."""
    most, places = row_count(limit, "limit", most=10_000_000), places_of(state)
    spots, _, _ = yield from _begin(app, queue, places, None, is_data=False)
    sizes = yield from views.sizing(list(dict.fromkeys(spot.keys for spot in spots)), app.queues_per_call)
    total = sum(getattr(size, place.value) for size in sizes for place in places)
    counts: Counter[str] = Counter()
    looked, is_all = 0, True
    for spot in spots:
        cursor = ""
        while cursor != "0" and looked < most:
            found = yield from views.page(
                spot.keys,
                (spot.place,),
                min(_PART, most - looked),
                after=cursor,
                newest=newest,
                most=NAME_BYTES,
                records=0,
            )
            counts.update(name_in(where.message) for where in found.rows)
            looked, cursor = looked + len(found.rows), found.cursor
        is_all = is_all and cursor == "0"
    return TaskNames(dict(counts.most_common()), looked, max(total, looked), is_all)


def viewing_buried(
    app: App, grave: State | str, queue: str | bytes | None, limit: int, skip: int, is_data: bool
) -> Flow[list[MessageView]]:
    """What `Inspection.buried` says to Redis."""
    most, passed = row_count(limit, "limit"), row_count(skip, "skip", least=0, most=2**31)
    graves = places_of(grave)
    if len(graves) > 1 or graves[0] not in GRAVES:
        raise RefusedInput(f"grave: expected dead, lost or failed, got {str(grave)!r}")
    queues = yield from app.queues_of(is_data)
    if queue is not None and name_text(queue, "queue") != app.settings.deadletter_queue:
        queues = [app.data_keys(queue) if is_data else app.task_keys(queue)]
    found = yield from views.reading_buried(queues, graves[0], most, skip=passed, chunk=app.queues_per_call)
    return (yield from redacted_views(app, [view_of(app, one.queue, one.where) for one in found]))
