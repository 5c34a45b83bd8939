"""
Looking at a running system: its queues, its workers, single messages. Nothing here changes anything.

Every view is a plain value, true for the instant at which Redis was asked; a view of several queues takes more than one
call, so messages may move between two of its rows.
"""

from __future__ import annotations

from ..seen import PLACES, Kind, MessageView
from .awaited import AwaitedInspection
from .looking import Inspection
from .messages import Page, TaskNames
from .queues import QueueView, WorkerView

__all__ = [
    "PLACES",
    "AwaitedInspection",
    "Inspection",
    "Kind",
    "MessageView",
    "Page",
    "QueueView",
    "TaskNames",
    "WorkerView",
]
