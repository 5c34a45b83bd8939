"""What is made of what sentinels say. What comes of it with real ones: tests/sentinel."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from typing import Any

import pytest

from rpqueue import masters
from rpqueue.sentinels import GIVEN_UP, PROMOTED, PROMOTING, Said, Search, Sentinels

ONE, OTHER = ("10.0.0.1", 6379), ("10.0.0.2", 6380)
PLACES = (("s", 1), ("s", 2), ("s", 3))


class Connection:
    """Stands for a connection that is open."""

    is_open = True

    def __init__(self, address: tuple[str, int]) -> None:
        self.host, self.port = address

    def cut(self) -> None:
        self.is_open = False


@pytest.fixture
def sentinels() -> Sentinels:
    return Sentinels(PLACES, "main", {})


def hear(sentinels: Sentinels, place: int, epoch: int, master: tuple[str, int], *news: tuple[bytes, str]) -> None:
    said = [[b"message", channel, text.encode()] for channel, text in news]
    sentinels._hear(PLACES[place], Said(epoch, master), said)


def promoting(service: str = "main") -> tuple[bytes, str]:
    return PROMOTING, f"slave 10.0.0.2:6380 10.0.0.2 6380 @ {service} 10.0.0.1 6379"


def test_the_newest_failover_counts_whoever_tells_of_it(sentinels: Sentinels) -> None:
    assert sentinels.master is None
    hear(sentinels, 0, 3, ONE)
    hear(sentinels, 1, 4, OTHER)
    hear(sentinels, 2, 3, ONE)
    assert sentinels.master == OTHER


def test_connections_to_another_master_are_cut(sentinels: Sentinels) -> None:
    old, new = Connection(ONE), Connection(OTHER)
    for connection in (old, new):
        sentinels.hold(connection)
    hear(sentinels, 0, 3, ONE)
    assert (old.is_open, new.is_open) == (True, False)
    hear(sentinels, 1, 4, OTHER)
    assert not old.is_open


def test_a_master_that_is_about_to_be_replaced_is_left_before_it_is(sentinels: Sentinels) -> None:
    connection = Connection(ONE)
    sentinels.hold(connection)
    hear(sentinels, 0, 3, ONE)
    hear(sentinels, 0, 3, ONE, promoting())
    assert not connection.is_open
    assert sentinels.master is None
    hear(sentinels, 0, 4, OTHER)
    assert sentinels.master == OTHER


def test_who_is_told_to_be_the_master_is_gone_to_before_sentinels_notice_that_it_is(sentinels: Sentinels) -> None:
    new = Connection(OTHER)
    hear(sentinels, 0, 3, ONE, promoting())
    hear(sentinels, 0, 3, ONE, (PROMOTED, promoting()[1]))
    assert sentinels.master == OTHER
    sentinels.hold(new)
    hear(sentinels, 1, 3, ONE)
    hear(sentinels, 0, 4, OTHER)
    assert new.is_open
    hear(sentinels, 1, 5, ONE)
    assert (sentinels.master, new.is_open) == (ONE, False)


def test_a_replacement_that_was_given_up_or_is_another_services_changes_nothing(sentinels: Sentinels) -> None:
    hear(sentinels, 0, 3, ONE, promoting("other"))
    assert sentinels.master == ONE
    hear(sentinels, 0, 3, ONE, promoting())
    assert sentinels.master is None
    hear(sentinels, 0, 3, ONE, (GIVEN_UP[0], "master main 10.0.0.1 6379"))
    assert sentinels.master == ONE


def test_who_looks_for_a_master_waits_while_one_is_made(sentinels: Sentinels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinels, "listen", lambda: None)
    for place in range(3):
        hear(sentinels, place, 3, ONE)
    search = Search(sentinels)
    assert search.address() == ONE
    assert search.address() is None  # it was tried just now
    hear(sentinels, 0, 3, ONE, promoting())
    assert Search(sentinels).address() is None
    hear(sentinels, 0, 4, OTHER)
    assert search.address() == OTHER


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("READONLY You can't write against a read only replica.", True),
        ("Error running script: @user_script: 67: -READONLY You can't write against a read only replica.", True),
        ("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)", True),
        ("NOREPLICAS Not enough good replicas to write.", False),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", False),
    ],
)
def test_a_server_that_says_it_is_no_master_is_understood(reply: str, expected: bool) -> None:
    assert masters.is_demotion(Exception(reply)) is expected
    no_error: Any = reply
    assert masters.is_demotion(no_error) is False


def test_a_forked_child_does_not_wait_for_what_a_thread_of_its_parent_holds(sentinels: Sentinels) -> None:
    hear(sentinels, 0, 3, ONE)
    sentinels.hold(Connection(ONE))
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with sentinels._changed:
            held.set()
            done.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 says that there are threads
        pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        sentinels.listen()
        os._exit(int(bool(sentinels._held)))
    _, status = os.waitpid(pid, 0)
    done.set()
    holder.join(20)
    assert status == 0
