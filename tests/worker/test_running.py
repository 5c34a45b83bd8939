"""What a worker does with tasks that do nothing out of the ordinary."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.servers import Server, wait_until
from tests.worker.harness import SOON, Bench


def test_a_task_runs_once_and_its_result_is_got(bench: Bench) -> None:
    echo = bench.task("echo", save_results=60)
    note = bench.task("note")
    bench.start()
    assert echo.execute({"a": [1, 2.5, None, "ü"]}).get(SOON) == {"a": [1, 2.5, None, "ü"]}
    call = note.execute("once")
    assert call.get(SOON) is None
    bench.until_empty()
    assert bench.labels() == ["once"]
    assert call.status == "done"
    assert bench.stats() == {"seen": 2, "claimed": 2, "done": 2}


def test_every_process_and_every_thread_takes_its_share(bench: Bench) -> None:
    hold = bench.task("hold")
    worker = bench.start(processes=2, threads=2)
    for label in "abcd":
        hold.execute(label)
    notes = bench.until_noted("start", number=4)
    assert {entry["pid"] for entry in notes} == set(worker.children(2))
    assert len({(entry["pid"], entry["thread"]) for entry in notes}) == 4
    for label in "abcd":
        bench.go(label)
    bench.until_empty()


def test_coroutine_tasks_run_many_at_a_time_and_take_no_thread(bench: Bench) -> None:
    hold_async, note = bench.task("hold_async", save_results=60), bench.task("note")
    bench.start()
    calls = [hold_async.execute(str(number)) for number in range(20)]
    notes = bench.until_noted("start", number=20)
    assert len({entry["loop"] for entry in notes}) == 1
    note.execute("beside them")
    bench.until_noted("ran")
    assert not bench.notes("end")
    for number in range(20):
        bench.go(str(number))
    assert [call.get(SOON) for call in calls] == [str(number) for number in range(20)]


def test_coroutine_tasks_beyond_the_slots_wait_in_the_queue(bench: Bench) -> None:
    hold_async = bench.task("hold_async")
    bench.start(async_slots=3)
    for number in range(10):
        hold_async.execute(str(number))
    bench.until_noted("start", number=3)
    wait_until(lambda: len(bench.ids("ready")) == 7, SOON, "the others are given back")
    assert len(bench.ids("leased")) == 3
    for number in range(10):
        bench.go(str(number))
    bench.until_noted("end", number=10)
    assert bench.labels("start") == [str(number) for number in range(10)]


def test_the_run_in_progress_is_known_to_plain_and_to_coroutine_tasks(bench: Bench) -> None:
    plain = bench.task("current", save_results=60, vis_timeout=30, attempts=4)
    coroutine = bench.task("current_async", save_results=60)
    bench.start()
    one, other = plain.execute(taskid="mine"), coroutine.execute()
    said = one.get(SOON)
    assert said["token"] > 0
    assert said == {**said, "taskid": "mine", "name": "current", "queue": "default", "attempt": 1, "attempts_left": 4}
    assert other.get(SOON) == {
        **other.get(),
        "taskid": other.taskid,
        "name": "current_async",
        "attempt": 1,
        "attempts_left": 1,
    }


def test_named_queues_only_run_these(bench: Bench) -> None:
    note = bench.task("note")
    bench.start(queues=["mine", "ours"])
    for queue in ("others", "mine", "ours"):
        note.execute(queue, _queue=queue)
    bench.until_noted("ran", number=2)
    note.execute("later", _queue="ours")
    bench.until_noted("ran", "later")
    assert set(bench.labels()) == {"mine", "ours", "later"}
    assert len(bench.ids("ready", "others")) == 1


def test_two_prefixes_never_see_each_other(
    server: Server, redis_client: redis.Redis, make_bench: Callable[..., Bench]
) -> None:
    one, other = make_bench(server, "test"), make_bench(server, "test2")
    note, same = one.task("note"), other.task("note")
    one.start()
    same.execute("other")
    note.execute("one")
    one.until_noted("ran", "one")
    note.execute("again")
    one.until_noted("ran", "again")
    assert one.labels() == ["one", "again"]
    assert len(other.ids("ready")) == 1
    assert one.app.known_queues() == ["default"]
    other.start()
    other.until_noted("ran", "other")


def test_after_fork_is_called_in_every_worker_process(bench: Bench) -> None:
    worker = bench.start(processes=2, after_fork=True)
    notes = bench.until_noted("forked", number=2)
    assert {entry["pid"] for entry in notes} == set(worker.children(2))


def test_success_log_level_says_how_loudly_a_finished_task_is_logged(bench: Bench) -> None:
    echo = bench.task("echo", save_results=60)
    quiet = bench.start()
    echo.execute().get(SOON)
    quiet.stop()
    assert "task finished" not in quiet.log
    loud = bench.start(success_log_level="warning")
    echo.execute().get(SOON)
    loud.stop()
    assert "WARNING rpqueue.task task finished" in loud.log


def test_a_worker_without_supervisor_runs_tasks_and_is_listed(bench: Bench) -> None:
    echo = bench.task("echo", save_results=60)
    worker = bench.start(alone=True, threads=2)
    assert echo.execute(7).get(SOON) == 7
    wait_until(lambda: worker.announced() == [worker.pid], SOON, "it told of itself")
    assert worker.stop() == 0
    assert worker.announced() == []


@pytest.mark.parametrize("alone", [False, True])
def test_it_may_run_in_a_thread_that_is_not_the_main_one(bench: Bench, alone: bool) -> None:
    echo, quit_soon = bench.task("echo", save_results=60), bench.task("quit_soon")
    worker = bench.start(alone=alone, in_thread=True)
    assert echo.execute(7).get(SOON) == 7
    if not alone:
        os.kill(worker.child(), signal.SIGKILL)
        assert echo.execute(8).get(SOON) == 8
    quit_soon.execute()
    assert worker.code() == 0


def test_what_a_task_prints_is_not_lost_at_the_end(tmp_path: Path, bench: Bench) -> None:
    (tmp_path / "printing.py").write_text(
        "import rpqueue, os\n"
        "print('imported')\n"
        "rpqueue.set_key_prefix('test')\n"
        "@rpqueue.task(save_results=60)\n"
        "def say():\n"
        "    print('said')\n"
    )
    call = bench.app.call_task("printing.say", _verify_call=False)
    said = run_until_done(tmp_path, bench, "import rpqueue; rpqueue.execute_tasks(module='printing')", call)
    assert said.splitlines() == ["imported", "said"]


def test_tasks_of_a_module_run_under_its_own_name_and_as_main(tmp_path: Path, bench: Bench) -> None:
    (tmp_path / "both.py").write_text(
        "import rpqueue\n"
        "rpqueue.set_key_prefix('test')\n"
        "@rpqueue.task(save_results=60)\n"
        "def plain(x):\n"
        "    return x + 1\n"
        "@rpqueue.task(save_results=60)\n"
        "async def coroutine(x):\n"
        "    return x + 2\n"
        "if __name__ == '__main__':\n"
        "    print(plain.execute(1).get(20), coroutine.execute(1).get(20))\n"
    )
    environment = {**os.environ, "RPQUEUE_URL": bench.server.url}
    code = "import rpqueue; rpqueue.execute_tasks(module='both')"
    with started(tmp_path, environment, "-c", code):
        said = subprocess.run(
            [sys.executable, "both.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert said.stdout == "2 3\n"
        assert bench.app.call_task("both.plain", None, 4).get(SOON) == 5
        assert bench.app.call_task("both.coroutine", None, 4).get(SOON) == 6


class started:
    """A Python process for the length of a block."""

    def __init__(self, directory: Path, environment: dict[str, str], *words: str) -> None:
        self._start = lambda: subprocess.Popen(
            [sys.executable, *words], cwd=directory, env=environment, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> subprocess.Popen[str]:
        self._process = self._start()
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=SOON)


def run_until_done(directory: Path, bench: Bench, code: str, call: object) -> str:
    """What a Python process said that ran a worker until one call was done."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=directory,
        env={**os.environ, "RPQUEUE_URL": bench.server.url, "PYTHONUNBUFFERED": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        call.get(SOON)
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=SOON)
    return said
