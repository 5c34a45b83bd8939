"""rpqueue.aio: the verbs awaited, in any event loop, over any kind of connection."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import re
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import rpqueue
from rpqueue import App, aio, awaited
from rpqueue.aio import Aio
from rpqueue.broker_aio import WIDTH
from rpqueue.errors import (
    NoLock,
    RedisUnavailable,
    RedisUnsuitable,
    ResultTimeout,
    TaskCancelled,
    TaskFailed,
    UnknownTask,
    WrongType,
)
from tests.servers import Server, blocked_clients, free_port, listeners, program, wait_until

StartWorker = Callable[..., None]
Places = dict[str, Callable[[], App]]


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **fixtures: Any) -> None:
        asyncio.run(test(*args, **fixtures))

    return run


async def until(predicate: Callable[[], Any], timeout: float = 10.0) -> None:
    """Wait for something to become true, while the event loop goes on."""
    await asyncio.to_thread(wait_until, predicate, timeout)


@pytest.fixture
def face(app: App) -> Aio:
    return aio.of(app)


@pytest.fixture
def add(app: App) -> Any:
    @app.task(name="add", save_results=60)
    def add(one: int, other: int) -> int:
        return one + other

    return add


# ---- The two faces.

#: What does not talk to Redis, or is for threads by nature; the sync face alone has it.
NOT_AWAITED = {
    *("task", "periodic_task", "cron_task", "Task", "get_task"),  # declaring, and looking up what was declared
    *("App", "CURRENT_TASK", "NoLock", "VERSION", "errors", "log_handler", "new_rpqueue"),
    *("set_key_prefix", "set_redis_connection", "set_redis_connection_settings"),  # hold for both faces
    *("get_connection", "script_load"),  # about the user's own client
    *("execute_tasks", "execute_task_threads"),  # the worker
    *(
        "fixed",
        "linear",
        "exponential",
        "periodic",
        "cron_expr",
        "StopRetry",
        "RetryException",
        "TaskTimeout",
        "SoftTimeout",
    ),  # of declarations
    *("Middleware", "TaskRunner", "RunningTask"),  # of runs
}
#: Verbs of Task, which take the task as their first argument here; and what a face has beside its verbs.
TASK_VERBS = {"execute", "execute_many", "retry"}
OF_A_FACE = {"close", "of", "Aio"}


def public(thing: Any) -> set[str]:
    return {name for name in vars(thing) if not name.startswith("_")}


def shape(function: Any) -> list[tuple[str, Any, Any]]:
    """What a caller may say: names, kinds and defaults of the parameters."""
    parameters = list(inspect.signature(function).parameters.values())
    return [(one.name, one.kind, one.default) for one in parameters if one.name not in ("self", "face")]


def is_plumbing(member: Any) -> bool:
    """Whether a member of the sync face is a flow or an operation, which both faces are made of."""
    function = member.fget if isinstance(member, property) else member
    returns = str(getattr(function, "__annotations__", {}).get("return", ""))
    return re.match(r"Flow\[|Operation\[|QueueKeys", returns) is not None


def test_both_faces_have_the_same_names() -> None:
    assert set(aio.__all__) == (set(rpqueue.__all__) - NOT_AWAITED) | TASK_VERBS | OF_A_FACE
    verbs = {name for name in aio.__all__ if inspect.ismethod(getattr(aio, name))}
    assert public(Aio) - {"broker", "broker_for"} == verbs


@pytest.mark.parametrize("name", sorted(set(rpqueue.__all__) - NOT_AWAITED - {"Data", "EnqueuedTask", "SimpleLock"}))
def test_verbs_of_both_faces_are_called_alike(name: str) -> None:
    ours, theirs = getattr(aio, name), getattr(rpqueue, name)
    # What is awaited of the first is its block, and of the others the verbs of what they return.
    assert inspect.iscoroutinefunction(ours) or name in ("pipeline", "current_task", "current_tasks")
    if name == "known_tasks":  # a property there
        assert shape(ours) == []
    else:
        assert shape(ours) == shape(theirs)


@pytest.mark.parametrize("name", sorted(TASK_VERBS))
def test_verbs_of_a_task_take_the_task_first(name: str) -> None:
    [(first, kind, _), *rest] = shape(getattr(aio, name))
    assert (first, kind) == ("task", inspect.Parameter.POSITIONAL_ONLY)
    assert rest == shape(getattr(rpqueue.Task, name))


@pytest.mark.parametrize("name", ["Data", "EnqueuedTask", "SimpleLock", "InlineTask"])
def test_objects_of_both_faces_have_the_same_verbs(name: str) -> None:
    ours = getattr(awaited, name)
    theirs = rpqueue.enqueued.InlineTask if name == "InlineTask" else getattr(rpqueue, name).__mro__[1]
    assert shape(ours) == shape(theirs)
    members = {one: getattr(theirs, one) for one in public(theirs) - {"app", "keys", "warn_ended_early"}}
    verbs = {one: member for one, member in members.items() if not is_plumbing(member)}
    verbs = {one: member for one, member in verbs.items() if callable(member) or isinstance(member, property)}
    verbs.pop("warn_not_released", None)
    if name == "InlineTask":  # its properties are attributes
        verbs.update(dict.fromkeys(("status", "result", "args", "progress"), property(lambda self: None)))
    assert {one for one in public(ours) if inspect.iscoroutinefunction(getattr(ours, one))} == set(verbs)
    for one, member in verbs.items():
        assert shape(getattr(ours, one)) == ([] if isinstance(member, property) else shape(member)), one


# ---- Calls of tasks.


@asynchronous
async def test_a_call_is_seen_from_outside(face: Aio, add: Any) -> None:
    call = await face.execute(add, 1, other=2, delay=60, taskid="mine", _queue="elsewhere")
    assert (call.name, call.taskid, call.queue, call.task) == ("add", "mine", "elsewhere", add)
    assert await call.status() == "early"
    [taskid, name, args, kwargs, _] = await call.args() or []
    assert (taskid, name, args, kwargs) == ("mine", "add", [1], {"other": 2})
    assert await call.result() is None
    assert await call.wait(0) is False
    assert await call.cancel() is True
    assert await call.status() == "cancelled"
    with pytest.raises(TaskCancelled):
        await call.get()
    assert "mine" in repr(call)


@asynchronous
async def test_a_result_comes_when_the_task_is_done(face: Aio, add: Any, start_worker: StartWorker) -> None:
    call = await face.execute(add, 1, 2)
    with pytest.raises(ResultTimeout):
        await call.get(timeout=0.01)
    start_worker()
    assert await call.get(20) == 3
    assert await call.wait() is True
    assert await call.result() == 3
    assert await face.result(call.taskid) == 3
    assert await face.results([call.taskid, "nobody"]) == [3, None]
    assert await face.EnqueuedTask("add", call.taskid, call.queue).get() == 3


@asynchronous
async def test_a_failure_arrives_with_what_failed(app: App, face: Aio, start_worker: StartWorker) -> None:
    @app.task(name="fail")
    def fail() -> None:
        raise KeyError("this one")

    start_worker()
    with pytest.raises(TaskFailed, match="this one") as caught:
        await (await face.execute(fail)).get(20)
    assert caught.value.error["exception"] == "KeyError"


@asynchronous
async def test_plain_and_async_functions_run_inline(app: App, face: Aio, add: Any) -> None:
    @app.task(name="wait")
    async def wait(result: str) -> str:
        await asyncio.sleep(0)
        return result

    for task, args, value in ((add, (1, 2), 3), (wait, ("done",), "done")):
        call = await face.execute(task, *args, execute_inline_now=True, delay=5)
        assert (await call.get(), await call.result(), await call.status()) == (value, value, "done")
        assert (await call.wait(), await call.cancel()) == (True, False)
        assert await call.args() == [list(args), {}]


@asynchronous
async def test_a_retry_is_enqueued_while_attempts_are_left(app: App, face: Aio) -> None:
    @app.task(name="again", attempts=2, retry_delay=60)
    def again() -> None: ...

    call = await face.retry(again)
    assert call is not None
    assert await call.status() == "early"
    assert await face.retry(again, _attempts=1) is None


@asynchronous
async def test_tasks_are_called_by_name(face: Aio, add: Any, app: App) -> None:
    call = await face.call_task("add", None, 1, other=2)
    assert (await call.args() or [])[2:4] == [[1], {"other": 2}]
    with pytest.raises(UnknownTask, match="did you mean 'add'"):
        await face.call_task("ad")
    unknown = await face.call_task("nobody", "elsewhere", _verify_call=False)
    assert unknown.queue == "elsewhere"
    app.get_connection().hset(app.keys.app.registry, "told", '{"queue": "far", "attempts": 3}')
    assert {name: task.queue for name, task in (await face.known_tasks()).items()} == {"add": "default", "told": "far"}


@asynchronous
async def test_a_task_of_another_app_is_refused(face: Aio) -> None:
    @App(prefix="other").task(name="stray")
    def stray() -> None: ...

    for wrong in (stray, "add", lambda: None):
        with pytest.raises(WrongType):
            await face.execute(wrong)  # type: ignore[arg-type]


@asynchronous
async def test_a_flush_waits_for_what_is_there(face: Aio, add: Any, start_worker: StartWorker) -> None:
    ids = [(await face.execute(add, n, n)).taskid for n in range(3)]
    assert (await face.flush_tasks(timeout=0)).waiting == ids
    start_worker()
    assert sorted((await face.flush_tasks(complete=True, timeout=20)).done) == sorted(ids)


def test_async_tasks_call_others_and_wait_for_them(app: App, face: Aio, add: Any, start_worker: StartWorker) -> None:
    @app.task(name="outer", save_results=60)
    async def outer(number: int) -> int:
        call = await face.execute(add, number, 1)
        return int(await call.get(20))

    calls = [outer.execute(number) for number in range(20)]
    start_worker()
    assert [call.get(20) for call in calls] == list(range(1, 21))
    assert app.broker.awaited
    app.settings.should_quit[0] = 1
    wait_until(lambda: not app.broker.awaited)  # the worker's event loop has ended, and closed what it had opened


# ---- Queues, locks, faces.


@pytest.mark.one_server("a deleted queue stays listed")
@asynchronous
async def test_whole_queues_are_listed_measured_and_emptied(face: Aio, add: Any) -> None:
    await face.set_priority("first", 1)
    call = await face.execute(add, 1, 2)
    await face.execute(add, 3, 4, _queue="first")
    assert await face.known_queues() == ["first", "default"]
    assert await face.queue_sizes() == [("first", 1, 1), ("default", 1, 1)]
    assert [row[:4] for row in await face.get_page("default", 1)] == [[call.taskid, "add", [1, 2], {}]]
    assert await face.delete_item("default", call.taskid) is True
    assert await face.clear_queue("first", delete=True) == 1
    assert "first" not in await face.known_queues()


@asynchronous
async def test_dead_letters_are_read_and_taken(face: Aio) -> None:
    await face.Data("box", is_dead=True).put_data(["a", "b"])
    assert [row[2] for row in await face.read_deadletter(is_data=True)] == ["a", "b"]
    assert [row[2] for row in await face.read_deadletter(is_data=True, delete=True, limit=1)] == ["a"]
    assert [row[2] for row in (await face.Data("box", is_dead=True).get_data(5)).values()] == ["b"]
    assert await face.read_deadletter(is_data=True) == []


@asynchronous
async def test_items_are_put_leased_and_done(face: Aio) -> None:
    box = face.Data("box", vis_timeout=60, attempts=2)
    assert box.sync.queue == "box"
    ids = await box.put_data(range(3))
    items = await box.get_data(2)
    assert list(items.items()) == list(zip(ids, [0, 1], strict=False))
    assert await box.currently_available() == (1, 2)
    assert await box.refresh_data(items, 30) == ids[:2]
    assert await box.done_data(items) == ids[:2]
    await box.put_data("later", is_one=True, delay=60)
    assert await box.delete_all() == 2
    assert "box" in repr(box)


@asynchronous
async def test_a_lock_has_one_holder(face: Aio, caplog: pytest.LogCaptureFixture) -> None:
    async with face.SimpleLock(None, "door", 60) as lock:
        await lock.refresh()
        with pytest.raises(NoLock):
            await face.SimpleLock(None, "door").acquire()
    async with face.SimpleLock(None, "door", 60) as lock:
        await lock.release()
    assert "lock ended before its block did" in caplog.text
    with pytest.raises(NoLock):
        await lock.refresh()


@asynchronous
async def test_another_client_may_be_said(face: Aio, server: Server) -> None:
    import redis.asyncio

    await face.set_priority("first", 1)
    async with redis.asyncio.Redis(host=server.host, port=server.port) as other:
        assert await face.known_queues(conn=other) == ["first"]
        async with face.SimpleLock(other, "door", 60):
            pass
        assert await other.ping()  # and was not closed


def test_every_app_and_module_has_one_face(app: App) -> None:
    module = rpqueue.new_rpqueue("for-aio", "test-aio")
    assert aio.of(app) is aio.of(app)
    assert aio.of(module).app is module.app
    assert aio.of(rpqueue).execute == aio.execute
    assert issubclass(aio.Data, awaited.Data)
    for wrong in (rpqueue.errors, "test", None):
        with pytest.raises(WrongType):
            aio.of(wrong)  # type: ignore[arg-type]


# ---- Many at a time.


@asynchronous
async def test_200_calls_and_gets_share_a_few_connections(face: Aio, add: Any, start_worker: StartWorker) -> None:
    client = face.app.get_connection()
    client.ping()
    before = connections(client)
    calls = await asyncio.gather(*(face.execute(add, n, n) for n in range(200)))
    getting = asyncio.gather(*(call.get(30) for call in calls))
    channels = [call.sync.keys.events + call.taskid.encode() for call in calls]
    await until(lambda: all(listeners(client, *channels).values()))
    assert len(connections(client) - before) <= WIDTH + 1  # and one that listens
    start_worker()
    assert await getting == [2 * n for n in range(200)]
    assert await face.results([call.taskid for call in calls]) == [2 * n for n in range(200)]


@asynchronous
async def test_every_call_under_way_has_a_session_of_its_own(
    face: Aio, monkeypatch: pytest.MonkeyPatch, add: Any
) -> None:
    sessions = face.app.broker.sessions
    take, give_back = sessions.take, sessions.give_back
    under_way: set[bytes] = set()
    most = 0

    def taking() -> Any:
        nonlocal most
        stamp = take()
        assert stamp.session not in under_way
        under_way.add(stamp.session)
        most = max(most, len(under_way))
        return stamp

    def giving_back(stamp: Any) -> None:
        under_way.remove(stamp.session)
        give_back(stamp)

    monkeypatch.setattr(sessions, "take", taking)
    monkeypatch.setattr(sessions, "give_back", giving_back)
    await asyncio.gather(*(face.execute(add, n, n) for n in range(200)))
    assert 1 < most <= WIDTH
    assert not under_way


@asynchronous
async def test_100_that_wait_are_woken_at_once(rare_looks: float, face: Aio) -> None:
    box, client = face.Data("box"), face.app.get_connection()
    waiting = [asyncio.create_task(box.get_data(get_timeout=30)) for _ in range(100)]
    await until(lambda: blocked_clients(client))
    before = connections(client)
    started = time.monotonic()
    await box.put_data(range(100))
    got = await asyncio.gather(*waiting)
    assert time.monotonic() - started < rare_looks
    assert sorted(value for items in got for value in items.values()) == list(range(100))
    assert len(connections(client) - before) <= WIDTH


@asynchronous
async def test_who_waits_for_a_result_is_told_at_once(
    rare_looks: float, app: App, face: Aio, start_worker: StartWorker
) -> None:
    opened = threading.Event()

    @app.task(name="gate", save_results=60)
    def gate() -> float:
        opened.wait(20)
        return time.time()

    call = await face.execute(gate)
    getting = [asyncio.create_task(call.get(30)) for _ in range(20)]
    channel = call.sync.keys.events + call.taskid.encode()
    await until(lambda: listeners(app.get_connection(), channel)[channel])
    start_worker()
    assert await call.wait(20)
    opened.set()
    [ended_at, *_] = await asyncio.gather(*getting)
    assert time.time() - ended_at < rare_looks
    await until(lambda: not listeners(app.get_connection(), channel)[channel], 30)


@asynchronous
async def test_a_wait_that_brings_nothing_ends_in_time(rare_looks: float, face: Aio) -> None:
    started = time.monotonic()
    assert await face.Data("box").get_data(get_timeout=0.2) == {}
    assert 0.19 < time.monotonic() - started < rare_looks  # the blocking command under it goes on


# ---- Event loops and connections.


def connections(client: redis.Redis) -> set[str]:
    return {one["id"] for one in client.client_list()}


@pytest.mark.one_server("connections are counted at one node")
def test_each_event_loop_closes_what_it_opened(app: App, face: Aio, add: Any) -> None:
    client = app.get_connection()
    client.ping()
    before = connections(client)

    async def main() -> None:
        call = await face.execute(add, 1, 2)
        with pytest.raises(ResultTimeout):
            await call.get(0.1)
        await face.Data("box").get_data(get_timeout=0.1)
        assert len(connections(client) - before) >= 3

    for _ in range(2):
        asyncio.run(main())
        wait_until(lambda: not connections(client) - before)
        assert not app.broker.awaited


def test_event_loops_in_several_threads_do_not_meet(face: Aio, add: Any) -> None:
    async def main() -> list[str]:
        return [(await face.execute(add, n, n)).taskid for n in range(50)]

    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.extend(asyncio.run(main()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(set(ids)) == 200
    assert [size for _, size, _ in face.app.queue_sizes()] == [200]


@asynchronous
async def test_a_closed_face_opens_again(app: App, face: Aio, add: Any) -> None:
    client = app.get_connection()
    client.ping()
    before = connections(client)
    await face.execute(add, 1, 2)
    assert connections(client) - before
    await face.close()
    await until(lambda: not connections(client) - before)
    await face.execute(add, 3, 4)
    assert await face.queue_sizes() == [("default", 2, 2)]


@asynchronous
async def test_scripts_that_redis_forgot_are_sent_again(app: App, face: Aio, add: Any) -> None:
    await face.execute(add, 1, 2)
    app.get_connection().script_flush()
    await asyncio.gather(*(face.execute(add, 3, 4) for _ in range(20)))
    assert await face.queue_sizes() == [("default", 21, 21)]


@asynchronous
async def test_errors_say_what_is_wrong_with_redis(app: App, face: Aio, add: Any) -> None:
    app.get_connection().set(app.task_keys("default").messages, "somebody else's", ex=60)
    with pytest.raises(RedisUnsuitable):
        await face.execute(add, 1, 2)
    nowhere = aio.of(App("redis://127.0.0.1:1/0"))
    with pytest.raises(RedisUnavailable, match=r"127\.0\.0\.1:1/"):
        await nowhere.known_queues()
    with pytest.raises(RedisUnavailable):
        await nowhere.Data("box").get_data(get_timeout=5)


@asynchronous
async def test_a_server_that_restarts_loses_and_doubles_nothing(own_server: Server) -> None:
    app = App(own_server.url, prefix="test")
    box = aio.of(app).Data("box")
    put: list[int] = []
    failed: list[int] = []

    async def put_one(number: int) -> None:
        try:
            await box.put_data([number])
        except (RedisUnavailable, rpqueue.errors.RedisNotReady):
            failed.append(number)
        else:
            put.append(number)

    async def put_many() -> None:
        number = 0
        while not restarted.is_set() or number < 100:
            await asyncio.gather(*(put_one(n) for n in range(number, number + 20)))
            number += 20

    restarted = asyncio.Event()
    putting = asyncio.create_task(put_many())
    await asyncio.sleep(0)
    await until(lambda: len(put) > 100)
    await asyncio.to_thread(own_server.restart)
    restarted.set()
    await putting
    there: list[int] = []
    while items := await box.get_data(1000):
        there += items.values()
    assert len(there) == len(set(there))
    assert set(put) <= set(there) <= set(put) | set(failed)
    # Whoever waits is woken at once again.
    waiting = asyncio.create_task(box.get_data(get_timeout=20))
    await until(lambda: own_server.client().info("clients")["blocked_clients"])
    await box.put_data(["new"])
    assert list((await waiting).values()) == ["new"]


@asynchronous
async def test_a_subscription_is_made_again_when_it_is_lost(
    rare_looks: float, app: App, face: Aio, start_worker: StartWorker
) -> None:
    opened = threading.Event()

    @app.task(name="gate", save_results=60)
    def gate() -> float:
        opened.wait(20)
        return time.time()

    client = app.get_connection()
    call = await face.execute(gate)
    start_worker()
    assert await call.wait(20)
    getting = asyncio.create_task(call.get(30))
    channel = call.sync.keys.events + call.taskid.encode()
    await until(lambda: listeners(client, channel)[channel])
    lost = [one["id"] for one in client.client_list(_type="pubsub")]
    client.client_kill_filter(_type="pubsub")
    await until(lambda: [one for one in client.client_list(_type="pubsub") if one["id"] not in lost])
    await until(lambda: listeners(client, channel)[channel])
    opened.set()
    assert time.time() - await getting < rare_looks


@pytest.fixture
def places(server: Server, start_server: Callable[..., Server], tmp_path: Path) -> Iterator[Places]:
    """Ways to say where Redis is."""
    made: list[redis.Redis] = []
    sentinels: list[subprocess.Popen[bytes]] = []

    def given(**options: Any) -> App:
        made.append(redis.Redis(**options))
        app = App(prefix="test")
        app.set_redis_connection(made[-1])
        return app

    def on_cluster() -> App:
        cluster = start_server(options=["--cluster-enabled", "yes"])
        with redis.Redis(host=cluster.host, port=cluster.port) as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
            wait_until(lambda: client.cluster("INFO")["cluster_state"] == "ok")
        return App(f"redis+cluster://{cluster.host}:{cluster.port}", prefix="test")

    def by_sentinel() -> App:
        port, settings = free_port(), tmp_path / "sentinel.conf"
        settings.write_text(f"port {port}\nsentinel monitor main {server.host} {server.port} 1\n")
        sentinels.append(subprocess.Popen([program(server.flavour) or "", str(settings), "--sentinel"]))
        with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
            wait_until(lambda: answers(client))
        return App(f"redis+sentinel://127.0.0.1:{port}/main", prefix="test")

    yield {
        "sentinel": by_sentinel,
        "unix socket": lambda: App(f"unix://{server.unix_path}?db=0", prefix="test"),
        "embedded": lambda: App(f"embedded:{tmp_path}", prefix="test"),
        "own client": lambda: given(host=server.host, port=server.port, decode_responses=True),
        "own client, unix socket": lambda: given(unix_socket_path=server.unix_path),
        "cluster": on_cluster,
    }
    for client in made:
        client.close()
    for sentinel in sentinels:
        sentinel.kill()
        sentinel.wait()


def answers(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.ConnectionError):
        return bool(client.ping())
    return False


@pytest.mark.usefixtures("redis_client")
@pytest.mark.parametrize(
    "place", ["unix socket", "embedded", "own client", "own client, unix socket", "sentinel", "cluster"]
)
def test_redis_is_reached_in_every_way(places: Places, place: str) -> None:
    app = places[place]()
    face = aio.of(app)

    @app.task(name="add", save_results=60)
    def add(one: int, other: int) -> int:
        return one + other

    async def main() -> None:
        call = await face.execute(add, 1, 2)
        getting = asyncio.create_task(call.get(20))
        box = face.Data("box")
        waiting = asyncio.create_task(box.get_data(get_timeout=20))
        await asyncio.sleep(0.1)
        await box.put_data([1])
        assert list((await waiting).values()) == [1]
        assert await call.cancel() is True
        with pytest.raises(TaskCancelled):
            await getting
        await face.clear_queue("default", delete=True)

    try:
        asyncio.run(main())
    finally:
        app.broker.close()
