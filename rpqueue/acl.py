"""
What a Redis user may do who is a producer, a worker or an admin, and nothing more.

Commands come from two places: the sources of the scripts, for Redis asks of a script's user that he may use every
command in it; and `SENT`, what the library sends beside scripts. A test compares both with what the code holds.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, get_args

from .errors import RefusedName
from .keys import AppKeys, Keys, name_text
from .protocol import scripts

Role = Literal["producer", "worker", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

#: Scripts that a producer sends: enqueue calls, put items, wait, fetch results, cancel and reschedule, lock.
_OF_PRODUCERS = {
    "enqueue",
    "enqueue_ready",
    "states",
    "cancel",
    "noted",
    "reschedule",
    "lock_acquire",
    "lock_release",
    "lock_refresh",
}
#: Scripts that only an admin sends, who looks at everything, and redrives, deletes and clears.
_OF_ADMINS = {
    "adopt",
    "audit",
    "census",
    "clear",
    "delete",
    "find",
    "force",
    "kinds",
    "mend",
    "oldest",
    "page",
    "priority",
    "progress",
    "redrive",
    "relist",
    "sizes",
    "unfinished",
}

#: Commands beside scripts, and who sends them first: a worker may what a producer may, an admin what a worker may.
SENT: dict[str, Role] = {
    "EVALSHA": "producer",
    "EVAL": "producer",
    "MULTI": "producer",  # pipelines
    "EXEC": "producer",
    "SUBSCRIBE": "producer",  # waiting
    "UNSUBSCRIBE": "producer",
    "PING": "producer",
    "WAIT": "producer",  # durability="replicated"
    "PEXPIRE": "producer",  # the same
    "ROLE": "producer",  # behind Sentinel: is this the master?
    "SELECT": "producer",  # a database other than 0
    "HGET": "producer",  # the registry, for calls by name
    "HKEYS": "producer",
    "HMGET": "producer",
    "HGETALL": "producer",
    "ZRANGE": "producer",  # known queues
    "MGET": "producer",  # results
    "ZADD": "producer",  # known data queues, on Cluster
    "BLPOP": "worker",  # waiting for work
    "RPUSH": "worker",
    "DEL": "worker",  # checkpoints of what is done
    "HSET": "worker",
    "HDEL": "worker",
    "HEXISTS": "worker",
    "TIME": "worker",
    "PUBLISH": "worker",  # news between the nodes of a Cluster
    "EXISTS": "worker",  # looking for work on a Cluster
    "LPOP": "worker",
    "ZSCORE": "worker",
    "SCAN": "admin",  # rpqueue doctor, as are those that follow
    "INFO": "admin",
    "HLEN": "admin",
    "LRANGE": "admin",
    "MEMORY": "admin",
}
#: What durability="fsync" needs. Printed on demand, for a server before 7.2 refuses all of a line that names it.
FSYNC = ("WAITAOF",)
#: What redis-py sends of its own to find its way in a Cluster.
_CLUSTER = ("CLUSTER|SLOTS", "COMMAND", "READONLY", "READWRITE", "ASKING")

#: What comes behind redis.call in Lua, which may be handed on as a function; and the words in it, which may be two.
_CALL = re.compile(r"\bredis\.p?call\s*[(,]([^,)]*)")
_WORD = re.compile(r"'([A-Z]+)'")
_GLOB = re.compile(rb"[*?\[\]\\^]")


@cache
def commands(role: Role) -> tuple[str, ...]:
    """The commands that a role needs, sorted, in capitals."""
    rank = ROLES.index(role)
    needed = {command for command, first in SENT.items() if ROLES.index(first) <= rank}
    for name in scripts.names():
        if role == "admin" or name in _OF_PRODUCERS or (role == "worker" and name not in _OF_ADMINS):
            needed.update(commands_in(scripts.load(name).source))
    return tuple(sorted(needed))


def commands_in(source: str) -> set[str]:
    """The commands that Lua code calls."""
    return {word for call in _CALL.findall(source) for word in _WORD.findall(call)}


def key_patterns(role: Role, prefix: str) -> list[str]:
    """The keys that a role needs, as the patterns of an ACL rule, without the tilde."""
    stem = _GLOB.sub(rb"\\\g<0>", Keys(prefix).app.stem.partition(b"{")[0]).decode()
    if role != "producer":
        return [f"{stem}*"]
    own = [field for field in AppKeys._fields if field not in ("workers", "beats", "news", "stem")]
    # Kinds of tags, as in keys.py. A brace stands for itself in these patterns.
    return [*(f"{stem}{{{kind}:*" for kind in ("tasks", "data", "lock")), *(f"{stem}{{app}}:{name}" for name in own)]


def rules(role: Role, prefix: str = "rpqueue", *, is_cluster: bool = False, may_fsync: bool = False) -> list[str]:
    """
    The words of an ACL rule: which keys, channels and commands. They hold on Redis 6.2 and newer, and on Valkey.

    Args:
        role: producer, worker or admin.
        prefix: first part of every key, as KEY_PREFIX.
        is_cluster: whether Redis is a Cluster.
        may_fsync: whether they may enqueue with durability "fsync", whose command Redis has since 7.2.
    """
    if set(name_text(prefix, "prefix")) & set("\"'"):
        raise RefusedName(f"prefix: expected one without quotes, which an ACL line cannot carry, got {prefix!r}")
    keys = key_patterns(role, prefix)
    # Events go over channels that are named as the keys are.
    channel = key_patterns("worker", prefix)[0]
    allowed = [*commands(role), *(_CLUSTER if is_cluster else ()), *(FSYNC if may_fsync else ())]
    return ["resetkeys", "resetchannels", *(f"~{key}" for key in keys), f"&{channel}", "-@all", *_allow(allowed)]


def _allow(allowed: list[str]) -> list[str]:
    return [f"+{command.lower()}" for command in allowed]
