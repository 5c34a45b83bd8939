"""
Connections to the master of a Sentinel service, for both kinds of redis-py's clients.

They ask for the master whenever they connect, make sure that who answers is one, and are cut when the sentinels name
another. redis-py has such connections, too. Theirs connect anew to the address of before when they are sent on without
`connect()`, notice a failover when they fail or time out, and on Redis 6.2 do not see that a script failed because
their server is a replica now: it says so in words only there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from importlib import import_module
from typing import Any

from .sentinels import Address, Sentinels, searching

#: Seconds in which a server has to accept a connection; the search goes on afterwards.
ACCEPT_WITHIN = 1.0


def connection_class(library: str, *, ssl: bool) -> Any:
    """The class of connections of *library*, "redis" or "redis.asyncio", that go to a master."""
    redis: Any = import_module(library)
    plain = redis.SSLConnection if ssl else redis.Connection
    return type("MasterConnection", (_Awaited if library.endswith("asyncio") else _Blocking, plain), {})


class _Master:
    """What both kinds of connections have. *sentinels* says where to go."""

    host: str
    port: int

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        self._sentinels = sentinels
        super().__init__(**options)

    def _aim(self, address: Address) -> None:
        self.host, self.port = address
        self._sentinels.hold(self)  # type: ignore[arg-type]


class _Blocking(_Master):
    _sock: Any

    @property
    def is_open(self) -> bool:
        return self._sock is not None

    def cut(self) -> None:
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # TLS's own would end under who reads

    def connect(self) -> None:
        """Connect to the master, whichever it is."""
        if self._sock is not None:
            return
        with searching(self._sentinels) as search:
            while (address := search.address()) is None or not self._connects(search, address):
                search.pause()

    def connect_check_health(self, *_: Any, **__: Any) -> None:
        """What redis-py >= 6 calls in place of `connect` in places."""
        self.connect()

    def _connects(self, search: Any, address: Address) -> bool:
        self._aim(address)
        plain: Any = super()
        try:
            if hasattr(plain, "connect_check_health"):
                plain.connect_check_health(retry_socket_connect=False)
            else:
                plain.connect()
        except Exception as error:
            if is_final(error) or search.failed():
                raise
            return False
        if search.is_right(address):
            return True
        self.disconnect()  # type: ignore[attr-defined]
        return False

    def read_response(self, *args: Any, **options: Any) -> Any:
        """The next reply. One by which the server says that it is no master is an error of the connection."""
        plain: Any = super()
        try:
            reply = plain.read_response(*args, **options)
        except Exception as error:
            if not is_demotion(error):
                raise
            demotion = error
        else:
            if not (isinstance(reply, list) and reply and is_demotion(reply[-1])):
                return reply
            demotion = reply[-1]
        self.disconnect()  # type: ignore[attr-defined]
        self._sentinels.disown(self)
        raise _left(self) from demotion


class _Awaited(_Master):
    _writer: Any
    _loop: Any = None

    @property
    def is_open(self) -> bool:
        return self._writer is not None

    def cut(self) -> None:
        with contextlib.suppress(RuntimeError):  # its event loop has ended
            self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()

    async def connect(self) -> None:
        """Connect to the master, whichever it is."""
        if self._writer is not None:
            return
        self._loop = asyncio.get_running_loop()
        with searching(self._sentinels) as search:
            while (address := search.address()) is None or not await self._connects(search, address):
                await asyncio.sleep(0.02)

    async def connect_check_health(self, *_: Any, **__: Any) -> None:
        """What redis-py >= 6 calls in place of `connect` in places."""
        await self.connect()

    async def _connects(self, search: Any, address: Address) -> bool:
        self._aim(address)
        plain: Any = super()
        try:
            if hasattr(plain, "connect_check_health"):
                await plain.connect_check_health(retry_socket_connect=False)
            else:
                await plain.connect()
        except Exception as error:
            if is_final(error) or search.failed():
                raise
            return False
        if search.is_right(address):
            return True
        await self.disconnect()  # type: ignore[attr-defined]
        return False

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """The next reply. One by which the server says that it is no master is an error of the connection."""
        plain: Any = super()
        try:
            reply = await plain.read_response(*args, **options)
        except Exception as error:
            if not is_demotion(error):
                raise
            demotion = error
        else:
            if not (isinstance(reply, list) and reply and is_demotion(reply[-1])):
                return reply
            demotion = reply[-1]
        await self.disconnect()  # type: ignore[attr-defined]
        self._sentinels.disown(self)
        raise _left(self) from demotion


def is_final(error: Exception) -> bool:
    """Whether it will not help to try again: the log-in is refused."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return "AuthenticationError" in names or not names & {"ConnectionError", "TimeoutError", "OSError"}


def is_demotion(reply: Any) -> bool:
    """Whether Redis says in this reply that it is no master. In words only, when Redis 6.2 says it of a script."""
    if not isinstance(reply, Exception):
        return False
    text = str(reply)
    return type(reply).__name__ == "ReadOnlyError" or "READONLY" in text or text.startswith("UNBLOCKED")


def _left(connection: _Master) -> Exception:
    from redis.exceptions import ConnectionError as Disconnected

    return Disconnected(f"{connection.host}:{connection.port} is the master no more")


def make_sure(connection: Any) -> None:
    """Log in, and raise unless the server is a master."""
    connection.on_connect()
    connection.send_command("ROLE")
    try:
        role = connection.read_response()
    except Exception as error:
        if not _may_not_ask(error):
            raise
    else:
        _check(connection, role)


async def make_sure_awaited(connection: Any) -> None:
    """Log in, and raise unless the server is a master."""
    await connection.on_connect()
    await connection.send_command("ROLE")
    try:
        role = await connection.read_response()
    except Exception as error:
        if not _may_not_ask(error):
            raise
    else:
        _check(connection, role)


def _may_not_ask(error: Exception) -> bool:
    return type(error).__name__ == "NoPermissionError" or "NOPERM" in str(error)


def _check(connection: Any, role: Any) -> None:
    if role[0] not in (b"master", "master"):
        from redis.exceptions import ConnectionError as Disconnected

        raise Disconnected(f"{connection.host}:{connection.port} is not the master, though the sentinels say so")
