"""
Together: several operations as one step, sent in one write and done in one go.

They travel as a transaction, so either all of them reach Redis or none does, whenever the connection breaks, and
nobody else's calls come in between. Each is still an operation of its own, under a stamp of its own: one that is
refused leaves the others as they are.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from .broker import RAW, Broker, is_noscript, translate, was_answered
from .errors import RpqueueError
from .lines import Sent
from .protocol.operation import Flow, Operation, Stamp, Word, run

R = TypeVar("R")

Command = Sequence[Word]
Dialogue = Generator[list[Command], list[Any], list[Any]]


class Together:
    """
    Carry out operations with scripts, in order and, where Redis can, in one go.

    The reply is a list of what each brought: its result, or the error that it was refused with. After RedisUnavailable
    an operation may have been done; those that the list is too short for were not sent.
    """

    __slots__ = ("operations",)

    def __init__(self, operations: Sequence[Operation[Any]]) -> None:
        self.operations = operations

    def __iter__(self) -> Generator[Together, Any, list[Any]]:
        """``outcomes = yield from Together(...)`` inside a flow."""
        outcomes: list[Any] = yield self
        return outcomes


def run_together(broker: Broker, flow: Flow[R]) -> R:
    """Carry a flow through to its end, in which Together is a step like any other."""
    with closing(flow):  # an interrupted flow says so to those whose fate it is at once
        return run(flow, partial(_carry, broker))


def _carry(broker: Broker, step: Any) -> Any:
    if not isinstance(step, Together):
        return broker.execute(step)
    if is_one_by_one(broker, step):
        return _one_by_one(broker, step.operations)
    stamps = [broker.sessions.take() for _ in step.operations]
    try:
        replies = run(transaction(step.operations, stamps), partial(_exchange, broker))
    except Exception as error:
        return ended(broker, stamps, [translate(error, broker.label)] * len(stamps))
    return ended(broker, stamps, outcomes(broker, step.operations, replies))


def is_one_by_one(broker: Broker, step: Together) -> bool:
    """Whether a transaction would gain nothing, or, on Cluster, cannot be: no two queues share a slot there."""
    return len(step.operations) == 1 or broker.is_cluster


def _one_by_one(broker: Broker, operations: Sequence[Operation[Any]]) -> list[Any]:
    brought: list[Any] = []
    for operation in operations:
        try:
            brought.append(broker.execute(operation))
        except RpqueueError as error:
            brought.append(error)
            if not was_answered(error):
                break
    return brought


def _exchange(broker: Broker, commands: list[Command]) -> list[Any]:
    """Send *commands* in one write, and return their replies; of those that were refused, the errors."""
    lines, open_end = broker.lines, None
    if lines is not None:
        try:
            return _answers(lines.send(*commands), len(commands))
        except Exception as error:
            if not broker.endpoint.resends or was_answered(translate(error, broker.label)):
                raise
            open_end = error
    # Slower, and patient: redis-py connects anew and sends again.
    pipe = broker.client.pipeline(transaction=False)
    for words in commands:
        pipe.execute_command(*words, **RAW)
    answers: list[Any] = pipe.execute(raise_on_error=False)
    if open_end is not None and _is_aborted(answers):
        # That it was refused this time does not say that it was not done the first time, when nobody answered.
        raise open_end
    return answers


def _is_aborted(answers: list[Any]) -> bool:
    """Whether a transaction was refused, for another reason than a script that Redis has not."""
    refusals = [answer for answer in answers if isinstance(answer, Exception)]
    return isinstance(answers[-1], Exception) and not any(is_noscript(refusal) for refusal in refusals)


def _answers(sent: Sent, number: int) -> list[Any]:
    answers: list[Any] = []
    for left in reversed(range(number)):
        try:
            answers.append(sent.reply())
        except BaseException as error:
            if not is_refusal(error):
                if left:
                    sent.abandon()
                raise
            answers.append(error)
    return answers


def is_refusal(error: BaseException) -> bool:
    """Whether an error is what Redis answered, and the connection can go on."""
    return any(kind.__name__ == "ResponseError" for kind in type(error).__mro__)


def transaction(operations: Sequence[Operation[Any]], stamps: Sequence[Stamp]) -> Dialogue:
    """
    What is said to Redis to have *operations* done in one go.

    Yields commands to send in one write, is sent their replies, and returns the reply or error of each operation.
    """
    scripts = [operation.script for operation in operations if operation.script is not None]
    words = [operation.words(stamp) for operation, stamp in zip(operations, stamps, strict=True)]
    calls: list[Command] = [("EVALSHA", script.sha, *some) for script, some in zip(scripts, words, strict=True)]
    replies = _replies((yield [("MULTI",), *calls, ("EXEC",)]))
    if not any(isinstance(reply, Exception) and is_noscript(reply) for reply in replies):
        return replies
    # All of them once more, for the sake of their order: those that were done are answered by their stamps.
    for at in {script.sha: at for at, script in reversed(list(enumerate(scripts)))}.values():
        calls[at] = ("EVAL", scripts[at].source, *words[at])
    return _replies((yield [("MULTI",), *calls, ("EXEC",)]))


def _replies(answers: list[Any]) -> list[Any]:
    opened, *queued, done = answers
    if isinstance(opened, Exception):
        return queued  # it may not say MULTI, so each was done, or refused, by itself
    if isinstance(done, Exception):  # nothing was done, because one of them could not even be queued
        return [next((answer for answer in queued if isinstance(answer, Exception)), done)] * len(queued)
    return list(done)


def outcomes(broker: Broker, operations: Sequence[Operation[Any]], replies: Sequence[Any]) -> list[Any]:
    """What each operation brought: its result or its error."""
    return [_outcome(broker, operation, reply) for operation, reply in zip(operations, replies, strict=True)]


def _outcome(broker: Broker, operation: Operation[Any], reply: Any) -> Any:
    if isinstance(reply, Exception):
        return translate(reply, broker.label)
    try:
        return operation.read(reply)
    except RpqueueError as error:
        return error


def ended(broker: Broker, stamps: Sequence[Stamp], brought: list[Any]) -> list[Any]:
    """Give back the sessions that were answered. Raises what is no error of Redis's, such as a bug."""
    for stamp, one in zip(stamps, brought, strict=True):
        if not isinstance(one, Exception) or was_answered(one):
            broker.sessions.give_back(stamp)
    for one in brought:
        if isinstance(one, Exception) and not isinstance(one, RpqueueError):
            raise one
    return brought
