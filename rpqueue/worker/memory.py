"""Memory: how much of it a process has."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def resident(pid: int) -> int | None:
    """Bytes of memory that a process of this machine has now; None: it is gone, or the system does not tell."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_bytes().split()[1]
    except FileNotFoundError:
        return None if Path("/proc/self/statm").exists() else _by_ps(pid)
    except (OSError, IndexError):  # it ends this moment
        return None
    return int(pages) * os.sysconf("SC_PAGESIZE")


def _by_ps(pid: int) -> int | None:
    """The same where there is no /proc, as on macOS."""
    try:
        said = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=False, timeout=5).stdout
        return int(said) * 1024
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
