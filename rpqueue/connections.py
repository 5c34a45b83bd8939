"""
Redis clients as an App asks for them.

`command_client` and `waiting_client` make the two kinds of client for an `Endpoint`, for threads or, with
``library="redis.asyncio"``, for coroutines: redis-py has the same names in both places. Redis is imported when the
first client is made, so that ``import rpqueue`` stays quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from .addresses import OF_SENTINEL, SCHEMES, Endpoint, check_host, hosts_of, is_whole, refused
from .errors import RefusedInput
from .logs import redacted_url

#: Where redis-py keeps the clients for threads, and those for coroutines.
Library = Literal["redis", "redis.asyncio"]

#: Longest time, in seconds, that one blocking command waits: short, so that stopping is prompt and a lost token costs
#: little.
LONGEST_BLOCK = 2.0
#: Seconds that a waiting connection's socket may be silent beyond the time the command blocks.
BLOCK_MARGIN = 5.0


def _common(endpoint: Endpoint, library: Library, *, waiting: bool) -> dict[str, Any]:
    """
    Options of every connection.

    redis-py 8 resends a command ten times after five seconds of silence by default, blocking ones included: a BLPOP of
    7 seconds on an empty list came back after 59. So a waiting connection never resends, and its socket outlasts the
    block.
    """
    from redis.exceptions import ConnectionError as Disconnected
    from redis.exceptions import TimeoutError as Silent

    timeout = LONGEST_BLOCK + BLOCK_MARGIN if waiting else endpoint.socket_timeout
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": min(endpoint.socket_timeout, 5.0),
        "retry": retry_of(library, 0 if waiting else endpoint.resends),
        # No PING before a command on an idle connection: it would wait as long as the command on one that is dead, the
        # command is sent again anyway, and redis-py 5 recurses without end when Redis answers it with NOAUTH.
        "health_check_interval": 0,
    }
    if not waiting and endpoint.resends:
        options["retry_on_error"] = [Disconnected, Silent]  # redis-py 5 resends nothing unless this says so
    if endpoint.username:
        options["username"] = endpoint.username
    if endpoint.password:
        options["password"] = endpoint.password
    if waiting:
        options["protocol"] = 3  # a subscribed connection takes questions, too
    options.update(endpoint.options)
    if waiting:
        options["decode_responses"] = False  # the names of channels are compared as bytes
    return options


def retry_of(library: Library, resends: int) -> Any:
    """How often, and after which pauses, redis-py sends a command again."""
    from redis.backoff import ExponentialBackoff

    return import_module(f"{library}.retry").Retry(ExponentialBackoff(cap=0.5, base=0.02), resends)


def command_client(endpoint: Endpoint, library: Library = "redis") -> Any:
    """A client for commands; every thread of a process, or every coroutine of an event loop, may use it."""
    return _client(endpoint, library, waiting=False)


def waiting_client(endpoint: Endpoint, library: Library = "redis") -> Any:
    """A client for blocking commands and subscriptions; apart, so that no command ever stands behind a wait."""
    return _client(endpoint, library, waiting=True)


def _client(endpoint: Endpoint, library: Library, *, waiting: bool) -> Any:
    options = _common(endpoint, library, waiting=waiting)
    if endpoint.url:
        return _from_url(endpoint, endpoint.url, library, options)
    redis: Any = import_module(library)
    if endpoint.unix_socket_path:
        where = {"path": endpoint.unix_socket_path, "db": endpoint.db, **options}
        return redis.Redis(connection_pool=pool_of(redis, redis.UnixDomainSocketConnection, where))
    where = {"host": endpoint.host, "port": endpoint.port, "db": endpoint.db, "socket_keepalive": True, **options}
    if not endpoint.ssl:
        return redis.Redis(connection_pool=pool_of(redis, redis.Connection, where))
    if endpoint.ssl_ca_certs:
        where["ssl_ca_certs"] = endpoint.ssl_ca_certs
    check_host(where)
    return redis.Redis(connection_pool=pool_of(redis, redis.SSLConnection, where))


def pool_of(redis: Any, connection_class: Any, options: Mapping[str, Any]) -> Any:
    """A pool of such connections, of the kind that suits the library."""
    kind, more = _kind_of_pool(redis)
    return kind(connection_class=connection_class, **more, **options)


def _kind_of_pool(redis: Any) -> tuple[Any, dict[str, Any]]:
    """
    A pool that makes callers wait for a connection when all are taken; redis-py's default one raises at once.

    Coroutines wait at the AsyncBroker's gate instead: redis-py 5.0 has a pool for them that hangs when Redis is down.
    """
    if redis.__name__ == "redis.asyncio":
        return _discreet(redis.ConnectionPool), {}
    return _discreet(redis.BlockingConnectionPool), {"max_connections": 256, "timeout": 20}


@cache
def _discreet(pool: Any) -> Any:
    """The class of pools *pool*, with a repr that shows no password, as redis-py 5 to 7 do."""

    def show(self: Any) -> str:
        places = ("path", "host", "port", "db")
        told = ",".join(f"{name}={self.connection_kwargs[name]}" for name in places if name in self.connection_kwargs)
        return f"<{pool.__module__}.{pool.__qualname__}({told})>"

    return type(pool.__name__, (pool,), {"__repr__": show, "__module__": __name__})


def _from_url(endpoint: Endpoint, url: str, library: Library, options: dict[str, Any]) -> Any:
    redis: Any = import_module(library)
    scheme = url.partition(":")[0]
    if scheme == "embedded":
        from . import embedded

        directory = unquote(url.partition(":")[2])
        if not directory:
            raise RefusedInput(f"RPQUEUE_URL: expected embedded:DIR, got {url!r}")
        return _from_url(endpoint, embedded.start(directory).url, library, options)
    if not is_whole(url):
        raise refused(endpoint)
    if scheme in ("redis", "rediss", "unix"):
        kind, more = _kind_of_pool(redis)
        try:
            if scheme == "rediss":
                said = {**options, **dict(parse_qsl(urlsplit(url).query))}
                check_host(said)
                options["ssl_check_hostname"] = said["ssl_check_hostname"]
            pool = kind.from_url(url, **more, **options)
            pool.connection_class(**pool.connection_kwargs)  # an option that it does not know would be told too late
        except (TypeError, ValueError):
            # What cannot be read may be a part of the password, so neither redis-py's words nor its error are shown.
            raise refused(endpoint) from None
        return redis.Redis(connection_pool=pool)
    if scheme in ("redis+sentinel", "rediss+sentinel"):
        return _from_sentinel(endpoint, url, library, options)
    if scheme in ("redis+cluster", "rediss+cluster"):
        return _from_cluster(endpoint, url, library, options)
    raise RefusedInput(f"redis URL: expected {SCHEMES}, got {endpoint.label!r}")


def _from_sentinel(endpoint: Endpoint, url: str, library: Library, options: dict[str, Any]) -> Any:
    hosts, more = hosts_of(endpoint, url, 26379)
    service, _, db = urlsplit(url).path.strip("/").partition("/")
    if not service or (db and not db.isdecimal()):
        raise RefusedInput(f"redis URL: expected redis+sentinel://HOST,HOST/SERVICE/DB, got {endpoint.label!r}")
    both = {**options, **more, "db": int(db or 0)}
    own = {name: both.pop(name) for name in list(both) if name.startswith(OF_SENTINEL)}
    sentinels = {name.removeprefix(OF_SENTINEL): value for name, value in own.items()}
    return to_master(library, hosts, unquote(service), both, sentinels)


def to_master(
    library: Library,
    hosts: list[tuple[str, int]],
    service: str,
    options: dict[str, Any],
    sentinel_options: dict[str, Any],
) -> Any:
    """A client that goes to the master of *service*, and follows it. See `masters` and `sentinels`."""
    from . import masters
    from .sentinels import of

    redis: Any = import_module(library)
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    is_tls = bool(options.pop("ssl", False))
    where: dict[str, Any] = {
        "socket_keepalive": True,
        **options,
        "sentinels": of(hosts, service, {"ssl": is_tls, **tls, **sentinel_options}),
        "socket_connect_timeout": masters.ACCEPT_WITHIN,
        "redis_connect_func": masters.make_sure if library == "redis" else masters.make_sure_awaited,
    }
    return redis.Redis(connection_pool=pool_of(redis, masters.connection_class(library, ssl=is_tls), where))


def _from_cluster(endpoint: Endpoint, url: str, library: Library, options: dict[str, Any]) -> Any:
    hosts, more = hosts_of(endpoint, url, 6379)
    options.pop("retry_on_error", None)
    options.pop("retry")  # the cluster client has a retry of its own, around redirections
    return cluster_of(library, hosts, {**options, **more})


def cluster_of(library: Library, hosts: list[tuple[str, int]], options: dict[str, Any]) -> Any:
    """A client of a Cluster."""
    cluster: Any = import_module(f"{library}.cluster")
    nodes = [cluster.ClusterNode(host, port) for host, port in hosts]
    return cluster.RedisCluster(startup_nodes=nodes, **options)


def named(conn: Any) -> str:
    """What was given in place of a client, for errors: without any password."""
    return repr(redacted_url(conn)) if isinstance(conn, str) else f"a {type(conn).__name__}"
