"""What is to be seen of one message: where it is, what is in it, what happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from . import messages
from .current import executions_in
from .enqueued import n_executions_of, status_of
from .errors import BadSignature, RefusedInput, Undecodable, did_you_mean
from .hiding import redacting
from .keys import QueueKeys, wire
from .messages import FOREVER, Flags
from .protocol import moves
from .protocol.moves import Whereabouts
from .protocol.operation import Flow
from .states import GRAVES, State

if TYPE_CHECKING:
    from .app import App

Kind = Literal["tasks", "data"]

#: States that messages can be looked through: those in which they are still there.
PLACES = (State.READY, State.SCHEDULED, State.LEASED, State.PARKED, *GRAVES)
#: Other words for them: those of TaskTiger, and one for all that was given up.
_WORDS: dict[str, tuple[State, ...]] = {"queued": (State.READY,), "active": (State.LEASED,), "error": GRAVES}
#: Every word for a state, or for several of them one after the other.
STATE_WORDS = (*(place.value for place in PLACES), *_WORDS)


@dataclass(frozen=True)
class MessageView:
    """One message: where it is, what is in it, what happened to it."""

    id: str
    queue: str
    kind: Kind
    state: State
    status: str  #: the word of `EnqueuedTask.status`
    at: float  #: epoch seconds: when it is due, its lease ends or it was buried; 0 when it is ready or gone
    available_at: float  #: epoch seconds: when it became ready, or will; 0 when it is gone or cannot be read
    name: str  #: of the task; empty for an item and for what is gone or cannot be read
    args: list[Any]
    kwargs: dict[str, Any]
    item: Any  #: of a data queue; None for a task
    vis_timeout: float  #: seconds; 0: it has none, and without `recover` it is delivered at most once
    attempts: int  #: deliveries that it may have in all
    use_dead: bool
    recover: bool  #: whether it runs again after its worker died, however long it runs
    failures: int
    crashes: int
    interruptions: int
    n_executions: int  #: runs that failed or crashed: since its counters began again, or as many as are remembered
    executions: list[dict[str, Any]]  #: records of failed runs, oldest first; a page has as many as were asked for
    reason: str  #: why it was buried or failed last; empty when it never did
    error: dict[str, Any] | None  #: what its worker recorded of its last failure
    outcome: dict[str, Any] | None  #: what it ended with, as long as that is kept
    undecodable: str | None  #: its bytes as text, when they cannot be read
    raw: bytes | None  #: its bytes as they are, when they cannot be read; in JSON as base64


def places_of(state: State | str) -> tuple[State, ...]:
    """The states that messages can be looked through for a word; more than one for ``"error"``."""
    for place in PLACES:
        if state in (place, place.value):
            return (place,)
    if str(state) in _WORDS:
        return _WORDS[str(state)]
    names = ", ".join(STATE_WORDS)
    raise RefusedInput(f"state: expected {names}, got {str(state)!r}{did_you_mean(str(state), STATE_WORDS)}")


def graves_of(state: State | str) -> tuple[State, ...]:
    """The graves that a word stands for."""
    places = places_of(state)
    if not set(places) <= set(GRAVES):
        raise RefusedInput(f"state: expected dead, lost or failed, or error for all three, got {str(state)!r}")
    return places


def view_of(app: App, keys: QueueKeys, where: Whereabouts) -> MessageView:
    """A message whose state is known. Arguments that are to be hidden are in it: see `redacted_views`."""
    kind: Kind = "data" if keys.is_data else "tasks"
    available_at, lease, attempts, flags = 0.0, 0.0, 1, Flags(0)
    name, args, kwargs, item, undecodable = "", list[Any](), dict[str, Any](), None, None
    if where.message:
        header = where.message.partition(b"|")[0]
        try:
            available_at, lease, attempts, flags = messages.parse_header(header)
            messages.check_version(header)
            body = app.signer.body_of(keys.stem, wire(where.id), where.message)
            if kind == "tasks":
                name, args, kwargs = messages.decode_task(body)
            else:
                item = messages.decode(body, "item")
        except Undecodable:
            undecodable = where.message.decode("utf-8", "backslashreplace")
    assert where.state is not None
    return MessageView(
        id=where.id,
        queue=keys.name,
        kind=kind,
        state=where.state,
        status=where.state.value if undecodable is not None else status_of(where),
        at=where.at,
        available_at=available_at,
        name=name,
        args=args,
        kwargs=kwargs,
        item=item,
        vis_timeout=0.0 if lease == FOREVER and Flags.RECOVER in flags else lease,
        attempts=attempts,
        use_dead=Flags.USE_DEAD in flags,
        recover=Flags.RECOVER in flags,
        failures=where.failures,
        crashes=where.crashes,
        interruptions=where.interruptions,
        n_executions=n_executions_of(where),
        executions=executions_in(where),
        reason=where.reason,
        error=record_in(where.error),
        outcome=_outcome(app, keys, where),
        undecodable=undecodable,
        raw=None if undecodable is None else where.message,
    )


def redacted_views(app: App, views: Sequence[MessageView]) -> Flow[list[MessageView]]:
    """*views* without the arguments that `task` was told to redact."""
    hidden = yield from redacting(app, [view.name for view in views if view.name])
    shown = []
    for view in views:
        redaction = hidden.get(view.name)
        args, kwargs = (view.args, view.kwargs) if redaction is None else redaction.arguments(view.args, view.kwargs)
        shown.append(replace(view, args=args, kwargs=kwargs))
    return shown


def record_in(stored: bytes) -> dict[str, Any] | None:
    """A JSON object that a worker stored; what cannot be read is shown as text."""
    if not stored:
        return None
    try:
        value = messages.decode(stored, "record")
    except Undecodable:
        value = None
    return value if isinstance(value, dict) else _unread(stored)


def _outcome(app: App, keys: QueueKeys, where: Whereabouts) -> dict[str, Any] | None:
    if where.outcome in (b"", moves.CANCELLED):
        return record_in(where.outcome)
    try:
        return record_in(app.signer.opened(keys.outcome(where.id), b"", b"", where.outcome))
    except BadSignature:
        return _unread(where.outcome)


def _unread(stored: bytes) -> dict[str, Any]:
    return {"undecodable": stored.decode("utf-8", "backslashreplace")}
