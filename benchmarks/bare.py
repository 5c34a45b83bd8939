"""Loops that ask Redis for the least that something can cost. Run in rpqueue's environment, through the same client."""

from __future__ import annotations

import time
from typing import Any

#: Ack what was claimed by the call before, claim the next: two structures less than any queue needs.
CYCLE = """
if #ARGV > 2 then
  redis.call('ZREM', KEYS[3], unpack(ARGV, 3))
  redis.call('HDEL', KEYS[1], unpack(ARGV, 3))
end
local ids = redis.call('LPOP', KEYS[2], ARGV[1])
if not ids then return {} end
local leases = {}
for i = 1, #ids do
  leases[2 * i - 1] = ARGV[2]
  leases[2 * i] = ids[i]
end
redis.call('ZADD', KEYS[3], unpack(leases))
return {ids, redis.call('HMGET', KEYS[1], unpack(ids))}
"""


def pings(client: Any, number: int) -> float:
    """Seconds of so many PINGs over a connection that is checked out once."""
    connection = client.connection_pool.get_connection()
    connection.send_command("PING")
    connection.read_response()
    started = time.perf_counter()
    for _ in range(number):
        connection.send_command("PING")
        connection.read_response()
    seconds = time.perf_counter() - started
    client.connection_pool.release(connection)
    return seconds


def claims(client: Any, number: int, batch: int = 100) -> float:
    """Seconds to claim and ack so many messages, *batch* per call, and do nothing else."""
    body = '1 1700000000000|["noop",[1],{}]'
    for first in range(0, number, 1000):
        ids = [f"{n:016d}" for n in range(first, min(first + 1000, number))]
        with client.pipeline(transaction=False) as pipe:
            pipe.hset("bare:messages", mapping=dict.fromkeys(ids, body))
            pipe.rpush("bare:ready", *ids)
            pipe.execute()
    sha = client.script_load(CYCLE)
    connection = client.connection_pool.get_connection()
    keys = ("bare:messages", "bare:ready", "bare:leased")
    held: list[Any] = []
    started = time.perf_counter()
    while True:
        connection.send_command("EVALSHA", sha, 3, *keys, batch, 1_700_000_000_000, *held)
        reply = connection.read_response()
        if not reply:
            break
        held = reply[0]
    seconds = time.perf_counter() - started
    client.connection_pool.release(connection)
    return seconds


def set_get(client: Any, number: int, size: int = 65_536) -> float:
    """Seconds to SET and GET so many values of *size* bytes."""
    payload = "x" * size
    started = time.perf_counter()
    for n in range(number):
        client.set(f"bare:{n % 100}", payload)
    for n in range(number):
        client.get(f"bare:{n % 100}")
    return time.perf_counter() - started
