"""
Waiting in an event loop: any number of coroutines over one blocking command per list, and over one subscription.

The blocking command and the subscription are never interrupted. A coroutine that is cancelled while it waits just
leaves its place, and what comes for it goes to the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .broker import RAW, was_answered
from .connections import LONGEST_BLOCK
from .protocol.operation import Operation, Wait

if TYPE_CHECKING:
    from .broker_aio import AsyncBroker

log = logging.getLogger("rpqueue.aio")

#: Pause before a lost subscription is made again: doubled each time, from and up to these seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0

Place = asyncio.Future["bytes | None"]


class Lines:
    """The lines of coroutines that wait for tokens, one for each list of lists."""

    def __init__(self, broker: AsyncBroker) -> None:
        self._broker = broker
        self._lines: dict[tuple[bytes, ...], Line] = {}

    async def wait(self, step: Wait) -> bytes | None:
        """Take what comes first on one of the lists; None after the time-out."""
        keys = tuple(step.keys)
        line = self._lines.get(keys)
        if line is None or line.is_over:
            line = self._lines[keys] = Line(self._broker, keys)
            line.serving.add_done_callback(lambda _: self._forget(keys, line))
        return await line.wait(step)

    def _forget(self, keys: tuple[bytes, ...], line: Line) -> None:
        if self._lines.get(keys) is line:
            del self._lines[keys]

    async def close(self) -> None:
        """Interrupt every blocking command."""
        tasks = [line.serving for line in self._lines.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Line:
    """Coroutines that wait for a token of the same lists, first come first served."""

    def __init__(self, broker: AsyncBroker, keys: tuple[bytes, ...]) -> None:
        self._broker = broker
        self._keys = keys
        self._places: dict[Place, None] = {}
        self._hand_on: Operation[Any] | None = None
        self.is_over = False
        self.serving = asyncio.create_task(self._serve())

    async def wait(self, step: Wait) -> bytes | None:
        """Wait for one's turn."""
        loop = asyncio.get_running_loop()
        place: Place = loop.create_future()
        self._places[place] = None
        self._hand_on = step.hand_on
        timer = loop.call_later(step.timeout, _take_nothing, place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and not place.exception() and place.result() is not None:
                self._give(place.result())  # it came just as we left
            raise
        finally:
            timer.cancel()
            self._places.pop(place, None)

    def _give(self, token: bytes | None) -> None:
        for place in self._places:
            if not place.done():
                place.set_result(token)
                return
        self._pass_on()

    def _pass_on(self) -> None:
        """Nobody waits here any more: let others know, in other processes perhaps."""
        if self._hand_on is not None:
            self._broker.start(self._say(self._hand_on))

    async def _say(self, operation: Operation[Any]) -> None:
        try:
            await self._broker.call(operation)
        except Exception as error:
            log.info("a token was not handed on: %s", error)  # the others look again by themselves, a little later

    async def _serve(self) -> None:
        """Take tokens for as long as somebody waits."""
        try:
            client = await self._broker.waiting()
            while any(not place.done() for place in self._places):
                found = await client.execute_command("BLPOP", *self._keys, LONGEST_BLOCK, **RAW)
                if found:
                    self._give(found[1])
        except asyncio.CancelledError:
            self._pass_on()  # there may have been a token in the reply that we did not read
            raise
        except Exception as error:
            failure = self._broker.failure(error)
            for place in self._places:
                if place.done():
                    continue
                if self._broker.follows_master and not was_answered(failure):
                    place.set_result(None)  # its queue is looked at then, by a call that finds the next master
                else:
                    place.set_exception(failure)
        finally:
            self.is_over = True


def _take_nothing(place: Place) -> None:
    if not place.done():
        place.set_result(None)


class Ear:
    """What one coroutine hears. Hearing is a hint: Redis is asked then."""

    def __init__(self) -> None:
        self._heard = False
        self._waiter: Place | None = None

    def tell(self) -> None:
        """There is news."""
        self._heard = True
        if self._waiter is not None:
            _take_nothing(self._waiter)

    async def wait(self, timeout: float) -> None:
        """Wait for news since the last time, at most *timeout* seconds."""
        # Not asyncio.wait_for, which swallows a cancellation that comes together with the news before Python 3.12.
        if not self._heard:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(timeout, _take_nothing, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        self._heard = False


class News:
    """
    One subscription for all coroutines of an event loop.

    A listener is told when one of its channels has news, when Redis confirms a subscription, and when the connection is
    lost: whenever it is worth asking Redis again.
    """

    def __init__(self, broker: AsyncBroker) -> None:
        self._broker = broker
        self._ears: dict[bytes, set[Ear]] = {}
        self._pubsub: Any = None
        self._told: set[bytes] = set()  #: channels that Redis was told of, over this connection
        self._confirmed: set[bytes] = set()
        self._telling = asyncio.Lock()
        self._serving: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def listening(self, channels: Sequence[bytes]) -> Iterator[Ear]:
        """Listen to *channels*."""
        ear = Ear()
        for channel in channels:
            self._ears.setdefault(channel, set()).add(ear)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        elif not self._told.issuperset(channels):
            self._broker.start(self._tell_quietly())
        if self._confirmed.issuperset(channels):
            ear.tell()  # there may have been news since the caller asked
        try:
            yield ear
        finally:
            for channel in channels:
                ears = self._ears[channel]
                ears.discard(ear)
                if not ears:
                    del self._ears[channel]

    async def _serve(self) -> None:
        """Keep the subscription for as long as somebody listens, over any number of connections."""
        pause = FIRST_PAUSE
        while self._ears:
            try:
                await self._hear()
            except Exception as error:
                log.debug("subscription lost: %s", error)
                pause = FIRST_PAUSE if self._confirmed else min(pause * 2, LONGEST_PAUSE)
                self._wake(list(self._ears))
                await asyncio.sleep(pause)
            finally:
                self._told, self._confirmed = set(), set()
                pubsub, self._pubsub = self._pubsub, None
                if pubsub is not None:
                    with contextlib.suppress(Exception):
                        await pubsub.aclose()

    async def _hear(self) -> None:
        """Hear what one connection says, until there was nobody to listen for a while."""
        client = await self._broker.waiting()
        self._pubsub = client.pubsub()
        await self._tell()
        while self._told:
            message = await self._pubsub.get_message(timeout=LONGEST_BLOCK)
            if message is None:
                await self._tidy()
                continue
            channel = message["channel"]
            if message["type"] == "subscribe" and channel in self._told:
                self._confirmed.add(channel)
            self._wake([channel])

    async def _tell(self) -> None:
        """Subscribe to what somebody listens to."""
        async with self._telling:
            fresh = set(self._ears) - self._told
            if fresh and self._pubsub is not None:
                self._told |= fresh
                await self._pubsub.subscribe(*fresh)

    async def _tell_quietly(self) -> None:
        with contextlib.suppress(Exception):  # the connection is broken, which `_hear` sees as well
            await self._tell()

    async def _tidy(self) -> None:
        """Unsubscribe from what nobody listens to any more."""
        async with self._telling:
            stale = self._told - set(self._ears)
            if stale:
                self._told -= stale
                self._confirmed -= stale
                await self._pubsub.unsubscribe(*stale)

    def _wake(self, channels: Sequence[bytes]) -> None:
        for channel in channels:
            for ear in self._ears.get(channel, ()):
                ear.tell()

    async def close(self) -> None:
        """End the subscription."""
        task, self._serving = self._serving, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
