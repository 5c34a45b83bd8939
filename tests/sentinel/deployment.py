"""A master, its replicas, and the sentinels that watch them: real processes, ended by process id."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rpqueue.addresses import Endpoint
from rpqueue.connections import command_client
from tests.sentinel.entrance import SERVERS_COME_FROM, Entrance
from tests.servers import Server, free_port, program, wait_until

#: Name under which the sentinels know the master.
SERVICE = "main"


def quick_client(port: int) -> redis.Redis:
    """A client that says at once that nobody is there."""
    return redis.Redis(port=port, socket_timeout=2, retry=Retry(NoBackoff(), 0))


class SentinelProcess:
    """One sentinel, which begins to watch the master at *port*."""

    def __init__(self, flavour: str, port: int, *, quorum: int, down_after: float, options: str = "") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rpqueue-test-", dir="/tmp"))
        self.port = free_port()
        settings = self.directory / "sentinel.conf"
        settings.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\nlogfile {self.directory}/log\n{options}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {port} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {int(down_after * 1000)}\n"
            f"sentinel failover-timeout {SERVICE} 5000\n"
            f"sentinel parallel-syncs {SERVICE} 2\n"
        )
        self._command = [program(flavour) or "", str(settings), "--sentinel"]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, after it was killed too."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        with contextlib.closing(quick_client(self.port)) as client:
            wait_until(lambda: answers(client), 20, "a sentinel answers")

    def pause(self) -> None:
        """Freeze it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause()`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it by SIGKILL. Nothing when ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, *words: Any) -> Any:
        """A SENTINEL command."""
        with contextlib.closing(quick_client(self.port)) as client:
            return client.execute_command("SENTINEL", *words)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def answers(client: redis.Redis) -> bool:
    """Whether a server is there and well."""
    try:
        return bool(client.ping())
    except redis.AuthenticationError:
        return True
    except redis.RedisError:
        return False


class Deployment:
    """
    One service: a master, replicas, sentinels. Ready when it is made.

    Args:
        flavour: of all of them; see tests.servers.
        replicas: how many.
        sentinels: how many; more than half of them decide.
        down_after: seconds of silence after which the master counts as down.
        options: more of a server's options.
        partable: whether each server stands behind an Entrance. Needs Linux, where all of 127.0.0.0/8 is the machine's
            own, and Redis 7 or Valkey.
    """

    def __init__(
        self,
        flavour: str,
        *,
        replicas: int = 2,
        sentinels: int = 3,
        down_after: float = 1.0,
        options: tuple[str, ...] = (),
        partable: bool = False,
    ) -> None:
        self.flavour, self.down_after = flavour, down_after
        self._stack = contextlib.ExitStack()
        common = ("--repl-ping-replica-period", "1", "--repl-diskless-sync-delay", "0", *options)
        self.entrances: list[Entrance] = []
        self._partable = partable
        self.servers: list[Server] = []
        self.sentinels: list[SentinelProcess] = []
        try:
            self._add_server(common)
            for _ in range(replicas):
                first = self.servers[0]
                self._add_server((*common, "--replicaof", first.host, str(self.port_of(first))))
            self._await_replicas(replicas)
            for _ in range(sentinels):
                sentinel = SentinelProcess(
                    flavour,
                    self.port_of(self.servers[0]),
                    quorum=sentinels // 2 + 1,
                    down_after=down_after,
                    options=f"bind-source-addr {SERVERS_COME_FROM}\nsentinel announce-ip 127.0.0.1" if partable else "",
                )
                self.sentinels.append(sentinel)
                self._stack.callback(sentinel.close)
            wait_until(self._is_known, 20, "the sentinels know each other and the replicas")
        except BaseException:
            self.close()
            raise

    def _add_server(self, options: tuple[str, ...]) -> None:
        if self._partable:
            entrance = Entrance()
            self._stack.callback(entrance.close)
            self.entrances.append(entrance)
            known_as = ("--replica-announce-ip", "127.0.0.1", "--replica-announce-port", str(entrance.port))
            options = (*options, *known_as, "--bind-source-addr", SERVERS_COME_FROM)
        server = Server(self.flavour, options=options)
        self.servers.append(server)
        self._stack.callback(server.close)
        if self._partable:
            entrance.server_port = server.port

    def port_of(self, server: Server) -> int:
        """The port under which a server is known to others."""
        return self.entrance_of(server).port if self.entrances else server.port

    def entrance_of(self, server: Server) -> Entrance:
        """What stands in front of a server."""
        return self.entrances[self.servers.index(server)]

    def _await_replicas(self, number: int) -> None:
        with contextlib.closing(self.servers[0].client()) as client:
            wait_until(
                lambda: sum(":" not in one and "online" in one for one in replica_states(client)) >= number,
                20,
                "the replicas have the data",
            )

    def _is_known(self) -> bool:
        others, replicas = len(self.sentinels) - 1, len(self.servers) - 1
        for sentinel in self.sentinels:
            said = pairs(sentinel.ask("MASTER", SERVICE))
            if int(said["num-other-sentinels"]) < others or int(said["num-slaves"]) < replicas:
                return False
            states = [pairs(one) for one in sentinel.ask("REPLICAS", SERVICE)]
            if any(one["flags"] != "slave" or one["master-link-status"] != "ok" for one in states):
                return False
        return True

    @property
    def url(self) -> str:
        """How clients find the master."""
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{places}/{SERVICE}/0"

    @property
    def master(self) -> Server:
        """The master, as most sentinels see it."""
        said = []
        for sentinel in self.sentinels:
            with contextlib.suppress(redis.RedisError):
                said.append(int(sentinel.ask("GET-MASTER-ADDR-BY-NAME", SERVICE)[1]))
        port = max(set(said), key=said.count)
        return next(server for server in self.servers if self.port_of(server) == port)

    def until_promoted(self, old: Server, timeout: float = 30.0) -> float:
        """Wait until most sentinels name another master than *old*. Returns when that was, by the monotonic clock."""
        wait_until(lambda: self.master is not old and role(self.master) == "master", timeout, "another master")
        return time.monotonic()

    def until_demoted(self, server: Server, timeout: float = 30.0) -> None:
        """Wait until *server* is a replica that is in step."""
        wait_until(lambda: role(server) == "slave", timeout, "the old master follows")

    def until_whole(self, timeout: float = 30.0) -> None:
        """Wait until one master has all others in step, and all sentinels say so."""
        wait_until(self._is_whole, timeout, "everything is as in the beginning")

    def _is_whole(self) -> bool:
        master = self.master
        port = self.port_of(master)
        if any(int(one.ask("GET-MASTER-ADDR-BY-NAME", SERVICE)[1]) != port for one in self.sentinels):
            return False
        others = [server for server in self.servers if server is not master]
        return role(master) == "master" and all(role(server) == "slave" for server in others) and self._is_known()

    def client(self) -> Any:
        """A client that follows the master."""
        return command_client(Endpoint(url=self.url))

    def close(self) -> None:
        """End all of it."""
        self._stack.close()


def role(server: Server) -> str:
    """What a server takes itself for: "master", "slave", or "" when it does not answer."""
    with contextlib.closing(quick_client(server.port)) as client, contextlib.suppress(redis.RedisError):
        return str(client.execute_command("ROLE")[0].decode())
    return ""


def replica_states(client: redis.Redis) -> list[str]:
    """``state`` of each replica of a master."""
    told = client.info("replication")
    return [str(one["state"]) for name, one in told.items() if name.startswith("slave") and isinstance(one, dict)]


def pairs(reply: Any) -> dict[str, str]:
    """A flat reply of names and values."""
    if isinstance(reply, dict):
        return {text(name): text(value) for name, value in reply.items()}
    return {text(name): text(value) for name, value in zip(reply[::2], reply[1::2], strict=True)}


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
