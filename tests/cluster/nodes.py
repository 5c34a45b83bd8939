"""A cluster: three masters and a replica of each, real processes, formed by commands and ended by process id."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.crc import key_slot
from redis.retry import Retry

from tests.servers import Server, free_port, wait_until

SLOTS = 16384
#: What a node listens on for the others: its port and this.
BUS = 10_000
#: Keys that one MIGRATE takes along.
AT_ONCE = 100


class Node(Server):
    """One server of a cluster."""

    id: str  #: under which the others know it

    _asking: redis.Redis | None = None

    def ask(self, *words: Any) -> Any:
        """What it says to a command: as it says it, text as str, and without anybody's redirections or retries."""
        client = self._asking
        if client is None:
            client = self.client(socket_timeout=10, retry=Retry(NoBackoff(), 0), decode_responses=True)
            client.response_callbacks.clear()
            self._asking = client
        return client.execute_command(*words)

    def told(self, *words: Any) -> dict[str, str]:
        """The lines ``name:value`` of what it says to a command."""
        lines = self.ask(*words).splitlines()
        return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}

    def view(self) -> list[dict[str, Any]]:
        """What it knows of each node: id, flags, whose replica it is, whether the link stands, its slots."""
        return [_node(line.split()) for line in self.ask("CLUSTER", "NODES").splitlines()]


def _node(words: Sequence[str]) -> dict[str, Any]:
    id, _, flags, master, _, _, _, link, *slots = words
    return {"id": id, "flags": flags.split(","), "master": master, "link": link, "slots": slots}


class Cluster:
    """
    Masters and replicas of one program. Ready when it is made.

    Args:
        flavour: of all of them; see tests.servers.
        masters: how many, with equal shares of the slots.
        replicas: of each master.
        node_timeout: seconds of silence after which a node counts as down.
        appendonly: whether each has an append-only file, fsync always.
        options: more of a server's options.
    """

    def __init__(
        self,
        flavour: str,
        *,
        masters: int = 3,
        replicas: int = 1,
        node_timeout: float = 1.0,
        appendonly: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self.flavour = flavour
        self._stack = contextlib.ExitStack()
        self._options = [
            *["--cluster-enabled", "yes", "--cluster-node-timeout", str(int(node_timeout * 1000))],
            *["--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no"],
            *["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"],
            *options,
        ]
        if flavour == "redis62":  # the older name is all it knows
            at = self._options.index("--cluster-allow-replica-migration")
            self._options[at : at + 2] = ["--cluster-migration-barrier", "99"]
        try:
            with ThreadPoolExecutor() as threads:
                made = [threads.submit(self._start, port, appendonly) for port in free_ports(masters * (1 + replicas))]
            self.nodes = [one.result() for one in made]
            self._form(masters)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<{self.flavour} cluster on ports {', '.join(str(node.port) for node in self.nodes)}>"

    def _start(self, port: int, appendonly: bool) -> Node:
        node = Node(self.flavour, port=port, appendonly=appendonly, options=self._options)
        self._stack.callback(node.close)
        return node

    def _form(self, masters: int) -> None:
        for node in self.nodes:
            node.id = node.ask("CLUSTER", "MYID")
        shares = [SLOTS * n // masters for n in range(masters + 1)]
        for epoch, (node, (first, end)) in enumerate(zip(self.nodes, itertools.pairwise(shares), strict=False), 1):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)  # else they would quarrel about it for a while
            node.ask("CLUSTER", "ADDSLOTS", *range(first, end))
        for node, other in itertools.combinations(self.nodes, 2):
            node.ask("CLUSTER", "MEET", other.host, other.port)
        wait_until(self._all_met, 20, "the nodes know each other")
        for n, node in enumerate(self.nodes[masters:]):
            node.ask("CLUSTER", "REPLICATE", self.nodes[n % masters].id)
        self.until_whole()

    def _all_met(self) -> bool:
        return all({one["id"] for one in node.view()} == {one.id for one in self.nodes} for node in self.nodes)

    # Looking.

    @property
    def url(self) -> str:
        """How clients find it: three of its nodes."""
        places = ",".join(f"{node.host}:{node.port}" for node in self.nodes[:3])
        return f"redis+cluster://{places}"

    @property
    def root_url(self) -> str:
        """The same: there are no users with fewer rights here."""
        return self.url

    def client(self, **options: Any) -> redis.RedisCluster:
        """Make a client, closed with the cluster. Options are those of redis.RedisCluster."""
        nodes = [ClusterNode(node.host, node.port) for node in self.nodes]
        client = redis.RedisCluster(startup_nodes=nodes, **options)
        self._stack.callback(client.close)
        return client

    def _masters_by_id(self) -> dict[str, dict[str, Any]]:
        """What most of those that run say of each master that has slots: by its id."""
        told = [one for node in self.nodes if node.is_running for one in node.view()]
        voted: dict[str, list[dict[str, Any]]] = {}
        for one in told:
            if "master" in one["flags"] and one["slots"] and "fail" not in one["flags"]:
                voted.setdefault(one["id"], []).append(one)
        running = sum(node.is_running for node in self.nodes)
        return {id: ones[0] for id, ones in voted.items() if len(ones) > running // 2}

    @property
    def masters(self) -> list[Node]:
        """Those that have slots, in the order of `nodes`."""
        found = self._masters_by_id()
        return [node for node in self.nodes if node.id in found]

    def node(self, id: str) -> Node:
        """The node of that id."""
        return next(node for node in self.nodes if node.id == id)

    def master_of(self, slot: int) -> Node:
        """Who has a slot."""
        return self.owners()[slot]

    def owners(self) -> dict[int, Node]:
        """Who has which slot."""
        told = [(self.node(id), span) for id, one in self._masters_by_id().items() for span in one["slots"]]
        return {slot: node for node, span in told for slot in range(*_span(span))}

    @staticmethod
    def slot_of(key: bytes) -> int:
        """The slot of a key."""
        return int(key_slot(key))

    def replicas_of(self, master: Node) -> list[Node]:
        """Those that run and follow *master*."""
        view = master.view()
        ids = [one["id"] for one in view if one["master"] == master.id and "fail" not in one["flags"]]
        return [node for node in self.nodes if node.id in ids and node.is_running]

    # Waiting.

    def until_whole(self, timeout: float = 30.0) -> None:
        """Wait until all nodes run, agree, serve every slot, and every replica is in step."""
        wait_until(self._is_whole, timeout, "the cluster is whole")

    def _is_served(self, node: Node) -> bool:
        return node.told("CLUSTER", "INFO")["cluster_state"] == "ok"

    def _is_whole(self) -> bool:
        views = []
        for node in self.nodes:
            if not node.is_running or not self._is_served(node):
                return False
            view = node.view()
            if any(one["link"] != "connected" and "myself" not in one["flags"] for one in view):
                return False
            if any(flag.startswith("fail") or flag == "handshake" for one in view for flag in one["flags"]):
                return False
            views.append({one["id"]: (one["master"], tuple(one["slots"])) for one in view})
            if node.told("INFO", "replication").get("master_link_status") == "down":
                return False
        return all(view == views[0] for view in views)

    # Breaking and mending.

    def kill(self, master: Node, timeout: float = 30.0) -> None:
        """SIGKILL a master, and wait until a replica of it serves its slots."""
        master.kill()
        self.until_replaced(master, timeout)

    def until_replaced(self, master: Node, timeout: float = 30.0) -> None:
        """Wait until the others see a replica in the place of a master that is dead or frozen."""
        others = [node for node in self.nodes if node is not master and node.is_running]

        def is_replaced() -> bool:
            views = [[one for one in node.view() if one["slots"] and "master" in one["flags"]] for node in others]
            return all(
                sum(len(range(*_span(span))) for one in view for span in one["slots"]) == SLOTS
                and all(one["id"] != master.id for one in view)
                for view in views
            ) and all(self._is_served(node) for node in others)

        wait_until(is_replaced, timeout, "a replica took over")

    def fail_over(self, master: Node, timeout: float = 30.0) -> Node:
        """Have a replica take over in good order; returns the new master."""
        heir = self.replicas_of(master)[0]
        heir.ask("CLUSTER", "FAILOVER")
        wait_until(lambda: heir in self.masters and master not in self.masters, timeout, "the replica took over")
        self.until_whole(timeout)
        return heir

    def mend(self) -> None:
        """Start what was killed and resume what was paused; they follow the masters of now."""
        for node in self.nodes:
            if node.is_running:
                node.resume()
            else:
                node.start()
        self.until_whole()

    @contextlib.contextmanager
    def moving(self, slot: int, to: Node) -> Iterator[None]:
        """A slot half way between two masters for the length of a block, with nothing moved yet; then it is moved."""
        source = self.master_of(slot)
        if source is to:
            yield
            return
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
        yield
        while self.move_keys(slot, source, to):
            pass
        for node in (to, source, *(one for one in self.masters if one not in (to, source))):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", to.id)
        wait_until(lambda: all(self._sees(node, slot, to) for node in self.nodes if node.is_running), 20, "all know it")

    def move_keys(self, slot: int, source: Node, to: Node, most: int = AT_ONCE) -> int:
        """Move so many keys of a slot that is on the move; returns how many there were."""
        # Asked as bytes: keys are bytes.
        with contextlib.closing(redis.Redis(port=source.port)) as client:
            keys = client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, most)
            if keys:
                client.execute_command("MIGRATE", to.host, to.port, "", 0, 5000, "REPLACE", "KEYS", *keys)
        return len(keys)

    def move_slot(self, slot: int, to: Node) -> None:
        """Move a slot with its keys to another master, as a reshard does."""
        with self.moving(slot, to):
            pass

    def _sees(self, node: Node, slot: int, owner: Node) -> bool:
        return any(
            one["id"] == owner.id and any(slot in range(*_span(span)) for span in one["slots"]) for one in node.view()
        )

    def close(self) -> None:
        """End all of it."""
        self._stack.close()


def _span(said: str) -> tuple[int, int]:
    """``5-9`` or ``5`` as the arguments of range; what is on the move is no span."""
    if said.startswith("["):
        return 0, 0
    first, _, last = said.partition("-")
    return int(first), int(last or first) + 1


def free_ports(number: int) -> list[int]:
    """Find ports that are free at this moment, and whose bus ports are free, too."""
    found: set[int] = set()
    while len(found) < number:
        port = free_port()
        # What a system gives out may be too high for a bus beside it.
        port = port if port + BUS < 65536 else random.randrange(20_000, 50_000)
        if {port, port + BUS, port - BUS} & found or not (is_free(port) and is_free(port + BUS)):
            continue
        found.add(port)
    return sorted(found)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
