"""The doctor on a Cluster: it asks every master, and mends queues wherever they are."""

from __future__ import annotations

from itertools import islice

from rpqueue import App
from rpqueue.doctor import Doctor, Level
from rpqueue.protocol import views
from tests.cluster.hands import spread
from tests.cluster.nodes import Cluster


def test_queues_on_all_masters_are_looked_at_and_mended(cluster: Cluster) -> None:
    app = App(cluster.url, prefix="test")
    names = list(islice(spread(cluster, app, data=True), len(cluster.masters)))
    for name in names:
        app.Data(name, attempts=2).put_data([1, 2])
    found = Doctor(app).examine()
    assert len([one for one in found if one.check == "server.version"]) == len(names)
    assert [one.level for one in found if one.check.startswith(("queue", "keys"))] == [Level.OK] * 3
    for name in names:
        app.broker.client.delete(app.data_keys(name).ready)
    found = Doctor(app).examine()
    assert len([one for one in found if one.check == "queue.nowhere"]) == len(names)
    assert all(one.level is Level.NOTE for one in Doctor(app, mends=True).examine() if one.check.startswith("queue."))
    sizes = app.broker.run(views.sizing([app.data_keys(name) for name in names], 1))
    assert [size.ready for size in sizes] == [2] * len(names)
    app.broker.close()
