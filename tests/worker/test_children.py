"""Children of a process without the rest of a worker: what comes back from them, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import mmap
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rpqueue import App, current_task
from rpqueue.errors import SoftTimeout, TaskCancelled, TaskTimeout
from rpqueue.middleware import Middleware, TaskRunner
from rpqueue.protocol.claimed import Past
from rpqueue.tasks import Task
from rpqueue.worker.children import Children, bonds, nursery
from rpqueue.worker.children.channel import Channel
from rpqueue.worker.children.needs import need_children
from rpqueue.worker.claims import Claim
from rpqueue.worker.ledger import Ledger, Stage
from rpqueue.worker.patience import Stopped
from rpqueue.worker.performing import Abandoned, Crashed, Failed
from rpqueue.worker.pools import Pooling
from tests.servers import wait_until
from tests.worker.harness import SOON, is_gone

#: In children, what a test made before the fork.
STORE: dict[str, Any] = {}


class Picky(Exception):
    """Cannot be made again from what is pickled of it."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(first)
        self.second = second


class Household:
    """An App, its tasks, and children that know them once one is asked for."""

    def __init__(self) -> None:
        self.app = App(prefix="test")
        self.ledger = Ledger()
        self.children: Children | None = None
        self.pooling = Pooling("processes")

    def task(self, function: Callable[..., Any], **options: Any) -> Task[..., Any]:
        options.setdefault("save_results", 60)
        task: Task[..., Any] = self.app.task(**options)(function)
        return task

    def claim(self, task: Task[..., Any], *args: Any, **kwargs: Any) -> Claim:
        claim = Claim(self.app.task_keys("default"), f"id{time.monotonic()}", Past(7, 0, 0))
        claim.name, claim.args, claim.kwargs, claim.task = task.name, list(args), kwargs, task
        claim.record = self.ledger.add(b"default", claim.id.encode(), 7, 0.0, 0.0)
        self.ledger.move(claim.record, Stage.STARTED)
        return claim

    def begin(self) -> Children:
        if self.children is None:
            self.children = Children(self.app, self.ledger, self.pooling)
            self.children._start()
        return self.children

    def run(self, task: Task[..., Any], *args: Any, fresh: bool = False, **kwargs: Any) -> Any:
        return self.begin().perform(task, self.claim(task, *args, **kwargs), fresh=fresh)


@pytest.fixture
def house() -> Iterator[Household]:
    house = Household()
    yield house
    if house.children is not None:
        house.children.close()
    house.app.broker.close()


def pid() -> int:
    return os.getpid()


def number(ending: Any) -> int:
    assert isinstance(ending, bytes), ending
    return int(ending)


# What comes back.


def test_results_come_back_as_they_are_kept(house: Household) -> None:
    echo, silent = house.task(lambda value: value, name="echo"), house.task(pid, name="silent", save_results=0)
    assert house.run(echo, {"a": [1, 2.5, None]}) == b'{"a":[1,2.5,null]}'
    assert house.run(echo, "x" * 500_000) == b'"' + b"x" * 500_000 + b'"'
    assert house.run(silent) is None


def test_a_result_that_cannot_be_kept_fails_its_run(house: Household) -> None:
    ending = house.run(house.task(lambda: {1, 2}, name="odd"))
    assert ending.record["exception"] == "UnserializableValue"


def test_what_a_run_raises_comes_back_with_its_traceback(house: Household) -> None:
    def lookup() -> None:
        raise KeyError("gone")

    ending = house.run(house.task(lookup, name="lookup"))
    assert isinstance(ending, Failed)
    assert isinstance(ending.error, KeyError)
    assert ending.error.args == ("gone",)
    assert 'raise KeyError("gone")' in str(ending.error.__cause__)
    assert 'raise KeyError("gone")' in ending.record["traceback"]
    assert ending.record["pid"] != os.getpid()
    assert ending.again == "auto"


def test_what_cannot_be_brought_over_keeps_its_record(house: Household) -> None:
    def picky() -> None:
        raise Picky(1, 2)

    ending = house.run(house.task(picky, name="picky"))
    assert (ending.record["exception"], ending.error) == ("Picky", None)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
@pytest.mark.parametrize("is_async", [False, True])
def test_nothing_that_a_run_raises_ends_its_child(house: Household, kind: Any, is_async: bool) -> None:
    def leave() -> None:
        raise kind

    async def leave_async() -> None:
        raise kind

    task = house.task(leave_async if is_async else leave, name="leave", **({"pool": "processes"} if is_async else {}))
    child = house.task(pid, name="pid")
    before = house.run(child)
    assert house.run(task).record["exception"] == kind.__name__
    assert house.run(child) == before


def test_what_is_around_runs_is_around_those_in_children(house: Household) -> None:
    @contextlib.contextmanager
    def manager() -> Iterator[None]:
        STORE["around"] = ["manager"]
        yield

    class Around(Middleware):
        @contextlib.contextmanager
        def around(self, run: Any) -> Iterator[None]:
            STORE["around"] += ["middleware", run.id]
            yield

    class Runner(TaskRunner):
        def run(self, function: Any, args: Any, kwargs: Any) -> Any:
            return [*STORE["around"], "runner", function(*args, **kwargs), os.getpid()]

    house.app.settings.child_context_managers = [manager]
    house.app.settings.middleware = [Around()]
    claim = house.claim(house.task(lambda: 5, name="five", runner_class=Runner))
    ending = house.begin().perform(claim.task, claim, fresh=False)  # type: ignore[arg-type]
    assert isinstance(ending, bytes)
    assert ending.startswith(b'["manager","middleware","%s","runner",5,' % claim.id.encode())
    assert b",%d]" % os.getpid() not in ending
    assert "around" not in STORE


def test_a_child_runs_coroutines_one_after_the_other_in_one_loop(house: Household) -> None:
    async def loop() -> list[Any]:
        await asyncio.sleep(0.001)
        return [id(asyncio.get_running_loop()), current_task().id]

    task = house.task(loop, name="loop", pool="processes")
    first, second = (house.run(task) for _ in range(2))
    assert first != second
    assert first.split(b",")[0] == second.split(b",")[0]


def test_what_a_run_changes_of_its_claim_is_known_here(house: Household) -> None:
    def move() -> None:
        claim = current_task()._run
        claim.move_deadline(1234.5)
        claim.has_checkpoint = True

    task = house.task(move, name="move")
    claim = house.claim(task)
    house.begin().perform(task, claim, fresh=False)
    assert (claim.deadline, claim.has_checkpoint) == (1234.5, True)
    assert [held.deadline for held in house.ledger.held()] == [1234.5]


def test_what_a_run_prints_is_written_out(house: Household, capfd: pytest.CaptureFixture[str]) -> None:
    def say() -> None:
        sys.stdout = os.fdopen(os.dup(1), "w")  # pytest's own is none that a child can write to
        print("said by a child")

    house.run(house.task(say, name="say"), fresh=True)
    house.begin().close()
    assert "said by a child" in capfd.readouterr().out


# How runs end that do not end by themselves.


def test_a_run_over_its_soft_timeout_may_clean_up(house: Household) -> None:
    def careful() -> str:
        try:
            time.sleep(50)
        except SoftTimeout:
            return "cleaned up"
        return "slept"

    assert house.run(house.task(careful, name="careful", soft_timeout=0.1)) == b'"cleaned up"'


def test_a_run_over_its_hard_timeout_is_killed_and_its_retry_options_decide(house: Household) -> None:
    def hang() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM})
        time.sleep(50)

    options = {"plain": {}, "again": {"retry": True}, "on": {"retry_on": TaskTimeout}, "off": {"retry_on": ValueError}}
    tasks = [house.task(hang, name=name, hard_timeout=0.1, **more) for name, more in options.items()]
    again = {}
    for task in tasks:
        ending = house.run(task)
        assert isinstance(ending, Failed), ending
        assert isinstance(ending.error, TaskTimeout)
        assert ending.record["exception"] == "TaskTimeout"
        assert is_gone(ending.record["pid"])
        again[task.name] = ending.again
    assert again == {"plain": "auto", "again": "retry", "on": "retry", "off": "stop"}


def test_what_a_child_said_before_it_was_killed_counts(house: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    receive, late = Channel.receive, []

    def receive_late(self: Channel, ends_at: float | None = None) -> Any:
        if ends_at is not None and not late:
            late.append(1)
            time.sleep(0.3)  # its reply is here by now
            raise TimeoutError
        return receive(self, ends_at)

    task = house.task(lambda: 3, name="three", hard_timeout=50)
    house.begin()
    monkeypatch.setattr(Channel, "receive", receive_late)
    assert house.run(task) == b"3"


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (
            lambda: os._exit(7),
            {"exit_code": 7, "signal": None, "message": "the process that ran it ended: exit code 7"},
        ),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), {"exit_code": None, "signal": 9}),
    ],
)
def test_a_child_that_dies_says_how(house: Household, end: Any, told: dict[str, Any]) -> None:
    ending = house.run(house.task(end, name="end"))
    assert isinstance(ending, Crashed)
    assert ending.record["exception"] == "WorkerCrashed"
    assert {key: ending.record[key] for key in told} == told
    assert is_gone(ending.record["pid"])


def test_a_child_that_hangs_up_and_goes_on_is_killed(house: Household) -> None:
    def close_all() -> None:
        STORE["pid"][:] = os.getpid().to_bytes(8, "big")
        os.closerange(3, 1000)
        time.sleep(50)

    STORE["pid"] = mmap.mmap(-1, 8)
    ending = house.run(house.task(close_all, name="close_all"))
    assert ending.record["signal"] == signal.SIGKILL
    assert is_gone(int.from_bytes(STORE.pop("pid"), "big"))


def test_a_child_that_died_without_work_costs_nobody_a_run(house: Household) -> None:
    task = house.task(pid, name="pid")
    first = number(house.run(task))
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: is_gone(first), SOON)
    assert number(house.run(task)) != first


def elsewhere(house: Household, claim: Claim) -> tuple[threading.Thread, list[Any]]:
    """Run a claim in a thread, until its child works on it."""
    found: list[Any] = []
    children = house.begin()

    def perform() -> None:
        try:
            found.append(children.perform(claim.task, claim, fresh=False))  # type: ignore[arg-type]
        except Stopped as error:
            found.append(error)

    thread = threading.Thread(target=perform)
    thread.start()
    wait_until(lambda: children._running.get(claim), SOON, "it runs")
    return thread, found


@pytest.mark.parametrize("why", ["cancelled", "lost"])
def test_a_run_that_is_to_stop_is_killed(house: Household, why: str) -> None:
    claim = house.claim(house.task(lambda: time.sleep(50), name="sleep"))
    thread, found = elsewhere(house, claim)
    claim.stop_asked = why
    assert house.children is not None
    house.children.stop(claim)
    thread.join(SOON)
    [ending] = found
    if why == "cancelled":
        assert isinstance(ending.error, TaskCancelled)
        assert ending.again == "cancel"
    else:
        assert isinstance(ending, Abandoned)


def test_what_is_interrupted_is_killed_and_says_nothing(house: Household) -> None:
    claims = [house.claim(house.task(lambda: time.sleep(50), name=name)) for name in ("one", "two")]
    runs = [elsewhere(house, claim) for claim in claims]
    left = psutil.Process(house.begin()._nursery.pid).children()  # type: ignore[union-attr]
    assert len(left) == 2
    assert set(house.begin().interrupt()) == set(claims)
    for thread, found in runs:
        thread.join(SOON)
        assert [type(end) for end in found] == [Stopped]
    assert all(is_gone(process.pid) for process in left)


# Whether a child is used again.


def test_a_child_is_used_again_and_a_fresh_one_is_not(house: Household) -> None:
    task = house.task(pid, name="pid")
    reused = [number(house.run(task)) for _ in range(3)]
    fresh = [number(house.run(task, fresh=True)) for _ in range(3)]
    assert len({*reused, *fresh}) == 4
    wait_until(lambda: all(is_gone(one) for one in fresh), SOON, "they end by themselves")


def test_children_are_replaced_after_some_tasks(house: Household) -> None:
    house.pooling = Pooling("processes", max_tasks=2)
    task = house.task(pid, name="pid")
    pids = [number(house.run(task)) for _ in range(6)]
    assert pids[::2] == pids[1::2]
    assert len(set(pids)) == 3


def test_children_are_replaced_when_they_are_old(house: Household) -> None:
    house.pooling = Pooling("processes", max_age=0.2)
    task = house.task(pid, name="pid")
    first = number(house.run(task))
    time.sleep(0.25)
    assert number(house.run(task)) != first


def test_children_are_replaced_when_they_have_grown(house: Household) -> None:
    def grow(size: int) -> int:
        STORE.setdefault("hoard", []).append(b"x" * size)
        return os.getpid()

    house.pooling = Pooling("processes", max_memory=30 << 20)
    task = house.task(grow, name="grow")
    pids = [number(house.run(task, size)) for size in (60 << 20, 1, 40 << 20, 1)]
    assert pids[0] == pids[1] == pids[2], "the first run is what it takes"
    assert pids[3] != pids[2]


# The nursery.


def test_it_is_needed_when_a_task_or_the_pool_says_so(house: Household) -> None:
    app = house.app
    house.task(pid, name="plain")
    assert not need_children(app, "threads")
    assert not need_children(app, "sync")
    assert need_children(app, "fork")

    async def coroutine() -> None: ...

    house.task(coroutine, name="async", hard_timeout=5)
    assert not need_children(app, "threads"), "coroutines can be cancelled"
    house.task(pid, name="hard", hard_timeout=5)
    assert need_children(app, "threads")
    assert need_children(app, "sync")


def test_a_task_that_is_declared_later_runs_too_and_that_is_said(
    house: Household, caplog: pytest.LogCaptureFixture
) -> None:
    early = house.task(pid, name="early")
    before = number(house.run(early))
    late = house.task(lambda: [os.getpid(), os.getppid()], name="late")
    with caplog.at_level(logging.WARNING, "rpqueue.worker"):
        assert number(house.run(early)) == before
        assert caplog.messages == []
        assert isinstance(house.run(late), bytes)
    assert "late runs in a child process" in caplog.text
    assert number(house.run(early)) != before
    wait_until(lambda: is_gone(before), SOON, "the child that did not know it ends")


def test_a_nursery_that_cannot_be_forked_is_tried_again(house: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    house.begin()
    late, fork, failures = house.task(pid, name="late"), os.fork, [1]

    def sometimes() -> int:
        if failures:
            failures.pop()
            raise OSError(errno.EAGAIN, "no room")
        return fork()

    monkeypatch.setattr(nursery.os, "fork", sometimes)  # type: ignore[attr-defined]
    assert number(house.run(late)) != os.getpid()
    assert failures == []


def test_a_fork_that_fails_is_tried_again(house: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, fork, parent = mmap.mmap(-1, 1), os.fork, os.getpid()

    def sometimes() -> int:
        if os.getpid() != parent and shared[0] < 2:
            shared[0] += 1
            raise OSError(errno.EAGAIN, "no room")
        return fork()

    monkeypatch.setattr(nursery.os, "fork", sometimes)  # type: ignore[attr-defined]
    assert number(house.run(house.task(pid, name="pid"))) != parent
    assert shared[0] == 2


def test_children_go_with_their_nursery(house: Household) -> None:
    claim = house.claim(house.task(lambda: time.sleep(50), name="sleep"))
    thread, found = elsewhere(house, claim)
    assert house.children is not None
    process = psutil.Process(house.children._nursery.pid)  # type: ignore[union-attr]
    [child] = process.children()
    os.kill(process.pid, signal.SIGKILL)
    thread.join(SOON)
    wait_until(lambda: is_gone(child.pid), SOON, "the child is gone")
    [ending] = found
    assert isinstance(ending, Crashed)
    assert "nobody knows how" in ending.record["message"]


def test_they_go_with_their_worker_where_no_kernel_sees_to_that(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bonds, "_prctl", lambda: None)
    monkeypatch.setattr(bonds, "watch", lambda parent: None)
    claim = house.claim(house.task(lambda: time.sleep(50), name="sleep"))
    thread, _ = elsewhere(house, claim)
    assert house.children is not None
    [child] = psutil.Process(house.children._nursery.pid).children()  # type: ignore[union-attr]
    house.children._nursery._control.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr] # as when the worker dies
    thread.join(SOON)
    wait_until(lambda: is_gone(child.pid), SOON, "the child is gone")


def test_where_no_kernel_sees_to_that_they_look_for_their_nursery(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bonds, "_prctl", lambda: None)
    claim = house.claim(house.task(lambda: time.sleep(50), name="sleep"))
    thread, _ = elsewhere(house, claim)
    assert house.children is not None
    process = psutil.Process(house.children._nursery.pid)  # type: ignore[union-attr]
    [child] = process.children()
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: is_gone(child.pid), SOON, "the child is gone")
    thread.join(SOON)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc, as Linux has it")
def test_no_child_has_a_socket_of_its_siblings(house: Household) -> None:
    def sockets() -> int:
        count = 0
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the one that lists them
                count += str(descriptor.readlink()).startswith("socket:")
        return count

    count = house.task(sockets, name="sockets")
    sleep = house.claim(house.task(lambda: time.sleep(50), name="sleep"))
    first = number(house.run(count, fresh=True))
    elsewhere(house, sleep)
    assert number(house.run(count, fresh=True)) == first


def test_a_frame_that_comes_in_pieces_is_read_whole() -> None:
    ours, theirs = socket.socketpair()
    sender, receiver = Channel(ours), Channel(theirs)
    with pytest.raises(TimeoutError):
        receiver.receive(time.monotonic() + 0.01)
    sender.send([1])
    sender.send({"two": 2})
    assert [receiver.receive(), receiver.receive(time.monotonic() + SOON)] == [[1], {"two": 2}]
    ours.sendall(b"\x05\x00")
    with pytest.raises(TimeoutError):
        receiver.receive(time.monotonic() + 0.01)
    ours.sendall(b"\x00\x00" + pickle.dumps(7, 5))
    assert receiver.receive() == 7
    sender.close()
    with pytest.raises(EOFError):
        receiver.receive()
    receiver.close()
