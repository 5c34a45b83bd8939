"""What tests do by hand on a cluster: names for queues on every node, and a worker's moves one at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from rpqueue import App
from rpqueue.protocol import moves
from rpqueue.protocol.cycle import Ack, cycle
from tests.cluster.nodes import Cluster

ERROR = b'{"exception":"ValueError","message":"no"}'


def spread(cluster: Cluster, app: App, *, data: bool = False, stem: str = "q") -> Iterator[str]:
    """Names of queues without end, the next one always on the next master."""
    keys = app.keys.data if data else app.keys.tasks
    names = (f"{stem}{n}" for n in itertools.count())
    owners = cluster.owners()
    for master in itertools.cycle(cluster.masters):
        yield next(name for name in names if owners[cluster.slot_of(keys(name).ready)] is master)


def claim(app: App, queue: str, wanted: int = 1, acks: list[Ack] | None = None) -> list[tuple[str, int]]:
    """Claim from a queue, and ack on the way; returns ids and tokens."""
    keys = app.task_keys(queue)
    turn = cycle(
        *(app.keys.app, [keys], {queue: acks or []}),
        indexed=False,
        lease_for=60,
        wanted=wanted,
        starting=wanted,
        limit=100,
        rules=app.task_rules,
    )
    return [(row[0].decode(), row[2].token) for some in app.broker.execute(turn).claimed for row in some.rows()]


def finish(app: App, queue: str, result: int, wanted: int = 1) -> list[str]:
    """Claim from a queue, and let it end with this result; returns the ids."""
    held = claim(app, queue, wanted)
    outcome = b'{"state":"done","result":%d}' % result
    claim(app, queue, 0, [Ack(id, token, 60, outcome) for id, token in held])
    return [id for id, _ in held]


def fail(app: App, queue: str, wanted: int = 1) -> list[str]:
    """Claim from a queue, and let it fail; returns the ids."""
    held = claim(app, queue, wanted)
    for lease in held:
        app.broker.execute(moves.fail(app.task_keys(queue), app.index, lease, app.task_rules, error=ERROR))
    return [id for id, _ in held]


def waiting(app: App, queue: str) -> list[str]:
    """The ids of what waits in a queue, in order."""
    return [row[0] for row in app.get_page(queue, 1, 1000)]
