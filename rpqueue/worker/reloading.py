"""
Reloading: a worker that starts anew when its code changes, for development.

A process of its own watches the files, since a supervisor that forks has no threads; it ends when one has changed. The
worker then stops as on SIGTERM, and its process starts the same program again: everything is imported anew, under the
same process id.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from ..errors import RefusedInput

log = logging.getLogger("rpqueue.worker")

#: Exit code of the watching process when a file has changed.
CHANGED = 64
#: Milliseconds after which it looks whether its parent is still there.
LOOK = 1000


class Watcher:
    """
    Orders the worker to end when a Python file has changed.

    The current directory is watched, and the directories that the code of some modules is in, with all that is below
    them, but for what is nobody's code: caches, virtual environments, version control.

    Args:
        modules: their names.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RefusedInput("reload: expected to run in the main thread, since the whole program starts again")
        try:
            import watchfiles  # noqa: F401
        except ImportError as error:
            raise RefusedInput("reload: expected watchfiles to be installed; pip install rpqueue[reload]") from error
        find_here()
        self._directories = directories_of(modules)
        self._here = Path.cwd()
        self._pid = 0
        self.has_changed = False

    def start(self) -> None:
        """Start to watch."""
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                code = _watch(self._directories, parent)
            except BaseException:  # the traceback must be seen before the process is gone
                log.exception("the files are not watched any more")
            finally:
                os._exit(code)

    def order(self) -> int:
        """1 once a file has changed."""
        if self._pid and not self.has_changed:
            self._look(os.WNOHANG)
        return int(self.has_changed)

    def wait(self) -> bool:
        """Block until a file has changed. False when nothing watches any more."""
        if self._pid and not self.has_changed:
            self._look(0)
        return self.has_changed

    def close(self) -> None:
        """Watch no more."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._look(0)

    def start_again(self) -> NoReturn:
        """Start this process's program anew, as it was started."""
        os.chdir(self._here)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    @contextlib.contextmanager
    def mending(self) -> Iterator[None]:
        """While an error comes out of this block, which imports the code, wait for a change and start again."""
        try:
            yield
        except Exception:
            log.exception("the code cannot be used")
            self.start_again_after_change()
            raise

    def start_again_after_change(self) -> None:
        """Block until a file has changed, and start again; returns when nothing watches any more."""
        log.warning("waiting for a change of the code")
        self.start()
        if self.wait():
            self.start_again()

    def _look(self, options: int) -> None:
        try:
            ended, status = os.waitpid(self._pid, options)
        except ChildProcessError:  # somebody else's waitpid() took it
            self._pid = 0
            return
        if ended:
            self._pid = 0
            self.has_changed = os.waitstatus_to_exitcode(status) == CHANGED


def find_here() -> None:
    """Have modules be found in the current directory, too."""
    here = str(Path.cwd())
    if "" not in sys.path and here not in sys.path:
        sys.path.insert(0, here)


def directories_of(modules: Sequence[str]) -> list[Path]:
    """The current directory, and those with the code of these modules, but none that lies in another one."""
    found = [Path.cwd()]
    for name in modules:
        spec = None
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(name.partition(".")[0])
        if spec is None:
            continue
        places = list(spec.submodule_search_locations or ())
        if not places and spec.origin:
            places = [str(Path(spec.origin).parent)]
        found += [Path(place).resolve() for place in places if Path(place).is_dir()]
    return [place for place in dict.fromkeys(found) if not any(other in place.parents for other in found)]


def _watch(directories: Sequence[Path], parent: int) -> int:
    """What the watching process does. Returns its exit code."""
    from watchfiles import PythonFilter, watch

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    has_begun = False
    for changes in watch(
        *directories, watch_filter=PythonFilter(), debounce=400, rust_timeout=LOOK, yield_on_timeout=True
    ):
        if changes:
            log.warning("changed: %s; starting anew", ", ".join(sorted({name for _, name in changes})))
            return CHANGED
        if not has_begun:
            has_begun = True
            log.info("watching Python files in %s", ", ".join(str(place) for place in directories))
        if os.getppid() != parent:
            return 0
    return 0
