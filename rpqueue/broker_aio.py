"""
AsyncBroker: carries operations to Redis for the coroutines of one event loop.

A coroutine may be cancelled at any await; a call to Redis may not. A claim whose reply nobody reads has leased messages
that nobody knows of, and redis-py once handed such a reply to the next caller (CVE-2023-28858). So every call is a task
of its own that nobody cancels. Its caller may be: then the reply is still read, what the call gained is given back, and
only then, or after a short while, does the caller see its CancelledError.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from .attempts import Attempts
from .broker import RAW, Broker, is_dispensable, is_noscript, translate, was_answered
from .connections import LONGEST_BLOCK, command_client, waiting_client
from .errors import RpqueueError
from .protocol.operation import Flow, Operation, Stamp, Watch, Word, encoded, run_async
from .together import (
    Command,
    Together,
    ended,
    is_one_by_one,
    laid_out,
    outcomes,
    prove_one_by_one,
    refusal,
    transaction,
)
from .twins import awaited_twin
from .waiting_aio import Lines, News

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger("rpqueue.aio")

#: Calls that one event loop has under way at the same time, each on a connection. More would not be faster: Redis does
#: one thing at a time, and so does the loop.
WIDTH = 32
#: Seconds for which a cancelled caller waits for the reply of its call.
SETTLE_WITHIN = 1.0
#: Seconds that a call under way gets when its event loop ends.
LAST_WORDS = 5.0

#: How to give back what a flow has gained: from its result, a flow that says so to Redis.
Undo = Callable[[R], Flow[Any]]


class Call(asyncio.Task[T]):
    """
    A call to Redis under way.

    ``asyncio.run`` cancels every task at its end, and then waits for them. This one is not cancelled so, but ends when
    it has its reply.
    """

    def cancel(self, msg: Any = None) -> bool:
        """Cancel it, unless an event loop that has stopped asks for it; then only after some seconds."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.get_loop().call_later(LAST_WORDS, super().cancel, msg)
            return False
        return super().cancel(msg)


class Gate:
    """Lets a number of callers in at the same time, first come first served."""

    def __init__(self, width: int) -> None:
        self._free = width
        self._queue: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Come in, when there is room."""
        if self._free:
            self._free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()  # it was our turn just as we left
            raise

    def leave(self) -> None:
        """Make room."""
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


class AsyncBroker:
    """
    Carries operations to one Redis, for the coroutines of one event loop. See `awaited` for the loop's own.

    Args:
        broker: whose place, log-in and sessions are used.
        client: a client of the user's own for coroutines, used for commands instead.
    """

    def __init__(self, broker: Broker, client: Any = None) -> None:
        self._broker = broker
        self._is_users = client is not None
        self._client = client
        self._waiting: Any = None
        self._connecting = asyncio.Lock()
        self._gate = Gate(WIDTH)
        self._calls: set[Call[Any]] = set()
        self._lines = Lines(self)
        self._news = News(self)
        self._end: AsyncGenerator[None, None] | None = None

    # Carrying.

    async def run(self, flow: Flow[R], undo: Undo[R] | None = None) -> R:
        """
        Carry a flow through to its end and return its result.

        Args:
            flow: what to do.
            undo: for flows that gain something, such as leases: what to do with their result when the caller is
                cancelled in the middle of a call. The flow is carried on for it, to its end or to its next wait. Flows
                without one stop after that call.

        Raises:
            RedisError: Redis could not do it, and why. After RedisUnavailable it may have been done.
            CancelledError: the caller was cancelled. What Redis was asked for before is done, or undone.
        """
        self._watch_for_the_end()
        try:
            step = next(flow)
            while True:
                if isinstance(step, (Operation, Together)):
                    reply = await self._whole(step, flow, undo)
                elif isinstance(step, Watch):
                    reply = await self._watch(step)
                else:
                    reply = await self._lines.wait(step)
                step = flow.send(reply)
        except StopIteration as end:
            result: R = end.value
            return result

    async def execute(self, step: Operation[T]) -> T:
        """Carry one operation. Being cancelled leaves it done or not, and nothing half done."""
        return await self.run(iter(step))

    async def _whole(self, step: Operation[Any] | Together, flow: Flow[R], undo: Undo[R] | None) -> Any:
        await self._gate.enter()  # who is cancelled here has sent nothing
        call = self.start(self._through_the_gate(step))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            if not call.cancelled():
                settling = self.start(self._settle(call, flow, undo))
                await asyncio.wait({settling}, timeout=SETTLE_WITHIN)
            raise

    def start(self, doing: Coroutine[Any, Any, T]) -> Call[T]:
        """Do something that goes on when its caller is cancelled."""
        call = Call(doing)
        self._calls.add(call)  # an event loop keeps weak references only
        call.add_done_callback(self._calls.discard)
        return call

    async def _through_the_gate(self, step: Operation[Any] | Together) -> Any:
        try:
            return await (self._together(step) if isinstance(step, Together) else self.call(step))
        finally:
            self._gate.leave()

    async def _settle(self, call: Call[Any], flow: Flow[R], undo: Undo[R] | None) -> None:
        """See a call through whose caller was cancelled, and give back what its flow gains."""
        try:
            reply = await call
            if undo is None:
                flow.close()
                return
            step = flow.send(reply)
            while isinstance(step, Operation):
                step = flow.send(await self.call(step))
            flow.close()  # it is about to wait, so it has gained nothing yet
        except StopIteration as end:
            if undo is not None:
                await self._undo(undo(end.value))
        except Exception as error:
            log.info("a cancelled call failed: %s", error)

    async def _undo(self, flow: Flow[Any]) -> None:
        try:
            step = next(flow)
            while True:
                step = flow.send(await self.call(step))
        except StopIteration:
            return
        except Exception as error:
            log.error("what a cancelled call had gained was not given back: %s", error)

    async def call(self, step: Operation[T]) -> T:
        """Say one operation to Redis. For tasks that nobody cancels; all others use `execute`."""
        stamp, attempts = self._broker.sessions.take(), Attempts()
        try:
            reply = await self._send(step, stamp, attempts)
        except Exception as error:
            meant = self.failure(error, attempts)
            if was_answered(meant):
                self._broker.sessions.give_back(stamp)
            if meant is error:
                raise
            raise meant from error
        self._broker.sessions.give_back(stamp)
        return step.read(reply)

    async def _send(self, step: Operation[Any], stamp: Stamp, attempts: Attempts) -> Any:
        client = await self.client()
        before = self._broker.preludes.due(step)
        if before:
            try:
                await client.execute_command(*before, **RAW)
            except Exception as error:
                if not is_dispensable(self.failure(error)):
                    raise
            else:
                self._broker.preludes.said(before)

        def say(*words: Word) -> Any:
            return client.execute_command(*attempts.counted(words), **RAW)

        if step.script is None:
            return await say(*encoded(step.args))
        words = encoded(step.words(stamp))
        try:
            return await say("EVALSHA", step.script.sha, *words)
        except Exception as error:
            if not is_noscript(error):
                raise
        attempts.were_answered()
        return await say("EVAL", step.script.source, *words)

    async def _together(self, step: Together) -> list[Any]:
        broker, operations = self._broker, step.operations
        if step.proof is not None and broker.is_cluster:
            return await asyncio.to_thread(prove_one_by_one, broker, step)
        if step.proof is None and is_one_by_one(broker, step):
            return await self._one_by_one(operations)
        if against := await self._refusal(step):
            return [against]
        stamps, attempts = [broker.sessions.take() for _ in operations], Attempts()
        try:
            replies = await run_async(transaction(step, stamps), partial(self._exchange, attempts))
        except Exception as error:
            return ended(broker, stamps, [broker.meaning(error, attempts)] * len(stamps))
        return ended(broker, stamps, outcomes(broker, operations, replies, attempts))

    async def _refusal(self, step: Together) -> RpqueueError | None:
        flow = refusal(self._broker, step)
        try:
            asked = next(flow)
            while True:
                try:
                    answer = await self.call(asked)
                except RpqueueError as error:
                    asked = flow.throw(error)
                else:
                    asked = flow.send(answer)
        except StopIteration as end:
            against: RpqueueError | None = end.value
            return against

    async def _one_by_one(self, operations: Sequence[Operation[Any]]) -> list[Any]:
        brought: list[Any] = []
        for operation in operations:
            try:
                brought.append(await self.call(operation))
            except RpqueueError as error:
                brought.append(error)
                if not was_answered(error):
                    break
        return brought

    async def _exchange(self, attempts: Attempts, commands: list[Command]) -> list[Any]:
        """Send *commands* in one write, and return their replies; of those that failed, the errors."""
        pipe = laid_out(await self.client(), attempts, commands)
        replies: list[Any] = await pipe.execute(raise_on_error=False)
        return replies

    async def _watch(self, step: Watch[T]) -> T:
        """Ask until the answer satisfies, listening for news in between."""
        ends_at = time.monotonic() + step.timeout
        answer = await self.execute(step.question)
        if step.is_over(answer) or step.timeout <= 0:
            return answer
        with self._news.listening(step.channels) as ear:
            while True:
                left = min(ends_at - time.monotonic(), LONGEST_BLOCK)
                await ear.wait(max(left, 0.0))
                answer = await self.execute(step.question)
                if step.is_over(answer) or time.monotonic() >= ends_at:
                    return answer

    # Connecting.

    async def client(self) -> Any:
        """The client of redis.asyncio for commands."""
        if self._client is None:
            async with self._connecting:
                if self._client is None:
                    # In a thread: the first import of redis.asyncio, or an embedded server, takes a while to start.
                    self._client = await self._begun(await asyncio.to_thread(self._make_client, waiting=False))
        return self._client

    async def waiting(self) -> Any:
        """The client of redis.asyncio for blocking commands and subscriptions."""
        if self._waiting is None:
            async with self._connecting:
                if self._waiting is None:
                    self._waiting = await self._begun(await asyncio.to_thread(self._make_client, waiting=True))
        return self._waiting

    def _make_client(self, *, waiting: bool) -> Any:
        if self._broker.is_users:
            return awaited_twin(self._broker.client, waiting=waiting)
        make = waiting_client if waiting else command_client
        return make(self._broker.endpoint, "redis.asyncio")

    async def _begun(self, client: Any) -> Any:
        """A client that knows its nodes. redis-py's learns them while calls are under way, and closes their lines."""
        if self._broker.is_cluster:
            try:
                await client.initialize()
            except Exception as error:
                raise translate(error, self._broker.label) from error
        return client

    @property
    def follows_master(self) -> bool:
        """Whether it goes to the master that sentinels name, whichever it is."""
        return self._broker.follows_master

    def failure(self, error: Exception, attempts: Attempts | None = None) -> Exception:
        """What a call to Redis means that failed, after some attempts."""
        if self._broker.is_cluster and isinstance(error, AttributeError) and "'NoneType'" in str(error):
            # redis-py's cluster client closed the connection for another call, which failed or was redirected.
            error = ConnectionError(f"the connection was closed meanwhile: {error}")
        return self._broker.meaning(error, attempts or Attempts())

    # Ending.

    def _watch_for_the_end(self) -> None:
        """
        Close the connections when the event loop ends.

        A loop tells nobody of its end but asynchronous generators that have begun and not ended: ``asyncio.run``
        closes these (``loop.shutdown_asyncgens``).
        """
        if self._end is None and not self._is_users:
            self._end = self._until_the_end()
            with contextlib.suppress(StopIteration):
                self._end.__anext__().__await__().send(None)  # runs to its yield, awaiting nothing

    async def _until_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._end = None
            await self._disconnect()

    async def close(self) -> None:
        """Close the connections of this event loop. New ones are opened when it is used again."""
        if self._end is not None:
            await self._end.aclose()
        else:
            await self._disconnect()

    async def _disconnect(self) -> None:
        self._broker.awaited.pop(asyncio.get_running_loop(), None)
        await self._news.close()
        await self._lines.close()  # which may say a last word
        if self._calls:
            await asyncio.wait(set(self._calls), timeout=SETTLE_WITHIN)
        clients, self._waiting = [self._waiting], None
        if not self._is_users:
            clients.append(self._client)
            self._client = None
        for client in clients:
            if client is not None:
                await _hang_up(client)


async def _hang_up(client: Any) -> None:
    pool = getattr(client, "connection_pool", None)
    manager = getattr(pool, "sentinel_manager", None)
    # A client that was given its pool, as ours are, leaves that open when it is closed.
    for owner in [client, pool, *(manager.sentinels if manager is not None else ())]:
        close = getattr(owner, "aclose", None) or getattr(owner, "disconnect", None) or getattr(owner, "close", None)
        if close is not None:
            with contextlib.suppress(Exception):  # a connection that is broken already
                await close()


def awaited(broker: Broker) -> AsyncBroker:
    """The AsyncBroker of the running event loop to where *broker* goes."""
    loop = asyncio.get_running_loop()
    found = broker.awaited.get(loop)
    if found is None:
        for other in [other for other in broker.awaited if other.is_closed()]:
            broker.awaited.pop(other, None)  # its connections went with its loop
        found = broker.awaited.setdefault(loop, AsyncBroker(broker))
    return found
