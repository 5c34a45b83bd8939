"""``python -m rpqueue.run --module=tasks [QUEUE]...``: run tasks until told to stop."""

from .cli.work import worker

if __name__ == "__main__":
    worker(prog_name="python -m rpqueue.run")
