"""Checks of the way to Redis: the client that the program brought, the clocks, and what its user may do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ..acl import ROLES, Role, commands, key_patterns
from ..broker import Broker
from ..connections import LONGEST_BLOCK
from ..errors import RedisError
from ..protocol.workers import redis_time
from .asking import Node
from .findings import Finding, note, ok, problem, some, warning

#: Seconds by which clocks may differ before it is told, and before it is in the way.
NOTICED, ANNOYING = 1.0, 60.0


def client_checks(broker: Broker) -> Iterator[Finding]:
    """Of a client that was given to set_redis_connection; our own needs none."""
    if not broker.is_users:
        return
    client: Any = broker.client
    owner = client.nodes_manager if broker.is_cluster else getattr(client, "connection_pool", None)
    options = dict(getattr(owner, "connection_kwargs", {}))
    timeout = options.get("socket_timeout")
    if timeout is None:
        yield warning(
            "client.timeout",
            "socket_timeout is None",
            "some seconds",
            "a call hangs for ever when the network swallows its reply: give your client socket_timeout=30",
        )
    elif timeout < LONGEST_BLOCK:
        yield warning(
            "client.timeout",
            f"socket_timeout is {timeout:g} s",
            f"{LONGEST_BLOCK:g} s or more",
            "a Redis that is busy for a moment looks dead to it: give your client socket_timeout=30",
        )
    else:
        yield ok("client.timeout", f"socket_timeout is {timeout:g} s")
    retry = options.get("retry")
    again = getattr(retry, "_retries", 0) if retry is not None else 0
    if not again:
        yield note(
            "client.retry",
            "commands are not sent again when their reply is lost",
            "some retries",
            "calls fail with RedisUnavailable where they could go on: retry=Retry(ExponentialBackoff(), 3)",
        )
    if options.get("decode_responses"):
        yield note(
            "client.decoding",
            "decode_responses is True",
            "",
            "rpqueue asks it for bytes all the same; scripts of your own get text",
        )


def clock_checks(broker: Broker) -> Iterator[Finding]:
    """Of this machine's clock and Redis's."""
    before = time.time()
    theirs = broker.execute(redis_time())
    after = time.time()
    yield clock("clock", "this machine", (before + after) / 2 - theirs, (after - before) / 2)


def clock(check: str, whose: str, ahead: float, doubt: float) -> Finding:
    """What a difference means, which may be off by *doubt* seconds."""
    gap = max(abs(ahead) - doubt, 0.0)
    shown = f"the clock of {whose} is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} Redis's"
    advice = "rpqueue stores Redis's clock, so nothing is early or late; but logs do not match: use NTP on both"
    if gap <= NOTICED:
        return ok(check, f"the clock of {whose} and Redis's agree within {max(gap, 0.1) + doubt:.1f} s")
    if gap <= ANNOYING:
        return note(check, shown, f"within {NOTICED:g} s", advice)
    return warning(check, shown, f"within {NOTICED:g} s", f"{advice}. when=datetime is off by as much")


def acl_checks(node: Node, prefix: str) -> Iterator[Finding]:
    """Whether this user may do what a producer and a worker need. Asked by a dry run, of Redis 7 and newer."""
    try:
        user = node.ask("ACL", "WHOAMI")
        name = user.decode() if isinstance(user, bytes) else str(user)
        missing = {role: _missing(node, name, role, prefix) for role in ROLES[:2]}
    except RedisError as error:
        yield note(
            "acl",
            f"what this user may do cannot be asked ({error})",
            "",
            "rpqueue acl prints what a user needs; to have it checked, run doctor on Redis 7 or newer with +acl|dryrun",
        )
        return
    able = [role for role, denied in missing.items() if not denied]
    if "worker" in able:
        yield ok("acl", f"user {name} may do what producers and workers need")
    elif "producer" in able:
        yield note(
            "acl",
            f"user {name} may enqueue, and not work: {some(missing['worker'])}",
            "for a worker, what rpqueue acl worker prints",
            "nothing, if this is a producer's user",
        )
    else:
        yield problem(
            "acl",
            f"user {name} may not: {some(missing['producer'])}",
            "at least what rpqueue acl producer prints",
            "run what rpqueue acl producer or rpqueue acl worker prints, as an owner of this Redis",
        )


def _missing(node: Node, user: str, role: Role, prefix: str) -> list[str]:
    key = key_patterns("worker", prefix)[0].replace("\\", "").removesuffix("*") + "{tasks:doctor}:messages"
    missing = []
    for name in commands(role):
        words = _example(node, name, key)
        if words is None:
            continue
        reply = node.ask("ACL", "DRYRUN", user, *words)
        if reply not in (b"OK", "OK"):
            missing.append(name)
    return missing


def _example(node: Node, name: str, key: str) -> list[str] | None:
    """The command with as many words as it needs; None when this server does not have it."""
    if name in ("EVAL", "EVALSHA"):
        return [name, "0", "1", key]
    reply = node.ask("COMMAND", "INFO", name)
    told = next(iter(reply.values() if isinstance(reply, dict) else reply), None)
    if not told:
        return None
    arity = int(told["arity"] if isinstance(told, dict) else told[1])
    return [name, *[key] * (abs(arity) - 1)]
