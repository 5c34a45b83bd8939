"""What befalls the server: it dies, forgets, freezes, is busy, full, or refuses."""

from __future__ import annotations

import contextlib
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import wait_until
from tests.stress.faults import Fault
from tests.stress.scene import Scene

#: Seconds for which a server refuses or does not answer, where nothing else is said.
AWHILE = (0.3, 1.5)

BUSY = """
local start = redis.call('TIME')
repeat
  local now = redis.call('TIME')
until (now[1] - start[1]) * 1000 + (now[2] - start[2]) / 1000 > tonumber(ARGV[1])
"""


def admin(scene: Scene) -> redis.Redis:
    """A client that tries nothing twice, on a connection that was logged in before anything was changed."""
    client = scene.server.client(single_connection_client=True, socket_timeout=30, retry=Retry(NoBackoff(), 0))
    client.ping()
    return client


class Kill:
    """
    SIGKILL of the server, and a start with its append-only file.

    Under everysec a server whose disk is busy holds back for up to two seconds what it has answered already, and a kill
    takes that along.
    """

    def __init__(self, fsync: str) -> None:
        self.fsync, self.name = fsync, f"Redis killed: AOF {fsync}"

    def inject(self, scene: Scene) -> None:
        since = time.monotonic_ns()
        scene.server.kill()
        time.sleep(scene.random.uniform(0, 1))
        scene.server.start()
        if self.fsync == "everysec":
            scene.forgive(since)


class ComeBackEmpty:
    """SIGKILL of the server, and a start with nothing. Workers must say that they have noticed."""

    name = "Redis back empty"
    mixed = False
    said = "Redis has lost its data"

    def inject(self, scene: Scene) -> None:
        beats = scene.app.keys.app.beats
        children = {pid for worker in scene.workers for pid in worker.children()}
        wait_until(lambda: children <= {int(one.rpartition(b":")[2]) for one in scene.client.zrange(beats, 0, -1)}, 20)
        before = {worker.pid: worker.log.count(self.said) for worker in scene.workers}
        scene.server.restart_empty()
        scene.forgive(0)
        for worker in scene.workers:
            wait_until(lambda worker=worker: worker.log.count(self.said) > before[worker.pid], 20, "it is noticed")


class GoBack:
    """SIGKILL of the server, and a start with its append-only file as it was a second ago."""

    name = "Redis back by a second"
    mixed = False

    def inject(self, scene: Scene) -> None:
        since = time.monotonic_ns()
        copy = scene.server.copy_data()
        time.sleep(1.0)
        scene.server.go_back(copy)
        scene.forgive(since)


class Freeze:
    """SIGSTOP of the server, for a time that the shortest leases, or all leases, do not outlive."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.name = seconds, f"Redis frozen for {seconds:g} s"

    def inject(self, scene: Scene) -> None:
        scene.server.pause()
        try:
            time.sleep(self.seconds)
        finally:
            scene.server.resume()


class Load:
    """The server loads its data, and says so to whoever asks."""

    name = "Redis loading"

    def inject(self, scene: Scene) -> None:
        client = admin(scene)
        with contextlib.suppress(redis.ResponseError):  # Redis 6.2 looks at its clients every 2 MB, and is silent here
            client.config_set("loading-process-events-interval-bytes", 1024)
        keys = max(client.dbsize(), 1)
        client.config_set("key-load-delay", int(scene.random.uniform(*AWHILE) * 1e6 / keys))
        try:
            client.execute_command("DEBUG", "RELOAD")
        finally:
            client.config_set("key-load-delay", 0)
            client.close()


class KeepBusy:
    """A script of somebody else's runs for long."""

    name = "Redis busy with a script"

    def inject(self, scene: Scene) -> None:
        client = admin(scene)
        client.config_set("lua-time-limit", 20)
        client.eval(BUSY, 0, int(scene.random.uniform(*AWHILE) * 1000))
        client.close()


class PauseClients:
    """CLIENT PAUSE, of all commands or of those that write."""

    name = "CLIENT PAUSE"

    def inject(self, scene: Scene) -> None:
        seconds = scene.random.uniform(*AWHILE)
        scene.client.client_pause(int(seconds * 1000), all=scene.random.random() < 0.5)
        time.sleep(seconds)


class Forget:
    """SCRIPT FLUSH, again and again."""

    name = "SCRIPT FLUSH in a loop"

    def inject(self, scene: Scene) -> None:
        for _ in range(30):
            scene.client.script_flush()
            time.sleep(scene.random.uniform(0, 0.03))


class HangUp:
    """CLIENT KILL of everybody, again and again."""

    name = "CLIENT KILL in a loop"

    def inject(self, scene: Scene) -> None:
        for _ in range(10):
            for kind in ("normal", "pubsub"):
                scene.client.client_kill_filter(_type=kind, skipme=True)
            time.sleep(scene.random.uniform(0, 0.1))


class Fill:
    """maxmemory is reached: new work is refused whole, and what is there goes on to its end."""

    name = "maxmemory reached"

    def inject(self, scene: Scene) -> None:
        scene.client.config_set("maxmemory", 1)
        try:
            time.sleep(scene.random.uniform(*AWHILE))
        finally:
            scene.client.config_set("maxmemory", 0)


class Revoke:
    """The ACL takes from the user of all clients: scripts, the keys, or the blocking pop of idle workers."""

    name = "ACL revoked"
    rules = ("-evalsha -eval", "resetkeys ~other:*", "-blpop", "resetchannels")

    def inject(self, scene: Scene) -> None:
        client = admin(scene)
        try:
            client.execute_command("ACL", "SETUSER", "default", *scene.random.choice(self.rules).split())
            time.sleep(scene.random.uniform(*AWHILE))
        finally:
            client.execute_command("ACL", "SETUSER", "default", "on", "allkeys", "allchannels", "+@all")
            client.close()


class Rotate:
    """A password is set that nobody here knows, and connections are dropped; then it is taken back."""

    name = "password changed"

    def inject(self, scene: Scene) -> None:
        client = admin(scene)
        try:
            client.config_set("requirepass", "other")
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)
            time.sleep(scene.random.uniform(*AWHILE))
        finally:
            client.config_set("requirepass", "")
            client.close()


class Crowd:
    """Other clients use up the connections that the server allows."""

    name = "maxclients reached"

    def inject(self, scene: Scene) -> None:
        client = admin(scene)
        most = int(client.config_get("maxclients")["maxclients"])
        try:
            client.config_set("maxclients", 1)
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)
            time.sleep(scene.random.uniform(*AWHILE))
        finally:
            client.config_set("maxclients", most)
            client.close()


FAULTS: list[Fault] = [
    Kill("everysec"),
    Kill("always"),
    ComeBackEmpty(),
    GoBack(),
    Freeze(2.0),
    Freeze(8.0),
    Load(),
    KeepBusy(),
    PauseClients(),
    Forget(),
    HangUp(),
    Fill(),
    Revoke(),
    Rotate(),
    Crowd(),
]
