"""The command line: what it prints, what it changes, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import redis
from click.testing import CliRunner, Result

import rpqueue
from rpqueue import App
from rpqueue.cli import connection, main
from rpqueue.cli.amounts import DURATION, SIZE, Amount
from rpqueue.cli.output import age, shown
from rpqueue.cli.work import worker as worker_command
from rpqueue.inspection import Inspection
from rpqueue.protocol import moves
from rpqueue.protocol.cycle import cycle
from rpqueue.tasks import Task
from tests.servers import Server, wait_until

Run = Callable[..., Result]

TASKS = """
import os, time
import rpqueue

@rpqueue.task(queue="mail", save_results=60)
def double(number):
    return number * 2

@rpqueue.task(queue="other", save_results=60)
def where():
    return os.getcwd()

@rpqueue.task(queue="mail")
def slow():
    time.sleep(60)
"""


@pytest.fixture
def run(server: Server, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Run:
    """run("status", "--json"): a command on the test's server, in this process."""
    monkeypatch.delenv("RPQUEUE_URL", raising=False)

    def run(*arguments: str, **options: Any) -> Result:
        monkeypatch.setattr(rpqueue, "app", App(prefix="test"))
        result = CliRunner().invoke(main, [*arguments, "--url", server.url], **options)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        rpqueue.app.broker.close()
        return result

    return run


@pytest.fixture
def work(app: App) -> Task[..., Any]:
    @app.task(queue="mail", vis_timeout=60, use_dead=True, name="work")
    def work(*args: Any, **kwargs: Any) -> None: ...

    return work


def lease(app: App, queue: str, wanted: int = 1) -> list[tuple[str, int]]:
    keys = app.task_keys(queue)
    turn = cycle(
        *(app.keys.app, [keys], {}),
        indexed=not app.broker.is_cluster,
        lease_for=60,
        wanted=wanted,
        starting=wanted,
        limit=100,
        rules=app.task_rules,
    )
    return [(row[0].decode(), row[2].token) for some in app.broker.execute(turn).claimed for row in some.rows()]


def kill(app: App, queue: str, wanted: int = 1) -> list[str]:
    error = b'{"exception":"ValueError","message":"no","traceback":"Traceback ..."}'
    leases = lease(app, queue, wanted)
    for held in leases:
        app.broker.execute(moves.fail(app.task_keys(queue), app.index, held, app.task_rules, error=error))
    return [message_id for message_id, _ in leases]


# Looking.


def test_status_shows_queues_workers_and_parked_tasks(app: App, run: Run, work: Task[..., Any]) -> None:
    result = run("status")
    assert "No queues yet." in result.output
    assert "No workers." in result.output
    work.execute()
    work.execute()
    app.set_priority("mail", 2.5)
    app.broker.execute(moves.park(app.task_keys("mail"), [(*lease(app, "mail")[0], "unknown.task")]))
    result = run("status")
    assert result.exit_code == 0
    [header] = [line.split() for line in result.output.splitlines() if line.split()[:2] == ["queue", "kind"]]
    [row] = [line.split() for line in result.output.splitlines() if line.split()[:1] == ["mail"]]
    cells = dict(zip(header, row, strict=False))
    assert (cells["priority"], cells["ready"], cells["parked"], cells["seen"]) == ("2.5", "1", "1", "2")
    assert "unknown.task" in result.output
    assert "prefix test" in result.output


def test_status_leaves_empty_queues_out_when_there_are_many(app: App, run: Run, work: Task[..., Any]) -> None:
    app.broker.client.zadd(app.keys.app.queues, {f"q{number}": 1 for number in range(60)})
    work.execute()
    result = run("status")
    assert "mail" in result.output
    assert "q59" not in result.output
    assert "and 60 empty queues (--all shows them)" in result.output
    assert "q59" in run("status", "--all").output
    assert "q59" in run("status", "q59").output


def test_json_has_stable_keys(app: App, run: Run, work: Task[..., Any]) -> None:
    task = work.execute([], key={})
    said = json.loads(run("status", "--json").output)
    assert set(said) == {"redis", "prefix", "queues", "workers", "parked"}
    counts = "name kind priority ready scheduled leased parked dead lost failed seen done retired oldest_age"
    assert set(said["queues"][0]) == set(counts.split())
    [message] = json.loads(run("page", "mail", "--json").output)["messages"]
    assert (message["id"], message["state"], message["args"], message["kwargs"]) == (
        task.taskid,
        "ready",
        [[]],
        {"key": {}},
    )
    assert json.loads(run("task", "show", task.taskid, "--json").output) == message


def test_pages_follow_one_another(app: App, run: Run, work: Task[..., Any]) -> None:
    ids = [work.execute(number, delay=60 + number).taskid for number in range(5)]
    first = json.loads(run("page", "mail", "--state", "scheduled", "--limit", "3", "--json").output)
    rest = json.loads(run("page", "mail", "--state", "scheduled", "--after", first["after"], "--json").output)
    assert [message["id"] for message in first["messages"] + rest["messages"]] == ids
    assert rest["after"] is None
    assert "More: --after" in run("page", "mail", "--state", "scheduled", "--limit", "3").output


def test_a_data_queue_is_paged_too(app: App, run: Run) -> None:
    app.Data("items").put_data([{"a": [1]}])
    assert '{"a": [1]}' in run("page", "items", "--data").output
    assert run("page", "items").exit_code == 1


def test_a_message_is_shown_with_its_error(app: App, run: Run, work: Task[..., Any]) -> None:
    task = work.execute("an argument")
    kill(app, "mail")
    output = run("task", "show", task.taskid).output
    for word in ("dead", "an argument", "ValueError", "Traceback ..."):
        assert word in output


def test_nothing_in_a_name_or_argument_steers_the_terminal(app: App, run: Run, work: Task[..., Any]) -> None:
    work.execute("\x1b[31m\u202e", _queue="[red]\x1b]0;x\x07")
    for command in (("status",), ("page", "[red]\x1b]0;x\x07")):
        output = run(*command).output
        assert "[red]\\x1b]0;x\\x07" in output
        assert "\x1b" not in output
        assert "\u202e" not in output
    assert shown("a\tb\ud800") == "a\\tb\\ud800"


# Changing.


def test_a_task_is_cancelled_once(app: App, run: Run, work: Task[..., Any]) -> None:
    task = work.execute()
    assert "is cancelled" in run("task", "cancel", task.taskid).output
    assert task.status == "cancelled"
    running = work.execute()
    lease(app, "mail")
    result = run("task", "cancel", running.taskid)
    assert (result.exit_code, "it is started" in result.output) == (1, True)
    said = run("task", "cancel", running.taskid, "--queue", "mail", "--json")
    told = {"id": running.taskid, "queue": "mail", "cancelled": False, "asked": False, "was": "started"}
    assert json.loads(said.stdout) == told
    assert said.exit_code == 1


def test_dead_messages_are_listed_redriven_and_purged(app: App, run: Run, work: Task[..., Any]) -> None:
    for queue in ("a", "b"):
        for _ in range(3):
            work.execute(_queue=queue)
    ids = kill(app, "a", 3) + kill(app, "b", 3)
    output = run("dead", "ls").output
    assert all(message_id in output for message_id in ids)
    assert "ValueError: no" in output
    assert len(json.loads(run("dead", "ls", "b", "--json").output)["messages"]) == 3
    assert "1 dead message put back." in run("dead", "redrive", ids[0]).output
    assert json.loads(run("dead", "redrive", "--queue", "b", "--json").output)["redriven"] == 3
    assert app.queue_sizes() == [("a", 1, 3), ("b", 3, 3)]
    assert "1 dead message deleted." in run("dead", "purge", ids[1], "--yes").output
    assert json.loads(run("dead", "purge", "--all", "--yes", "--json").output)["purged"] == 1
    assert app.read_deadletter() == []


@pytest.mark.parametrize("grave", ["lost", "failed"])
def test_lost_and_failed_messages_are_reached_too(app: App, run: Run, work: Task[..., Any], grave: str) -> None:
    task = work.execute()
    keys = app.task_keys("mail")
    app.broker.client.delete(keys.ready)
    app.broker.client.zadd(getattr(keys, grave), {task.taskid: 5})
    assert "none" in run("dead", "ls").output
    assert run("dead", "redrive", task.taskid).exit_code == 1
    assert task.taskid in run("dead", "ls", f"--{grave}").output
    assert f"1 {grave} message put back." in run("dead", "redrive", "--all", f"--{grave}").output
    assert task.status == "waiting"


def test_dead_items_of_data_queues_are_reached_too(app: App, run: Run) -> None:
    app.Data("DEADLETTER_QUEUE").put_data([1, 2])
    assert len(json.loads(run("dead", "ls", "--data", "--json").output)["messages"]) == 2
    assert run("dead", "purge", "--all", "--data", "--yes").output.startswith("2 dead messages deleted")


@pytest.mark.one_server("a deleted queue stays listed")
def test_clearing_tells_how_many_messages_went(app: App, run: Run, work: Task[..., Any]) -> None:
    for _ in range(3):
        work.execute()
    kill(app, "mail")
    assert "2 messages of queue 'mail' deleted." in run("clear", "mail", "--yes").output
    assert app.known_queues() == ["mail"]
    assert json.loads(run("clear", "mail", "--delete", "--yes", "--json").output) == {
        "queue": "mail",
        "kind": "tasks",
        "cleared": 0,
        "forgotten": True,
    }
    assert app.known_queues() == []


@pytest.mark.parametrize(
    "command", [("clear", "mail"), ("dead", "purge", "--all"), ("dead", "purge", "--queue", "mail")]
)
def test_what_destroys_asks_first(app: App, run: Run, work: Task[..., Any], command: tuple[str, ...]) -> None:
    work.execute()
    work.execute()
    kill(app, "mail")
    for answer in ("n\n", ""):
        result = run(*command, input=answer)
        assert (result.exit_code, "?" in result.output) == (1, True)
        assert (len(app.read_deadletter()), app.queue_sizes()) == (1, [("mail", 1, 2)])
    assert run(*command, input="y\n").exit_code == 0
    assert (len(app.read_deadletter()), app.queue_sizes()) != (1, [("mail", 1, 2)])


def test_priorities_are_shown_and_set(app: App, run: Run, work: Task[..., Any]) -> None:
    work.execute()
    assert run("priority", "mail").output == "mail: no priority\n"
    assert run("priority", "mail", "-1").output == "mail: priority -1\n"
    assert json.loads(run("priority", "mail", "--json").output) == {"queue": "mail", "priority": -1.0}
    assert run("priority", "mail", "none").exit_code == 0
    assert run("priority", "new", "3").output == "new: priority 3\n"
    assert app.known_queues() == ["new", "mail"]


# How it ends.


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("page", "mial"), "no task queue is named 'mial'"),
        (("clear", "mial", "--yes"), "no task queue is named 'mial'; did you mean 'mail'?"),
        (("status", "nobody"), "no queue is named 'nobody'"),
        (("priority", "nobody"), "no task queue is named 'nobody'"),
        (("priority", "mail", "nan"), "expected a number between"),
        (("task", "show", "nobody"), "no message 'nobody' in any queue"),
        (("task", "cancel", "nobody", "--queue", "mail"), "no message 'nobody' in queue 'mail'"),
        (("dead", "ls", "nobody"), "no task queue is named 'nobody'"),
        (("dead", "redrive", "nobody"), "not dead, or not known: nobody"),
        (("page", "mail", "--state", "dead", "--after", "x"), "after: expected what a page"),
        (("page", "DEADLETTER_QUEUE"), "rpqueue ls --state dead"),
        (("clear", "DEADLETTER_QUEUE", "--yes"), "rpqueue purge --state dead"),
        (("page", ""), "queue: expected 1 to 512 bytes"),
    ],
)
def test_what_is_not_there_or_refused_ends_with_1_and_one_line(
    run: Run, work: Task[..., Any], command: tuple[str, ...], said: str
) -> None:
    work.execute()
    result = run(*command)
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ("status", "--host", "a"),
        ("status", "--port", "0"),
        ("status", "--timeout", "-1"),
        ("page", "mail", "--state", "nowhere"),
        ("page", "mail", "--limit", "0"),
        ("priority", "mail", "high"),
        ("dead", "purge"),
        ("dead", "redrive", "--all", "--queue", "mail"),
        ("worker",),
        ("worker", "--module", "x", "--threads", "0"),
        ("nothing",),
    ],
)
def test_a_wrong_usage_ends_with_2(run: Run, command: tuple[str, ...]) -> None:
    assert run(*command).exit_code == 2


def call(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "RPQUEUE_URL"}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        env={**environment, **options.pop("env", {})},
        **options,
    )


def test_a_redis_that_is_not_there_ends_with_3_and_no_traceback() -> None:
    ended = call("rpqueue", "--host", "127.0.0.1", "--port", "1", "status")
    assert ended.returncode == 3
    assert ended.stderr.startswith("rpqueue: Redis at 127.0.0.1:1/0: not reached")
    assert ended.stderr.count("\n") == 1


def test_the_address_comes_from_the_environment_unless_it_is_said(server: Server, redis_client: redis.Redis) -> None:
    here, nowhere = {"RPQUEUE_URL": server.url}, {"RPQUEUE_URL": "redis://127.0.0.1:1"}
    assert call("rpqueue", "status", env=here).returncode == 0
    assert call("rpqueue", "status", env=nowhere).returncode == 3
    assert call("rpqueue", "--host", server.host, "--port", str(server.port), "status", env=nowhere).returncode == 0
    assert call("rpqueue", "status", "--unixpath", server.unix_path, env=nowhere).returncode == 0
    assert call("rpqueue", "--url", nowhere["RPQUEUE_URL"], "status", "--url", server.url, env=nowhere).returncode == 0


@pytest.mark.timeout(240)  # nine programs, one after the other, on a machine that may be busy
def test_passwords_are_never_printed(start_server: Callable[..., Server]) -> None:
    server = start_server()
    server.client().config_set("requirepass", "right-secret")
    place = ["--host", server.host, "--port", str(server.port)]
    for said, code in (("right-secret", 0), ("wrong-secret", 3)):
        url = f"redis://:{said}@{server.host}:{server.port}"
        for ended in (
            call("rpqueue", "status", *place, "--password", said),
            call("rpqueue", "status", "--url", url),
            call("rpqueue", "status", "--json", env={"RPQUEUE_URL": url}),
            call("rpqueue", "status", "--password", said, env={"RPQUEUE_URL": server.root_url}),
        ):
            assert ended.returncode == code, ended.stderr
            assert "secret" not in ended.stdout + ended.stderr
    assert call("rpqueue", "status", *place).returncode == 3


def test_a_password_is_asked_for(start_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    server = start_server()
    server.client().config_set("requirepass", "secret")
    monkeypatch.setattr(rpqueue, "app", App(prefix="test"))
    place = ["--host", server.host, "--port", str(server.port)]
    result = CliRunner().invoke(main, ["status", "--pwprompt", *place], input="secret\n")
    assert result.exit_code == 0, result.output
    assert "Redis password:" in result.stderr
    assert "secret" not in result.output


# Tables.


def in_a_terminal(*arguments: str, without_rich: bool = False) -> str:
    """What a command prints on a terminal of its own."""
    ours, theirs = pty.openpty()
    code = "import sys; sys.modules['rich'] = None;" if without_rich else ""
    code += f"from rpqueue.cli import main; main({list(arguments)!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "200", "TERM": "xterm"},
    )
    os.close(theirs)
    output = b""
    while True:
        try:
            read = os.read(ours, 65_536)
        except OSError:  # the other end is closed
            break
        if not read:
            break
        output += read
    assert process.wait(20) == 0
    os.close(ours)
    return output.decode()


def test_terminals_get_tables_by_rich_and_others_plain_columns(app: App, server: Server, work: Task[..., Any]) -> None:
    work.execute(_queue="[red]\x1b]0;x\x07")
    place = ["status", "--url", server.url, "--prefix", "test"]
    pretty = in_a_terminal(*place)
    assert "\x1b[" in pretty  # it has styles
    assert "[red]\\x1b]0;x\\x07" in pretty
    assert "\x1b]0" not in pretty
    plain = in_a_terminal(*place, without_rich=True)
    assert "pip install 'rpqueue[cli]'" in plain
    assert "[red]\\x1b]0;x\\x07" in plain
    assert "\x1b" not in plain


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "-"),
        (0.35, "350 ms"),
        (4.25, "4.2 s"),
        (59, "59 s"),
        (720, "12 m"),
        (10_800, "3.0 h"),
        (36_000, "10 h"),
        (864_000, "10 d"),
    ],
)
def test_ages_are_short(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_a_shell_learns_to_complete(app: App, server: Server, work: Task[..., Any]) -> None:
    work.execute(_queue="accounts")
    assert "_RPQUEUE_COMPLETE=bash_complete" in call("rpqueue", "completion", "bash").stdout
    words = f"rpqueue --url {server.url} --prefix test clear acc"
    completed = subprocess.run(
        [sys.executable, "-c", "from rpqueue.cli import main; main(prog_name='rpqueue')"],
        env={**os.environ, "_RPQUEUE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "6"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert completed.stdout == "plain,accounts\n"


def test_every_command_takes_every_connection_option() -> None:
    def commands(group: Any) -> Iterator[Any]:
        for command in group.commands.values():
            yield from commands(command) if hasattr(command, "commands") else [command]

    assert set(connection.NAMES) <= {parameter.name for parameter in main.params}
    for command in commands(main):
        if command.name not in ("demo", "completion"):
            assert set(connection.NAMES) <= {parameter.name for parameter in command.params}, command.name


# The worker.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a module of tasks."""
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "broken.py").write_text(
        "import rpqueue\n\ndef oops():\n    raise ValueError('two\\nlines')\n\noops()\n"
    )
    (tmp_path / "needs.py").write_text("import not_installed\n")
    (tmp_path / "none.py").write_text("import rpqueue\n")
    (tmp_path / "grammar.py").write_text("def\n")
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a worker in the folder; it is ended with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        with (folder / "log").open("w") as log:
            processes.append(
                subprocess.Popen([sys.executable, "-m", *arguments], cwd=folder, stdout=log, stderr=log, text=True)
            )
        return processes[-1]

    yield start
    for process in processes:
        process.terminate()  # a supervisor that is killed leaves its workers to the next test for a moment
        process.wait(20)


@pytest.mark.parametrize("command", [("rpqueue.run",), ("rpqueue", "worker")])
def test_a_worker_runs_the_tasks_of_a_module_in_the_current_directory(
    app: App, server: Server, folder: Path, start: Callable[..., subprocess.Popen[str]], command: tuple[str, ...]
) -> None:
    place = ["--host", server.host, "--port", str(server.port), "--db", "0", "--prefix", "test", "--timeout", "10"]
    process = start(
        *command, "--module=tasks", *place, "--threads=2", "--processes=1", "--wait=2", "--successlevel=info"
    )
    wait_until(lambda: app.told_tasks().keys() >= {"tasks.double", "tasks.where"}, timeout=20)
    assert app.call_task("tasks.double", None, 21).get(15) == 42
    assert app.call_task("tasks.where", None).get(15) == str(folder)
    said = json.loads(call("rpqueue", "status", "--json", "--url", server.url, "--prefix", "test").stdout)
    [worker] = said["workers"]
    assert (worker["threads"], worker["queues"], worker["is_alive"]) == (2, None, True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    log = (folder / "log").read_text()
    assert "task=tasks.double" in log  # at --successlevel, which --loglevel shows
    assert "Traceback" not in log


def test_a_worker_writes_json_when_it_is_asked_to(
    app: App, server: Server, folder: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    own = "import logging\n@rpqueue.task\ndef speak():\n    logging.getLogger('own').warning('größe')\n"
    (folder / "tasks.py").write_text(TASKS + own)
    process = start("rpqueue", "worker", "--module=tasks", "--log-format=json", "--url", server.url, "--prefix=test")
    wait_until(lambda: "tasks.speak" in app.told_tasks(), timeout=20)
    call = app.call_task("tasks.speak")
    wait_until(lambda: call.status == "done", timeout=20)
    process.terminate()
    assert process.wait(20) == 0
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    [line] = [line for line in lines if line["logger"] == "own"]
    assert (line["message"], line["task"], line["task_id"]) == ("größe", "tasks.speak", call.taskid)
    assert "worker process started" in [line["message"] for line in lines]


@pytest.mark.parametrize("speaker", ["the command line", "the module", "the environment"])
def test_the_command_line_wins_over_the_module_and_the_module_over_the_environment(
    app: App,
    server: Server,
    folder: Path,
    start: Callable[..., subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
    speaker: str,
) -> None:
    said = {"the command line": ("other", 1), "the module": ("test", server.port), "the environment": None}[speaker]
    if said:
        setup = f"rpqueue.set_key_prefix({said[0]!r})\nrpqueue.set_redis_connection_settings('127.0.0.1', {said[1]})\n"
        (folder / "tasks.py").write_text(TASKS + setup)
    monkeypatch.setenv("RPQUEUE_URL", server.url if speaker == "the environment" else "redis://127.0.0.1:1")
    place = ["--url", server.url] if speaker == "the command line" else []
    start("rpqueue.run", "--module=tasks", *place, *([] if speaker == "the module" else ["--prefix", "test"]))
    wait_until(lambda: "tasks.double" in app.told_tasks(), timeout=20)
    assert app.call_task("tasks.double", None, 1).get(15) == 2


def test_a_worker_leaves_other_queues_than_those_named(
    app: App, server: Server, start: Callable[..., subprocess.Popen[str]]
) -> None:
    start("rpqueue.run", "--module=tasks", "--url", server.url, "--prefix", "test", "other", "more")
    wait_until(lambda: "tasks.double" in app.told_tasks(), timeout=20)
    left = app.call_task("tasks.double", None, 1)
    assert app.call_task("tasks.where", None).get(15)
    assert left.status == "waiting"


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("nowhere", "module 'nowhere' was not found in the current directory"),
        ("tasks.nowhere", "module 'tasks.nowhere' was not found"),
        ("tasks.py", "did you mean 'tasks'?"),
        ("./tasks.py", "did you mean 'tasks'?"),
        ("broken", "module 'broken' cannot be imported: ValueError: two lines"),
        ("needs", "module 'needs' cannot be imported: ModuleNotFoundError: No module named 'not_installed'"),
        ("grammar", "module 'grammar' cannot be imported: SyntaxError"),
        ("none", "module 'none' declares no tasks"),
    ],
)
def test_a_module_that_cannot_be_used_ends_the_worker_with_1(
    server: Server, folder: Path, module: str, said: str
) -> None:
    ended = call("rpqueue.run", f"--module={module}", "--url", server.url, cwd=folder)
    assert ended.returncode == 1
    assert said in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert ("broken.py" in ended.stderr) == (module == "broken")


def test_a_worker_with_the_wrong_password_ends(start_server: Callable[..., Server], folder: Path) -> None:
    server = start_server()
    server.client().config_set("requirepass", "secret")
    ended = call("rpqueue.run", "--module=tasks", "--url", f"redis://:hidden@{server.host}:{server.port}", cwd=folder)
    assert (ended.returncode, ended.stderr.startswith("rpqueue: Redis at")) == (3, True)
    assert "hidden" not in ended.stderr


def test_a_worker_waits_for_a_redis_that_is_not_there_yet(
    start_server: Callable[..., Server], folder: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    server = start_server()
    server.stop()
    process = start("rpqueue.run", "--module=tasks", "--url", f"redis://any:hidden@{server.host}:{server.port}")
    wait_until(lambda: "trying again until it answers" in (folder / "log").read_text(), timeout=20)
    process.kill()
    process.wait()
    assert "hidden" not in (folder / "log").read_text()
    process = start("rpqueue.run", "--module=tasks", "--url", server.url)
    wait_until(lambda: "trying again until it answers" in (folder / "log").read_text(), timeout=20)
    server.start()
    app = App(server.url)
    wait_until(lambda: "tasks.double" in app.told_tasks(), timeout=20)
    assert app.call_task("tasks.double", None, 4).get(15) == 8
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    app.broker.close()


def test_a_burst_of_some_modules_and_some_queues(app: App, server: Server, folder: Path) -> None:
    (folder / "more.py").write_text(
        "import rpqueue\n@rpqueue.task(queue='more')\ndef boom():\n    raise ValueError('oops')\n"
    )
    place = ["-p", str(server.port), "-n", "0", "--host", server.host, "--prefix", "test"]
    double, boom = app.task(name="tasks.double")(lambda x: x), app.task(name="more.boom", queue="more")(lambda: None)
    calls = [double.execute(number, _queue=f"q{number}") for number in range(4)]
    options = [
        "-m",
        "tasks, more",
        "-q",
        "q0,q1",
        "--queues=more",
        "--no-store-tracebacks",
        "--executor=threads",
        "--burst",
    ]
    ended = call("rpqueue.run", *options, *place, "q2", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    assert [one.status for one in calls] == ["done", "done", "done", "waiting"]
    failed = boom.execute()
    assert call("rpqueue.run", *options, *place, cwd=folder).returncode == 0
    found = Inspection(app).message(failed.taskid)
    assert found is not None
    assert found.error is not None
    assert (found.error["message"], found.error["traceback"]) == ("oops", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-tasks=0"], "--max-tasks"),
        (["--max-age=5x"], "expected a number greater than 0 such as 90, 90s, 15m, 2h, 1d or 12w, got '5x'"),
        (["--max-age=0"], "got '0'"),
        (["--max-memory=much"], "expected a number greater than 0 such as 500M, 2G or 1048576, got 'much'"),
        (["--exit-after=-5"], "got '-5'"),
        (["--pool=thread"], "thread"),
        (["--pool=sync", "--threads=2"], "expected 1 thread"),
    ],
)
def test_options_of_a_worker_that_make_no_sense_are_refused(
    server: Server, folder: Path, options: list[str], said: str
) -> None:
    ended = call("rpqueue.run", "--module=tasks", "--url", server.url, *options, cwd=folder)
    assert ended.returncode in (1, 2)
    assert said in " ".join(ended.stderr.split())


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5", 1.5), ("90s", 90), ("15m", 900), ("2 h", 7200), ("1D", 86_400)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("1048576", 2**20), ("500M", 500 * 2**20), ("2g", 2**31), ("1.5KiB", 1536), ("3mb", 3 * 2**20)]
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert SIZE.convert(text, None, None) == size


@pytest.mark.parametrize("kind", [DURATION, SIZE])
@pytest.mark.parametrize("text", ["", "0", "-1", "m", "1e3", "5y", "1 2", "nan", "0.0h", "5iB"])
def test_amounts_that_are_none_are_refused(kind: Amount, text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected a number greater than 0"):
        kind.convert(text, None, None)


def test_the_help_of_the_worker_is_short_and_has_headings() -> None:
    text = CliRunner().invoke(worker_command, ["--help"], terminal_width=80).output
    assert len(text.splitlines()) < 80
    headings = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Tasks:", "Processes:", "Ending:", "Showing:", "Redis:", "Options:"]


@pytest.mark.parametrize("option", ["--loglevel", "--successlevel"])
def test_a_level_that_is_none_is_refused(server: Server, folder: Path, option: str) -> None:
    ended = call("rpqueue.run", "--module=tasks", option, "loud", "--url", server.url, cwd=folder)
    assert (ended.returncode, "expected one of DEBUG, INFO" in ended.stderr) == (1, True)


def test_run_is_the_worker_command() -> None:
    from rpqueue import run as module

    assert module.worker is worker_command is main.commands["worker"]
    names = {option for parameter in worker_command.params for option in parameter.opts}
    published = (
        "host port db password pwprompt unixpath timeout prefix module threads processes wait loglevel successlevel"
    )
    assert {f"--{name}" for name in published.split()} | {"--url"} <= names


def test_demo_gets_all_its_arguments_and_its_code_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    demo, given = ModuleType("rpqueue.demo"), []
    demo.main = lambda arguments: given.append(arguments) or 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rpqueue.demo", demo)
    monkeypatch.setattr(rpqueue, "demo", demo, raising=False)
    assert CliRunner().invoke(main, ["demo", "--kill", "-x", "3", "--help"]).exit_code == 7
    assert given == [["--kill", "-x", "3", "--help"]]
