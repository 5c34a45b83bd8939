"""Passwords and secrets appear in no log, error, repr or list of processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from rpqueue import App, aio
from rpqueue.addresses import Endpoint
from rpqueue.connections import command_client
from rpqueue.errors import RefusedInput, RpqueueError
from tests.servers import Server, free_port, wait_until

#: Marks whatever must never be seen, also in halves, as careless parsing would cut it.
MARK = "MaRkEd"
PASSWORD = f"{MARK}-1-{MARK}-2"
#: Passwords that URLs can only carry encoded, and people write as they are.
ODD = [
    f"{MARK}/{MARK}",
    f"{MARK}@{MARK}",
    f"{MARK}?{MARK}",
    f"{MARK}#{MARK}",
    f"{MARK}:{MARK}",
    f"[{MARK}",
    f"{MARK} {MARK}%",
]
TASKS = """
import rpqueue

@rpqueue.task(save_results=60)
def double(number):
    return 2 * number

@rpqueue.task
def oops():
    raise ValueError("meant")
"""


@pytest.fixture(scope="module")
def locked(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with a password, for the module."""
    from tests.conftest import default_flavour

    server = Server(default_flavour(), password=PASSWORD)
    yield server
    server.close()


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """A list of texts that must not hold the mark; what is logged, at every level, comes on top."""
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    yield shown
    shown += [record.getMessage() + repr(vars(record)) for record in caplog.records]
    assert not [text for text in shown if MARK in text]


def whole(error: BaseException) -> str:
    """All that a traceback would print of an error, and of those behind it, with their reprs."""
    parts, one = ["".join(traceback.format_exception(error))], error
    while one is not None:
        parts += [repr(one), str(one), repr(one.args)]
        one = one.__cause__  # type: ignore[assignment]
    return "\n".join(parts)


def reprs(app: App) -> list[str]:
    client = app.get_connection()
    pool = getattr(client, "connection_pool", None)
    held = [app, app.broker, app.broker.endpoint, client, pool, app.broker.waiting, app.settings, app.aio]
    made = [] if pool is None else [pool.make_connection()]
    return [repr(one) for one in [*held, *made]]


def test_what_works_shows_no_password(locked: Server, quiet: list[str]) -> None:
    by_fields = App(prefix="test")
    by_fields.set_redis_connection_settings(locked.host, locked.port, password=PASSWORD, username="default")
    own = App(prefix="test")
    own.set_redis_connection(redis.Redis(host=locked.host, port=locked.port, password=PASSWORD))
    for app in (App(locked.url, prefix="test"), by_fields, own):
        job = app.task(name="job")(lambda: None)
        call = job.execute()
        asyncio.run(aio.of(app).queue_sizes())
        quiet += [repr(call), repr(job), app.broker.label]
        if app is not own:  # whose client's repr is its maker's
            quiet += reprs(app)
        app.broker.client.flushall()
        app.broker.close()


FAILING: list[Callable[[Server, str], App]] = [
    lambda server, password: App(f"redis://:{password}@{server.host}:{server.port}/0", prefix="test"),
    lambda server, password: App(f"redis://user:{password}@{server.host}:{server.port}/0", prefix="test"),
    lambda server, password: App(f"redis://:{password}@{server.host}:{free_port()}/0", prefix="test"),
    lambda server, password: App(f"rediss://:{password}@{server.host}:{free_port()}/0", prefix="test"),
    lambda server, password: App(f"unix://:{password}@/nowhere.sock?db=0", prefix="test"),
    lambda server, password: App(f"redis://{server.host}:{server.port}/0?password={password}", prefix="test"),
    lambda server, password: App(f"redis+sentinel://:{password}@{server.host}:{free_port()}/service", prefix="test"),
    lambda server, password: App(f"redis+sentinel://:{password}@{server.host}:{free_port()}", prefix="test"),
    lambda server, password: App(
        f"redis+sentinel://{server.host}:{free_port()}/service?sentinel_password={password}", prefix="test"
    ),
    lambda server, password: App(f"redis+cluster://:{password}@{server.host}:{free_port()}", prefix="test"),
    lambda server, password: App(f"rdeis://:{password}@{server.host}:{server.port}", prefix="test"),
    lambda server, password: App(f"redis:user:{password}@{server.host}", prefix="test"),
    lambda server, password: App(f"{password}@{server.host}:{server.port}", prefix="test"),
]


@pytest.mark.parametrize("password", [f"{MARK}-wrong", *ODD])
@pytest.mark.parametrize("make", FAILING)
def test_what_fails_shows_no_password(
    locked: Server, quiet: list[str], make: Callable[[Server, str], App], password: str
) -> None:
    app = make(locked, password)
    app.settings.key_prefix = "test"
    quiet.append(repr(app) + repr(app.broker.endpoint) + repr(app.broker.label))
    app.broker.endpoint = patient_for_a_moment(app)
    for verb in (app.queue_sizes, lambda: asyncio.run(awaited(app)), lambda: app.Data("q").get_data(get_timeout=0.01)):
        with pytest.raises(RpqueueError) as failed:
            verb()
        quiet.append(whole(failed.value))
    app.broker.close()


def patient_for_a_moment(app: App) -> Any:
    from dataclasses import replace

    return replace(app.broker.endpoint, socket_timeout=0.2, resends=0)


async def awaited(app: App) -> None:
    await aio.of(app).queue_sizes()


@pytest.mark.parametrize("conn", [f"redis://:{PASSWORD}@localhost/0", f"redis://:{MARK}@{MARK}@localhost"])
def test_a_url_in_place_of_a_client_is_refused_without_showing_it(app: App, quiet: list[str], conn: Any) -> None:
    for verb in (app.set_redis_connection, app.SimpleLock):
        with pytest.raises(RpqueueError) as refused:
            verb(conn)  # type: ignore[operator]
        quiet.append(whole(refused.value))


# Programs: what they print, and what the list of processes shows.


def printed(environment: dict[str, str], folder: Path, *arguments: str, code: int | None = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rpqueue", *arguments],
        env={**os.environ, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
    )
    if code is not None:
        assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


def environment_of(server: Server) -> dict[str, str]:
    here = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    return {
        "RPQUEUE_URL": server.url,
        "RPQUEUE_SIGNING_KEYS": f"k:{MARK}-secret-of-a-signature",
        "PYTHONPATH": path,
    }


def test_a_worker_and_its_processes_show_no_password(locked: Server, folder: Path) -> None:
    log = folder / "log"
    environment = {**os.environ, **environment_of(locked)}
    words = ["worker", "--module=tasks", "--processes=2", "--loglevel=DEBUG"]
    app = App(locked.url, prefix="rpqueue")
    app.settings.signing_keys = {"k": f"{MARK}-secret-of-a-signature"}
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "rpqueue", *words], env=environment, cwd=folder, stdout=output, stderr=output
        )
    try:
        app.task(name="tasks.oops")(lambda: None).execute()
        double = app.task(name="tasks.double", save_results=60)(lambda number: None)
        assert double.execute(4).get(timeout=20) == 8
        wait_until(lambda: "meant" in log.read_text())
        family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
        assert len(family) >= 3
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                assert not [word for word in [*process.cmdline(), process.name()] if MARK in word]
    finally:
        worker.terminate()
        worker.wait(20)
        app.broker.client.flushall()
        app.broker.close()
    assert "meant" in log.read_text()
    assert MARK not in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["status"], 0),
        (["status", "--json"], 0),
        (["page", "default"], 1),
        (["task", "show", "nobody"], 1),
        (["dead", "ls"], 0),
        (["acl", "worker"], 0),
        (["status", "--url", f"redis://:{MARK}@localhost:1/0"], 3),
        (["status", "--url", f"redis://:{MARK}/{MARK}@localhost:1/0"], 1),
        (["status", "--url", f"redis+cluster://:{MARK}#{MARK}@localhost:1"], None),
        (["worker", "--module=tasks", "--url", f"redis://:{MARK}/{MARK}@localhost:1/0"], 1),
        (["worker", "--module=nowhere"], 1),
        (["nonsense"], 2),
    ],
)
def test_the_command_line_prints_no_password(
    locked: Server, folder: Path, arguments: list[str], code: int | None
) -> None:
    assert MARK not in printed(environment_of(locked), folder, *arguments, code=code)


def test_a_wrong_password_is_not_printed(locked: Server, folder: Path) -> None:
    wrong = {**environment_of(locked), "RPQUEUE_URL": f"redis://:{MARK}@{locked.host}:{locked.port}/0"}
    for arguments in (["status"], ["worker", "--module=tasks"], ["worker", "--module=tasks", "--loglevel=DEBUG"]):
        text = printed(wrong, folder, *arguments, code=3)
        assert "password is wrong" in text
        assert MARK not in text


def test_an_embedded_server_is_started_without_a_secret_in_its_arguments(tmp_path: Path) -> None:
    app = App(f"embedded:{tmp_path / 'data'}", prefix="test")
    app.settings.signing_keys = {"k": f"{MARK}-secret-of-a-signature"}
    app.Data("q").put_data([1])
    info: Any = app.broker.client.info("server")
    assert MARK not in " ".join(psutil.Process(info["process_id"]).cmdline())
    app.broker.close()


@pytest.mark.parametrize("sign", "/?#")
@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+sentinel", "redis+cluster"])
def test_a_password_that_cuts_a_url_short_is_not_taken_for_a_port(scheme: str, sign: str) -> None:
    app = App(f"{scheme}://user:1{sign}2345@localhost/0", prefix="test")
    with pytest.raises(RefusedInput, match=r"write %2F for / in a password") as refused:
        app.queue_sizes()
    assert "2345" not in whole(refused.value)


@pytest.mark.parametrize("library", ["redis", "redis.asyncio"])
@pytest.mark.parametrize(
    "endpoint", [Endpoint(url=f"redis://:{MARK}@host:1/0"), Endpoint(host="host", password=MARK, username="user")]
)
def test_the_repr_of_a_client_is_ours_and_not_that_of_some_redis_py(endpoint: Endpoint, library: Any) -> None:
    shown = repr(command_client(endpoint, library))
    assert "host=host" in shown
    assert MARK not in shown
    assert "password" not in shown
