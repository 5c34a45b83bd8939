"""
A TCP proxy that makes a bad network between clients and a server on the loopback.

What the network is like is a value, `Weather`. It holds for all connections, from the moment at which it is set, and
goes both ways unless it says "reply". The proxy has an event loop in a thread of its own; anybody may set its weather.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

#: Most bytes that are passed on in one go, and in how many a throttled second is cut.
CHUNK, SLICES = 1 << 16, 20
#: Seconds between two looks whether a held connection may go on.
LOOK = 0.005


@dataclass(frozen=True)
class Weather:
    """What happens to bytes on their way."""

    delay: float = 0.0  #: seconds that each chunk takes longer
    jitter: float = 0.0  #: seconds, more or less, by which delays differ
    rate: float = 0.0  #: bytes that pass in a second, in each direction of a connection; 0: any number
    is_hole: bool = False  #: nothing passes; like what is sent again and again, all of it arrives when the hole closes
    refuses: bool = False  #: nobody can connect, and whoever was is reset when this begins
    #: What happens to some replies. "lose": nothing comes through that connection any more, which stays open;
    #: "cut": half of the bytes come, then it is closed; "reset": it is reset.
    reply: Literal["", "lose", "cut", "reset"] = ""
    share: float = 1.0  #: of replies to which it happens


FINE = Weather()


class Proxy:
    """
    Passes bytes on, as well as the weather lets it.

    Args:
        server_port: on the loopback.
        seed: of the dice.
    """

    host = "127.0.0.1"

    def __init__(self, server_port: int, seed: int = 0) -> None:
        self.server_port = server_port
        self.hits = 0  #: replies lost, cut or reset
        self._weather = FINE
        self._random = Random(seed)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._wait_for(self._listen())

    @property
    def url(self) -> str:
        """The address of the server through this proxy, database 0."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def weather(self) -> Weather:
        """What the network is like now."""
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._weather = weather
        self._wait_for(self._refuse() if weather.refuses else self._listen())

    def reset_all(self) -> None:
        """Reset every connection; new ones may come at once."""
        self._wait_for(self._reset_all())

    def close(self) -> None:
        """End all connections and the thread."""
        self._wait_for(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, self.host, self.port, limit=CHUNK)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._reset_all()

    async def _reset_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _end(self) -> None:
        await self._refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(to_client)
        ends = [to_client]
        try:
            await self._hole()
            from_server, to_server = await asyncio.open_connection(self.host, self.server_port, limit=CHUNK)
            self._writers.add(to_server)
            ends.append(to_server)
            ways = (self._pass_on(from_client, to_server), self._pass_back(from_server, to_client))
            pumps = [asyncio.ensure_future(way) for way in ways]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the server is away, or this proxy ends
        finally:
            for end in ends:
                end.close()
                self._writers.discard(end)
            self._tasks.discard(task)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK):
            await self._send(data, sink)

    async def _pass_back(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK):
            weather = self._weather
            if not weather.reply or self._random.random() >= weather.share:
                await self._send(data, sink)
                continue
            self.hits += 1
            if weather.reply == "lose":
                while await source.read(CHUNK):
                    pass
            elif weather.reply == "cut":
                await self._send(data[: len(data) // 2], sink)
            else:
                _reset(sink)
            return

    async def _send(self, data: bytes, sink: asyncio.StreamWriter) -> None:
        weather = self._weather
        if weather.delay:
            await asyncio.sleep(max(weather.delay + self._random.uniform(-weather.jitter, weather.jitter), 0.0))
        size = max(int(weather.rate / SLICES), 1) if weather.rate else len(data)
        for start in range(0, len(data), size):
            await self._hole()
            sink.write(data[start : start + size])
            await sink.drain()
            if self._weather.rate:
                await asyncio.sleep(size / self._weather.rate)

    async def _hole(self) -> None:
        while self._weather.is_hole:
            await asyncio.sleep(LOOK)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST in place of FIN, so that the other side gets an error and not an end."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.contextmanager
def proxy_to(port: int, seed: int = 0) -> Iterator[Proxy]:
    """A proxy for the length of a block."""
    proxy = Proxy(port, seed)
    try:
        yield proxy
    finally:
        proxy.close()
