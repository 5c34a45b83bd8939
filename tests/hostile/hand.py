"""A hand that writes to Redis past the library: by accident, by another program, or by somebody hostile."""

from __future__ import annotations

import redis

from rpqueue import App
from rpqueue.keys import QueueKeys

NOW = b"1700000000000"


class Hand:
    """
    Writes into the task queues of an App.

    Args:
        client: bytes in and out.
        app: whose keys.
    """

    def __init__(self, client: redis.Redis, app: App) -> None:
        self.client, self.app = client, app

    def keys(self, queue: str = "default") -> QueueKeys:
        return self.app.keys.tasks(queue)

    def put(self, message_id: bytes, message: bytes | None, queue: str = "default") -> None:
        """Make an id ready, with these bytes as its message; None: without any."""
        keys = self.keys(queue)
        with self.client.pipeline(transaction=True) as pipe:
            if message is not None:
                pipe.hset(keys.messages, message_id, message)
            pipe.rpush(keys.ready, message_id)
            pipe.execute()
        self.show(queue)

    def show(self, queue: str = "default") -> None:
        """Have workers look at a queue."""
        app = self.app.keys.app
        with self.client.pipeline(transaction=True) as pipe:
            pipe.zadd(app.queues, {queue: "inf"}, nx=True)
            pipe.zadd(app.ready_queues, {queue: "inf"}, nx=True)
            pipe.rpush(app.wake, queue)
            pipe.pexpire(app.wake, 60_000)
            pipe.execute()

    def spoil(self, key: bytes) -> bytes | None:
        """Put a text where rpqueue keeps something else. Returns what was there for good, for `mend`."""
        kept: bytes | None = self.client.dump(key) if self.client.pttl(key) == -1 else None
        self.client.set(key, "somebody else's", ex=600)
        return kept

    def mend(self, key: bytes, kept: bytes | None) -> None:
        """Put back what was there."""
        self.client.delete(key)
        if kept is not None:
            self.client.restore(key, 0, kept)

    def grave(self, queue: str = "default") -> dict[bytes, bytes]:
        """Dead messages: ``{id: message}``."""
        keys = self.keys(queue)
        ids = self.client.zrange(keys.dead, 0, -1)
        return dict(zip(ids, self.client.hmget(keys.messages, ids), strict=True)) if ids else {}

    def reason(self, message_id: bytes, queue: str = "default") -> bytes:
        """Why it died."""
        return self.client.hget(self.keys(queue).errors, message_id).partition(b" ")[0]
