"""BurstWorker: runs what is ready in the test's own thread, one call after the other, until nothing is."""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..broker import Broker
from ..enqueued import result_in
from ..errors import NewerMessage, RefusedInput, UnknownTask
from ..keys import QueueKeys, name_text
from ..loops import run_to_end
from ..middleware import Failure
from ..protocol.cycle import Round
from ..protocol.operation import Operation, Stamp
from ..protocol.workers import redis_time
from ..tasks import Task
from ..worker.claims import Claim
from ..worker.fetcher import Fetcher
from ..worker.here import is_for_the_caller
from ..worker.ledger import Ledger
from ..worker.patience import Patience
from ..worker.recurrer import Recurrer
from ..worker.runner import Runner
from ..worker.telling import Telling
from ..worker.unparker import Unparker

if TYPE_CHECKING:
    from ..app import App

T = TypeVar("T")

#: Runs of one burst after which it is taken for one that never ends.
MOST_RUNS = 100_000


class Ran(NamedTuple):
    """One run of a call."""

    name: str  #: of the task
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str
    id: str
    attempt: int  #: 1 on the first run
    #: What became of the call: done; ready or scheduled, to run again; failed, dead, dropped, cancelled; parked, as no
    #: task has its name; stale, when its lease had ended.
    state: str
    result: Any  #: what it returned; None without save_results
    error: BaseException | None  #: what it raised, or why it could not run


class BurstWorker:
    """
    A worker that works only when it is told to, in the thread that tells it.

    It is made of the parts of any other worker: calls are claimed, decoded, run, acked and retried, with middleware,
    by the same code. It takes one call at a time: from the most urgent queue that has one, of equally urgent ones from
    the first by name, in the order of the queue. All tasks run in its thread, or for ``async def`` ones in an event
    loop there; `pool` has no effect, nor has the `hard_timeout` of a plain task. A lease that runs out while it works
    is of no consequence, for nobody else is there to take what it was for.

    Args:
        app: whose calls it runs.
        offset: asked for the seconds by which the clock is turned on.
    """

    def __init__(self, app: App, offset: Callable[[], float] = float) -> None:
        self.app = app
        self._offset = offset

    def run(
        self, queues: Iterable[str | bytes] | None = None, limit: int | None = None, raises: bool = False
    ) -> list[Ran]:
        """
        Run everything that is ready until nothing is, what becomes ready meanwhile included.

        Recurring tasks whose slots have come are fired first, once.

        Args:
            queues: only from these; None: from all.
            limit: most runs; None: as many as there are.
            raises: whether to stop at the first run that raises, and to raise that. What becomes of the call is settled
                before.

        Returns:
            What ran, in order.
        """
        if limit is not None and (type(limit) is not int or limit < 0):
            raise RefusedInput(f"limit: expected a whole number >= 0, got {limit!r}")
        with self._at_work(_names(queues)) as burst:
            self._recur(burst.queues)
            Unparker(self.app, self.app.broker, burst.queues).tick()
            while limit is None or len(burst.ran) < limit:
                claim = burst.next()
                if claim is None:
                    break
                burst.run(claim)
                error = burst.ran[-1].error
                if error is not None and (is_for_the_caller(error) or (raises and burst.ran[-1].state != "cancelled")):
                    raise error
                if len(burst.ran) >= MOST_RUNS:
                    raise RuntimeError(f"{MOST_RUNS} runs, and there is more: expected tasks that come to an end")
        return burst.ran

    drain = run

    def begin_recurring(self) -> None:
        """Fire what recurs and is due, and give schedules that have none their first slot, as a worker that starts."""
        self._recur(None)

    def _recur(self, queues: list[str] | None) -> None:
        recurrer = Recurrer(self.app, self.app.broker, TurnedTime(self.app.broker, self._offset()), queues, early=True)
        while not recurrer.tick():
            pass

    @contextlib.contextmanager
    def _at_work(self, queues: list[str] | None) -> Iterator[Burst]:
        settings, before = self.app.settings, self.app.settings.execute_tasks
        settings.execute_tasks = True
        burst = Burst(self.app, queues)
        try:
            yield burst
        finally:
            settings.execute_tasks = before
            burst.end()


class Burst:
    """One time at work: the parts of a worker, put together for one thread."""

    def __init__(self, app: App, queues: list[str] | None) -> None:
        self.app, self.queues = app, queues
        self.visit = Visit(app)
        patience = Impatience(app.broker, threading.Event())
        self.fetcher = Fetcher(app, self.visit, Ledger(capacity=8), patience, 1)
        self.runner = Runner(app, self.fetcher, patience)
        self.runner.telling = Noting(self)
        self.ran: list[Ran] = []

    def next(self) -> Claim | None:
        """The next call, leased; None: nothing is ready."""
        names = [name for name in self.app.known_queues() if self.queues is None or name in self.queues]
        keys = [self.app.keys.tasks(name) for name in names]
        # On Cluster a round visits one queue, so the most urgent one that has something has to be found.
        for some in [[one] for one in keys] if self.app.broker.is_cluster else [keys]:
            self.visit.to = some
            brought = self.fetcher.rounds.run(1, 1)
            for claim in (*brought.claims, *brought.late):
                return claim
        return None

    def run(self, claim: Claim) -> None:
        """Run it, and note what became of it."""
        before, self._given = len(self.ran), copy.deepcopy((claim.args, claim.kwargs))
        if self.runner.is_async(claim):
            run_to_end(lambda: self.runner.run_async(claim, _at_once))
        else:
            self.runner.run(claim)
        if len(self.ran) == before:  # it never came to a run
            is_parked = claim.error is None or isinstance(claim.error, NewerMessage)
            error = claim.error or UnknownTask(f"{claim.name}: expected the name of a task of this process")
            self.note(claim, "parked" if is_parked else "dead", None, error)

    def note(self, claim: Claim, state: str, result: Any, error: BaseException | None) -> None:
        """Write down what became of a run."""
        args, kwargs = self._given
        kwargs.pop("_attempts", None)
        self.ran.append(Ran(claim.name, args, kwargs, claim.queue, claim.id, claim.attempt, state, result, error))

    def end(self) -> None:
        """Say what was not said yet."""
        self.fetcher.flush(0.0)


class Noting(Telling):
    """Tells the burst, too."""

    def __init__(self, burst: Burst) -> None:
        super().__init__(burst.app.settings)
        self._burst = burst

    def succeeded(self, task: Task[..., Any], claim: Claim, seconds: float) -> None:
        """As any other worker, and it is noted."""
        super().succeeded(task, claim, seconds)
        result = None
        if claim.outcome:
            result = result_in(claim.outcome, claim.keys.outcome(claim.id), self._burst.app.signer)
        self._burst.note(claim, "done", result, None)

    def failed(self, task: Task[..., Any], claim: Claim, failure: Failure, seconds: float) -> None:
        """As any other worker, and it is noted."""
        super().failed(task, claim, failure, seconds)
        self._burst.note(claim, failure.state, None, failure.error)


class Visit:
    """The route of a burst: it goes where it is told, and never waits."""

    yields = has_unseen = False
    is_done = True
    answered_at = away_at = 0.0

    def __init__(self, app: App) -> None:
        self._app = app
        self.indexed = not app.broker.is_cluster
        self.to: Sequence[QueueKeys] = ()

    def queues(self, also: Iterable[str], claiming: bool) -> list[QueueKeys]:
        """Where it was told to go, and where there are acks to bring; on Cluster to one of them."""
        if claiming and not self.indexed:
            return list(self.to)
        there = dict.fromkeys(
            [*self.to, *map(self._app.keys.tasks, also)] if claiming else map(self._app.keys.tasks, also)
        )
        return list(there) if self.indexed else list(there)[:1]

    def learn(self, visited: Sequence[QueueKeys], reply: Round, arrived: float) -> float:
        """Nothing."""
        return 0.0

    def likely(self) -> list[QueueKeys]:
        """None, as nobody waits."""
        return []

    def woken(self, token: bytes | None) -> None:
        """Nobody sleeps."""

    def wait(self, broker: Broker, timeout: float) -> bytes | None:
        """It does not."""
        return None

    def farewell(self) -> Sequence[Operation[object]]:
        """Nobody has to be told."""
        return ()


class Impatience(Patience):
    """A test is not to wait for a Redis that is away; it is to fail."""

    def execute(self, operation: Operation[T], stamp: Stamp | None = None) -> T:
        """The operation's result, or what was wrong."""
        return self.broker.execute(operation, stamp)


class TurnedTime:
    """Redis's clock, turned on by *offset* seconds."""

    knows_time = True

    def __init__(self, broker: Broker, offset: float) -> None:
        self._drift = broker.execute(redis_time()) + offset - time.monotonic()

    def now(self) -> float:
        """Epoch seconds."""
        return time.monotonic() + self._drift


async def _at_once(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _names(queues: Iterable[str | bytes] | None) -> list[str] | None:
    if queues is None:
        return None
    if isinstance(queues, (str, bytes)):
        raise RefusedInput(f"queues: expected a list of names, got {queues!r}; write [{queues!r}]")
    return [name_text(queue, "queue") for queue in queues]
