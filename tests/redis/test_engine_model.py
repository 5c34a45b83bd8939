"""Two task queues and two workers, used in any order, do what a plain Python model of them does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from rpqueue.addresses import Endpoint
from rpqueue.broker import Broker
from rpqueue.errors import IdTaken
from rpqueue.messages import Flags, header_tail
from rpqueue.protocol import mending, moves, runs
from rpqueue.protocol.cycle import Ack, Round, cycle
from rpqueue.protocol.moves import Due, Rules
from rpqueue.protocol.operation import Operation, Stamp
from rpqueue.protocol.views import set_priority
from rpqueue.states import State
from tests.redis.beside import NAMES, EngineBesideModel
from tests.redis.model import GRAVES, HOUR, NEVER, POISON, Index, Instants, Message, Model, go_round
from tests.servers import Server

pytestmark = pytest.mark.one_server("its script calls are about two queues")

#: In seconds: at most once; shorter than a worker's lease; longer.
LEASES = st.sampled_from([0, 1800, 7200])
BODIES = st.sampled_from([b'["t",[],{}]', b"[1.0,2E400]", b"|", b'\x00"\xff\r\n'])
CHOSEN = st.sampled_from(["a", "b", "ü|{} %"])
QUEUES = st.sampled_from(NAMES)
WORKERS = st.sampled_from([b"w1", b"w2"])
KEEP = st.sampled_from([100, 1, 0])
LIMITS = st.sampled_from([100, 1, 2])
DELAYS = st.sampled_from([0, HOUR])
NOTES = st.sampled_from(["progress", "checkpoint"])
#: What the worker decided after a failure; as the attempts say more often than anything else.
AGAIN = st.sampled_from(["auto", "auto", "retry", "retry", "stop", "drop", "cancel", "undecodable"])
ERRORS = st.sampled_from(["", '{"text":"a|b"}', '{"n":2}'])
OUTCOMES = st.sampled_from([b"", b'{"state":"failed"}', b'{"state":"cancelled"}'])
PRIORITIES = st.sampled_from([1.0, 2.5, NEVER])


class Hand(NamedTuple):
    """A lease that some round gave."""

    name: str
    id: str
    token: int
    deadline: int  #: ms; 0: none


class Call(NamedTuple):
    """A call of a worker, as it may be sent again."""

    operation: Operation[Any]
    stamp: Stamp
    expect: Callable[[Any], bool]  #: moves the model and compares the answer; says whether Redis remembers it


def rows(answer: Round) -> list[tuple[str, bytes, int, bytes, int, int]]:
    """What a round claimed: queue, id, token, message, failures and crashes before."""
    return [
        (some.keys.name, message_id, past.token, message, past.failures, past.crashes)
        for some in answer.claimed
        for message_id, message, past in some.rows()
    ]


class Engine(EngineBesideModel):
    """What two workers and their users may do."""

    def __init__(self) -> None:
        super().__init__()
        self.index = (self.app.queues, self.app.ready_queues, self.app.due_queues, self.app.wake)
        self.last: dict[bytes, tuple[Call, Any]] = {}  #: of each worker: its last call, and the answer if remembered
        self.hands: list[Hand] = []
        self.ids, self.numbers = itertools.count(1), itertools.count(1)

    # ---- calls

    def send(self, worker: bytes, operation: Operation[Any], expect: Callable[[Any], bool]) -> None:
        self.carry(Call(operation, Stamp(worker, next(self.numbers)), expect))

    def carry(self, call: Call) -> None:
        self.be_asleep()
        # An id that comes again gets the instant as its first token, so no lease may end more than once a millisecond.
        while self.now <= max((token for model in self.models.values() for token in model.tokens.values()), default=0):
            self.now = self.clock()
        answer = self.execute(call)
        self.last[call.stamp.session] = call, (answer if call.expect(answer) else None)

    def execute(self, call: Call) -> Any:
        try:
            return self.broker.execute(call.operation, call.stamp)
        except IdTaken as taken:
            return type(taken)

    def be_asleep(self) -> None:
        """Take the wake tokens, as waiting workers do."""
        self.client.delete(self.app.wake, *(self.queue(name).wake for name in NAMES))
        self.were_ready = {name for name, model in self.models.items() if model.ready}

    @precondition(lambda self: self.last)
    @rule(data=st.data())
    def send_the_last_call_again(self, data: st.DataObject) -> None:
        call, before = self.last[data.draw(st.sampled_from(sorted(self.last)))]
        if before is None:  # it had done nothing, or does no harm twice
            self.carry(call)
            return
        answer = self.execute(call)
        if isinstance(before, Round):
            held = [row for row in rows(before) if self.models[row[0]].holds(row[1].decode(), row[2])]
            assert rows(answer) == held
            assert answer.stale == before.stale
        else:
            assert answer == before

    # ---- moves

    @initialize(priorities=st.lists(PRIORITIES, min_size=2, max_size=2), data=st.data())
    def begin(self, priorities: list[float], data: st.DataObject) -> None:
        for name, priority in zip(NAMES, priorities, strict=True):
            self.prioritise(name, priority)
            self.enqueue(b"w1", name, [b"|"] * 3, 0, 1800, 3, True, None, recover=name == NAMES[0])
            self.enqueue(b"w2", name, [b"0", b"1"], 0, 0, 1, False, None)
        self.redis_holds_what_the_model_holds()
        # Hypothesis leaves whole rules out of an example; with these there is always something to do for the others.
        self.go_to_work(b"w1", list(NAMES), 8, 100, data)

    @rule(name=QUEUES, priority=PRIORITIES)
    def prioritise(self, name: str, priority: float) -> None:
        if priority != NEVER or name in self.priorities:
            self.priorities[name] = priority
        assert self.broker.execute(set_priority(self.app, name, priority)) == (name in self.priorities)

    @rule(
        worker=WORKERS,
        name=QUEUES,
        bodies=st.lists(BODIES, min_size=1, max_size=3),
        delay=DELAYS,
        lease=LEASES,
        attempts=st.integers(1, 4),
        use_dead=st.booleans(),
        recover=st.booleans(),
        chosen=st.none() | st.lists(CHOSEN, min_size=3, max_size=3),
    )
    def enqueue(
        self,
        worker: bytes,
        name: str,
        bodies: list[bytes],
        delay: int,
        lease: int,
        attempts: int,
        use_dead: bool,
        chosen: list[str] | None,
        recover: bool = False,
    ) -> None:
        model, keys, recover = self.models[name], self.queue(name), recover and lease > 0
        flags = Flags(Flags.USE_DEAD * use_dead + Flags.RECOVER * recover)
        ids = chosen or [f"g{next(self.ids)}" for _ in bodies]
        messages = list(zip(ids, bodies, strict=False))
        tail = header_tail(lease, attempts, flags)

        def expect(answer: Any) -> bool:
            if chosen and model.taken(messages):
                assert answer is IdTaken
                return False
            available_at = round(answer * 1000) + delay
            model.enqueue(
                messages,
                Message(available_at, tail, b"", lease * 1000, attempts, use_dead, recover),
                delay,
                bool(chosen),
            )
            self.priorities.setdefault(name, NEVER)
            return True

        operation = moves.enqueue(keys, self.index, messages, delay=delay / 1000, tail=tail, chosen=bool(chosen))
        self.send(worker, operation, expect)

    @rule(
        worker=WORKERS,
        names=st.permutations(NAMES) | st.sampled_from([[name] for name in NAMES]),
        wanted=st.integers(0, 5),
        limit=LIMITS,
        keep=KEEP,
        yields=st.booleans(),
        data=st.data(),
    )
    def go_round(
        self, worker: bytes, names: list[str], wanted: int, limit: int, keep: int, yields: bool, data: st.DataObject
    ) -> None:
        acks: dict[str, list[Ack]] = {name: [] for name in names}
        for hand in self.draw_hands(data, names, least=0):
            kept = data.draw(st.booleans())
            acks[hand.name].append(Ack(hand.id, hand.token, 60 * kept, b'{"state":"done"}' if kept else b""))

        def expect(answer: Round) -> bool:
            index = Index(self.priorities, self.ready_index, self.due_index)
            models = [self.models[name] for name in names]
            stale, claimed = go_round(models, acks, wanted, limit, keep, round(answer.now * 1000), index, yields)
            assert sorted((keys.name, id) for keys, id in answer.stale) == sorted(stale)
            assert rows(answer) == claimed
            for name, id, token, *_ in claimed:
                lease = self.models[name].messages[id.decode()].lease
                self.hands.append(Hand(name, id.decode(), token, lease and round(answer.now * 1000) + lease))
            self.round = answer, names
            return bool(any(acks.values()) or claimed)

        operation = cycle(
            self.app,
            [self.queue(name) for name in names],
            acks,
            indexed=True,
            yields=yields,
            lease_for=HOUR / 1000,
            wanted=wanted,
            starting=wanted,
            limit=limit,
            rules=Rules("tasks", POISON, keep),
        )
        self.send(worker, operation, expect)

    @precondition(lambda self: self.any("ready", "scheduled", "leased"))
    @rule(worker=WORKERS, names=st.permutations(NAMES), wanted=st.integers(1, 3), limit=LIMITS, data=st.data())
    def go_to_work(self, worker: bytes, names: list[str], wanted: int, limit: int, data: st.DataObject) -> None:
        """The commonest round, lest other steps drown it."""
        self.go_round(worker, names, wanted, limit, 100, True, data)

    @precondition(lambda self: self.hands)
    @rule(worker=WORKERS, anyone=st.booleans(), data=st.data())
    def ack(self, worker: bytes, anyone: bool, data: st.DataObject) -> None:
        name, hands = self.draw_of_one_queue(data)
        leases = [(hand.id, "" if anyone else hand.token) for hand in hands]

        def expect(answer: list[str]) -> bool:
            assert answer == self.models[name].ack(Ack(id, token) for id, token in leases)
            return bool(answer)

        self.send(worker, moves.ack(self.queue(name), leases), expect)

    @precondition(lambda self: self.hands)
    @rule(worker=WORKERS, data=st.data())
    def extend(self, worker: bytes, data: st.DataObject) -> None:
        name, hands = self.draw_of_one_queue(data)
        leases = [(hand.id, hand.token, hand.deadline) for hand in hands]

        def expect(answer: list[str]) -> bool:
            assert answer == self.models[name].extend(leases, self.now)
            return False

        words = [(id, token, deadline / 1000) for id, token, deadline in leases]
        self.send(worker, moves.extend(self.queue(name), words, HOUR / 1000), expect)

    @precondition(lambda self: self.hands)
    @rule(
        worker=WORKERS,
        delay=DELAYS,
        again=AGAIN,
        error=ERRORS,
        keep=KEEP,
        data=st.data(),
    )
    def fail(self, worker: bytes, delay: int, again: Any, error: str, keep: int, data: st.DataObject) -> None:
        name, hands = self.draw_of_one_queue(data)
        keys, lease, rules = self.queue(name), (hands[0].id, hands[0].token), Rules("tasks", POISON, keep)
        reason, again = ("undecodable", "auto") if again == "undecodable" else ("failed", again)
        outcome = data.draw(OUTCOMES) if again in ("drop", "cancel") else b""

        def expect(answer: str) -> bool:
            assert answer == self.models[name].fail(lease, reason, error, delay, keep, again, outcome)
            return answer != "stale"

        operation = moves.fail(
            keys,
            self.index,
            lease,
            rules,
            delay=delay / 1000,
            error=error.encode(),
            reason=reason,  # type: ignore[arg-type]
            again=again,
            keep_for=60 if outcome else 0,
            outcome=outcome,
        )
        self.send(worker, operation, expect)

    @precondition(lambda self: self.hands)
    @rule(worker=WORKERS, delay=DELAYS, keep=KEEP, error=ERRORS, anyone=st.booleans(), data=st.data())
    def release(self, worker: bytes, delay: int, keep: int, error: str, anyone: bool, data: st.DataObject) -> None:
        name, hands = self.draw_of_one_queue(data)
        reasons = st.sampled_from(["crashed", "interrupted", "unstarted"])
        leases = [(hand.id, "" if anyone else hand.token, data.draw(reasons)) for hand in hands]

        self.send_release(worker, name, leases, delay, keep, error)

    def send_release(self, worker: bytes, name: str, leases: list[Any], delay: int, keep: int, error: str = "") -> None:
        def expect(answer: dict[str, str]) -> bool:
            expected = self.models[name].release(leases, delay, keep, error)
            assert list(answer.items()) == list(expected.items())
            return bool(answer)

        rules = Rules("tasks", POISON, keep)
        keys, said = self.queue(name), error.encode()
        self.send(worker, moves.release(keys, self.index, leases, rules, delay=delay / 1000, error=said), expect)

    @precondition(lambda self: self.any("leased"))
    @rule(keep=KEEP, data=st.data())
    def a_worker_dies_and_another_goes_on(self, keep: int, data: st.DataObject) -> None:
        for name, model in self.models.items():
            leases: list[tuple[str, str, moves.Reason]] = [(id, "", "crashed") for id in model.leased]
            if leases:
                self.send_release(b"w2", name, leases, 0, keep)
        self.redis_holds_what_the_model_holds()
        self.go_round(b"w2", list(NAMES), 5, 100, keep, True, data)

    @precondition(lambda self: self.hands)
    @rule(worker=WORKERS, data=st.data())
    def park(self, worker: bytes, data: st.DataObject) -> None:
        name, hands = self.draw_of_one_queue(data)
        leases = [(hand.id, hand.token, "unknown.task") for hand in hands]

        def expect(answer: list[str]) -> bool:
            assert answer == self.models[name].park(leases)
            return bool(answer)

        self.send(worker, moves.park(self.queue(name), leases), expect)

    @precondition(lambda self: self.any("parked"))
    @rule(worker=WORKERS, data=st.data())
    def unpark(self, worker: bytes, data: st.DataObject) -> None:
        model = self.draw_queue(data, "parked")
        ids = self.draw_ids(data, list({**model.parked, **dict.fromkeys(model.ready[:1])}))

        def expect(answer: int) -> bool:
            assert answer == model.unpark(ids)
            return bool(answer)

        self.send(worker, moves.unpark(self.queue(model.name), self.index, ids), expect)

    @precondition(lambda self: self.any("messages", "outcomes"))
    @rule(worker=WORKERS, keep_for=st.sampled_from([0, 60]), running=st.booleans(), data=st.data())
    def cancel(self, worker: bytes, keep_for: int, running: bool, data: st.DataObject) -> None:
        model = self.draw_queue(data, "messages", "outcomes")
        id = data.draw(st.sampled_from(list({**model.outcomes, **model.messages})))

        def expect(answer: int) -> bool:
            assert answer == model.cancel(id, bool(keep_for), running)
            return answer != 0

        self.send(worker, moves.cancel(self.queue(model.name), id, keep_for, running=running), expect)

    @precondition(lambda self: self.hands)
    @rule(worker=WORKERS, kind=NOTES, text=st.sampled_from(["", "1", "a\n b"]), data=st.data())
    def note(self, worker: bytes, kind: str, text: str, data: st.DataObject) -> None:
        name, [hand, *_] = self.draw_of_one_queue(data)
        keys = self.queue(name)

        def expect(answer: bool) -> bool:
            assert answer == self.models[name].note(kind, hand.id, hand.token, text)
            return False

        place = getattr(keys, kind)(hand.id)
        self.send(worker, runs.note(keys, place, hand.id, hand.token, text.encode(), 60), expect)

    @precondition(lambda self: self.hands)
    @rule(worker=WORKERS, data=st.data())
    def look_whether_to_stop(self, worker: bytes, data: st.DataObject) -> None:
        name, hands = self.draw_of_one_queue(data)
        leases = [(hand.id, hand.token) for hand in hands]

        def expect(answer: list[str]) -> bool:
            assert answer == [self.models[name].standing(*lease) for lease in leases]
            return False

        self.send(worker, runs.asked_to_stop(self.queue(name), leases), expect)

    @precondition(lambda self: self.any(*GRAVES))
    @rule(worker=WORKERS, limit=st.integers(1, 3), anywhere=st.booleans(), paced=st.booleans(), data=st.data())
    def redrive(self, worker: bytes, limit: int, anywhere: bool, paced: bool, data: st.DataObject) -> None:
        model = self.draw_queue(data, *GRAVES)
        grave = data.draw(st.sampled_from([grave for grave in GRAVES if getattr(model, grave)]))
        ids = self.draw_ids(data, list({**getattr(model, grave), **dict.fromkeys(model.ready[:1])}))

        def expect(answer: list[str]) -> bool:
            assert answer == model.redrive(None if anywhere else grave, ids, limit, paced)
            return bool(answer)

        hour = HOUR / 1000
        operation = moves.redrive(
            *(self.queue(model.name), self.index, None if anywhere else State(grave), ids, limit),
            delay=hour * paced,
            step=hour * paced,
        )
        self.send(worker, operation, expect)

    @precondition(lambda self: self.any("scheduled"))
    @rule(worker=WORKERS, later=st.booleans(), data=st.data())
    def reschedule(self, worker: bytes, later: bool, data: st.DataObject) -> None:
        model = self.draw_queue(data, "scheduled")
        id = data.draw(st.sampled_from([*model.scheduled, *model.ready[:1]]))
        due = self.now + 2 * HOUR if later else 1

        def expect(answer: str) -> bool:
            now = self.now
            if model.is_new(id) and not later:
                # It is ready since the moment of the call, which only its header tells.
                stored = self.client.hget(self.queue(model.name).messages, id) or b""
                now = int(stored.split(b"|")[0].split(b" ")[1])
                assert self.now <= now <= self.clock()
            assert answer == model.reschedule(id, due, now)
            return answer != "elsewhere"

        self.send(worker, mending.reschedule(self.queue(model.name), self.index, id, Due(due / 1000)), expect)

    @precondition(lambda self: self.any("messages", "outcomes"))
    @rule(worker=WORKERS, keep_for=st.sampled_from([0, 60]), data=st.data())
    def delete(self, worker: bytes, keep_for: int, data: st.DataObject) -> None:
        model = self.draw_queue(data, "messages", "outcomes")
        id = data.draw(st.sampled_from(list({**model.outcomes, **model.messages})))

        def expect(answer: str) -> bool:
            assert answer == model.delete(id, bool(keep_for))
            return answer not in ("leased", "gone")

        self.send(worker, mending.delete(self.queue(model.name), id, keep_for), expect)

    @precondition(lambda self: self.any(*GRAVES))
    @rule(
        worker=WORKERS,
        keeps=st.lists(st.none() | st.integers(0, 2), min_size=3, max_size=3),
        limit=st.integers(1, 3),
        data=st.data(),
    )
    def retire(self, worker: bytes, keeps: list[int | None], limit: int, data: st.DataObject) -> None:
        model = self.draw_queue(data, *GRAVES)
        bounds = mending.Bounds(*(mending.Bound(0, keep) for keep in keeps))

        def expect(answer: mending.Retired) -> bool:
            assert answer == model.retire(keeps, limit)
            return any(answer[:3])

        self.send(worker, mending.retire(self.queue(model.name), bounds, limit), expect)

    # ---- time

    @precondition(lambda self: self.any("leased", "scheduled"))
    @rule(everything=st.booleans(), data=st.data())
    def let_time_pass(self, everything: bool, data: st.DataObject) -> None:
        """Move instants into the past, and the index with them, instead of sleeping until they are there."""
        model = self.draw_queue(data, "leased", "scheduled")
        place = data.draw(st.sampled_from([place for place in ("leased", "scheduled") if getattr(model, place)]))
        instants: Instants = getattr(model, place)
        for id in data.draw(st.permutations(list(instants))) if everything else self.draw_ids(data, list(instants), 1):
            at = next(self.order)
            instants[id] = at
            self.client.zadd(getattr(self.queue(model.name), place), {id: at})
            self.client.zadd(self.app.due_queues, {model.name: at}, lt=True)

    # ---- draws

    def draw_hands(self, data: st.DataObject, names: Sequence[str], least: int = 1) -> list[Hand]:
        """Of leases that are held, and of those whose message somebody else holds by now; one of each message."""
        hands = [hand for hand in self.hands if hand.name in names]
        if not hands:
            return []
        held = [hand for hand in hands if self.models[hand.name].holds(hand.id, hand.token)]
        late = [hand for hand in hands if hand not in held and self.models[hand.name].holds(hand.id, "")]
        one = st.sampled_from(held or hands[-4:]) | st.sampled_from(late[-8:] or hands[-4:])
        return data.draw(st.lists(one, min_size=least, max_size=4, unique_by=lambda hand: (hand.name, hand.id)))

    def draw_of_one_queue(self, data: st.DataObject) -> tuple[str, list[Hand]]:
        hands = self.draw_hands(data, NAMES)
        return hands[0].name, [hand for hand in hands if hand.name == hands[0].name]

    def draw_queue(self, data: st.DataObject, *places: str) -> Model:
        """A queue that holds something in one of these places; the rule's precondition says that one does."""
        return data.draw(st.sampled_from([model for model in self.models.values() if model.has(*places)]))

    def draw_ids(self, data: st.DataObject, ids: list[str], least: int = 0) -> list[str]:
        return data.draw(st.lists(st.sampled_from(ids), unique=True, min_size=least, max_size=3))


@pytest.mark.timeout(400)  # hypothesis may look for a shorter example for five minutes
def test_two_queues_and_two_workers_do_what_their_model_does(server: Server, redis_client: redis.Redis) -> None:
    broker = Broker(Endpoint(url=server.url))
    machine = type("Machine", (Engine,), {"broker": broker, "client": redis_client})
    run_machine(
        machine,
        settings=settings(
            max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    broker.close()
