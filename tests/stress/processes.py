"""A process of a scene, seen from the test: started, killed, frozen; each is written down before it is done."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from tests.stress.history import History


class Agent:
    """
    One process started by ``python -m tests.stress.agent``; a worker's has children.

    Args:
        config: what it is told; see `agent.main`.
        log: file for what it says.
        history: of the test, where it is written down what is done to the process.
    """

    def __init__(self, config: dict[str, Any], log: Path, history: History) -> None:
        self.role, self.log_file, self.history = config["role"], log, history
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.stress.agent", json.dumps(config)],
                cwd=Path(__file__).parents[2],
                env={**os.environ, **config.get("environment", {})},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self.process.pid

    @property
    def log(self) -> str:
        """All that it said."""
        return self.log_file.read_text(errors="replace")

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def children(self) -> list[int]:
        """Process ids of its living children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.pid).children()
            return sorted(child.pid for child in found if child.status() != psutil.STATUS_ZOMBIE)
        return []

    def kill(self, pid: int | None = None) -> None:
        """SIGKILL to one of its processes; None: to itself."""
        self._send(signal.SIGKILL, [pid or self.pid], "kill")
        if pid is None:
            self.process.wait(20)

    def kill_all(self) -> None:
        """SIGKILL to it and its children together, like a machine that loses power."""
        family = self.family()
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)  # or the first to die would be seen by another
        self._send(signal.SIGKILL, dict.fromkeys([*family, *self.family()]), "kill")
        self.process.wait(20)

    def pause_all(self) -> None:
        """Freeze it and its children, like a machine that is suspended."""
        self._send(signal.SIGSTOP, self.family(), "pause")

    def pause(self, pid: int) -> None:
        """Freeze one of its processes."""
        self._send(signal.SIGSTOP, [pid], "pause")

    def resume(self) -> None:
        """Let all of it go on."""
        self._send(signal.SIGCONT, self.family(), "resume")

    def stop(self, number: signal.Signals = signal.SIGTERM, *, group: bool = False) -> None:
        """Tell it to stop, or its whole group as a terminal does it; do not wait."""
        self.history.write("stop", "ok", "", target=[self.pid, *descendants(self.pid)])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number) if group else self.process.send_signal(number)

    def code(self, timeout: float = 30.0) -> int:
        """Exit code, once it has ended."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.role} {self.pid} still runs after {timeout} s:\n{self.log[-4000:]}") from None

    def family(self) -> list[int]:
        """Process ids of it, its living children, and theirs."""
        return [self.pid, *descendants(self.pid)] if self.is_alive else []

    def _send(self, number: signal.Signals, pids: Any, step: str) -> None:
        # No child of a worker process outlives it.
        left = (pid for one in pids if one != self.pid for pid in descendants(one)) if step == "kill" else ()
        self.history.write(step, "ok", "", target=list(dict.fromkeys([*pids, *left])))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def descendants(pid: int) -> list[int]:
    """Process ids of the living children of a process, and of theirs."""
    with contextlib.suppress(psutil.NoSuchProcess):
        found = psutil.Process(pid).children(recursive=True)
        return sorted(child.pid for child in found if child.status() != psutil.STATUS_ZOMBIE)
    return []
