"""The cluster that the other tests stand on is one: slots spread, replicas that take over, slots that move."""

from __future__ import annotations

from tests.cluster.nodes import SLOTS, Cluster


def test_a_cluster_loses_no_key_when_slots_move_and_masters_die(own_cluster: Cluster) -> None:
    client = own_cluster.client()
    keys = [f"key-{n}" for n in range(60)]
    for key in keys:
        client.set(key, key)
    assert len(own_cluster.masters) == 3
    assert len(own_cluster.owners()) == SLOTS

    slot = own_cluster.slot_of(keys[0].encode())
    source = own_cluster.master_of(slot)
    other = next(node for node in own_cluster.masters if node is not source)
    own_cluster.move_slot(slot, other)
    assert own_cluster.master_of(slot) is other

    client.wait(1, 1000, target_nodes=client.PRIMARIES)
    own_cluster.kill(other)
    assert other not in own_cluster.masters
    own_cluster.mend()
    heir = own_cluster.master_of(slot)
    assert own_cluster.fail_over(heir) is own_cluster.master_of(slot)
    assert [client.get(key) for key in keys] == [key.encode() for key in keys]
