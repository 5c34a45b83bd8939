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

from .attempts import Attempts
from .broker import RAW, Broker, is_noscript, translate, was_answered
from .durability import Proof
from .errors import RedisError, RedisUnsuitable, RpqueueError
from .lines import Sent
from .protocol.operation import Flow, Operation, Stamp, Word, as_is, command, run

R = TypeVar("R")

#: Milliseconds for which scripts keep memos; see parts/memo.lua.
MEMO_KEPT = 60_000

Command = Sequence[Word]
Dialogue = Generator[list[Command], list[Any], list[Any]]


class Together:
    """
    Carry out operations with scripts, in order and, where Redis can, in one go.

    The reply is a list of what each brought: its result, or the error that it was refused with. After RedisUnavailable
    an operation may have been done; those that the list is too short for were not sent.
    """

    __slots__ = ("operations", "proof", "unconfirmed")

    def __init__(self, operations: Sequence[Operation[Any]], proof: Proof | None = None) -> None:
        self.operations = operations
        #: What Redis has to confirm of them, in the same round trip.
        self.proof = proof
        #: What it did not, when they have been carried out; empty: nothing.
        self.unconfirmed = ""

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
    if step.proof is not None:
        return _prove(broker, step)
    if is_one_by_one(broker, step):
        return _one_by_one(broker, step.operations)
    return _at_once(broker, step)


def _at_once(broker: Broker, step: Together) -> list[Any]:
    stamps, attempts = [broker.sessions.take() for _ in step.operations], Attempts()
    try:
        replies = run(transaction(step, stamps), partial(_exchange, broker, attempts))
    except Exception as error:
        return ended(broker, stamps, [broker.meaning(error, attempts)] * len(stamps))
    return ended(broker, stamps, outcomes(broker, step.operations, replies, attempts))


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


def _exchange(broker: Broker, attempts: Attempts, commands: list[Command]) -> list[Any]:
    """Send *commands* in one write, and return their replies; of those that were refused, the errors."""
    lines = broker.lines
    if lines is not None:
        try:
            return _answers(lines.send(*commands), len(commands))
        except Exception as error:
            if not broker.endpoint.resends or was_answered(translate(error, broker.label)):
                raise
            attempts.was_unanswered = True
    # Slower, and patient: redis-py connects anew and sends again.
    answers: list[Any] = laid_out(broker.client, attempts, commands).execute(raise_on_error=False)
    return answers


def laid_out(client: Any, attempts: Attempts, commands: list[Command]) -> Any:
    """A pipeline of redis-py's with *commands*."""
    attempts.were_answered()  # those of the commands before, if there were any
    pipe = client.pipeline(transaction=False)
    for words in (attempts.counted(commands[0]), *commands[1:]):
        pipe.execute_command(*words, **RAW)
    return pipe


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


def transaction(step: Together, stamps: Sequence[Stamp]) -> Dialogue:
    """
    What is said to Redis to have the operations of a step done in one go, and confirmed.

    Yields commands to send in one write, is sent their replies, and returns the reply or error of each operation.
    """
    operations, behind = step.operations, proving(step, stamps)
    scripts = [operation.script for operation in operations if operation.script is not None]
    words = [operation.words(stamp) for operation, stamp in zip(operations, stamps, strict=True)]
    calls: list[Command] = [("EVALSHA", script.sha, *some) for script, some in zip(scripts, words, strict=True)]
    answers = yield [_MULTI, *calls, _EXEC, *behind]
    replies = _replies(answers[: len(calls) + 2])
    if not any(isinstance(reply, Exception) and is_noscript(reply) for reply in replies):
        hear_proof(step, answers[len(calls) + 2 :])
        return replies
    # All of them once more, for the sake of their order: those that were done are answered by their stamps. They stay
    # done if this is refused.
    for at in {script.sha: at for at, script in reversed(list(enumerate(scripts)))}.values():
        calls[at] = ("EVAL", scripts[at].source, *words[at])
    answers = yield [_MULTI, *calls, _EXEC, *behind]
    hear_proof(step, answers[len(calls) + 2 :])
    return [
        first if isinstance(again, Exception) and not isinstance(first, Exception) else again
        for first, again in zip(replies, _replies(answers[: len(calls) + 2]), strict=True)
    ]


_MULTI, _EXEC = ("MULTI",), ("EXEC",)


def _replies(answers: list[Any]) -> list[Any]:
    opened, *queued, done = answers
    if isinstance(opened, Exception):
        return queued  # it may not say MULTI, so each was done, or refused, by itself
    if isinstance(done, Exception):  # nothing was done, because one of them could not even be queued
        return [next((answer for answer in queued if isinstance(answer, Exception)), done)] * len(queued)
    return list(done)


# Proofs.


def proving(step: Together, stamps: Sequence[Stamp]) -> list[Command]:
    """
    What to say behind the operations of a step to have them confirmed.

    WAIT speaks of what its own connection wrote. Of a call that was sent again over a new one, and answered by its
    memo, that is nothing, so everything would be confirmed at once (Redis 8, Valkey). Hence the memo is touched.
    """
    memo = step.operations[-1].memo
    if step.proof is None or memo is None:
        return []
    return [("PEXPIRE", memo(stamps[-1].session), MEMO_KEPT), *step.proof.words()]


def hear_proof(step: Together, answers: Sequence[Any]) -> None:
    """Take in the answers to what `proving` said."""
    if step.proof is not None:
        step.unconfirmed = step.proof.shortfall(answers[1:])


def refusal(broker: Broker, step: Together) -> Flow[RpqueueError | None]:
    """Ask Redis, once, whether it knows how to confirm. Returns what speaks against sending the step."""
    if step.proof is None or not step.proof.is_synced or broker.knows_waitaof:
        return None
    try:
        yield from command(as_is, "WAITAOF", 0, 0, 1)
    except RedisError as error:
        if "unknown command" not in str(error):
            return error
        return RedisUnsuitable(
            f"durability: expected Redis 7.2 or Valkey 7.2 or later for 'fsync', got one that does not know WAITAOF "
            f"({broker.label}); nothing was sent. 'replicated' works everywhere"
        )
    broker.knows_waitaof = True
    return None


def _prove(broker: Broker, step: Together) -> list[Any]:
    if broker.is_cluster:
        return prove_one_by_one(broker, step)
    against = _try(broker, refusal(broker, step))
    return [against] if against else _at_once(broker, step)


def _try(broker: Broker, flow: Flow[R]) -> R:
    """Carry a flow that wants to hear of errors itself."""
    try:
        asked = next(flow)
        while True:
            try:
                answer = broker.execute(asked)
            except RpqueueError as error:
                asked = flow.throw(error)
            else:
                asked = flow.send(answer)
    except StopIteration as end:
        result: R = end.value
        return result


def prove_one_by_one(broker: Broker, step: Together) -> list[Any]:
    """
    Carry out operations on a Cluster, each confirmed by the node that has its queue.

    redis-py does not say which connection it used, so this takes one of that node, and a second round trip.
    """
    brought, missing = [], []
    for operation in step.operations:
        stamp = broker.sessions.take()
        one = Together([operation], step.proof)
        try:
            brought.append(broker.execute(operation, stamp))
            hear_proof(one, _say_at_node(broker, operation, proving(one, [stamp])))
            missing += [one.unconfirmed] if one.unconfirmed else []
        except RpqueueError as error:
            brought.append(error)
            if not was_answered(error):
                break
        broker.sessions.give_back(stamp)
    step.unconfirmed = "; ".join(missing)
    return brought


def _say_at_node(broker: Broker, operation: Operation[Any], commands: list[Command]) -> list[Any]:
    """Say commands, over one connection, to the master that has an operation's queue."""
    cluster: Any = broker.client
    answers: list[Any] = []
    for _ in range(3):
        try:
            node = cluster.get_node_from_key(operation.keys[0])
            pipe = cluster.get_redis_connection(node).pipeline(transaction=False)
            for words in commands:
                pipe.execute_command(*words, **RAW)
            answers = pipe.execute(raise_on_error=False)
        except Exception as error:
            answers = [translate(error, broker.label)] * len(commands)
        if not isinstance(answers[0], Exception):
            break
        cluster.nodes_manager.initialize()  # the slot has moved
    if isinstance(answers[0], Exception):
        return [answers[0]] * len(answers)  # what was waited for may be something else's
    return answers


def outcomes(
    broker: Broker, operations: Sequence[Operation[Any]], replies: Sequence[Any], attempts: Attempts
) -> list[Any]:
    """What each operation brought after so many attempts: its result or its error."""
    return [_outcome(broker, operation, reply, attempts) for operation, reply in zip(operations, replies, strict=True)]


def _outcome(broker: Broker, operation: Operation[Any], reply: Any, attempts: Attempts) -> Any:
    if isinstance(reply, Exception):
        return broker.meaning(reply, attempts)
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
