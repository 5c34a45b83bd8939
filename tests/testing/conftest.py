"""A sandbox of an App that is new to each test, on a server that they share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rpqueue import App
from rpqueue.testing import Sandbox, sandbox


@pytest.fixture
def box(rpqueue_server: str) -> Iterator[Sandbox]:
    with sandbox(App(), rpqueue_server) as made:
        yield made
