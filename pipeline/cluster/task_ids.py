"""The names of tasks that [tasks.nodes] may give settings to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import PipelineConfig
from pipeline.errors import UserError, nearest
from pipeline.train_config import Framework

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

INIT, BACKFILL, FINISH = "init", "backfill", "finish"
"""The tasks that are no nodes: they begin a run, make up for what it lacks, and end it."""
NEW_SPAN = "new_span"
"""Airflow's task that decides whether there is a run."""
_ELSEWHERE = ("Pusher", "Registrar", "EvaluationRecords", "ExportEvaluation")
"""Nodes that only some configurations have."""
_OTHERS = ("compare", "continuous", NEW_SPAN)
"""Tasks of other packages: the last one of the train-only pipeline, and those of the policy."""


def check(config: PipelineConfig, ir: pipeline_pb2.Pipeline) -> None:
    """Makes sure that settings are for tasks that some configuration of this pipeline has.

    Raises:
      UserError: some are not; the message has the name that is nearest.
    """
    there = [INIT, BACKFILL, FINISH, *(entry.pipeline_node.node_info.id for entry in ir.nodes)]
    known = [*there, *_ELSEWHERE, *_OTHERS]
    known += [f"{kind}.{framework}" for kind in ("Trainer", "Tuner") for framework in Framework]
    for task_id in config.tasks.nodes:
        if task_id not in known:
            hint = nearest(task_id, known) or f"; there are {', '.join(there)}"
            raise UserError(f"tasks.nodes: there is no task {task_id!r}{hint}")
