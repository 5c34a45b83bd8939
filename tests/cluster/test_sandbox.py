"""A sandbox on a cluster: its worker visits one queue at a time, and its clock turns every key by itself."""

from __future__ import annotations

from rpqueue import App
from rpqueue.testing import sandbox
from tests.cluster.nodes import Cluster


def test_a_sandbox_works_on_a_cluster_and_leaves_nothing(cluster: Cluster) -> None:
    with sandbox(App(), cluster.url) as box:
        job = box.app.task(lambda label: None, name="job", save_results=60)
        box.app.periodic_task(60, name="often", queue="recurring")(lambda: None)
        box.app.set_priority("urgent", 1)
        for queue in ("b", "a", "urgent"):
            job.execute_many([(f"{queue}{number}",) for number in range(2)], _queue=queue)
        late = job.execute("late", delay=60, _queue="c")
        box.app.Data("items", vis_timeout=60).put_data(["x"], delay=60)
        box.assert_enqueued(job, count=7)
        box.assert_put("items", "x", delay=60)
        ran = box.worker.run()
        assert [one.args[0] for one in ran] == ["urgent0", "urgent1", "a0", "a1", "b0", "b1"]
        box.assert_enqueued(job, delay=60, count=1)
        box.clock.advance(60)
        assert late.status == "late"
        assert sorted(one.name for one in box.worker.run()) == ["job", "often"]
        assert box.app.Data("items").get_data() != {}
    client = cluster.client()
    assert list(client.scan_iter(match="rpqueue-test-*")) == []
    client.close()
