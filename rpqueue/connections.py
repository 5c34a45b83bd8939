"""
Redis clients as an App asks for them.

An `Endpoint` says where Redis is; `command_client` and `waiting_client` make the two kinds of client from it, for
threads or, with ``library="redis.asyncio"``, for coroutines: redis-py has the same names in both places. Redis is
imported when the first client is made, so that ``import rpqueue`` stays quick.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from .errors import RefusedInput
from .logs import redacted_url

if TYPE_CHECKING:
    from redis import Redis

#: Where redis-py keeps the clients for threads, and those for coroutines.
Library = Literal["redis", "redis.asyncio"]

#: Longest time, in seconds, that one blocking command waits: short, so that stopping is prompt and a lost token costs
#: little.
LONGEST_BLOCK = 2.0
#: Seconds that a waiting connection's socket may be silent beyond the time the command blocks.
BLOCK_MARGIN = 5.0
#: Times that a command is sent again when its reply was lost. Every script may be sent twice, so this is safe.
RESENDS = 3

_SCHEMES = (
    "redis://HOST:PORT/DB, rediss:// (TLS), unix:///PATH?db=DB, redis+sentinel://HOST,HOST/SERVICE/DB, "
    "redis+cluster://HOST,HOST or embedded:DIR"
)


_SCHEME = re.compile(r"[a-z][a-z0-9+.]*")


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
        """Where, for errors and logs: without user, password and options."""
        if not self.url:
            return self.unix_socket_path or f"{self.host}:{self.port}/{self.db}"
        scheme, _, rest = self.url.partition(":")
        if scheme == "embedded":
            return self.url
        if not rest.startswith("//") or not _SCHEME.fullmatch(scheme):
            return "..."  # no URL, so nobody knows what is the password in it
        return f"{scheme}://" + redacted_url(self.url).partition("://")[2].partition("?")[0].rpartition("@")[2]


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
        "retry": _retry(library, 0 if waiting else endpoint.resends),
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


def _retry(library: Library, resends: int) -> Any:
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
        return redis.Redis(connection_pool=_pool(redis, redis.UnixDomainSocketConnection, where))
    where = {"host": endpoint.host, "port": endpoint.port, "db": endpoint.db, "socket_keepalive": True, **options}
    if not endpoint.ssl:
        return redis.Redis(connection_pool=_pool(redis, redis.Connection, where))
    if endpoint.ssl_ca_certs:
        where["ssl_ca_certs"] = endpoint.ssl_ca_certs
    _check_host(where)
    return redis.Redis(connection_pool=_pool(redis, redis.SSLConnection, where))


def _check_host(options: dict[str, Any]) -> None:
    """Have TLS compare the certificate with the host's name, unless told otherwise: redis-py 5 does not by itself."""
    checks = options.get("ssl_cert_reqs", "required") not in ("none", None, 0)
    options.setdefault("ssl_check_hostname", checks)


def _pool(redis: Any, connection_class: Any, options: Mapping[str, Any]) -> Any:
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
    if not _is_whole(url):
        raise _refused(endpoint)
    if scheme in ("redis", "rediss", "unix"):
        kind, more = _kind_of_pool(redis)
        try:
            if scheme == "rediss":
                said = {**options, **dict(parse_qsl(urlsplit(url).query))}
                _check_host(said)
                options["ssl_check_hostname"] = said["ssl_check_hostname"]
            pool = kind.from_url(url, **more, **options)
            pool.connection_class(**pool.connection_kwargs)  # an option that it does not know would be told too late
        except (TypeError, ValueError):
            # What cannot be read may be a part of the password, so neither redis-py's words nor its error are shown.
            raise _refused(endpoint) from None
        return redis.Redis(connection_pool=pool)
    if scheme in ("redis+sentinel", "rediss+sentinel"):
        return _from_sentinel(endpoint, url, library, options)
    if scheme in ("redis+cluster", "rediss+cluster"):
        return _from_cluster(endpoint, url, library, options)
    raise RefusedInput(f"redis URL: expected {_SCHEMES}, got {endpoint.label!r}")


def _is_whole(url: str) -> bool:
    """Whether no password with an unescaped ``/``, ``?`` or ``#`` cuts the URL short: its rest would be a host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if "#" in url or "@" in parts.path or (parts.query and "=" not in parts.query.partition("@")[0]):
        return False
    return parts.scheme != "unix" or not parts.netloc or "@" in parts.netloc


def _refused(endpoint: Endpoint) -> RefusedInput:
    return RefusedInput(
        f"redis URL: expected {_SCHEMES}, got {endpoint.label!r} with something that cannot be read; "
        "write %2F for / in a password, %40 for @, %3A for :, %3F for ? and %23 for #"
    )


def _hosts(endpoint: Endpoint, url: str, default_port: int) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """The ``host:port`` pairs of a URL with several, and what it says of user, password and options."""
    try:
        parts = urlsplit(url)
        login, _, places = parts.netloc.rpartition("@")
        hosts = []
        for place in places.split(","):
            host, _, port = place.rpartition(":") if ":" in place else (place, "", "")
            hosts.append((host or "localhost", int(port or default_port)))
    except ValueError:
        raise _refused(endpoint) from None
    options: dict[str, Any] = dict(_typed(name, value) for name, value in parse_qsl(parts.query))
    if login:
        user, _, password = login.partition(":") if ":" in login else ("", "", login)
        if user:
            options["username"] = unquote(user)
        options["password"] = unquote(password)
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
        _check_host(options)
    return hosts, options


def _typed(name: str, value: str) -> tuple[str, Any]:
    """An option of a URL as what redis-py wants for it."""
    from redis.connection import URL_QUERY_ARGUMENT_PARSERS

    readers: dict[str, Any] = dict(URL_QUERY_ARGUMENT_PARSERS)
    reader = readers.get(name.removeprefix(_OF_SENTINEL))
    if name == "sentinel_ssl":
        return name, value.lower() in ("1", "true", "yes")
    try:
        return name, value if reader is None else reader(value)
    except (TypeError, ValueError) as error:
        raise RefusedInput(f"redis URL: {name}: expected what redis-py takes for it, got {value!r}") from error


def _from_sentinel(endpoint: Endpoint, url: str, library: Library, options: dict[str, Any]) -> Any:
    hosts, more = _hosts(endpoint, url, 26379)
    service, _, db = urlsplit(url).path.strip("/").partition("/")
    if not service or (db and not db.isdecimal()):
        raise RefusedInput(f"redis URL: expected redis+sentinel://HOST,HOST/SERVICE/DB, got {endpoint.label!r}")
    both = {**options, **more, "db": int(db or 0)}
    own = {name: both.pop(name) for name in list(both) if name.startswith(_OF_SENTINEL)}
    sentinels = {name.removeprefix(_OF_SENTINEL): value for name, value in own.items()}
    return _to_master(library, hosts, unquote(service), both, sentinels)


#: How options begin that are for connections to the sentinels alone.
_OF_SENTINEL = "sentinel_"


def _to_master(
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
    return redis.Redis(connection_pool=_pool(redis, masters.connection_class(library, ssl=is_tls), where))


def _from_cluster(endpoint: Endpoint, url: str, library: Library, options: dict[str, Any]) -> Any:
    hosts, more = _hosts(endpoint, url, 6379)
    options.pop("retry_on_error", None)
    options.pop("retry")  # the cluster client has a retry of its own, around redirections
    return _cluster(library, hosts, {**options, **more})


def _cluster(library: Library, hosts: list[tuple[str, int]], options: dict[str, Any]) -> Any:
    cluster: Any = import_module(f"{library}.cluster")
    nodes = [cluster.ClusterNode(host, port) for host, port in hosts]
    return cluster.RedisCluster(startup_nodes=nodes, **options)


def named(conn: Any) -> str:
    """What was given in place of a client, for errors: without any password."""
    return repr(redacted_url(conn)) if isinstance(conn, str) else f"a {type(conn).__name__}"


def waiting_twin(client: Redis) -> Redis:
    """A waiting client to the same place as a user's own *client*, with its log-in and TLS but our time-outs."""
    import redis

    pool = getattr(client, "connection_pool", None)
    if pool is None or not hasattr(pool, "connection_kwargs"):
        return client
    options = dict(pool.connection_kwargs)
    options.update(socket_timeout=LONGEST_BLOCK + BLOCK_MARGIN, retry=_retry("redis", 0), decode_responses=False)
    options.pop("retry_on_error", None)
    options.pop("retry_on_timeout", None)
    if hasattr(pool, "sentinel_manager"):
        twin: Redis = _sentinel_twin("redis", pool, options)
        return twin
    return type(client)(connection_pool=_pool(redis, pool.connection_class, options))


#: What a user's own client may say that its twin for coroutines understands as well, beside its TLS options.
_SHARED = frozenset(
    {"host", "port", "db", "path", "username", "password", "client_name", "credential_provider", "protocol"}
)


def awaited_twin(client: Any, *, waiting: bool) -> Any:
    """A client for coroutines to the same place as a user's own *client* for threads, with its log-in and TLS."""
    import redis.asyncio

    nodes = getattr(client, "nodes_manager", None)
    pool: Any = getattr(client, "connection_pool", None)
    given = getattr(pool if nodes is None else nodes, "connection_kwargs", None)
    if given is None:
        raise RefusedInput(
            f"set_redis_connection: no client for coroutines can be made from {named(client)}; say where Redis is"
        )
    options = {key: value for key, value in given.items() if key in _SHARED or key.startswith("ssl")}
    timeout = given.get("socket_timeout") or Endpoint.socket_timeout
    options["socket_timeout"] = LONGEST_BLOCK + BLOCK_MARGIN if waiting else timeout
    if nodes is not None:
        options = _understood(redis.asyncio.RedisCluster, options)
        return _cluster(
            "redis.asyncio", [(node.host, node.port) for node in client.get_nodes()], _without_place(options)
        )
    options["retry"] = _retry("redis.asyncio", 0 if waiting else Endpoint.resends)
    if hasattr(pool, "sentinel_manager"):
        return _sentinel_twin("redis.asyncio", pool, options)
    # The user's class of connection may be one of their own, so the nearest one that redis-py has for coroutines.
    names = [kind.__name__ for kind in pool.connection_class.__mro__]
    kind = next(getattr(redis.asyncio, name) for name in names if hasattr(redis.asyncio, name))
    return redis.asyncio.Redis(connection_pool=_pool(redis.asyncio, kind, _understood(kind, options)))


def _understood(kind: Any, options: dict[str, Any]) -> dict[str, Any]:
    """*options* without those about TLS that *kind* does not know. One that is in use is not left out, but refused."""
    known = {name for one in kind.__mro__ for name in signature(one.__init__).parameters}
    kept = {}
    for name, value in options.items():
        if name in known or not name.startswith("ssl"):
            kept[name] = value
        elif value:
            raise RefusedInput(f"{name}: expected nothing that redis.asyncio cannot do, got {value!r}")
    return kept


def _sentinel_twin(library: Library, pool: Any, options: dict[str, Any]) -> Any:
    """A client of ours to the master that *pool*, of a client that redis-py's Sentinel made, goes to."""
    places = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    hosts = [(place["host"], place["port"]) for place in places]
    logs_in = ("username", "password")
    own = {key: value for key, value in places[0].items() if key in logs_in or key.startswith("ssl_")}
    own["ssl"] = "SSL" in pool.sentinel_manager.sentinels[0].connection_pool.connection_class.__name__
    rest = {key: value for key, value in _without_place(options).items() if key != "connection_pool"}
    rest["ssl"] = "SSL" in pool.connection_class.__name__
    return _to_master(library, hosts, pool.service_name, rest, own)


def _without_place(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in ("host", "port")}
