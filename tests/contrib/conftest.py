"""Sentry with a transport that keeps what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport


class Sent(Transport):
    """What would go to Sentry."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.items: list[tuple[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            if item.type != "client_report":
                self.items.append((item.type or "", item.payload.json))

    def of(self, kind: str) -> list[Any]:
        """The payloads of one kind, in order: event, transaction, check_in, span."""
        return [payload for found, payload in self.items if found == kind]


# Integrations are set up once in a process, in an order that matters: as in a program, Sentry's own come before ours.
sentry_sdk.init("http://key@127.0.0.1:1/1", transport=Sent(), auto_enabling_integrations=False)
sentry_sdk.get_global_scope().set_client(None)


@pytest.fixture
def start_sentry() -> Iterator[Callable[..., Sent]]:
    """start_sentry(transport, **options): the real SDK, up to its transport, until the test is over."""

    def start(sent: Sent | None = None, **options: Any) -> Sent:
        sent = sent or Sent()
        options = {"traces_sample_rate": 1.0, "auto_enabling_integrations": False, **options}
        sentry_sdk.init("http://key@127.0.0.1:1/1", transport=sent, **options)
        sentry_sdk.get_isolation_scope().clear()
        return sent

    yield start
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)
    sentry_sdk.get_global_scope().clear()
    sentry_sdk.get_isolation_scope().clear()


@pytest.fixture
def sent(start_sentry: Callable[..., Sent]) -> Sent:
    """What goes to Sentry, with everything traced."""
    return start_sentry()
