"""
Twins: clients of ours that go where a user's own client goes.

A user's client is used for calls as it is. What it cannot do, waiting on a connection apart or being awaited, a client
beside it does, with the same place, log-in and TLS, and with our time-outs.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any

from .addresses import Endpoint
from .connections import (
    BLOCK_MARGIN,
    LONGEST_BLOCK,
    Library,
    cluster_of,
    named,
    pool_of,
    retry_of,
    to_master,
)
from .errors import RefusedInput

if TYPE_CHECKING:
    from redis import Redis


def waiting_twin(client: Redis) -> Redis:
    """A waiting client to the same place as a user's own *client*, with its log-in and TLS but our time-outs."""
    import redis

    pool = getattr(client, "connection_pool", None)
    if pool is None or not hasattr(pool, "connection_kwargs"):
        return client
    options = dict(pool.connection_kwargs)
    options.update(socket_timeout=LONGEST_BLOCK + BLOCK_MARGIN, retry=retry_of("redis", 0), decode_responses=False)
    options.pop("retry_on_error", None)
    options.pop("retry_on_timeout", None)
    if hasattr(pool, "sentinel_manager"):
        twin: Redis = _sentinel_twin("redis", pool, options)
        return twin
    return type(client)(connection_pool=pool_of(redis, pool.connection_class, options))


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
        return cluster_of(
            "redis.asyncio", [(node.host, node.port) for node in client.get_nodes()], _without_place(options)
        )
    options["retry"] = retry_of("redis.asyncio", 0 if waiting else Endpoint.resends)
    if hasattr(pool, "sentinel_manager"):
        return _sentinel_twin("redis.asyncio", pool, options)
    # The user's class of connection may be one of their own, so the nearest one that redis-py has for coroutines.
    names = [kind.__name__ for kind in pool.connection_class.__mro__]
    kind = next(getattr(redis.asyncio, name) for name in names if hasattr(redis.asyncio, name))
    return redis.asyncio.Redis(connection_pool=pool_of(redis.asyncio, kind, _understood(kind, options)))


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
    return to_master(library, hosts, pool.service_name, rest, own)


def _without_place(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in ("host", "port")}
