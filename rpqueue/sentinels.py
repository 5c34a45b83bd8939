"""
Sentinels: where the master of a service is, and who has to know when that changes.

A thread for each sentinel asks it once a second, and hears at once when it names another master. So a connection to a
master that was given up is cut also while somebody waits for a reply on it: a machine that vanished closes no
connection, and one that stands still may wake up and take itself for the master yet.

Of what the sentinels say the newest counts: every failover has a number, its *epoch*, that is greater than all before.

A master that lives is left a little earlier, when the sentinel that leads the failover says that it is about to promote
a replica. Sentinels take up to a second to notice that they have, and what the old master is told in between is lost.
So that nobody waits for that second, the replica is gone to once it was told to be the master, and says that it is.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

log = logging.getLogger("rpqueue.redis")

#: Seconds between two questions to a sentinel that has no news.
ASK_EVERY = 1.0
#: Seconds between two tries to reach a sentinel, and that one may take to answer.
TRY_EVERY, ANSWER_WITHIN = 0.5, 1.0
#: Seconds for which the first answer waits for those of the other sentinels, which may know better.
HEAR_ALL_WITHIN = 0.2
#: Seconds after which a connection gives up when all sentinels were asked and none names a master.
SILENT_FOR = 1.0
#: Seconds for which a connection looks for a master that answers.
PATIENCE = 5.0
#: Seconds before the same master is tried again, unless there is another one sooner.
PAUSE = 0.1

#: What the leading sentinel publishes a tenth of a second before it promotes a replica; or when it gives that up.
PROMOTING = b"+failover-state-send-slaveof-noone"
#: What it publishes when the replica was told.
PROMOTED = b"+failover-state-wait-promotion"
GIVEN_UP = (b"-failover-abort-slave-timeout", b"-failover-abort-no-good-slave", b"-failover-abort-not-elected")

Address = tuple[str, int]


class Unreachable(Exception):
    """No sentinel names a master; the text says why."""


class Held(Protocol):
    """A connection to a master."""

    host: str
    port: int

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""

    def cut(self) -> None:
        """Break it, from any thread: whoever waits for a reply on it sees that it is broken."""


class Said(NamedTuple):
    """What a sentinel says."""

    epoch: int  #: number of the failover that made it so
    master: Address


class Sentinels:
    """
    The sentinels of one service. Threads and event loops share one; a forked child begins anew.

    Args:
        places: where they are.
        service: the name under which they know the master.
        options: see `of`.
    """

    def __init__(self, places: tuple[Address, ...], service: str, options: dict[str, Any]) -> None:
        self.places, self.service, self.options = places, service, options
        self.begin()
        _all.add(self)

    def begin(self) -> None:
        """Know nothing, as in a process that was just forked: what its parent holds is its parent's to cut."""
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._said: dict[Address, Said] = {}
        self._failed: dict[Address, str] = {}
        self._held: weakref.WeakSet[Any] = weakref.WeakSet()
        self._listening: dict[Address, threading.Thread] = {}
        self._wanted_until = 0.0
        self._last: Address | None = None  #: of the masters that there were
        self._replaced: Address | None = None
        self._replaced_until = 0.0
        self._successor: Address | None = None  #: of the one that is just being replaced, once it was told so

    @property
    def master(self) -> Address | None:
        """Where the master is, as far as is known; None: nobody knows, or it is about to be replaced."""
        named = max(self._said.values()).master if self._said else None
        return self._successor if named is not None and named == self._replaced and self.is_replacing else named

    @property
    def is_replacing(self) -> bool:
        """Whether the master is just being replaced."""
        return time.monotonic() < self._replaced_until

    def hold(self, connection: Held) -> None:
        """Cut *connection* when its master is the master no more."""
        with self._changed:
            self._held.add(connection)

    def disown(self, connection: Held) -> None:
        """The server that *connection* goes to says that it is no master: cut all that go there, and ask again."""
        self._cut(lambda one: (one.host, one.port) == (connection.host, connection.port))

    def _cut(self, is_meant: Callable[[Any], bool]) -> None:
        with self._changed:
            meant = [one for one in self._held if one.is_open and is_meant(one)]
        for one in meant:
            one.cut()

    # Listening.

    def _connection(self, place: Address) -> Any:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        options = {name: value for name, value in self.options.items() if name != "ssl"}
        options.update(host=place[0], port=place[1], protocol=3, retry=Retry(NoBackoff(), 0))
        options.update(socket_timeout=ANSWER_WITHIN, socket_connect_timeout=ANSWER_WITHIN)
        return (redis.SSLConnection if self.options.get("ssl") else redis.Connection)(**options)

    def listen(self) -> None:
        """Have threads that listen, for the next seconds, and for as long as there are connections to cut."""
        if self._pid != os.getpid():
            self.begin()
        with self._changed:
            self._wanted_until = time.monotonic() + 2 * PATIENCE
            for place in self.places:
                thread = self._listening.get(place)
                if thread is None or not thread.is_alive():
                    self._failed.pop(place, None)
                    name = f"rpqueue-sentinel-{place[0]}:{place[1]}"
                    thread = threading.Thread(target=self._listen, args=(place,), name=name, daemon=True)
                    self._listening[place] = thread
                    thread.start()

    def _listen(self, place: Address) -> None:
        connection = self._connection(place)
        try:
            while self._is_wanted(place):
                try:
                    with _not_while_forking:
                        connection.connect()
                    connection.send_command("SUBSCRIBE", "+switch-master", PROMOTING, PROMOTED, *GIVEN_UP)
                    while self._is_wanted(place):
                        self._hear(place, *_ask(connection, self.service))
                        connection.can_read(timeout=ASK_EVERY)
                except Exception as error:  # of many kinds; whatever it is, this sentinel is not to be heard
                    connection.disconnect()
                    self._miss(place, str(error) or type(error).__name__)
                    time.sleep(TRY_EVERY)
        finally:
            connection.disconnect()

    def _is_wanted(self, place: Address) -> bool:
        with self._changed:
            if time.monotonic() < self._wanted_until or any(one.is_open for one in self._held):
                return True
            self._said.pop(place, None)
            self._listening.pop(place, None)
            return False

    def _hear(self, place: Address, said: Said, news: list[Any]) -> None:
        with self._changed:
            self._said[place] = said
            self._failed.pop(place, None)
            for _, channel, text in news:
                self._heed(channel, text.decode())
            if max(self._said.values()).master != self._replaced:
                self._replaced_until = 0.0  # it has been, and may be the master again
            self._changed.notify_all()
            now, before = self.master, self._last
            self._last = now or before
        if now is not None and before not in (None, now):
            log.warning("the master of %s is %s:%d now", self.service, *now)
        self._cut(lambda one: (one.host, one.port) != now)

    def _heed(self, channel: bytes, text: str) -> None:
        """Take in what a sentinel published; the text is of a replica, and ends with the service and its master."""
        replica, _, master = text.rpartition(" @ ")
        name, host, port, *_ = master.removeprefix("master ").split()
        if name != self.service:
            return
        if channel == PROMOTING:
            log.warning("the master of %s, %s:%s, is being replaced", name, host, port)
        if channel in (PROMOTING, PROMOTED):
            self._replaced, self._replaced_until = (host, int(port)), time.monotonic() + PATIENCE
            self._successor = _address(replica) if channel == PROMOTED else None
        elif channel in GIVEN_UP:
            self._replaced_until = 0.0

    def _miss(self, place: Address, why: str) -> None:
        with self._changed:
            if place not in self._failed:
                log.debug("sentinel %s:%d does not answer: %s", *place, why)
            self._said.pop(place, None)
            self._failed[place] = why
            self._changed.notify_all()

    def have_spoken(self) -> bool:
        """Whether there is nobody left to hear: each has answered, or could not be reached."""
        return len(self._said) + len(self._failed) >= len(self.places)

    def silence(self) -> str:
        """Why there is no master."""
        why = "; ".join(f"{host}:{port}: {text}" for (host, port), text in sorted(self._failed.items()))
        return f"no sentinel names a master of {self.service!r} ({why or 'none has answered yet'})"

    def pause(self, until_not: Address | None, timeout: float) -> None:
        """Wait until there is a master other than *until_not*, at most *timeout* seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.master not in (None, until_not), timeout)


class Search:
    """
    One search for the master, for a connection that wants to go there: what to try next.

    It waits for a failover to end rather than fail, since nobody else can do better.
    """

    def __init__(self, sentinels: Sentinels) -> None:
        self._sentinels = sentinels
        self._began_at = time.monotonic()
        self._tried: tuple[Address, float] | None = None
        sentinels.listen()

    def address(self) -> Address | None:
        """
        Where to go; None: nowhere yet, `pause` first.

        Raises:
            Unreachable: no sentinel can be asked.
        """
        sentinels, now = self._sentinels, time.monotonic()
        master = sentinels.master
        if master is None:
            if sentinels.is_replacing and now < self._began_at + PATIENCE:
                return None
            if now > self._began_at + (SILENT_FOR if sentinels.have_spoken() else PATIENCE):
                raise Unreachable(sentinels.silence())
            return None
        if not sentinels.have_spoken() and now < self._began_at + HEAR_ALL_WITHIN:
            return None
        if self._tried is not None and self._tried[0] == master and now < self._tried[1] + PAUSE:
            return None
        self._tried = master, now
        return master

    def is_right(self, address: Address) -> bool:
        """Whether that is still the master."""
        return address == self._sentinels.master

    def failed(self) -> bool:
        """What `address` said was in vain. Returns whether that was enough."""
        now = time.monotonic()
        if self._tried is not None:
            self._tried = self._tried[0], now
        return now > self._began_at + PATIENCE

    def pause(self) -> None:
        """Wait for news, for a moment."""
        self._sentinels.pause(self._tried[0] if self._tried else None, PAUSE)


def _address(replica: str) -> Address:
    """Of a replica, out of what a sentinel publishes: ``slave NAME HOST PORT``."""
    *_, host, port = replica.split()
    return host, int(port)


def _ask(connection: Any, service: str) -> tuple[Said, list[Any]]:
    """
    Ask a sentinel for the master. Returns what it says, and what it has published before that.

    The first answer knows of a new one as soon as that has agreed; the second has the epoch, and in the sentinel that
    leads a failover keeps to the old address until every replica has followed.
    """
    for question in ("GET-MASTER-ADDR-BY-NAME", "MASTER"):
        connection.send_command("SENTINEL", question, service, check_health=False)
    news: list[Any] = []
    address, fields = _reply(connection, news), _reply(connection, news)
    if not address:
        raise LookupError(f"it knows no service {service!r}")
    if not isinstance(fields, dict):
        fields = dict(zip(fields[::2], fields[1::2], strict=True))
    return Said(int(fields[b"config-epoch"]), (address[0].decode(), int(address[1]))), news


def _reply(connection: Any, news: list[Any]) -> Any:
    while True:
        frame = connection.read_response(disable_decoding=True, push_request=True)
        if not (isinstance(frame, list) and frame and frame[0] in (b"subscribe", b"message")):
            return frame
        if frame[0] == b"message":
            news.append(frame)


def of(places: Sequence[Address], service: str, options: dict[str, Any]) -> Sentinels:
    """
    The Sentinels of a service, one for all connections of this process.

    Args:
        places: where they are.
        service: the name under which they know the master.
        options: of redis-py's connections, to log in with; "ssl": whether to speak TLS.
    """
    for known in list(_all):
        if (known.places, known.service, known.options) == (tuple(places), service, options):
            return known
    return Sentinels(tuple(places), service, options)


_all: weakref.WeakSet[Sentinels] = weakref.WeakSet()

#: Held while a sentinel's name is looked up, since the C library has locks there that a forked child would inherit.
_not_while_forking = threading.Lock()


os.register_at_fork(
    before=lambda: _not_while_forking.acquire(),
    after_in_parent=lambda: _not_while_forking.release(),
    after_in_child=lambda: _not_while_forking.release(),
)


@contextmanager
def searching(sentinels: Sentinels) -> Iterator[Search]:
    """A search, whose failure redis-py understands."""
    from redis.exceptions import ConnectionError as Disconnected

    try:
        yield Search(sentinels)
    except Unreachable as error:
        raise Disconnected(str(error)) from error
