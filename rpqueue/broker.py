"""Broker: carries operations to Redis, and says what went wrong there in this library's words."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import errors
from .addresses import Endpoint
from .attempts import Attempts
from .connections import LONGEST_BLOCK, command_client, waiting_client
from .lines import Lines, Sent
from .listeners import Listener, Listeners
from .nodes import PerNode
from .protocol.operation import Flow, Operation, Stamp, Wait, Watch, Word, encoded, run
from .twins import waiting_twin

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from redis import Redis

    from .broker_aio import AsyncBroker

T = TypeVar("T")
R = TypeVar("R")

#: Seconds that a call through `Broker.prompt` waits for its answer.
PROMPT_TIMEOUT = 5.0

#: Seconds for which a queue is taken for listed, and of how many that is remembered.
LISTED_FOR, MOST_LISTED = 1.0, 100_000

#: Tells redis-py to hand over bytes, even when the user's client decodes (redis.client.NEVER_DECODE).
RAW = {"NEVER_DECODE": True}


#: For a question, which may be asked any number of times.
UNSTAMPED = Stamp(b"", 0)


class Sessions:
    """
    The names under which calls are stamped.

    Each call takes a session for its own while it is under way, so a resend can only be of the session's last call.
    """

    def __init__(self) -> None:
        self._idle: deque[tuple[bytes, int]] = deque()
        self._pid = os.getpid()

    def take(self) -> Stamp:
        """A stamp that no other call under way has."""
        if self._pid != os.getpid():  # a forked child must not speak under its parent's names
            self._idle, self._pid = deque(), os.getpid()
        try:
            session, number = self._idle.pop()
        except IndexError:
            session, number = os.urandom(6).hex().encode(), 0
        return Stamp(session, number + 1)

    def give_back(self, stamp: Stamp) -> None:
        """
        The call was answered.

        A session whose call was not is never used again: that call may still reach Redis, after the session's next one.
        """
        self._idle.append(stamp)


class Preludes:
    """
    The commands that go before operations, and which were said lately, so that they need not be said again.

    They list the queues of a Cluster. Somebody may delete the list, so it is kept true again every now and then.
    """

    def __init__(self) -> None:
        self._said: dict[Sequence[Word], float] = {}

    def due(self, step: Operation[Any]) -> Sequence[Word] | None:
        """What to say before; None: nothing."""
        words = None if step.before is None else step.before.args
        return words if words and time.monotonic() - self._said.get(words, -LISTED_FOR) >= LISTED_FOR else None

    def said(self, words: Sequence[Word]) -> None:
        """It was said."""
        if len(self._said) >= MOST_LISTED:
            self._said.clear()
        self._said[words] = time.monotonic()


class Broker:
    """
    Carries operations to one Redis. Threads may share one; a forked child may go on using its parent's.

    Args:
        endpoint: where Redis is; connected to when first needed.
        client: a client of the user's own, used instead for commands. Waiting still has a connection of its own.
    """

    def __init__(self, endpoint: Endpoint | None = None, client: Redis | None = None) -> None:
        self.endpoint = endpoint or Endpoint.from_environment()
        self._client = client
        self.is_users = client is not None
        #: Whether keys live on several nodes, so that no script may touch those of two queues.
        self.is_cluster = (
            (self.endpoint.url or "").partition(":")[0].endswith("+cluster")
            if client is None
            else hasattr(client, "nodes_manager")
        )
        #: Whether it goes to the master that sentinels name, whichever it is.
        self.follows_master = (
            (self.endpoint.url or "").partition(":")[0].endswith("+sentinel")
            if client is None
            else hasattr(getattr(client, "connection_pool", None), "sentinel_manager")
        )
        self._waiting: Redis | None = None
        self._lines: Lines | None = None
        self._waiting_lines: Lines | None = None
        self.knows_waitaof = False  #: whether the server was found to; see together.py
        self._connecting = threading.Lock()
        self._listeners = Listeners(lambda: self.waiting.connection_pool.make_connection())
        self._node_lines = PerNode(lambda: self.client, Lines)
        self._node_listeners = PerNode(lambda: self.waiting, Listeners)
        self.sessions = Sessions()
        self.preludes = Preludes()
        self.awaited: dict[AbstractEventLoop, AsyncBroker] = {}  #: see broker_aio.py

    @classmethod
    def for_client(cls, client: Redis) -> Broker:
        """A Broker over a user's own client."""
        return cls(client=client)

    def prompt(self) -> Broker:
        """
        A Broker to the same place whose calls end within seconds, for a worker that must hear orders in between.

        It sends nothing again by itself. Over a user's own client it is this Broker, since that client's rules hold.
        """
        if self.is_users:
            return self
        timeout = min(self.endpoint.socket_timeout, PROMPT_TIMEOUT)
        return Broker(replace(self.endpoint, socket_timeout=timeout, resends=0))

    @property
    def client(self) -> Redis:
        """The redis-py client for commands."""
        client = self._client
        if client is None:
            with self._connecting:
                client = self._client = self._client or command_client(self.endpoint)
        return client

    @property
    def waiting(self) -> Redis:
        """The redis-py client for blocking commands and subscriptions."""
        waiting = self._waiting
        if waiting is None:
            with self._connecting:
                waiting = self._waiting = self._waiting or self._make_waiting()
        return waiting

    def _make_waiting(self) -> Redis:
        return waiting_twin(self.client) if self.is_users else waiting_client(self.endpoint)

    def listeners_at(self, channel: bytes) -> Listeners:
        """Those who hear at once what is published on a channel. On Cluster other nodes hear it a little later."""
        if not self.is_cluster:
            return self._listeners
        listeners = self._node_listeners.at(channel)
        if listeners is None:
            raise errors.RedisNotReady(f"Redis at {self.label}: no node has the slot of {channel!r}; try again later")
        return listeners

    def _renew_nodes(self, nodes: PerNode[Any]) -> None:
        if self.is_cluster:
            nodes.renew()

    def renew_listeners(self) -> None:
        """One of `listeners_everywhere` did not answer: on Cluster, learn anew which masters there are."""
        self._renew_nodes(self._node_listeners)

    def listeners_everywhere(self) -> list[Listeners]:
        """Of every master, where several scripts may publish on one channel."""
        return self._node_listeners.at_masters() if self.is_cluster else [self._listeners]

    @property
    def has_lines(self) -> bool:
        """Whether calls go over connections of our own. Over a client of the user's they do not: its rules hold."""
        return not self.is_users

    @property
    def lines(self) -> Lines | None:
        """Connections for quick calls to the one node that there is; None on Cluster, or when `has_lines` is False."""
        lines = self._lines
        if lines is None and not self.is_users and not self.is_cluster:
            make = self.client.connection_pool.make_connection
            with self._connecting:
                lines = self._lines = self._lines or Lines(make)
        return lines

    def _lines_for(self, step: Operation[Any]) -> Lines | None:
        """Connections to the node that an operation goes to. All of its keys have one slot."""
        if not self.is_cluster or self.is_users:
            return self.lines
        key = step.keys[0] if step.keys else step.args[1] if len(step.args) > 1 else b""
        return self._node_lines.at(key) if isinstance(key, bytes) and key else None

    @property
    def label(self) -> str:
        """Where this Broker goes, for errors and logs; never with a password."""
        return "the client given to set_redis_connection" if self.is_users else self.endpoint.label

    def run(self, flow: Flow[R]) -> R:
        """Carry a flow through to its end and return its result."""
        return run(flow, self.execute)

    @overload
    def execute(self, step: Operation[T], stamp: Stamp | None = None) -> T: ...
    @overload
    def execute(self, step: Watch[T]) -> T: ...
    @overload
    def execute(self, step: Wait) -> bytes | None: ...
    def execute(self, step: Any, stamp: Stamp | None = None) -> Any:
        """
        Carry one step to Redis.

        Args:
            step: what to do.
            stamp: for a caller that sends an Operation again until it is answered, always under the same stamp;
                None: it is stamped here.

        Raises:
            RedisError: Redis could not do it, and why. After RedisUnavailable it may have been done.
        """
        if isinstance(step, Wait):
            return self.wait(step.keys, step.timeout)
        if isinstance(step, Watch):
            return self.watch(step)
        own, attempts = stamp or self.sessions.take(), Attempts()
        try:
            reply = self._send(step, own, attempts)
        except Exception as error:
            meant = self.meaning(error, attempts)
            if stamp is None and was_answered(meant):
                self.sessions.give_back(own)
            if meant is error:
                raise
            raise meant from error
        if stamp is None:
            self.sessions.give_back(own)
        return step.read(reply)

    def meaning(self, error: Exception, attempts: Attempts) -> Exception:
        """
        What a call means that failed after some attempts.

        A user's own client is made to ask the sentinels again when its master says that it is a replica: redis-py sees
        that only where Redis says it by a code of its own, as 6.2 does not when a script fails.
        """
        meant = translate(error, self.label)
        if isinstance(meant, errors.RedisReadOnly) and self.is_users and self.follows_master:
            self.client.connection_pool.disconnect()
        if isinstance(meant, errors.RedisError) and was_answered(meant) and attempts.leave_doubt(error):
            return attempts.in_doubt(meant)
        return meant

    def send(self, step: Operation[Any], stamp: Stamp) -> Sent | None:
        """Send an Operation and come back without its reply. None, and nothing is sent, where there are no lines."""
        lines = self._lines_for(step)
        return None if lines is None else lines.send(_command(step, stamp))

    def pack(self, step: Operation[Any], stamp: Stamp) -> Callable[[], Sent] | None:
        """An Operation made ready: calling what is returned sends it. None where there are no lines."""
        lines = self._lines_for(step)
        return None if lines is None else partial(lines.send_packed, lines.pack(_command(step, stamp)))

    def _send(self, step: Operation[Any], stamp: Stamp, attempts: Attempts) -> Any:
        if step.before is not None and self.is_cluster:
            self._say_before(step)
        lines = self._lines_for(step)
        if lines is not None:
            try:
                return self._call(lambda *words: lines.send(words).reply(step.meanwhile), step, stamp, attempts)
            except Exception as error:
                if not is_redirected(error):
                    if was_answered(translate(error, self.label)):
                        raise
                    if not self.endpoint.resends:
                        self._renew_nodes(self._node_lines)
                        raise
                    attempts.was_unanswered = True
        # Slower, and patient: redis-py connects anew and sends again, on Cluster to wherever it is redirected.
        return self._call(partial(self._say, attempts), step, stamp, attempts)

    def _say(self, attempts: Attempts, *words: Word) -> Any:
        # redis-py's cluster client cannot take options with PING, which goes to every node.
        options = {} if self.is_cluster and len(words) == 1 else RAW
        return self.client.execute_command(*attempts.counted(encoded(words)), **options)

    def _say_before(self, step: Operation[Any]) -> None:
        words = self.preludes.due(step)
        if words:
            try:
                self.client.execute_command(*words, **RAW)
            except Exception as error:
                if not is_dispensable(translate(error, self.label)):
                    raise
            else:
                self.preludes.said(words)

    @staticmethod
    def _call(say: Callable[..., Any], step: Operation[Any], stamp: Stamp, attempts: Attempts) -> Any:
        if step.script is None:
            return say(*step.args)
        words = step.words(stamp)
        try:
            return say("EVALSHA", step.script.sha, *words)
        except Exception as error:
            if not is_noscript(error):
                raise
        attempts.were_answered()
        return say("EVAL", step.script.source, *words)

    def wait(self, keys: Sequence[bytes], timeout: float) -> bytes | None:
        """Take what comes first on one of the lists *keys*; None after *timeout* seconds."""
        ends_at = time.monotonic() + timeout
        while True:
            left = min(ends_at - time.monotonic(), LONGEST_BLOCK)
            if left < 0.001:  # Redis reads a timeout of 0 as for ever
                return None
            try:
                found = self._pop(*keys, f"{left:.3f}")
            except Exception as error:
                meant = translate(error, self.label)
                if self.follows_master and not was_answered(meant):
                    return None  # the caller looks at its queue then, by a call that finds the next master
                raise meant from error
            if found:
                token: bytes = found[1]
                return token

    def _pop(self, *words: Word) -> Any:
        if self.is_cluster or not hasattr(self.waiting, "connection_pool"):
            return self.waiting.execute_command("BLPOP", *words, **RAW)
        lines = self._waiting_lines
        if lines is None:
            make = self.waiting.connection_pool.make_connection
            with self._connecting:
                lines = self._waiting_lines = self._waiting_lines or Lines(make)
        return lines.send(("BLPOP", *words)).reply()

    def ask(self, questions: Sequence[Sequence[Word]]) -> list[Any]:
        """Replies to some plain commands that write nothing; on Cluster they may go to any nodes."""
        if not questions:
            return []
        pipe = self.client.pipeline(transaction=False)
        for words in questions:
            pipe.execute_command(*words, **RAW)
        try:
            replies: list[Any] = pipe.execute()
        except Exception as error:
            raise self.failure(error) from error
        return replies

    def failure(self, error: Exception) -> Exception:
        """What a failed call to Redis means."""
        return translate(error, self.label)

    def watch(self, step: Watch[T]) -> T:
        """Ask until the answer satisfies, listening for news in between."""
        ends_at = time.monotonic() + step.timeout
        if step.timeout <= 0:
            return self.execute(step.question)
        while True:
            try:
                with self.listeners_at(step.channels[0]).listening() as listener:
                    answer = self._listen_and_ask(listener, step)
                    while True:
                        left = ends_at - time.monotonic()
                        if step.is_over(answer) or left <= 0:
                            return answer
                        news = listener.hear(min(left, LONGEST_BLOCK))
                        told = step.tells(*news) if news and step.tells else None
                        answer = self.execute(step.question) if told is None else told
            except Exception as error:
                meant = translate(error, self.label)
                if was_answered(meant) or time.monotonic() >= ends_at:
                    raise meant from error
                # The listening connection broke, or Redis is away. Asking tells which; it raises when Redis is away.
                self._renew_nodes(self._node_listeners)
                answer = self.execute(step.question)
                if step.is_over(answer):
                    return answer

    def _listen_and_ask(self, listener: Listener, step: Watch[T]) -> T:
        if listener.takes_questions:
            try:
                return step.question.read(listener.subscribe(step.channels, _command(step.question, UNSTAMPED)))
            except Exception as error:
                if not (is_noscript(error) or is_redirected(error)):
                    raise
        else:
            listener.subscribe(step.channels)
        return self.execute(step.question)

    def stop_waiting(self) -> None:
        """Close the waiting connections. A `wait` in another thread ends with RedisUnavailable."""
        for listeners in (self._listeners, *self._node_listeners.all()):
            listeners.close()
        if self._waiting_lines is not None:
            self._waiting_lines.hang_up()
            self._waiting_lines = None
        if self._waiting is not None:
            if self._waiting is not self._client:
                _hang_up(self._waiting)
            self._waiting = None

    def close(self) -> None:
        """Close the connections that this Broker opened. It opens new ones when it is used again."""
        self.stop_waiting()
        if self._client is not None and not self.is_users:
            for lines in (self._lines, *self._node_lines.all()):
                if lines is not None:
                    lines.hang_up()
            self._node_lines = PerNode(lambda: self.client, Lines)
            _hang_up(self._client)
            self._client = self._lines = None


def _command(step: Operation[Any], stamp: Stamp) -> Sequence[Word]:
    return ("EVALSHA", step.script.sha, *step.words(stamp)) if step.script else step.args


def _hang_up(client: Redis) -> None:
    client.close()
    pool = getattr(client, "connection_pool", None)
    if pool is not None:
        pool.disconnect()  # a client that was given its pool, as ours are, leaves that open


def is_redirected(error: Exception) -> bool:
    """Whether a node of a Cluster says that another one has the keys, or will have."""
    return type(error).__name__ in ("MovedError", "AskError", "TryAgainError")


def is_dispensable(error: Exception) -> bool:
    """Whether a prelude failed so that its operation does without: somebody else's key is where the list should be."""
    return isinstance(error, errors.RedisUnsuitable)


def is_noscript(error: Exception) -> bool:
    """Whether Redis has forgotten a script, or never had it."""
    return type(error).__name__ == "NoScriptError" or "NOSCRIPT" in str(error)


#: Words in a server's error, and what they mean. Matched as text: Redis 6.2 wraps errors out of scripts in a plain ERR.
_MEANINGS: tuple[tuple[str, type[errors.RedisError], str], ...] = (
    ("READONLY", errors.RedisReadOnly, "it is a replica; connect to the master"),
    ("read only replica", errors.RedisReadOnly, "it is a replica; connect to the master"),
    ("NOREPLICAS", errors.RedisReadOnly, "too few replicas are in step (min-replicas-to-write)"),
    ("MASTERDOWN", errors.RedisNotReady, "its master is down"),
    ("LOADING", errors.RedisNotReady, "it is loading its data; try again in a moment"),
    ("loading the dataset", errors.RedisNotReady, "it is loading its data; try again in a moment"),
    ("BUSY", errors.RedisNotReady, "it is busy with a script"),
    ("TRYAGAIN", errors.RedisNotReady, "a cluster slot is being moved"),
    ("CLUSTERDOWN", errors.RedisNotReady, "the cluster is down"),
    ("OOM", errors.RedisOutOfMemory, "maxmemory is reached; nothing was written"),
    ("WRONGPASS", errors.RedisDenied, "user name or password is wrong"),
    ("NOAUTH", errors.RedisDenied, "it asks for a password"),
    ("Authentication required", errors.RedisDenied, "it asks for a password"),
    ("Protocol error: unauthenticated", errors.RedisDenied, "it asks for a password"),
    ("HELLO must be called with the client already authenticated", errors.RedisDenied, "it asks for a password"),
    ("invalid password", errors.RedisDenied, "user name or password is wrong"),
    ("invalid username-password", errors.RedisDenied, "user name or password is wrong"),
    ("NOPERM", errors.RedisDenied, "the ACL user may not do this"),
    ("No permissions", errors.RedisDenied, "the ACL user may not do this"),
    ("ACL failure in script", errors.RedisDenied, "the ACL user may not do this"),
    ("can't run this command or subcommand", errors.RedisDenied, "the ACL user may not do this"),
    ("The user executing the script can't", errors.RedisDenied, "the ACL user may not do this"),
    (
        "certificate is not valid for",
        errors.RedisUnavailable,
        "its TLS certificate is for another host; connect by a name that it has",
    ),
    ("Hostname mismatch", errors.RedisUnavailable, "its TLS certificate is for another host"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        errors.RedisUnavailable,
        "its TLS certificate is signed by nobody whom we trust; name the right authority in ssl_ca_certs",
    ),
    ("CERTIFICATE_REQUIRED", errors.RedisUnavailable, "it wants a TLS certificate of ours: ssl_certfile, ssl_keyfile"),
    ("UNKNOWN_CA", errors.RedisUnavailable, "it does not trust our TLS certificate"),
    (
        "EOF occurred in violation of protocol",
        errors.RedisUnavailable,
        "it broke off TLS; it may want a TLS certificate of ours (ssl_certfile), or not trust the one it got",
    ),
    ("WRONGTYPE", errors.RedisUnsuitable, "a key of this prefix holds what rpqueue did not write"),
    ("wrong kind of value", errors.RedisUnsuitable, "a key of this prefix holds what rpqueue did not write"),
    (
        "Unknown Redis command called from",
        errors.RedisUnsuitable,
        "it is too old; rpqueue needs Redis 6.2 or Valkey 7.2",
    ),
    ("Unknown command called from", errors.RedisUnsuitable, "it is too old; rpqueue needs Redis 6.2 or Valkey 7.2"),
)


#: Codes that redis-py takes off a server's error, and the class by which it tells them instead.
_CODES = {
    "READONLY": "ReadOnlyError",
    "MASTERDOWN": "MasterDownError",
    "LOADING": "BusyLoadingError",
    "TRYAGAIN": "TryAgainError",
    "OOM": "OutOfMemoryError",
    "NOPERM": "NoPermissionError",
    "WRONGPASS": "AuthenticationError",
}


def was_answered(error: Exception) -> bool:
    """Whether a call that failed so had a reply."""
    return not isinstance(error, errors.RedisUnavailable)


def translate(error: BaseException, where: str) -> Exception:
    """What a failed call to Redis means. Errors that are not about Redis come back as they are."""
    import redis.exceptions as theirs

    text = str(error)
    if isinstance(error, errors.RpqueueError) or not isinstance(
        error, (theirs.RedisError, theirs.RedisClusterException, OSError)
    ):
        return error if isinstance(error, Exception) else errors.RpqueueError(text)
    if isinstance(error, (theirs.ClusterError, theirs.SlotNotCoveredError)):
        # redis-py has sent the call several times by then, and says only what became of it the last time.
        return errors.RedisUnavailable(f"Redis at {where}: the cluster has not settled ({text}); try again in a moment")
    names = {kind.__name__ for kind in type(error).__mro__}
    for said in (text, *(code for code, name in _CODES.items() if name in names)):
        for words, kind, meaning in _MEANINGS:
            if words in said:
                return kind(f"Redis at {where}: {meaning} ({text})")
    if isinstance(error, (theirs.ConnectionError, theirs.TimeoutError, theirs.RedisClusterException, OSError)):
        hints = "is it running, and is the address right?"
        hints += " Does it want a TLS certificate of ours?" if where.startswith("rediss") else ""
        return errors.RedisUnavailable(f"Redis at {where}: not reached, or no answer in time ({text}); {hints}")
    return errors.RedisError(f"Redis at {where}: {text}")
