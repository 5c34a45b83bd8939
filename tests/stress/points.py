"""
Named points at which a worker process dies, wrapped around the library's methods in the worker process.

The library knows nothing of this. A byte of a file that all processes map says whether a point is armed.
"""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rpqueue.worker import fetcher, recurrer, rounds, undertaker
from rpqueue.worker.claims import decode
from rpqueue.worker.runner import Runner
from tests.stress.history import History

#: Point -> what has happened when the process dies there.
POINTS = {
    "claimed": "messages came, and none is written down",
    "recorded": "messages are written down, and none has started",
    "running": "a task is in the middle of its run",
    "ended": "a task ended, and that is not written down",
    "finished": "its end is written down, and no ack is sent",
    "acking": "an ack was carried out, and its reply is not read",
    "round": "a round is on its way",
    "failing": "a task raised, and Redis does not know",
    "failed": "a task raised or a claim went back, Redis knows, and the worker does not know that",
    "burying": "a supervisor knows what a dead child held, and has not told Redis",
    "firing": "a slot has come, and it is not fired",
    "fired": "a slot is fired, and its worker does not know that",
}
_NUMBERS = {name: number for number, name in enumerate(POINTS)}
_DIED, _FLAGS = 64, 128
#: (id, token) of what this process has claimed -> monotonic ns before which it was not leased.
LEASED: dict[tuple[str, int], int] = {}
#: Flags that all processes of a scene see.
FLAGS = ("stop_producing", "stop_consuming")


class Board:
    """Bytes in a file that all processes of a scene map."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(bytes(256))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 256)
        self.history: History | None = None

    def arm(self, point: str) -> None:
        """Let the next process that comes to a point die there."""
        self._memory[_NUMBERS[point]] = 1

    def disarm(self, point: str) -> None:
        self._memory[_NUMBERS[point]] = 0

    def deaths(self, point: str) -> int:
        """How many died there; modulo 256."""
        return self._memory[_DIED + _NUMBERS[point]]

    def set(self, flag: str) -> None:
        self._memory[_FLAGS + FLAGS.index(flag)] = 1

    def is_set(self, flag: str) -> bool:
        return bool(self._memory[_FLAGS + FLAGS.index(flag)])

    def at(self, point: str) -> None:
        """This process is at a point: die if it is armed."""
        number = _NUMBERS[point]
        if not self._memory[number]:
            return
        self._memory[number] = 0
        self._memory[_DIED + number] = (self._memory[_DIED + number] + 1) % 256
        if self.history is not None:
            self.history.write("death", "ok", point)
        os.kill(os.getpid(), signal.SIGKILL)


def install(board: Board, history: History) -> None:
    """Wrap the library's methods in this process, and in those that it forks."""
    board.history = history

    def decoding(claimed: list[Any], *rest: Any) -> Any:
        if claimed:
            board.at("claimed")
        return decode(claimed, *rest)

    rounds.decode = decoding  # type: ignore[assignment, attr-defined]
    _around(rounds.Rounds, "_take_in", after=lambda: board.at("recorded"), when=lambda brought: bool(brought.claims))
    _around(fetcher.Fetcher, "ended", before=lambda: board.at("ended"), after=lambda: board.at("finished"))
    _around(rounds.Rounds, "_answer", before=lambda: board.at("round"))
    _around(undertaker.Undertaker, "_unrecorded", after=lambda: board.at("burying"))
    _wrap_starts(history)
    _wrap_claims()
    _wrap_answers_to_acks(board, history)
    _wrap_failures(board)
    _wrap_firing(board, history)


def _around(
    owner: Any,
    name: str,
    before: Callable[[], None] | None = None,
    after: Callable[[], None] | None = None,
    when: Callable[[Any], bool] = lambda result: True,
) -> None:
    original = getattr(owner, name)

    def wrapped(self: Any, *args: Any) -> Any:
        if before is not None:
            before()
        result = original(self, *args)
        if after is not None and when(result):
            after()
        return result

    setattr(owner, name, wrapped)


def _wrap_starts(history: History) -> None:
    original = Runner._start

    def starting(self: Any, task: Any, claim: Any) -> float:
        # Before the ledger says so: from then on the supervisor takes it for a run.
        if claim.args:
            history.write("begin", "ok", claim.args[0])
        return original(self, task, claim)

    Runner._start = starting  # type: ignore[method-assign]


def _wrap_claims() -> None:
    original = rounds.Rounds._claims_in

    def claims_in(self: Any, reply: Any, leased_at: float) -> Any:
        claims = original(self, reply, leased_at)
        LEASED.update(dict.fromkeys(((claim.id, claim.token) for claim in claims), int(leased_at * 1e9)))
        return claims

    rounds.Rounds._claims_in = claims_in  # type: ignore[method-assign]


def _wrap_answers_to_acks(board: Board, history: History) -> None:
    original = rounds.Rounds._take_in

    def taking_in(self: Any, reply: Any, departed: Any) -> rounds.Brought:
        if departed.acked:
            board.at("acking")
            stale = {message_id for _, message_id in reply.stale}
            for claim in departed.acked:
                if claim.id not in stale and claim.args:
                    history.write("accept", "ok", claim.args[0], id=claim.id, token=claim.token)
        return original(self, reply, departed)

    rounds.Rounds._take_in = taking_in  # type: ignore[method-assign]


def _wrap_failures(board: Board) -> None:
    original = Runner._failed

    def failing(self: Any, *args: Any) -> None:
        board.at("failing")
        original(self, *args)

    Runner._failed = failing  # type: ignore[assignment, method-assign]
    _around(fetcher.Fetcher, "dropped", before=lambda: board.at("failed"))


def _wrap_firing(board: Board, history: History) -> None:
    original = recurrer.Recurrer._fire

    def firing(self: Any, task: Any, slot: int) -> None:
        key = f"{task.name} {slot}"
        history.write("slot", "invoke", key)
        board.at("firing")
        original(self, task, slot)
        board.at("fired")
        history.write("slot", "ok", key)

    recurrer.Recurrer._fire = firing  # type: ignore[method-assign]
