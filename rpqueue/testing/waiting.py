"""What waits in a sandbox: calls of tasks and items, as they were enqueued and put."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import messages
from ..errors import Undecodable
from ..keys import QueueKeys, wire
from ..protocol import views
from ..protocol.moves import Whereabouts
from ..protocol.operation import Flow
from ..queues import MOST_ROWS
from ..states import State

if TYPE_CHECKING:
    from ..app import App


class Call(NamedTuple):
    """A call that waits."""

    name: str  #: of the task
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str
    id: str
    state: str  #: ready or scheduled
    due: float  #: seconds until it is due; 0 when it is ready
    due_at: float  #: the same in epoch seconds by the sandbox's clock; 0 when it is ready

    def text(self, app: App) -> str:
        """As errors show it; what its task redacts is hidden."""
        task = app.settings.registry.get(self.name)
        args, kwargs = self.args, self.kwargs
        if task is not None and task.redaction is not None:
            args, kwargs = task.redaction.arguments(args, kwargs)
        words = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
        return f"{self.name}({', '.join(words)}) in {self.queue}, {_when(self.state, self.due)}"


class Item(NamedTuple):
    """An item of a data queue."""

    value: Any
    queue: str
    id: str
    state: str  #: ready, scheduled or leased
    due: float  #: seconds until it is due, when it is scheduled; else 0
    due_at: float  #: the same in epoch seconds by the sandbox's clock; else 0

    def text(self) -> str:
        """As errors show it."""
        return f"{self.value!r} in {self.queue}, {_when(self.state, self.due)}"


def _when(state: str, due: float) -> str:
    return f"due in {due:.1f} s" if state == "scheduled" else state


def reading_calls(app: App, offset: float) -> Flow[list[Call]]:
    """All calls that wait, queue by queue, in the order in which they will start. *offset* is that of the clock."""
    found = []
    for keys, where in (yield from _reading(app, (State.READY, State.SCHEDULED), is_data=False)):
        body = _body(app, keys, where)
        name, args, kwargs = messages.decode_task(body)
        due, due_at = _due(where, offset)
        found.append(Call(name, args, kwargs, keys.name, where.id, str(where.state), due, due_at))
    return found


def reading_items(app: App, offset: float) -> Flow[list[Item]]:
    """All items that are in data queues, queue by queue; those that somebody has leased, too."""
    found = []
    for keys, where in (yield from _reading(app, (State.READY, State.SCHEDULED, State.LEASED), is_data=True)):
        value = messages.decode(_body(app, keys, where), "item")
        found.append(Item(value, keys.name, where.id, str(where.state), *_due(where, offset)))
    return found


def _reading(app: App, places: Sequence[State], *, is_data: bool) -> Flow[list[tuple[QueueKeys, Whereabouts]]]:
    found: list[tuple[QueueKeys, Whereabouts]] = []
    for keys in (yield from app.queues_of(is_data)):
        some: list[Whereabouts] = []
        while not len(some) % MOST_ROWS:
            page = (yield from views.page(keys, places, MOST_ROWS, skip=len(some))).rows
            some += page
            if not page:
                break
        found += [(keys, where) for where in some]
    return found


def _body(app: App, keys: QueueKeys, where: Whereabouts) -> bytes:
    try:
        return app.signer.body_of(keys.stem, wire(where.id), where.message)
    except Undecodable as error:
        raise Undecodable(f"{keys.name} {where.id}: {error}") from error


def _due(where: Whereabouts, offset: float) -> tuple[float, float]:
    if where.state is not State.SCHEDULED:
        return 0.0, 0.0
    return max(where.at - where.now, 0.0), where.at + offset
