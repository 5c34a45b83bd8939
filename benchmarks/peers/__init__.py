"""The peers, with pinned versions; each has its adapter in a file of its name."""

from __future__ import annotations

from benchmarks.peer import Facts

OWN = "rpqueue"
SEED = "rpqueue_033"

PEERS = {
    OWN: Facts("rpqueue", (), "rpqueue", 5_000, 50_000, is_default=True),
    SEED: Facts(
        "rpqueue 0.33.7",
        ("rpqueue==0.33.7", "redis[hiredis]==5.0.8"),
        "rpqueue",
        2_700,
        1_100,
        python=("3.10", "3.11"),  # it imports `imp`
        is_default=True,
    ),
    "huey": Facts("Huey", ("huey==3.5.4", "redis[hiredis]==8.1.0"), "huey", 3_700, 1_500, is_default=True),
    "rq": Facts("RQ", ("rq==2.12.0", "redis[hiredis]==8.1.0"), "rq", 1_300, 140, is_default=True),
    "dramatiq": Facts(
        "Dramatiq", ("dramatiq==2.2.1", "redis[hiredis]==8.1.0"), "dramatiq", 3_300, 260, is_default=True
    ),
    "mayu": Facts("mayu", ("mayu==0.2.5",), "mayu", 5_400, 4_400, python=("3.13", "3.14"), is_default=True),
    "ardiq": Facts("ardiq", ("ardiq==1.2.0",), "ardiq", 3_100, 1_300, python=("3.12", "3.14"), is_default=True),
}
