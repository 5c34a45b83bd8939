"""TLS and mutual TLS, on a real server with certificates made for the test."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
import redis
import trustme

from rpqueue import App, aio
from rpqueue.addresses import Endpoint
from rpqueue.connections import command_client, waiting_client
from rpqueue.errors import RedisUnavailable, RefusedInput
from tests.servers import FLAVOURS, Server, free_port, program


class Paths(NamedTuple):
    """Where the certificates lie, for the server and for its clients."""

    ca: str
    other_ca: str
    server: str
    server_key: str
    elsewhere: str  #: of a server with another name
    elsewhere_key: str
    client: str
    client_key: str
    stranger: str  #: of a client, signed by the other authority
    stranger_key: str


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    folder = tmp_path_factory.mktemp("tls")
    authority, other = trustme.CA(), trustme.CA()

    def write(name: str, blobs: Any) -> str:
        path = folder / name
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        return str(path)

    certificates = {
        "server": authority.issue_cert("localhost", "127.0.0.1"),
        "elsewhere": authority.issue_cert("elsewhere.example"),
        "client": authority.issue_cert("client.example"),
        "stranger": other.issue_cert("stranger.example"),
    }
    written = {}
    for name, certificate in certificates.items():
        written[name] = write(f"{name}.pem", certificate.cert_chain_pems)
        written[f"{name}_key"] = write(f"{name}.key", [certificate.private_key_pem])
    return Paths(ca=write("ca.pem", [authority.cert_pem]), other_ca=write("other.pem", [other.cert_pem]), **written)


def speaks_tls() -> str | None:
    """A flavour whose server has TLS built in."""
    for flavour in FLAVOURS:
        found = program(flavour)
        if found is None:
            continue
        words = ["--port", "0", "--tls-port", str(free_port()), "--tls-cert-file", "/nowhere"]
        tried = subprocess.run([found, *words], capture_output=True, text=True, timeout=20, cwd="/tmp")
        if "Failed to configure TLS" in tried.stdout:
            return flavour
    return None


class Secure(NamedTuple):
    """A server that speaks TLS beside its plain port."""

    server: Server
    port: int

    def url(self, host: str = "localhost", **query: str) -> str:
        return f"rediss://{host}:{self.port}/0?{urlencode(query)}"


@pytest.fixture(scope="module")
def start_secure(paths: Paths) -> Iterator[Callable[..., Secure]]:
    flavour = speaks_tls()
    if flavour is None:
        pytest.skip("no server on this machine has TLS built in; Debian's redis-server has")
    servers: dict[tuple[str, str], Secure] = {}

    def start(certificate: str = "server", clients: str = "no") -> Secure:
        if (certificate, clients) not in servers:
            port = free_port()
            words = ["--tls-port", str(port), "--tls-auth-clients", clients, "--tls-ca-cert-file", paths.ca]
            words += ["--tls-cert-file", getattr(paths, certificate)]
            words += ["--tls-key-file", getattr(paths, f"{certificate}_key")]
            servers[certificate, clients] = Secure(Server(flavour, options=words), port)
        return servers[certificate, clients]

    yield start
    for secure in servers.values():
        secure.server.close()


def live(app: App) -> None:
    """Commands, lines, pipelines, waiting, subscriptions, and the same for coroutines."""
    client = app.broker.client
    client.flushall()
    job = app.task(name="job", save_results=30)(lambda value: value)
    items = app.Data("items", vis_timeout=30)

    async def awaited() -> list[Any]:
        verbs = aio.of(app)
        call = await verbs.execute(job, 3)
        async with verbs.pipeline():
            await verbs.execute(job, 4)
        later = asyncio.create_task(verbs.Data("items").get_data(get_timeout=10))
        await asyncio.sleep(0.05)
        await verbs.Data("items").put_data([2])
        return [await call.get(timeout=20), list((await later).values())]

    worker = threading.Thread(target=lambda: app.execute_task_threads(threads=2, wait_per_thread=5))
    worker.start()
    try:
        assert job.execute(1).get(timeout=20) == 1
        with app.pipeline():
            call = job.execute(2)
        assert call.get(timeout=20) == 2
        putting = threading.Timer(0.05, lambda: items.put_data([1]))
        putting.start()
        assert list(items.get_data(get_timeout=10).values()) == [1]
        putting.join()
        assert asyncio.run(awaited()) == [3, [2]]
    finally:
        app.settings.should_quit[0] = 1
        worker.join(20)
        app.broker.close()
    assert not worker.is_alive()


def test_everything_works_over_tls(start_secure: Callable[..., Secure], paths: Paths) -> None:
    live(App(start_secure().url(ssl_ca_certs=paths.ca), prefix="test"))


def test_everything_works_over_mutual_tls(start_secure: Callable[..., Secure], paths: Paths) -> None:
    secure = start_secure(clients="yes")
    live(
        App(
            secure.url("127.0.0.1", ssl_ca_certs=paths.ca, ssl_certfile=paths.client, ssl_keyfile=paths.client_key),
            prefix="test",
        )
    )


def test_single_fields_say_the_same_as_a_url(start_secure: Callable[..., Secure], paths: Paths) -> None:
    secure = start_secure(clients="yes")
    app = App(prefix="test")
    app.set_redis_connection_settings(
        "localhost",
        secure.port,
        ssl=True,
        ssl_ca_certs=paths.ca,
        ssl_certfile=paths.client,
        ssl_keyfile=paths.client_key,
    )
    live(app)


def test_a_client_of_ones_own_has_twins_with_its_tls(start_secure: Callable[..., Secure], paths: Paths) -> None:
    secure = start_secure(clients="yes")
    own = redis.Redis(
        host="localhost",
        port=secure.port,
        ssl=True,
        ssl_ca_certs=paths.ca,
        ssl_certfile=paths.client,
        ssl_keyfile=paths.client_key,
    )
    app = App(prefix="test")
    app.set_redis_connection(own)
    live(app)
    own.close()


def refusals(app: App) -> list[str]:
    """What a command, a wait and the same for coroutines are refused with."""
    said = []

    async def awaited() -> None:
        await aio.of(app).queue_sizes()

    for verb in (app.queue_sizes, lambda: app.Data("q").get_data(get_timeout=1), lambda: asyncio.run(awaited())):
        with pytest.raises(RedisUnavailable) as refused:
            verb()
        said.append(str(refused.value))
    waiting = app.broker.waiting.connection_pool
    with pytest.raises((redis.ConnectionError, ssl.SSLError)):
        waiting.make_connection().connect()
    app.broker.close()
    return said


def impatient(url: str, **options: Any) -> App:
    app = App(prefix="test")
    app.set_redis_connection_settings(url=url, socket_timeout=2, **options)
    return app


def test_a_certificate_of_another_authority_is_refused(start_secure: Callable[..., Secure], paths: Paths) -> None:
    for said in refusals(impatient(start_secure().url(ssl_ca_certs=paths.other_ca))):
        assert "its TLS certificate is signed by nobody whom we trust; name the right authority in ssl_ca_certs" in said


def test_the_authorities_of_the_system_do_not_do(start_secure: Callable[..., Secure]) -> None:
    for said in refusals(impatient(start_secure().url())):
        assert "signed by nobody whom we trust" in said


def test_a_certificate_of_another_host_is_refused(start_secure: Callable[..., Secure], paths: Paths) -> None:
    secure = start_secure(certificate="elsewhere")
    for app in (
        impatient(secure.url(ssl_ca_certs=paths.ca)),
        impatient(secure.url("127.0.0.1", ssl_ca_certs=paths.ca)),
    ):
        for said in refusals(app):
            assert "its TLS certificate is for another host" in said
    app = App(prefix="test")
    app.set_redis_connection_settings("localhost", secure.port, ssl=True, ssl_ca_certs=paths.ca)
    for said in refusals(app):
        assert "its TLS certificate is for another host" in said


def test_who_does_not_want_to_compare_names_can_say_so(start_secure: Callable[..., Secure], paths: Paths) -> None:
    secure = start_secure(certificate="elsewhere")
    for query in ({"ssl_ca_certs": paths.ca, "ssl_check_hostname": "false"}, {"ssl_cert_reqs": "none"}):
        app = impatient(secure.url(**query))
        assert app.queue_sizes() == []
        app.broker.close()


def test_a_missing_client_certificate_is_refused(start_secure: Callable[..., Secure], paths: Paths) -> None:
    secure = start_secure(clients="yes")
    # How much is told depends on whether the server's alert or its hanging up comes first.
    app = impatient(secure.url(ssl_ca_certs=paths.ca))
    with pytest.raises(RedisUnavailable, match=r"wants? a TLS certificate of ours"):
        app.queue_sizes()
    app.broker.close()


def test_a_client_certificate_of_another_authority_is_refused(
    start_secure: Callable[..., Secure], paths: Paths
) -> None:
    secure = start_secure(clients="yes")
    app = impatient(secure.url(ssl_ca_certs=paths.ca, ssl_certfile=paths.stranger, ssl_keyfile=paths.stranger_key))
    with pytest.raises(
        RedisUnavailable, match=r"trust our TLS certificate|or not trust the one it got|want a TLS certificate of ours"
    ):
        app.queue_sizes()
    app.broker.close()


def test_what_coroutines_cannot_check_is_refused_and_not_left_out(
    start_secure: Callable[..., Secure], paths: Paths
) -> None:
    own = redis.Redis(
        host="localhost", port=start_secure().port, ssl=True, ssl_ca_certs=paths.ca, ssl_validate_ocsp=True
    )
    app = App(prefix="test")
    app.set_redis_connection(own)
    with pytest.raises(RefusedInput, match=r"ssl_validate_ocsp: expected nothing that redis.asyncio cannot do"):
        asyncio.run(aio.of(app).queue_sizes())
    own.close()


@pytest.mark.parametrize("library", ["redis", "redis.asyncio"])
@pytest.mark.parametrize(
    ("endpoint", "checks"),
    [
        (Endpoint(url="rediss://host:1/0"), True),
        (Endpoint(host="host", ssl=True), True),
        (Endpoint(url="rediss://host:1/0?ssl_check_hostname=false"), False),
        (Endpoint(url="rediss://host:1/0?ssl_cert_reqs=none"), False),
        (Endpoint(host="host", ssl=True, options={"ssl_check_hostname": False}), False),
        (Endpoint(host="host", ssl=True, options={"ssl_cert_reqs": "none"}), False),
    ],
)
def test_names_are_compared_whatever_redis_py_does_by_default(endpoint: Endpoint, library: Any, checks: bool) -> None:
    for make in (command_client, waiting_client):
        assert make(endpoint, library).connection_pool.connection_kwargs["ssl_check_hostname"] is checks
