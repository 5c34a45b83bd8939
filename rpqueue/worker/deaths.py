"""How processes die, in words and in records."""

from __future__ import annotations

import signal
import time
from typing import Any

from .performing import HOST


def how(status: int | None) -> str:
    """An exit code, negative for a signal, in words; None: nobody knows."""
    if status is None:
        return "nobody knows how"
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:  # a real-time signal has no name
        return f"signal {-status}"


def death_record(pid: int, status: int | None, **more: Any) -> dict[str, Any]:
    """What is kept of a run whose process died. Instants are of this machine's clock."""
    record = {
        "exception": "WorkerCrashed",
        "message": f"the process that ran it ended: {how(status)}",
        "traceback": "",
        "host": HOST,
        "pid": pid,
        "exit_code": status if status is not None and status >= 0 else None,
        "signal": -status if status is not None and status < 0 else None,
        "failed_at": round(time.time(), 3),
    }
    return {**record, **more}
