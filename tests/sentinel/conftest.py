"""Deployments: a master, two replicas and three sentinels of the same program."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import default_flavour, installed
from tests.sentinel.deployment import Deployment


@pytest.fixture
def deploy() -> Iterator[Callable[..., Deployment]]:
    """`deploy(flavour=None, replicas=2, sentinels=3, down_after=1.0)`; without that program, the test is skipped."""
    with contextlib.ExitStack() as stack:

        def start(flavour: str | None = None, **options: Any) -> Deployment:
            made = Deployment(installed(flavour or default_flavour()), **options)
            stack.callback(made.close)
            return made

        yield start


@pytest.fixture
def deployment(request: pytest.FixtureRequest, deploy: Callable[..., Deployment]) -> Deployment:
    """A Deployment of one's own."""
    return deploy(getattr(request, "param", None))
