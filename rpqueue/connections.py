"""
Redis clients as an App asks for them.

An `Endpoint` says where Redis is; `command_client` and `waiting_client` make the two kinds of client from it. Redis is
imported when the first client is made, so that ``import rpqueue`` stays quick.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .errors import RefusedInput

if TYPE_CHECKING:
    from redis import Redis

#: Longest time, in seconds, that one blocking command waits. Short, so that stopping is prompt and a lost token costs little.
LONGEST_BLOCK = 2.0
#: Seconds that a waiting connection's socket may be silent beyond the time the command blocks.
BLOCK_MARGIN = 5.0
#: Times that a command is sent again when its reply was lost. Every script may be sent twice, so this is safe.
RESENDS = 3

_SCHEMES = (
    "redis://HOST:PORT/DB, rediss:// (TLS), unix:///PATH?db=DB, redis+sentinel://HOST,HOST/SERVICE/DB, "
    "redis+cluster://HOST,HOST or embedded:DIR"
)


@dataclass(frozen=True)
class Endpoint:
    """Where Redis is and how to log in. `url` wins over the single fields."""

    url: str | None = None
    host: str = "localhost"
    port: int = 6379
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    socket_timeout: float = 30
    unix_socket_path: str | None = None
    ssl: bool = False
    ssl_ca_certs: str | None = None
    options: dict[str, Any] = field(default_factory=dict, repr=False)  #: more keyword arguments for redis-py
    resends: int = RESENDS  #: times that a command without answer is sent again

    @classmethod
    def from_environment(cls) -> Endpoint:
        """What ``RPQUEUE_URL`` says, else localhost:6379."""
        return cls(url=os.environ.get("RPQUEUE_URL") or None)

    def __repr__(self) -> str:
        return f"<Endpoint {self.label}>"

    @property
    def label(self) -> str:
        """Where, for errors and logs, without any password."""
        if not self.url:
            return self.unix_socket_path or f"{self.host}:{self.port}/{self.db}"
        parts = urlsplit(self.url)
        place = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}:{'//' if place or parts.scheme == 'unix' else ''}{place}{parts.path}"


def _common(endpoint: Endpoint, *, waiting: bool) -> dict[str, Any]:
    """
    Options of every connection.

    redis-py 8 resends a command ten times after five seconds of silence by default, blocking ones included: a BLPOP of 7
    seconds on an empty list came back after 59. So a waiting connection never resends, and its socket outlasts the block.
    """
    from redis.backoff import ExponentialBackoff, NoBackoff
    from redis.retry import Retry

    if waiting:
        timeout, retry = LONGEST_BLOCK + BLOCK_MARGIN, Retry(NoBackoff(), 0)
    else:
        timeout, retry = endpoint.socket_timeout, Retry(ExponentialBackoff(cap=0.5, base=0.02), endpoint.resends)
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": min(endpoint.socket_timeout, 5.0),
        "retry": retry,
        "health_check_interval": 25,
    }
    if endpoint.username:
        options["username"] = endpoint.username
    if endpoint.password:
        options["password"] = endpoint.password
    return {**options, **endpoint.options}


def command_client(endpoint: Endpoint) -> Redis:
    """A client for commands; every thread of a process may use it."""
    return _client(endpoint, waiting=False)


def waiting_client(endpoint: Endpoint) -> Redis:
    """A client for blocking commands and subscriptions; apart, so that no command ever stands behind a wait."""
    return _client(endpoint, waiting=True)


def _client(endpoint: Endpoint, *, waiting: bool) -> Redis:
    options = _common(endpoint, waiting=waiting)
    if endpoint.url:
        return _from_url(endpoint, endpoint.url, options)
    import redis

    if endpoint.unix_socket_path:
        pool = _pool(redis.UnixDomainSocketConnection, {"path": endpoint.unix_socket_path, "db": endpoint.db, **options})
        return redis.Redis(connection_pool=pool)
    where = {"host": endpoint.host, "port": endpoint.port, "db": endpoint.db, "socket_keepalive": True, **options}
    if not endpoint.ssl:
        return redis.Redis(connection_pool=_pool(redis.Connection, where))
    if endpoint.ssl_ca_certs:
        where["ssl_ca_certs"] = endpoint.ssl_ca_certs
    return redis.Redis(connection_pool=_pool(redis.SSLConnection, where))


def _pool(connection_class: Any, options: dict[str, Any]) -> Any:
    """A pool that makes callers wait for a connection when all are taken; redis-py's default one raises at once."""
    import redis

    return redis.BlockingConnectionPool(connection_class=connection_class, max_connections=256, timeout=20, **options)


def _from_url(endpoint: Endpoint, url: str, options: dict[str, Any]) -> Redis:
    import redis

    scheme = url.partition(":")[0]
    if scheme == "embedded":
        from . import embedded

        directory = unquote(url.partition(":")[2])
        if not directory:
            raise RefusedInput(f"RPQUEUE_URL: expected embedded:DIR, got {url!r}")
        return _from_url(endpoint, embedded.start(directory).url, options)
    if scheme in ("redis", "rediss", "unix"):
        try:
            return redis.Redis(connection_pool=redis.BlockingConnectionPool.from_url(url, max_connections=256, timeout=20, **options))
        except ValueError as error:
            raise RefusedInput(f"redis URL {endpoint.label}: {error}") from error
    if scheme in ("redis+sentinel", "rediss+sentinel"):
        return _from_sentinel(endpoint, url, options)
    if scheme in ("redis+cluster", "rediss+cluster"):
        return _from_cluster(url, options)
    raise RefusedInput(f"redis URL: expected {_SCHEMES}, got {endpoint.label!r}")


def _hosts(url: str, default_port: int) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """The ``host:port`` pairs of a URL with several, and what it says of user, password and options."""
    parts = urlsplit(url)
    login, _, places = parts.netloc.rpartition("@")
    hosts = []
    for place in places.split(","):
        host, _, port = place.rpartition(":") if ":" in place else (place, "", "")
        hosts.append((host or "localhost", int(port or default_port)))
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    if login:
        user, _, password = login.rpartition(":") if ":" in login else ("", "", login)
        if user:
            options["username"] = unquote(user)
        options["password"] = unquote(password)
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
    return hosts, options


def _from_sentinel(endpoint: Endpoint, url: str, options: dict[str, Any]) -> Redis:
    from redis.sentinel import Sentinel

    hosts, more = _hosts(url, 26379)
    service, _, db = urlsplit(url).path.strip("/").partition("/")
    if not service:
        raise RefusedInput(f"redis URL: expected redis+sentinel://HOST,HOST/SERVICE, got {endpoint.label!r}")
    sentinel = Sentinel(hosts, sentinel_kwargs={"socket_timeout": 2.0})
    client: Redis = sentinel.master_for(service, **{**options, **more, "db": int(db or 0)})
    return client


def _from_cluster(url: str, options: dict[str, Any]) -> Redis:
    from redis.cluster import ClusterNode, RedisCluster

    hosts, more = _hosts(url, 6379)
    options.pop("retry")  # the cluster client has a retry of its own, around redirections
    client: Any = RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in hosts], **{**options, **more})
    return client  # type: ignore[no-any-return]


def waiting_twin(client: Redis) -> Redis:
    """A waiting client to the same place as a user's own *client*, with its log-in and TLS but our time-outs."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    pool = getattr(client, "connection_pool", None)
    if pool is None or not hasattr(pool, "connection_kwargs"):
        return client
    options = dict(pool.connection_kwargs)
    options.update(socket_timeout=LONGEST_BLOCK + BLOCK_MARGIN, retry=Retry(NoBackoff(), 0), decode_responses=False)
    options.pop("retry_on_error", None)
    options.pop("retry_on_timeout", None)
    if hasattr(pool, "sentinel_manager"):
        twin: Redis = pool.sentinel_manager.master_for(
            pool.service_name, **{k: v for k, v in options.items() if k not in ("host", "port", "connection_pool")}
        )
        return twin
    return type(client)(connection_pool=_pool(pool.connection_class, options))
