"""
Children: processes that run one task at a time for a worker process, and that can be killed.

A slot, which is a thread of the worker, hands a call over to a child and waits for what comes of it. So a claim's life
is the same as in a thread, and only its function runs elsewhere::

    worker ──── control socket ──── nursery          forks children when asked, kills them when asked, says how they
      │                                │             ended. It has one thread, and was forked before the worker had
      │ a socket for each child        ├── child     others, for a process with threads cannot be forked safely.
      └────────────────────────────────┴── child     one call at a time, then what came of it

No child outlives its worker: the nursery kills them all when the control socket is closed, and where the system has
that, the kernel kills the nursery with the worker and children with the nursery. No child has a connection of the
worker's: the nursery is forked before there are any, and each process opens its own.
"""

from __future__ import annotations

from .family import Children
from .places import Places

__all__ = ["Children", "Places"]
