"""
Health: what the file says that a worker keeps of itself, and whether that is well.

Nothing of rpqueue is imported here, and little else: a container asks every few seconds, and the whole library, or the
application, would cost more than the answer. `rpqueue_entry` loads this file alone.
"""

from __future__ import annotations

import json
import os
import sys
import time

#: Seconds after which a file counts as left behind, unless the probe says otherwise.
MAX_AGE = 30.0

HEALTHY, UNHEALTHY = 0, 1  #: exit codes


def instant() -> dict[str, object]:
    """This instant, so that another process can tell how long ago it is, though somebody sets the clock meanwhile."""
    return {"at": round(time.time(), 3), "monotonic": round(time.monotonic(), 3), "boot": _boot()}


def age_of(said: dict[str, object]) -> float:
    """Seconds since the `instant` in *said*: of the monotonic clock if this is the same run of the same machine."""
    at, monotonic, boot = said.get("at"), said.get("monotonic"), said.get("boot")
    if boot and boot == _boot() and isinstance(monotonic, (int, float)):
        age = time.monotonic() - monotonic
        if age >= 0:
            return age
    return abs(time.time() - at) if isinstance(at, (int, float)) else float("inf")


def judge(path: str, max_age: float = MAX_AGE, ready: bool = False) -> tuple[str, dict[str, object]]:
    """
    Whether a worker is well.

    Args:
        path: of its health file.
        max_age: seconds; an older file was left behind by a worker that hangs, or is gone.
        ready: whether it has to work, too: to have reached Redis with all its processes, and not be about to stop.

    Returns:
        Why it is not well, empty when it is; and what the file says.
    """
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123, pathlib is slow to import
            said = json.load(file)
    except FileNotFoundError:
        return f"there is no file {path}: the worker has not started, or has ended", {}
    except (OSError, ValueError) as error:
        return f"{path} cannot be read: {error}", {}
    if not isinstance(said, dict) or not isinstance(said.get("problems"), list):
        return f"{path} is not a health file of rpqueue", {}
    age = age_of(said)
    if age > max_age:
        return f"the worker's last sign of life is {age:.0f} s old, more than {max_age:g}: it hangs, or is gone", said
    problems = [str(problem) for problem in said["problems"]]
    if ready and said.get("unready"):
        problems.append(str(said["unready"]))
    return "; ".join(problems), said


def report(path: str, max_age: float, ready: bool, wants_json: bool) -> int:
    """Print in one line, or as JSON, whether a worker is well. Returns the exit code."""
    why, said = judge(path, max_age, ready)
    if wants_json:
        print(
            json.dumps({"healthy": not why, "why": why, "age": round(age_of(said), 3) if said else None, "file": said})
        )
    elif why:
        print(f"rpqueue: not healthy: {why}", file=sys.stderr)
    else:
        print(f"healthy: {said.get('state')}, {said.get('alive')} of {said.get('wanted')} processes")
    return UNHEALTHY if why else HEALTHY


def answer(words: list[str]) -> int | None:
    """The exit code of ``--file PATH [--max-age SECONDS] [--ready] [--json]``; None: something else is asked."""
    values, flags = {"--max-age": str(MAX_AGE)}, set()
    rest = list(words)
    while rest:
        name, is_joined, value = rest.pop(0).partition("=")
        if name in ("--ready", "--json") and not is_joined:
            flags.add(name)
        elif name in ("--file", "--max-age") and (is_joined or rest):
            values[name] = value if is_joined else rest.pop(0)
        else:
            return None
    try:
        max_age = float(values["--max-age"])
    except ValueError:
        return None
    if not values.get("--file") or not 0 < max_age < 1e9:
        return None
    return report(values["--file"], max_age, "--ready" in flags, "--json" in flags)


def _boot() -> str:
    """Names this run of this machine; empty where the system has no name for it."""
    try:
        descriptor = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 64).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
