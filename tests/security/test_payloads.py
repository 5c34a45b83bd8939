"""Only JSON, only up to a size, and nothing that a message names is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rpqueue import App, messages
from rpqueue.inspection import Inspection
from rpqueue.protocol import moves
from tests.servers import wait_until

#: Importable functions that say in a file that they were called.
TRAP = """
import pathlib
pathlib.Path({mark!r}).write_text("imported")

def spring(*args, **kwargs):
    pathlib.Path({mark!r}).write_text("called")
"""
PACKAGE = Path(messages.__file__).parent


def inject(app: App, taskid: str, body: bytes) -> None:
    """Put a message as it is: what somebody may who can write to Redis."""
    app.broker.execute(moves.enqueue(app.task_keys("default"), app.index, [(taskid, body)]))


def test_a_message_that_names_an_importable_function_runs_nothing(
    app: App, start_worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "trap_for_workers.py").write_text(TRAP.format(mark=str(mark)))
    monkeypatch.syspath_prepend(tmp_path)
    fine = app.task(name="fine", save_results=30)(lambda: "fine")
    names = [
        "trap_for_workers.spring",
        "trap_for_workers",
        "os.system",
        "builtins.eval",
        "rpqueue.tasks.Task",
        "fine.__call__",
    ]
    for name in names:
        inject(app, name, messages.encode_task(name, ["touch " + str(mark)], {}, 0))
    call = fine.execute()
    start_worker()
    assert call.get(timeout=20) == "fine"
    wait_until(lambda: sum(Inspection(app).parked_names().values()) == len(names))
    assert sorted(Inspection(app).parked_names()) == sorted(names)
    assert not mark.exists()
    assert "trap_for_workers" not in sys.modules


def test_a_registered_task_gets_its_arguments_as_data(app: App, start_worker: Any) -> None:
    got: list[Any] = []
    app.task(name="take")(lambda *args: got.append(args))
    odd = {"__class__": "os.system", "py/object": "os.system", "__reduce__": ["os.system", ["true"]]}
    inject(app, "odd", messages.encode_task("take", [odd], {}, 0))
    start_worker()
    wait_until(lambda: got)
    assert got == [(odd,)]


#: What goes over a pair of sockets between a worker and the children that it has forked never was in Redis.
AMONG_OUR_OWN = PACKAGE / "worker" / "children"


@pytest.mark.parametrize("module", ["pickle", "marshal", "shelve", "yaml", "dill", "cloudpickle"])
def test_the_package_imports_nothing_that_decodes_into_code(module: str) -> None:
    for file in PACKAGE.rglob("*.py"):
        if file.parent == AMONG_OUR_OWN and module == "pickle":
            continue
        text = file.read_text()
        assert f"import {module}" not in text, file
        assert f"from {module}" not in text, file


def test_a_worker_has_not_even_loaded_pickle() -> None:
    code = "import sys, rpqueue, rpqueue.worker, rpqueue.aio; sys.exit('pickle' in set(sys.modules) - set(before))"
    # What the interpreter and the standard library load by themselves is their own.
    script = f"import sys, logging, json, asyncio, multiprocessing; before = list(sys.modules); {code}"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")])),
    }
    assert subprocess.run([sys.executable, "-c", script], env=environment, timeout=50).returncode == 0


@pytest.mark.parametrize("is_signed", [False, True])
def test_what_is_too_large_is_not_decoded(
    app: App, start_worker: Any, monkeypatch: pytest.MonkeyPatch, is_signed: bool
) -> None:
    ran: list[Any] = []
    if is_signed:
        app.settings.signing_keys = {"k": "0123456789abcdef"}
    job = app.task(name="job")(ran.append)
    items = app.Data("items", vis_timeout=30)
    big = job.execute("x" * 2000 + "MaRkEd")
    [item] = items.put_data(["x" * 2000 + "MaRkEd"])
    small = [job.execute("s" * 900) for _ in range(3)]
    app.settings.max_message_bytes = 1000
    seen: list[str] = []
    real = messages._DECODER.decode
    monkeypatch.setattr(messages._DECODER, "decode", lambda text: (seen.append(text), real(text))[1])
    start_worker()
    wait_until(lambda: big.status == "dead")
    wait_until(lambda: len(ran) == len(small))
    assert items.get_data() == {}
    assert not [text for text in seen if "MaRkEd" in text]
    monkeypatch.undo()
    [view] = Inspection(app).buried()
    assert "expected at most 1000 bytes (MAX_MESSAGE_BYTES)" in (view.error or {})["message"]
    [view] = Inspection(app).buried(is_data=True)
    assert view.id == item
    assert b"MaRkEd" in (app.broker.client.hget(big.keys.messages, big.taskid) or b"")
