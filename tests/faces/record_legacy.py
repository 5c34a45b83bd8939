"""
Writes legacy_0_33_7.json: what rpqueue 0.33.7 leaves in Redis when its own verbs are used.

Run it once, with a Python below 3.12 that has `rpqueue==0.33.7`, `redis<6` and `crontab`, on an empty server:
``python record_legacy.py PORT > legacy_0_33_7.json``. Instants in scores are kept relative to the moment of recording.
"""

import base64
import json
import sys
import time

import redis

import rpqueue as old

PORT = int(sys.argv[1])
client = redis.Redis(port=PORT)
client.flushall()
old.set_redis_connection(client)
old.set_key_prefix("old:")
old.EXECUTE_TASKS = True


def function(*args, **kwargs):
    """Of tasks; never run here."""


plain = old.task(queue=b"mail", name="jobs.plain")(function)
leased = old.task(queue=b"mail", name="jobs.leased", attempts=3, vis_timeout=30, use_dead=True)(function)
brief = old.task(queue=b"mail", name="jobs.brief", attempts=2, vis_timeout=0.05, use_dead=True)(function)
once = old.task(queue=b"mail", name="jobs.once", vis_timeout=0.05, use_dead=True)(function)
other = old.task(queue=b"caf\xc3\xa9 {x}", name="jobs.other")(function)
manual = old.task(queue=b"manual", name="jobs.manual", attempts=5)(function)

# Claimed and running.
leased.execute("running", taskid="2-running")
assert old._get_work(client, [b"mail"], 1)
# Claimed by a worker that died: the spent one becomes a dead letter, the other comes again.
once.execute("spent", taskid="0-dead")
brief.execute([], {"a": 1}, taskid="1-again", empty="")
for _ in range(2):
    assert old._get_work(client, [b"mail"], 1)
time.sleep(0.1)
old._handle_delayed(client, [b"mail"], 0)
# Waiting: ready, delayed, cancelled, twice under one id, recurring.
plain.execute(1, [], {}, "ünï", 2**70, 0.1 + 0.2, taskid="3-plain", flag=None)
leased.execute([[]], taskid="4-leased")
plain.execute(taskid="5-cancelled").cancel()
plain.execute("first", taskid="6-twice")
plain.execute("second", taskid="6-twice")
plain.execute("later", delay=3600, taskid="7-later")
leased.execute("later", delay=7200, taskid="8-later")
plain.execute("uuid")
other.execute("café", taskid="9-other")
manual.execute("retries", taskid="10-manual")
plain.execute("called by its own name", taskid="jobs.plain")
old.periodic_task(600, queue=b"mail", name="jobs.periodic", attempts=2)(function)
old.cron_task("0 5 * * *", queue=b"mail", name="jobs.cron")(function)
old.set_priority(b"mail", 3)
# A worker that died between its two steps: the message is in no place.
plain.execute("stranded", taskid="11-stranded")
client.lrem("old:nqueue:mail", 0, "11-stranded")

# Items.
items = old.Data(b"items")
items.put_data([1, [], {}, "ünï", 2**70, 0.1 + 0.2, None, {"a": [{}]}])
tries = old.Data(b"tries", attempts=3, vis_timeout=30, use_dead=True)
tries.put_data(["t1", "t2", "t3"])
assert len(tries.get_data(1)) == 1
again = old.Data(b"again", attempts=2, vis_timeout=0.05, use_dead=True)
again.put_data(["twice"])
assert again.get_data(1)
time.sleep(0.1)
assert again.get_data(1)
time.sleep(0.1)
old._handle_delayed_lua(client, keys=[again.vkey, again.qkey, again.mkey, again.vkey, again.dkey], args=[100])
delayed = old.Data(b"delayed", vis_timeout=10)
delayed.put_data(["not yet"], delay=1800)
dying = old.Data(b"dying", vis_timeout=0.05, use_dead=True)
dying.put_data(["dead item"])
assert dying.get_data(1)
time.sleep(0.1)
assert not dying.get_data(1)
own = old.Data(b"own", vis_timeout=0.05, use_dead=b"own-graveyard")
own.put_data(["buried elsewhere"])
assert own.get_data(1)
time.sleep(0.1)
assert not own.get_data(1)

now = client.time()
recorded_at = now[0] + now[1] / 1e6


def text(value: bytes) -> str:
    return base64.b64encode(value).decode()


commands = []
for key in sorted(client.keys("*")):
    kind = client.type(key).decode()
    if kind == "hash":
        words = [["HSET", field, value] for field, value in sorted(client.hgetall(key).items())]
    elif kind == "list":
        words = [["RPUSH", entry] for entry in client.lrange(key, 0, -1)]
    elif kind == "set":
        words = [["SADD", entry] for entry in sorted(client.smembers(key))]
    else:
        is_instant = key != b"old:queues:wall"
        for member, score in client.zrange(key, 0, -1, withscores=True):
            commands.append(["ZADD", text(key), score - recorded_at * is_instant, is_instant, text(member)])
        continue
    commands += [[name, text(key), *map(text, rest)] for name, *rest in words]
json.dump({"version": old.VERSION, "recorded_at": recorded_at, "commands": commands}, sys.stdout, indent=0)
