"""The peers, with pinned versions; each has its adapter in a file of its name."""

from __future__ import annotations

from benchmarks.peer import Facts

OWN = "rpqueue"
SEED = "rpqueue_033"

REDIS_PY = "redis[hiredis]==8.1.0"

PEERS = {
    OWN: Facts("rpqueue", (), "rpqueue", 5_000, 50_000, 50_000, is_default=True),
    SEED: Facts(
        "rpqueue 0.33.7",
        ("rpqueue==0.33.7", "redis[hiredis]==5.0.8"),
        "rpqueue",
        2_700,
        1_100,
        1_300,
        python=("3.10", "3.11"),  # it imports `imp`
        is_default=True,
    ),
    "huey": Facts("Huey", ("huey==3.5.4", REDIS_PY), "huey", 3_700, 1_500, 1_800, is_default=True),
    "rq": Facts("RQ", ("rq==2.12.0", REDIS_PY), "rq", 1_300, 140, 140, is_default=True),
    "dramatiq": Facts("Dramatiq", ("dramatiq==2.2.1", REDIS_PY), "dramatiq", 3_300, 260, 1_900, is_default=True),
    "mayu": Facts("mayu", ("mayu==0.2.5",), "mayu", 5_400, 4_400, 15_000, python=("3.13", "3.14"), is_default=True),
    "ardiq": Facts("ardiq", ("ardiq==1.2.0",), "ardiq", 3_100, 1_300, 6_800, python=("3.12", "3.14"), is_default=True),
    "celery": Facts("Celery", ("celery==5.7.0", "packaging", REDIS_PY), "celery", 1_400, 660, 700),
    "arq": Facts("arq", ("arq==0.28.0",), "arq", 1_600, 100, 1_300),
    "saq": Facts("SAQ", ("saq[redis,hiredis]==0.26.4", "typing_extensions"), "saq", 2_800, 640, 1_500),
    "taskiq": Facts("taskiq", ("taskiq==0.13.0", "taskiq-redis==1.2.4"), "taskiq", 2_200, 1_800, 2_000),
    "streaq": Facts("streaq", ("streaq==7.2.0",), "streaq", 1_900, 530, 780),
    "tasktiger": Facts("TaskTiger", ("tasktiger==0.26.3",), "tasktiger", 2_200, 860, 860),
    "bullmq": Facts("BullMQ", ("bullmq==3.4.4",), "bullmq", 2_900, 1_270, 1_500),
    "pydocket": Facts("pydocket", ("pydocket==0.27.0",), "docket", 2_000, 90, 1_400),
    "spinach": Facts("Spinach", ("spinach==0.0.25", "redis[hiredis]==5.0.8"), "spinach", 2_900, 690, 3_200),
}
