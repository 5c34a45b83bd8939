"""Servers for tests: an existing one that RPQUEUE_TEST_URL names, or an embedded one in a temporary directory."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

from .. import embedded


@contextlib.contextmanager
def server() -> Iterator[str]:
    """
    The URL of a server for as long as the block lasts.

    It is what RPQUEUE_TEST_URL says, if that is set; what is in there stays. Else it is an embedded server in a new
    temporary directory, which ends and is deleted with the block.

    Raises:
        EmbeddedServerError: this machine has no server program; the error says what to install.
    """
    url = os.environ.get("RPQUEUE_TEST_URL")
    if url:
        yield url
        return
    directory, owner = tempfile.mkdtemp(prefix="rpqueue-test-"), os.getpid()
    try:
        with embedded.start(directory) as running:
            yield running.url
    finally:
        if os.getpid() == owner:  # a forked child leaves the block, too
            shutil.rmtree(directory, ignore_errors=True)


class _OfThisProcess:
    """The server that sandboxes share which were told of none, from the first of them to the end of the process."""

    def __init__(self) -> None:
        self._url = ""
        self._pid = 0

    @property
    def url(self) -> str:
        """Its URL; it is started when this is asked for first."""
        if self._pid != os.getpid():
            held = contextlib.ExitStack()
            self._url, self._pid = held.enter_context(server()), os.getpid()
            atexit.register(held.close)
        return self._url


of_this_process = _OfThisProcess()
