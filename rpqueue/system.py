"""System: where Redis is, under which prefix, and with which settings. What every verb of an App stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .addresses import Endpoint
from .broker import Broker
from .connections import named
from .durability import Durability, Proof
from .errors import RefusedInput, SettingError, WrongType
from .keys import Keys, QueueKeys, name_text
from .protocol.mending import Bound, Bounds
from .protocol.moves import Index, Rules
from .settings import Settings
from .signing import Signer, signer_of

if TYPE_CHECKING:
    from redis import Redis


class System:
    """
    One prefix in one Redis.

    Args:
        url: where Redis is; None: what RPQUEUE_URL says, else localhost:6379. See `addresses.Endpoint`.
        prefix: first part of every key; two prefixes in one Redis never see each other.
        settings: for an App whose settings live in a module's namespace.
    """

    def __init__(self, url: str | None = None, prefix: str | None = None, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        if prefix is not None:
            self.settings.key_prefix = name_text(prefix, "prefix")
        self._keys = Keys(self.settings.key_prefix)
        self._broker: Broker | None = None
        self._endpoint = Endpoint(url=url) if url else None
        self._signer: tuple[Any, Any, Signer] = (self, self, Signer())  #: made for these values of the settings

    def __repr__(self) -> str:
        return f"<{type(self).__name__} prefix={self.settings.key_prefix!r}>"

    @property
    def broker(self) -> Broker:
        """Carries this App's operations; connects when first used."""
        if self._broker is None:
            self._broker = Broker(self._endpoint)
        return self._broker

    @property
    def keys(self) -> Keys:
        """All keys under the present prefix."""
        keys, prefix = self._keys, self.settings.key_prefix
        if keys.prefix != prefix:
            keys = self._keys = Keys(prefix)
        return keys

    @property
    def signer(self) -> Signer:
        """Signs what this App sends and checks what it reads, as SIGNING_KEYS says; false without keys."""
        values = self.settings.namespace
        secrets, required = values["SIGNING_KEYS"], values["SIGNING_REQUIRED"]
        made_for = self._signer
        if made_for[0] is not secrets or made_for[1] is not required:
            signer = signer_of(self.settings.signing_keys, self.settings.signing_required)
            made_for = self._signer = (secrets, required, signer)
        return made_for[2]

    @property
    def index(self) -> Index:
        """The keys that task moves keep true; empty on Cluster."""
        app = self.keys.app
        return () if self.broker.is_cluster else (app.queues, app.ready_queues, app.due_queues, app.wake)

    @property
    def data_index(self) -> Index:
        """The key that puts into data queues keep true; empty on Cluster."""
        return () if self.broker.is_cluster else (self.keys.app.data_queues,)

    @property
    def task_rules(self) -> Rules:
        """What becomes of tasks that are given up."""
        settings = self.settings
        return Rules("tasks", settings.poison_crashes, settings.keep_failed, settings.keep_executions)

    @property
    def bounds(self) -> Bounds:
        """Which given up messages stay."""
        settings = self.settings
        return Bounds(
            dead=Bound(settings.dead_ttl, settings.keep_dead),
            lost=Bound(settings.lost_ttl, settings.keep_lost),
            failed=Bound(settings.failed_ttl, settings.keep_failed),
        )

    def proof(self, asked: Durability | None, declared: Durability | None = None) -> Proof | None:
        """What Redis has to confirm of an enqueue: as *asked*, else as *declared*, else as DURABILITY says."""
        level = declared if asked is None else asked
        settings = self.settings
        if level is None:
            level = settings.durability
        if not level:
            return None
        timeout = settings.durability_timeout
        if not self.broker.is_users and timeout >= self.broker.endpoint.socket_timeout:
            raise SettingError(
                f"setting DURABILITY_TIMEOUT: expected less than the socket_timeout of "
                f"{self.broker.endpoint.socket_timeout:g} s, got {timeout:g}"
            )
        return Proof(settings.durability_replicas if level == "replicated" else 0, level == "fsync", timeout)

    def task_keys(self, queue: str | bytes) -> QueueKeys:
        """The keys of a task queue."""
        return self.keys.tasks(name_text(queue, "queue"))

    def data_keys(self, queue: str | bytes) -> QueueKeys:
        """The keys of a data queue."""
        return self.keys.data(name_text(queue, "queue"))

    # Connecting.

    def set_key_prefix(self, pfix: str | bytes) -> None:
        """Set the first part of every key. Call it before anything is put into Redis."""
        self.settings.key_prefix = name_text(pfix, "key prefix")

    def set_redis_connection_settings(
        self,
        host: str = "localhost",
        port: int = 6379,
        db: int = 0,
        password: str | None = None,
        socket_timeout: float = 30,
        unix_socket_path: str | None = None,
        ssl: bool = False,
        ssl_ca_certs: str | None = None,
        *,
        username: str | None = None,
        url: str | None = None,
        **options: Any,
    ) -> None:
        """
        Say where Redis is. Connections are opened when they are needed.

        Args:
            host: ignored when `unix_socket_path` or `url` is given.
            port: 1 to 65535.
            db: number of the database, 0 or greater.
            password: of the user, or of the server when `username` is None.
            socket_timeout: seconds after which a command without answer is sent again, at most three times.
            unix_socket_path: path of a socket to use instead of host and port.
            ssl: whether to speak TLS; certificates are verified.
            ssl_ca_certs: path of the certificates to trust; None: the system's.
            username: an ACL user.
            url: one of the URLs in `connections`; wins over the single fields.
            options: more keyword arguments for redis-py's connections.
        """
        if type(port) is not int or not 0 < port < 65536:
            raise RefusedInput(f"port: expected 1 to 65535, got {port!r}")
        if type(db) is not int or db < 0:
            raise RefusedInput(f"db: expected a number >= 0, got {db!r}")
        self._use(
            Broker(
                Endpoint(
                    url,
                    host,
                    port,
                    db,
                    username,
                    password,
                    socket_timeout,
                    unix_socket_path,
                    ssl,
                    ssl_ca_certs,
                    options,
                )
            )
        )

    def set_redis_connection(self, conn: Redis) -> None:
        """Use a client of your own for commands. Waiting opens a connection of its own with the same log-in."""
        if not callable(getattr(conn, "execute_command", None)):
            raise WrongType(f"conn: expected a redis-py client, got {named(conn)}")
        self._use(Broker.for_client(conn))

    def _use(self, broker: Broker) -> None:
        if self._broker is not None:
            self._broker.close()
        self._broker = broker

    def get_connection(self) -> Redis:
        """The redis-py client that this App sends commands with."""
        return self.broker.client

    def broker_for(self, conn: Redis | None) -> Broker:
        """The App's Broker, or one over *conn* when a function was given a client to use."""
        return self.broker if conn is None else Broker.for_client(conn)
