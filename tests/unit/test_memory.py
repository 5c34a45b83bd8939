"""How much memory a process has."""

from __future__ import annotations

import os
import subprocess
import sys

from rpqueue.worker import memory
from rpqueue.worker.memory import resident

MIB = 2**20


def test_it_grows_with_what_the_process_uses() -> None:
    before = resident(os.getpid())
    block = bytearray(os.urandom(64 * MIB))
    after = resident(os.getpid())
    assert before
    assert after
    assert 50 * MIB < after - before < 200 * MIB
    del block


def test_of_a_process_that_is_gone_it_is_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert resident(child.pid) is None


def test_ps_says_about_the_same() -> None:
    said = memory._by_ps(os.getpid())
    known = resident(os.getpid())
    if said is None:  # there is no ps here
        return
    assert known
    assert abs(said - known) < 16 * MIB
