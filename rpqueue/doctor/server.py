"""Checks of the server: version, memory, persistence, replication, clients. Decided from what a `Node` tells."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .advisories import OLDEST, Server, Version, affecting
from .asking import Node
from .findings import Finding, note, ok, problem, some, warning

_REPLICA = re.compile(r"^slave\d+$")


def checks(node: Node) -> Iterator[Finding]:
    """All of them."""
    if node.refused:
        yield note(
            "server.info",
            f"{node.label} does not tell about itself ({node.refused})",
            "a user who may use INFO",
            "run doctor as a user with +info +config|get, or look at the settings yourself",
        )
        return
    for check in (_version, _limit, _policy, _appends, _snapshots, _role, _replicas, _clients):
        yield from check(node)


def version_of(node: Node) -> tuple[Server, Version]:
    """Which server, and its version; zeros where it does not say."""
    is_valkey = node.info.get("server_name") == "valkey" or "valkey_version" in node.info
    text = node.info.get("valkey_version" if is_valkey else "redis_version", "")
    numbers = [int(word) for word in re.findall(r"\d+", text)[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return "valkey" if is_valkey else "redis", (major, minor, patch)


def _version(node: Node) -> Iterator[Finding]:
    server, version = version_of(node)
    shown = f"{server.capitalize()} {'.'.join(map(str, version))}"
    if version[:2] < OLDEST[server]:
        oldest = ".".join(map(str, OLDEST[server]))
        yield problem(
            "server.version", shown, f"{oldest} or newer", "upgrade it; commands that rpqueue needs are missing"
        )
        return
    yield ok("server.version", shown)
    found = affecting(server, version)
    for advisory in found:
        yield warning(
            "server.security",
            f"{shown} has {advisory.names}: {advisory.what}",
            f"{advisory.remedy(server, version) or 'a newer line'} or newer",
            "upgrade it, unless your distribution has built the fix into its package",
        )
    if not found:
        yield ok("server.security", "no known hole that lets clients in")


def _limit(node: Node) -> Iterator[Finding]:
    most, used = node.number("maxmemory"), node.number("used_memory")
    if not most:
        yield note(
            "memory.limit",
            "no maxmemory",
            "a limit below what the machine has",
            "without one, the system may kill the server when a queue grows: set maxmemory, with noeviction",
        )
    elif used > 0.9 * most:
        yield warning(
            "memory.limit",
            f"{used / most:.0%} of maxmemory is used",
            "less than 90 %",
            "enqueuing will fail when it is full: start workers, purge graves (rpqueue status), or raise maxmemory",
        )
    else:
        yield ok("memory.limit", f"{used / most:.0%} of maxmemory is used")


def _policy(node: Node) -> Iterator[Finding]:
    policy = node.info.get("maxmemory_policy") or node.config("maxmemory-policy")
    if policy == "noeviction":
        yield ok("memory.policy", "maxmemory-policy is noeviction")
    elif policy:
        yield problem(
            "memory.policy",
            f"maxmemory-policy is {policy}",
            "noeviction",
            "a full server deletes queues under any other: CONFIG SET maxmemory-policy noeviction, and in its file",
        )


def _appends(node: Node) -> Iterator[Finding]:
    saves = node.config("save")
    if node.info.get("aof_enabled", "1") == "0":
        if saves == "":
            yield problem(
                "persistence.aof",
                "neither an append-only file nor snapshots",
                "appendonly yes",
                "a restart loses every queue: CONFIG SET appendonly yes, and in its file",
            )
        else:
            yield warning(
                "persistence.aof",
                "no append-only file, snapshots only",
                "appendonly yes",
                "a crash loses what came since the last snapshot: CONFIG SET appendonly yes, and in its file",
            )
        return
    if node.info.get("aof_last_write_status", "ok") != "ok":
        yield problem(
            "persistence.aof",
            "the append-only file cannot be written",
            "aof_last_write_status ok",
            "look at the server's log and its disk; it refuses to write until that works",
        )
        return
    sync = node.config("appendfsync")
    if sync == "no":
        yield warning(
            "persistence.aof",
            "appendfsync is no",
            "everysec or always",
            "a machine that loses power loses up to half a minute: CONFIG SET appendfsync everysec",
        )
    else:
        loses = {"always": ", nothing acknowledged is lost", "everysec": ", at most the last second is lost"}
        yield ok("persistence.aof", f"append-only file{loses.get(sync or '', '')}")


def _snapshots(node: Node) -> Iterator[Finding]:
    if node.info.get("rdb_last_bgsave_status", "ok") == "ok":
        return
    is_refusing = node.config("stop-writes-on-bgsave-error") != "no" and node.config("save") != ""
    make = problem if is_refusing else warning
    yield make(
        "persistence.rdb",
        "the last snapshot failed" + (", and the server refuses writes until one does not" if is_refusing else ""),
        "rdb_last_bgsave_status ok",
        "look at the server's log, at its disk, and whether the machine has memory for a fork",
    )


def _role(node: Node) -> Iterator[Finding]:
    if node.info.get("role", "master") == "master":
        return
    yield problem(
        "replication.role",
        f"{node.label} is a replica"
        + (", cut off from its master" if node.info.get("master_link_status") != "up" else ""),
        "a master",
        "connect to the master; with Sentinel say redis+sentinel://HOST,HOST/SERVICE, which follows it",
    )


def _replicas(node: Node) -> Iterator[Finding]:
    replicas = {name: value for name, value in node.info.items() if _REPLICA.match(name)}
    if not replicas:
        return
    behind = [
        value.split(",port=")[0].removeprefix("ip=") for value in replicas.values() if "state=online" not in value
    ]
    if behind:
        yield warning(
            "replication.replicas",
            f"{len(behind)} of {len(replicas)} replicas are not in step: {some(behind)}",
            "all of them online",
            "a failover to one of them loses what it has not got; look at its log",
        )
    needed = node.config("min-replicas-to-write")
    if needed == "0":
        yield warning(
            "replication.durability",
            f"{len(replicas)} replicas, and min-replicas-to-write is 0",
            "min-replicas-to-write 1, min-replicas-max-lag 10",
            "a master that is cut off takes calls which are lost when it comes back; the setting makes it refuse them",
        )
    elif not behind:
        yield ok("replication.durability", f"{len(replicas)} replicas in step, min-replicas-to-write {needed or '?'}")


def _clients(node: Node) -> Iterator[Finding]:
    connected = node.number("connected_clients")
    most = node.number("maxclients") or int(node.config("maxclients") or 0)
    if most and connected >= 0.8 * most:
        yield warning(
            "server.clients",
            f"{connected:,} of {most:,} connections are taken",
            "less than 80 %",
            "programs that come then are refused: raise maxclients, or find who holds so many (CLIENT LIST)",
        )
    elif most:
        yield ok("server.clients", f"{connected:,} of {most:,} connections are taken")
