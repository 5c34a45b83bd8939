"""Virtual environments, one per peer, made once and kept under ``.bench/``."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peer import Facts

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("BENCH_CACHE") or ROOT / ".bench")


class CannotPrepare(Exception):
    """An environment cannot be made here; says why."""


def prepare(name: str, facts: Facts) -> Path:
    """Make the environment of a peer, unless it is there. Returns its Python."""
    if not facts.requirements:
        return Path(sys.executable)
    version, python = suitable(name, facts)
    stamp = hashlib.sha256("\n".join([version, *facts.requirements]).encode()).hexdigest()[:10]
    home = CACHE / "environments" / f"{name}-{version}-{stamp}"
    executable = home / "bin" / "python"
    if (home / "installed").exists():
        return executable
    print(f"preparing {facts.title}: {' '.join(facts.requirements)} on Python {version}", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    _run([str(python), "-m", "venv", str(home)], name)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *facts.requirements]
    _run([str(executable), *install], name)
    (home / "installed").touch()
    return executable


def import_path() -> str:
    """A directory to put on PYTHONPATH that holds this package and nothing beside it, no other rpqueue above all."""
    site = CACHE / "site"
    site.mkdir(parents=True, exist_ok=True)
    link = site / "benchmarks"
    if not link.is_symlink() or link.resolve() != Path(__file__).parent.resolve():
        link.unlink(missing_ok=True)
        link.symlink_to(Path(__file__).resolve().parent, target_is_directory=True)
    return str(site)


def suitable(name: str, facts: Facts) -> tuple[str, Path]:
    """A Python for a peer: the version that runs this, or the nearest one that the peer knows."""
    oldest, newest = (number(text) for text in facts.python)
    ours = sys.version_info[1]
    wanted = sorted(range(oldest, newest + 1), key=lambda minor: (abs(minor - ours), minor))
    for minor in wanted:
        for python in interpreters(minor):
            return f"3.{minor}", python
    raise CannotPrepare(f"{name} needs Python {facts.python[0]} to {facts.python[1]}, and none was found here")


def number(version: str) -> int:
    """The 11 of 3.11."""
    return int(version.split(".")[1])


def interpreters(minor: int) -> Iterator[Path]:
    """The Pythons 3.MINOR of this machine that start: on the PATH, and where pyenv keeps them."""
    if sys.version_info[1] == minor:
        yield Path(sys.executable).resolve()
    candidates = []
    on_path = shutil.which(f"python3.{minor}")
    if on_path:
        candidates.append(Path(on_path))
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates += sorted(versions.glob(f"3.{minor}.*/bin/python3.{minor}"))
    for python in candidates:
        said = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
        if said.returncode == 0 and re.match(rf"Python 3\.{minor}\.", said.stdout):
            yield python


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotPrepare(f"the environment of {name} could not be made: {done.stderr.strip()[-600:]}")
