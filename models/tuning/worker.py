"""Trains for one trial after another, in a process of its own, as it is told line by line.

    python -m models.tuning.worker

It takes JSON from its standard input and answers on its standard output:

    {"search": "models.xgboost_model.search", "rows": FOLDER, "sizes": [3, 5]}    first
    {"settings": {…}}             train with a TrainConfig; it answers, as often as there are steps,
        {"step": 1, "loss": 0.7}      and waits for {"stop": false} or {"stop": true}
        {"lowest": 0.6}               at the end; or {"stopped": true}, or {"error": "a sentence"}

It ends when its input does, so that it does not outlive whoever started it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from models.tuning.trainers import Here, Stopped, function, load
from pipeline.errors import UserError
from pipeline.lazy import imports
from pipeline.train_config import TrainConfig


def main() -> None:
    """Trains until the input ends."""
    # What a library prints goes to the log, not between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")

    def report(step: int, loss: float) -> None:
        answer({"step": step, "loss": float(loss)})
        if _next()["stop"]:
            raise Stopped

    task = _next()
    with imports():
        train = Here(function(task["search"]), load(Path(task["rows"])), task["sizes"])
    while True:
        settings = TrainConfig.model_validate(_next()["settings"])
        try:
            answer({"lowest": float(train(settings, report))})
        except Stopped:
            answer({"stopped": True})
        except UserError as error:
            answer({"error": str(error)})


def _next() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        os._exit(0)  # Not a wait for a framework's threads.
    message: dict[str, Any] = json.loads(line)
    return message


if __name__ == "__main__":
    main()
