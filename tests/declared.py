"""
Scripts that declare themselves: ``RPQUEUE_TEST_SCRIPTS=declared``.

Redis 7 takes a script that begins with ``#!lua`` at its word: on a cluster it may touch no key of another slot than
those in KEYS, and a full server refuses it as a whole. The library's own scripts do not begin so, since Redis 6.2 does
not know it; here they do, so that no key hides that was not declared.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache

from rpqueue.protocol import scripts
from rpqueue.protocol.scripts import Script

#: Whether the tests run with such scripts.
ARE_DECLARED = os.environ.get("RPQUEUE_TEST_SCRIPTS") == "declared"


def declare() -> None:
    """Have the library load its scripts so from now on. Nothing when the environment does not ask for it."""
    if not ARE_DECLARED:
        return
    undeclared = scripts.load

    @cache
    def load(name: str) -> Script:
        script = undeclared(name)
        source = f"#!lua\n{script.source}"
        return script._replace(source=source, sha=hashlib.sha1(source.encode()).hexdigest())

    scripts.load = load
