"""Two versions of the library on one Redis: the older one leaves to the newer one what it cannot read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rpqueue.messages import VERSION
from rpqueue.protocol import scripts
from tests.servers import wait_until
from tests.worker.harness import SOON, TREE, Bench

NEWER = VERSION + 1
LUA = f"string.format('{VERSION} %.0f'"


def test_scripts_write_the_version_that_is_declared() -> None:
    written = [found for name in scripts.names() for found in re.findall(r"format\('(\d+) %\.0f'", _own_text(name))]
    assert set(written) == {str(VERSION)}


def _own_text(name: str) -> str:
    return (TREE / "rpqueue" / "protocol" / "lua" / f"{name}.lua").read_text()


@pytest.fixture(scope="module")
def newer_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests, and a package whose messages have another version, and one more word in their headers."""
    tree = tmp_path_factory.mktemp("newer")
    package = tree / "rpqueue"
    shutil.copytree(TREE / "rpqueue", package, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "tests").symlink_to(TREE / "tests")
    messages = package / "messages.py"
    text = messages.read_text()
    for old, new in (
        (f"\nVERSION = {VERSION}\n", f"\nVERSION = {NEWER}\n"),
        ('return ""\n    return f" {round(lease * 1000)}', 'pass\n    return f" {round(lease * 1000)}'),
        ('{attempts} {int(flags)}"', '{attempts} {int(flags)} word"'),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    messages.write_text(text)
    for script in (package / "protocol" / "lua").glob("*.lua"):
        script.write_text(script.read_text().replace(LUA, f"string.format('{NEWER} %.0f'"))
    return tree


def in_newer(tree: Path, bench: Bench, code: str) -> str:
    """Run some lines with the newer version; `app` is its App. Returns what they print."""
    begin = f"from rpqueue import App\napp = App({bench.server.url!r}, {bench.prefix!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + code], cwd=tree, env=os.environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ENQUEUE = """
task = app.task(name="note", {options})(print)
for number in range({count}):
    task.execute(number)
"""


@pytest.mark.parametrize("options", ["", "vis_timeout=60, attempts=1, use_dead=True"], ids=["0/1", "1+"])
def test_an_older_worker_parks_newer_messages_and_a_newer_one_runs_them(
    bench: Bench, newer_tree: Path, options: str
) -> None:
    note = bench.task("note")
    older = bench.start()
    in_newer(newer_tree, bench, ENQUEUE.format(options=options, count=20))
    keys = bench.app.task_keys("default")
    message = bench.client.hvals(keys.messages)[0]
    assert re.fullmatch(rb"%d \d{13} \d+ 1 \d+ word\|\[.*" % NEWER, message)
    wait_until(lambda: bench.client.hlen(keys.parked) == 20, SOON, "all are parked")
    assert set(bench.client.hvals(keys.parked)) == {b"version %d" % NEWER}
    assert {counts.split()[1] for counts in bench.client.hvals(keys.counts)} == {b"0"}
    assert not bench.ids("dead")
    assert bench.labels() == []
    # The older one does not take them up again by itself.
    claimed = bench.stats()["claimed"]
    note.execute("own")
    bench.until_noted("ran", "own")
    assert bench.stats()["claimed"] - claimed < 5
    # The newer one runs them, and messages of the older version, beside the older worker.
    bench.start(tree=newer_tree, processes=1, ready=False)
    bench.until_noted("ran", number=21, timeout=60)
    older.stop()
    for number in range(3):
        note.execute(f"old {number}")
    bench.until_noted("ran", "old 2")
    bench.until_empty()
    assert sorted(map(str, bench.labels())) == sorted(["own", *(f"old {n}" for n in range(3)), *map(str, range(20))])
    assert not bench.client.hlen(keys.parked)
    assert not bench.ids("dead")


def test_a_newer_message_whose_worker_died_is_reaped_rightly_by_an_older_one(
    quick_bench: Bench, newer_tree: Path
) -> None:
    """The five words of a header mean the same in every version, so scripts of either can move the message."""
    bench = quick_bench
    bench.task("hold", vis_timeout=30, attempts=2)
    newer = bench.start(tree=newer_tree, ready=False, threads=2)
    in_newer(
        newer_tree,
        bench,
        'app.task(name="hold", vis_timeout=30, attempts=2)(print).execute("x")\n'
        'app.task(name="hold")(print).execute("y", _queue="once")',
    )
    bench.until_noted("start", "x")
    newer.kill()
    bench.start()
    bench.until_empty()
    keys = bench.app.task_keys("default")
    wait_until(lambda: bench.client.hlen(keys.parked) == 1, SOON, "parked")
    [counts] = bench.client.hvals(keys.counts)
    assert counts.split()[1] == b"1"  # the lease that ran out, and no more


def test_items_of_a_newer_version_wait_for_a_newer_consumer(bench: Bench, newer_tree: Path) -> None:
    in_newer(newer_tree, bench, 'app.Data("d", vis_timeout=60, attempts=1, use_dead=True).put_data([1, 2])')
    older = bench.app.Data("d", vis_timeout=60)
    assert older.get_data(5) == {}
    assert older.get_data(5, get_timeout=0.2) == {}
    assert bench.app.Data("d").get_data(5, vis_timeout=0) == {}
    assert older.currently_available()[1] == 2
    got = in_newer(newer_tree, bench, 'print(list(app.Data("d", vis_timeout=60).get_data(5, get_timeout=20).values()))')
    assert got in ("[1, 2]", "[1]", "[2]")
    assert bench.app.Data("d", is_dead=True).get_data(5) == {}
    bench.app.Data("d").delete_all()
