"""What a worker was given, and cannot read while a task holds the GIL: its supervisor keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rpqueue import App
from rpqueue.protocol.cycle import cycle
from rpqueue.worker.ledger import Ledger
from rpqueue.worker.unread import UnreadRounds
from tests.servers import wait_until

TTL = 1.0


def claimed_and_unread(app: App, ledger: Ledger, wanted: int) -> None:
    """A round that Redis has carried out, and whose answer nobody has read."""
    keys = app.task_keys("default")
    stamp = app.broker.sessions.take()
    ledger.sending(stamp, "" if not app.broker.is_cluster else "default")
    turn = cycle(
        *(app.keys.app, [keys], {}),
        indexed=not app.broker.is_cluster,
        lease_for=TTL,
        wanted=wanted,
        starting=0,
        limit=100,
        rules=app.task_rules,
    )
    app.broker.execute(turn, stamp)


def leases(app: App) -> dict[bytes, float]:
    return dict(app.get_connection().zrange(app.task_keys("default").leased, 0, -1, withscores=True))


def unread_of(app: App, ledger: Ledger) -> UnreadRounds:
    app.settings.worker_ttl = TTL
    return UnreadRounds(app, app.broker, lambda: [ledger])


def extended(app: App, tick: Callable[[], Any]) -> dict[bytes, float]:
    before = leases(app)

    def some_are() -> dict[bytes, float]:
        tick()
        return {id: at for id, at in leases(app).items() if at > before[id]}

    return wait_until(some_are)


def test_what_may_run_once_at_most_is_kept_and_the_rest_left_to_other_workers(app: App) -> None:
    once = app.task(name="once")(print).execute()
    app.task(name="again", vis_timeout=60)(print).execute()
    ledger = Ledger()
    unread = unread_of(app, ledger)
    claimed_and_unread(app, ledger, 2)
    assert list(extended(app, unread.tick)) == [once.taskid.encode()]
    assert len(extended(app, unread.tick)) == 1, "and once more, as long as nobody reads it"


def test_what_is_read_is_left_to_the_heartbeat(app: App) -> None:
    app.task(name="once")(print).execute()
    ledger = Ledger()
    unread = unread_of(app, ledger)
    claimed_and_unread(app, ledger, 1)
    extended(app, unread.tick)
    ledger.recorded()
    before = leases(app)
    unread.tick()
    assert leases(app) == before
    assert unread.tick() == TTL / 6
