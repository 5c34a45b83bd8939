"""
Known holes of Redis and Valkey that a client with a log-in, or none, can use to run code or to stop the server.

From the release notes of both projects up to November 2026: github.com/redis/redis/releases and
github.com/valkey-io/valkey/releases. Each says the first release of each line that has the fix. A distribution may have
built the fix into an older one.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Server = Literal["redis", "valkey"]
Version = tuple[int, int, int]
Line = tuple[int, int]

#: The oldest versions that this library works with.
OLDEST: dict[Server, Line] = {"redis": (6, 2), "valkey": (7, 2)}


class Advisory(NamedTuple):
    """One hole, or several that were closed together."""

    names: str
    what: str
    since: dict[Server, Line]  #: first line that has it; a server that is not named never had it
    fixed: dict[Server, dict[Line, int]]  #: line -> patch release; later lines than the last one never had it

    def affects(self, server: Server, version: Version) -> bool:
        """Whether this version has it, as it was published."""
        line, patch = version[:2], version[2]
        if server not in self.since or line < self.since[server]:
            return False
        fixes = self.fixed.get(server, {})
        if line in fixes:
            return patch < fixes[line]
        return line < max(fixes, default=line)  # a line that got no fix

    def remedy(self, server: Server, version: Version) -> str:
        """The releases that have the fix, of this line or later ones."""
        fixes = self.fixed.get(server, {})
        return ", ".join(f"{line[0]}.{line[1]}.{patch}" for line, patch in sorted(fixes.items()) if line >= version[:2])


ADVISORIES = (
    Advisory(
        "CVE-2025-49844 (also 46817, 46818, 46819)",
        "a Lua script of any user can run code in the server",
        {"redis": (2, 6), "valkey": (7, 2)},
        {
            "redis": {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
            "valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
        },
    ),
    Advisory(
        "CVE-2025-67733, CVE-2026-21863",
        "a Lua script can put words into replies on its connection; a packet on the cluster bus stops the server",
        {"valkey": (7, 2)},
        {"valkey": {(7, 2): 12, (8, 0): 7, (8, 1): 6, (9, 0): 3}},
    ),
    Advisory(
        "CVE-2026-27623",
        "a request without log-in stops the server",
        {"valkey": (9, 0)},
        {"valkey": {(9, 0): 3}},
    ),
    Advisory(
        "CVE-2026-23479",
        "a client that is evicted while its blocking command ends can run code in the server",
        {"redis": (7, 2), "valkey": (7, 2)},
        {
            "redis": {(7, 2): 14, (7, 4): 9, (8, 2): 6, (8, 4): 3, (8, 6): 3},
            "valkey": {(7, 2): 13, (8, 0): 8, (8, 1): 7, (9, 0): 4},
        },
    ),
    Advisory(
        "CVE-2026-25243, CVE-2026-23631",
        "RESTORE with a forged value, or a full synchronisation during a script, can run code in the server",
        {"redis": (7, 0), "valkey": (7, 2)},
        {
            "redis": {(7, 2): 14, (7, 4): 9, (8, 2): 6, (8, 4): 3, (8, 6): 3},
            "valkey": {(7, 2): 13, (8, 0): 8, (8, 1): 7, (9, 0): 4},
        },
    ),
    Advisory(
        "CVE-2026-56684, CVE-2026-63639",
        "CLIENT KILL on a TLS connection, or a forged stream in an RDB file, can run code in the server",
        {"valkey": (8, 1)},
        {"valkey": {(8, 1): 9, (9, 0): 5, (9, 1): 1}},
    ),
)


def affecting(server: Server, version: Version) -> list[Advisory]:
    """Those that a version is open to, as far as its number tells."""
    return [advisory for advisory in ADVISORIES if advisory.affects(server, version)]
