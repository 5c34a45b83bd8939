"""
Addresses: where Redis is, as users say it, by a URL or field by field.

Nothing of a password that is in a URL comes back in a label or an error, be it cut short by a character that it should
have escaped.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .errors import RefusedInput
from .logs import redacted_url

#: Times that a command is sent again when its reply was lost. Every script may be sent twice, so this is safe.
RESENDS = 3

#: The URLs that there are.
SCHEMES = (
    "redis://HOST:PORT/DB, rediss:// (TLS), unix:///PATH?db=DB, redis+sentinel://HOST,HOST/SERVICE/DB, "
    "redis+cluster://HOST,HOST or embedded:DIR"
)
#: How options begin that are for connections to the sentinels alone.
OF_SENTINEL = "sentinel_"

_SCHEME = re.compile(r"[a-z][a-z0-9+.]*")


@dataclass(frozen=True)
class Endpoint:
    """Where Redis is and how to log in. `url` wins over the single fields."""

    url: str | None = None
    host: str = "localhost"
    port: int = 6379
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    socket_timeout: float = 30
    unix_socket_path: str | None = None
    ssl: bool = False
    ssl_ca_certs: str | None = None
    options: dict[str, Any] = field(default_factory=dict, repr=False)  #: more keyword arguments for redis-py
    resends: int = RESENDS  #: times that a command without answer is sent again

    @classmethod
    def from_environment(cls) -> Endpoint:
        """What ``RPQUEUE_URL`` says, else localhost:6379."""
        return cls(url=os.environ.get("RPQUEUE_URL") or None)

    def __repr__(self) -> str:
        return f"<Endpoint {self.label}>"

    @property
    def label(self) -> str:
        """Where, for errors and logs: without user, password and options."""
        if not self.url:
            return self.unix_socket_path or f"{self.host}:{self.port}/{self.db}"
        scheme, _, rest = self.url.partition(":")
        if scheme == "embedded":
            return self.url
        if not rest.startswith("//") or not _SCHEME.fullmatch(scheme):
            return "..."  # no URL, so nobody knows what is the password in it
        return f"{scheme}://" + redacted_url(self.url).partition("://")[2].partition("?")[0].rpartition("@")[2]


def is_whole(url: str) -> bool:
    """Whether no password with an unescaped ``/``, ``?`` or ``#`` cuts the URL short: its rest would be a host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if "#" in url or "@" in parts.path or (parts.query and "=" not in parts.query.partition("@")[0]):
        return False
    return parts.scheme != "unix" or not parts.netloc or "@" in parts.netloc


def refused(endpoint: Endpoint) -> RefusedInput:
    """The error about a URL that cannot be read."""
    return RefusedInput(
        f"redis URL: expected {SCHEMES}, got {endpoint.label!r} with something that cannot be read; "
        "write %2F for / in a password, %40 for @, %3A for :, %3F for ? and %23 for #"
    )


def hosts_of(endpoint: Endpoint, url: str, default_port: int) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """The ``host:port`` pairs of a URL with several, and what it says of user, password and options."""
    try:
        parts = urlsplit(url)
        login, _, places = parts.netloc.rpartition("@")
        hosts = []
        for place in places.split(","):
            host, _, port = place.rpartition(":") if ":" in place else (place, "", "")
            hosts.append((host or "localhost", int(port or default_port)))
    except ValueError:
        raise refused(endpoint) from None
    options: dict[str, Any] = dict(_typed(name, value) for name, value in parse_qsl(parts.query))
    if login:
        user, _, password = login.partition(":") if ":" in login else ("", "", login)
        if user:
            options["username"] = unquote(user)
        options["password"] = unquote(password)
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
        check_host(options)
    return hosts, options


def _typed(name: str, value: str) -> tuple[str, Any]:
    """An option of a URL as what redis-py wants for it."""
    from redis.connection import URL_QUERY_ARGUMENT_PARSERS

    readers: dict[str, Any] = dict(URL_QUERY_ARGUMENT_PARSERS)
    reader = readers.get(name.removeprefix(OF_SENTINEL))
    if name == "sentinel_ssl":
        return name, value.lower() in ("1", "true", "yes")
    try:
        return name, value if reader is None else reader(value)
    except (TypeError, ValueError) as error:
        raise RefusedInput(f"redis URL: {name}: expected what redis-py takes for it, got {value!r}") from error


def check_host(options: dict[str, Any]) -> None:
    """Have TLS compare the certificate with the host's name, unless told otherwise: redis-py 5 does not by itself."""
    checks = options.get("ssl_cert_reqs", "required") not in ("none", None, 0)
    options.setdefault("ssl_check_hostname", checks)
