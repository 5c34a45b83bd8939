"""Sandbox: an App under a prefix of its own, with a worker and a clock in the test's hands, and nothing left of it."""

from __future__ import annotations

import os
from datetime import timedelta
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from ..addresses import Endpoint
from ..app import App
from ..broker import Broker
from ..data import Data
from ..errors import RefusedInput, WrongType
from ..settings import Settings
from . import expectations, servers
from .expectations import ANYTHING, Wanted
from .turning import Clock
from .waiting import Call, Item, reading_calls, reading_items
from .worker import BurstWorker

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..tasks import Task

#: Those that are entered, the last one innermost.
_entered: list[Sandbox] = []


class Sandbox:
    """
    A place in which a test may enqueue, put and run what it likes. `sandbox` makes these; use it in a ``with``.

    In the block, the App speaks to a server for tests, under a prefix that nobody else has, so that processes may test
    side by side. At its end everything under that prefix is deleted, and connection, settings and what was in the lists
    among them are as they were. So is the registry, as far as tasks were declared inside of functions, as tests do;
    those of modules that were imported in the block stay.
    """

    app: App
    worker: BurstWorker  #: runs what is ready when it is told to
    clock: Clock  #: may be turned on

    def __init__(self, app: App, url: str | None = None) -> None:
        self.app = app
        self._url = url
        self._before: Before | None = None

    def __repr__(self) -> str:
        return f"<Sandbox of {self.app!r}>"

    def __enter__(self) -> Self:
        if self._before is not None:
            raise RefusedInput("sandbox: it has been entered; every block needs one of its own")
        broker = Broker(Endpoint(url=self._url or servers.of_this_process.url))
        self._before, self._pid = Before(self.app), os.getpid()
        self._broker = self.app._broker = broker
        self.app.settings.key_prefix = f"rpqueue-test-{os.urandom(6).hex()}"
        try:
            self.worker = BurstWorker(self.app, lambda: self.clock.offset)
            self.clock = Clock(self.app, self.worker.begin_recurring)
        except BaseException:
            self._leave()
            raise
        self._keys = self.app.keys
        _entered.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _entered.remove(self)
        try:
            if os.getpid() == self._pid:  # a forked child leaves the block, too
                self._delete_keys()
        finally:
            self._leave()

    def _delete_keys(self) -> None:
        client = self._broker.client
        stem = self._keys.app.stem.partition(b"{")[0]
        keys = list(set(client.scan_iter(match=stem + b"*", count=1000)))
        size = 1 if self._broker.is_cluster else 1000
        for at in range(0, len(keys), size):
            client.unlink(*keys[at : at + size])

    def _leave(self) -> None:
        assert self._before is not None
        if self.app._broker is not self._broker and self.app._broker is not None:
            self.app._broker.close()  # of the test
        self._before.restore()
        self._broker.close()

    # What waits.

    def all_enqueued(self) -> list[Call]:
        """All calls that wait: by queue, most urgent first, and there in the order in which they will start."""
        return self.app.broker.run(reading_calls(self.app, self.clock.offset))

    def assert_enqueued(
        self,
        task: Task[..., Any] | str | None = None,
        args: Any = None,
        kwargs: Any = None,
        queue: str | bytes | None = None,
        delay: float | timedelta | None = None,
        count: int | None = None,
    ) -> list[Call]:
        """
        Say that calls wait, ready or scheduled.

        Args:
            task: a Task, or the name of one; None: any.
            args: all positional arguments, as they were given: a tuple or list; None: any. Anything inside may be an
                object that compares as it likes, such as ``unittest.mock.ANY``.
            kwargs: all keyword arguments, a dict; None: any.
            queue: None: any.
            delay: seconds or a timedelta that the call was, or may have been, enqueued with; 0: it is ready; None: any.
            count: how many there are that fit all of this; None: one at least.

        Returns:
            Those that fit.

        Raises:
            AssertionError: it is not so; it shows what waits instead, and in what that differs.
        """
        wanted = expectations.wanted_call(task, args, kwargs, queue, delay)
        return self._compare_calls("assert_enqueued", wanted, count)

    def refute_enqueued(
        self,
        task: Task[..., Any] | str | None = None,
        args: Any = None,
        kwargs: Any = None,
        queue: str | bytes | None = None,
        delay: float | timedelta | None = None,
    ) -> None:
        """Say that no call waits that fits all of this. See `assert_enqueued`."""
        wanted = expectations.wanted_call(task, args, kwargs, queue, delay)
        self._compare_calls("refute_enqueued", wanted, 0)

    def _compare_calls(self, verb: str, wanted: Wanted, count: int | None) -> list[Call]:
        hint = "; ALWAYS_EAGER is on, so calls ran when they were made" if self.app.settings.always_eager else ""
        return expectations.compare(
            verb,
            wanted,
            self.all_enqueued(),
            count,
            self.clock.may_have_been,
            lambda call: call.text(self.app),
            hint,
        )

    def all_put(self) -> list[Item]:
        """All items in data queues: by queue, ready ones first. Leased ones are there until they are done."""
        return self.app.broker.run(reading_items(self.app, self.clock.offset))

    def assert_put(
        self,
        queue: Data | str | bytes | None = None,
        item: Any = ANYTHING,
        delay: float | timedelta | None = None,
        count: int | None = None,
    ) -> list[Item]:
        """
        Say that items are in a data queue, ready, delayed or leased.

        Args:
            queue: a Data, or a name; None: any.
            item: as it was put; left out: any. See *args* of `assert_enqueued`.
            delay: see `assert_enqueued`.
            count: how many there are that fit all of this; None: one at least.

        Returns:
            Those that fit.

        Raises:
            AssertionError: it is not so; it shows what is there instead.
        """
        return self._compare_items("assert_put", expectations.wanted_item(queue, item, delay), count)

    def refute_put(
        self,
        queue: Data | str | bytes | None = None,
        item: Any = ANYTHING,
        delay: float | timedelta | None = None,
    ) -> None:
        """Say that no item is there that fits all of this. See `assert_put`."""
        self._compare_items("refute_put", expectations.wanted_item(queue, item, delay), 0)

    def _compare_items(self, verb: str, wanted: Wanted, count: int | None) -> list[Item]:
        return expectations.compare(verb, wanted, self.all_put(), count, self.clock.may_have_been, Item.text)


class Before:
    """What an App was like, to make it so again."""

    def __init__(self, app: App) -> None:
        self._app = app
        namespace = app.settings.namespace
        self._broker = app._broker
        self._values = {setting.name: namespace[setting.name] for setting in Settings.all()}
        self._lists = {name: list(value) for name, value in self._values.items() if isinstance(value, list)}
        self._tasks = dict(app.settings.registry)

    def restore(self) -> None:
        """Undo what was done since."""
        namespace = self._app.settings.namespace
        self._app._broker = self._broker
        namespace.update(self._values)
        for name, elements in self._lists.items():
            self._values[name][:] = elements
        registry = self._app.settings.registry
        for name, task in list(registry.items()):
            before = self._tasks.get(name)
            if task is not before and "<locals>" in getattr(task.function, "__qualname__", ""):
                if before is None:
                    del registry[name]
                else:
                    registry[name] = before


def sandbox(app: App | ModuleType | None = None, url: str | None = None) -> Sandbox:
    """
    A sandbox for a test: ``with sandbox() as box: ...``.

    Args:
        app: an App, or a module such as `new_rpqueue` makes; None: the one of the module ``rpqueue``.
        url: of a server; None: what RPQUEUE_TEST_URL says, else an embedded server that all sandboxes of this process
            share, and that ends with it.
    """
    if app is None:
        import rpqueue

        app = rpqueue.app
    owner = app if isinstance(app, App) else getattr(app, "app", None)
    if not isinstance(owner, App):
        raise WrongType(f"app: expected an App, or a module from new_rpqueue(), got {app!r}")
    return Sandbox(owner, url)


def current() -> Sandbox:
    """The sandbox that was entered last."""
    if not _entered:
        raise RefusedInput(
            "expected to be called in a sandbox, got none: write `with rpqueue.testing.sandbox():` around it, or have "
            "the test use the fixture rpqueue_app"
        )
    return _entered[-1]
