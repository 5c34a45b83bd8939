"""The processes of a scene: ``python -m tests.stress.agent CONFIG``. CONFIG is JSON; `Scene` writes it."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from rpqueue import App
from rpqueue.worker import supervisor
from tests import clocks
from tests.stress import points, work
from tests.stress.consumer import Consumer
from tests.stress.history import History
from tests.stress.points import Board
from tests.stress.producer import Producer


def main(config: dict[str, Any]) -> None:
    clocks.mend_sleep()
    logging.basicConfig(level="INFO", format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s")
    directory = Path(config["directory"])
    history, board = History(directory, config["role"]), Board(directory / "board")
    app = App(config["url"], config["prefix"])
    for name, value in config["settings"].items():
        setattr(app.settings, name, value)
    work.declare(app, history, board, ticking=config["ticking"])
    if config["role"] == "worker":
        # Children are killed all the time here; with the usual pauses there would soon be nobody left to kill.
        supervisor.FIRST_PAUSE = supervisor.LONGEST_PAUSE = 0.05
        logging.getLogger("rpqueue.task").setLevel("CRITICAL")  # failures are planned, and many
        points.install(board, history)
        app.execute_tasks(**config["options"])
    elif config["role"] == "consumer":
        Consumer(app, history, board, config["seed"]).run()
    else:
        Producer(app, history, board, config["name"], config["seed"]).run(**config["options"])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
