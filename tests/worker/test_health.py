"""What workers say of themselves in a file, and to Redis."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rpqueue
from rpqueue import App
from rpqueue.cli import main
from rpqueue.errors import RefusedInput, SettingError
from rpqueue.health import judge
from tests.servers import wait_until
from tests.worker.harness import SOON, Bench


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "health.json")


def until_ready(path: str) -> dict[str, Any]:
    wait_until(lambda: judge(path, ready=True)[0] == "", SOON, "ready")
    return judge(path)[1]


def said(path: str) -> dict[str, Any]:
    try:
        return dict(json.loads(Path(path).read_text()))
    except FileNotFoundError:
        return {}


@pytest.mark.parametrize("alone", [False, True])
def test_a_worker_says_how_it_is_from_its_start_to_its_end(bench: Bench, path: str, alone: bool) -> None:
    hold = bench.task("hold")
    worker = bench.start(
        1, threads=2, alone=alone, queues=["mail", "default"], wait=60, also={"health_file": path}, ready=False
    )
    found = until_ready(path)
    assert (found["pid"], found["host"], found["version"]) == (worker.pid, socket.gethostname(), rpqueue.VERSION)
    assert (found["state"], found["alive"], found["wanted"]) == ("running", 1, 1)
    assert (found["pool"], found["threads"], found["queues"]) == ("threads", 2, ["mail", "default"])
    [process] = found["processes"]
    assert process["condition"] == "working"
    assert (process["pid"] == worker.pid) is alone
    assert found["redis"]["answers"] is True
    assert found["at"] - 30 < process["last_round_at"] <= found["at"]
    hold.execute("x")
    bench.until_noted("start")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: said(path).get("state") == "quiet", SOON, "quiet")
    assert judge(path)[0] == ""
    assert judge(path, ready=True)[0] == "the worker is quiet"
    bench.go("x")
    assert worker.code() == 0
    assert os.listdir(os.path.dirname(path)) == [bench.prefix]  # noqa: PTH120, PTH208


def test_dead_processes_and_their_successors_are_seen(bench: Bench, path: str) -> None:
    bench.start(processes=2, also={"health_file": path}, ready=False)
    before = {process["pid"] for process in until_ready(path)["processes"]}
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in {process["pid"] for process in said(path)["processes"]}, SOON, "it is gone")
    after = {process["pid"] for process in until_ready(path)["processes"]}
    assert len(after) == 2
    assert len(after & before) == 1


def test_a_worker_without_redis_is_well_and_not_ready(own_bench: Bench, path: str) -> None:
    own_bench.start(also={"health_file": path})
    until_ready(path)
    own_bench.server.kill()
    wait_until(lambda: judge(path, ready=True)[0] == "Redis does not answer", SOON, "it is noticed")
    assert judge(path)[0] == ""
    before = said(path)["monotonic"]
    wait_until(lambda: said(path)["monotonic"] > before, SOON, "it is written all the while")
    own_bench.server.start()
    until_ready(path)


def test_the_setting_names_the_file_too(bench: Bench, path: str) -> None:
    bench.start(health_file=path, ready=False)
    until_ready(path)


def test_a_process_that_is_replaced_is_leaving(bench: Bench, path: str) -> None:
    bench.task("hold").execute("x")
    bench.start(also={"health_file": path, "max_tasks": 1}, ready=False)
    [started] = bench.until_noted("start")
    wait_until(lambda: len(said(path).get("processes", ())) == 2, SOON, "two")
    conditions = {process["pid"]: process["condition"] for process in until_ready(path)["processes"]}
    assert conditions.pop(started["pid"]) == "leaving"
    assert list(conditions.values()) == ["working"]
    assert said(path)["alive"] == 1
    bench.go("x")


def test_a_file_that_cannot_be_written_ends_the_worker_at_once(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(RefusedInput, match="health_file: expected a file that can be written"):
        App(bench.url).execute_tasks(health_file=tmp_path / "nowhere" / "file")
    app = App(bench.url)
    app.settings.health_file = 5  # type: ignore[assignment]
    with pytest.raises(SettingError, match="HEALTH_FILE: expected the path of a file"):
        app.execute_task_threads()


def test_redis_tells_whether_a_worker_is_alive(bench: Bench) -> None:
    def health(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["health", *words, "--url", bench.url, "--prefix", bench.prefix])
        return result.exit_code, (result.stdout + result.stderr).strip()

    try:
        host = socket.gethostname()
        assert health() == (1, f"rpqueue: not healthy: Redis has not heard of any worker on {host} lately")
        worker = bench.start(queues=["mail"])
        pid = worker.child()
        assert health() == (0, "healthy: 1 worker process")
        assert health("--worker", f"{host}:{pid}")[0] == 0
        assert health("--worker", f"{host}:0")[0] == 1
        assert health("--queue", "mail")[0] == 0
        code, why = health("--queue", "sms", "--json")
        assert (code, json.loads(why)["healthy"]) == (1, False)
        code, told = health("--json")
        [view] = json.loads(told)["workers"]
        assert (code, view["pool"], view["queues"]) == (0, "threads", ["mail"])
    finally:
        rpqueue.app.broker.close()
        rpqueue.set_key_prefix("rpqueue")


def test_a_worker_in_a_thread_keeps_a_file_too(bench: Bench, path: str) -> None:
    app = App(bench.url, bench.prefix)
    thread = threading.Thread(target=app.execute_task_threads, kwargs={"health_file": path})
    thread.start()
    try:
        assert until_ready(path)["pid"] == os.getpid()
    finally:
        app.settings.should_quit[0] = 1
        thread.join(SOON)
    assert not Path(path).exists()
