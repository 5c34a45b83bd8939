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

from ...system import System
from ..ledger import Ledger
from ..pools import Pooling
from .family import Children
from .places import Places, need_children

__all__ = ["Children", "Places", "children_for", "need_children"]


def children_for(system: System, ledger: Ledger, pooling: Pooling) -> Children:
    """
    The children of a worker, ready to be forked if any task that is registered needs them.

    To be called before the process has a second thread, a connection, or anything else that no child may share.
    """
    children = Children(system, ledger, pooling)
    if need_children(system, pooling.pool):
        children.start()
    return children
