"""The Evaluator's executor: what happens when the node runs."""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import numpy as np
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from custom_components.beam import runs_here
from custom_components.evaluator import confusion, tables
from custom_components.evaluator.blessings import bless
from custom_components.evaluator.candidates import Target, find
from custom_components.evaluator.confusion import Confusion
from custom_components.evaluator.judge import judge
from custom_components.evaluator.verdict import (
    CANARY_FILE,
    COUNTERS,
    ENSEMBLE,
    FILE,
    REPEATS_FILE,
    UNUSABLE_LABELS,
    UNUSABLE_PREDICTIONS,
    ClassMetrics,
    Metrics,
    Slice,
    Verdict,
)
from custom_components.resolvers import oldest_first, span_of
from pipeline.errors import UserError
from pipeline.evaluate_config import EvaluateConfig, JudgedOn, Metric
from pipeline.features_config import Problem

if TYPE_CHECKING:
    from custom_components.evaluator.evaluate import Asked

SPLIT = "eval"
"""The split that models are judged by, where they have learned from the other one."""

Artifacts = dict[str, list[types.Artifact]]


class Executor(base_beam_executor.BaseBeamExecutor):
    """Evaluates the candidates and the live model, and blesses each candidate or does not."""

    @staticmethod
    def prepare() -> None:
        """Imports TFMA, which takes a second; whoever runs the node may call it beforehand."""
        from custom_components.evaluator import evaluate, tfma_files  # noqa: F401

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes the evaluation and the blessings; a model that is not blessed is no error.

        Args:
            input_dict: `examples` and `learned` (one artifact per span), `model` (one per
                candidate), and `baseline_model` (none or one).
            output_dict: `evaluation`, `blessing`: in place of this one come as many as there are
                candidates.
            exec_properties: `evaluate` (EvaluateConfig as JSON), `label`, `problem`, `classes` (a
                JSON list), `canary_rows`, `ensemble`, `group_by`.

        Raises:
            UserError: If a model cannot be evaluated, there are no rows to judge by, or a column is
                missing.
        """
        from custom_components.evaluator import tfma_files
        from custom_components.evaluator.costs import measure_costs
        from custom_components.evaluator.evaluate import Asked
        from custom_components.evaluator.metrics import measures

        config = EvaluateConfig.model_validate_json(exec_properties["evaluate"])
        live = next(iter(input_dict.get("baseline_model") or []), None)
        artifacts = {path_utils.serving_model_path(m.uri): m for m in input_dict["model"]}
        target = Target(
            Problem(exec_properties["problem"]), tuple(json.loads(exec_properties["classes"]))
        )
        parted = config.cross_validation
        models = find(
            artifacts,
            live.uri if live else None,
            target,
            ensemble=exec_properties["ensemble"],
            repeats=parted.repeats if parted else 0,
        )
        folder = artifact_utils.get_single_uri(output_dict["evaluation"])
        examples = oldest_first(input_dict["examples"])
        # In a cross-validation every row judges models that have not learned from it.
        splits = splits_to_judge_by(examples, [] if parted else input_dict.get("learned"))
        judged_on = say_what_judges(examples, splits, config)
        asked = Asked(
            files=files_of(examples, splits),
            judged_on=judged_on,
            models=models,
            measures=measures(config, target.problem, target.classes),
            label=exec_properties["label"],
            group_by=exec_properties["group_by"],
            config=config,
            canary_rows=exec_properties["canary_rows"],
            folder=folder,
        )
        slices = self._evaluate(asked)
        verdict = decide(slices, asked).model_copy(
            update={"costs": measure_costs(models, read_examples(f"{folder}/{CANARY_FILE}"))}
        )
        with fileio.open(f"{folder}/{FILE}", "w") as file:
            file.write(verdict.model_dump_json(indent=2))
        tfma_files.write_validation(folder, verdict)
        output_dict["blessing"] = bless(
            artifact_utils.get_single_instance(output_dict["blessing"]),
            verdict,
            {name: artifacts[models.folders[name]] for name in models.trained},
            live if models.live else None,
        )

    def _evaluate(self, asked: Asked) -> list[Slice]:
        """Measures the models: all rows first, then every slice."""
        from custom_components.evaluator import tfma_files
        from custom_components.evaluator.evaluate import evaluate, evaluate_here

        tfma_files.write_config(
            asked.folder,
            asked.config,
            label=asked.label,
            problem=asked.models.target.problem,
            models={name: ", ".join(asked.models.parts(name)) for name in asked.models.names},
            data=asked.files[0].rpartition("/")[0],
        )
        if runs_here(self._beam_pipeline_args):
            unusable = evaluate_here(asked)
        else:
            with self._make_beam_pipeline() as pipeline:
                evaluate(pipeline, asked)
            unusable = unusable_rows(pipeline.result)
        slices = tfma_files.read_slices(asked.folder, asked.config.metrics, asked.config.slices)
        check_rows(slices, unusable, asked)
        return slices


def splits_to_judge_by(
    examples: list[types.Artifact], learned: list[types.Artifact] | None
) -> dict[int, list[str]]:
    """The splits of each span, by its place: those whose rows no candidate has learned from.

    Args:
        examples: The spans to judge by.
        learned: The spans that the candidates learned from; None: all.

    Raises:
        UserError: If a span has no eval split that could judge those that learned from it.
    """
    ids = None if learned is None else {artifact.id for artifact in learned}
    found = {}
    for place, artifact in enumerate(examples):
        splits = artifact_utils.decode_split_names(artifact.split_names)
        if ids is None or artifact.id in ids:
            if SPLIT not in splits:
                raise UserError(
                    f"{artifact.uri} has no split {SPLIT!r} to judge models by (it has: "
                    f"{', '.join(splits) or 'none'}). Set data.eval_buckets to 1 or more."
                )
            splits = [SPLIT]
        found[place] = splits
    return found


def say_what_judges(
    examples: list[types.Artifact], splits: dict[int, list[str]], config: EvaluateConfig
) -> str:
    """Which rows judge, in words: as in "the eval split of spans 1, 2, 3"."""
    spans = [str(span_of(artifact)) for artifact in examples]
    of = f"span{'s' if len(spans) > 1 else ''} {', '.join(spans)}"
    if parted := config.cross_validation:
        times = f", {parted.repeats} times over" if parted.repeats > 1 else ""
        return f"all rows of {of}, by {parted.folds}-fold cross-validation{times}"
    if all(names != [SPLIT] for names in splits.values()):
        return f"all rows of {of}"
    words = f"the {SPLIT} split of {of}"
    if config.on is JudgedOn.UNSEEN:
        words += ", as there is no span before it to learn from"
        logging.getLogger(__name__).warning("Judged by %s (evaluate.on).", words)
    return words


def files_of(examples: list[types.Artifact], splits: dict[int, list[str]]) -> list[str]:
    """The files of these splits of the spans.

    Raises:
        UserError: If there is none.
    """
    folders = [
        artifact_utils.get_split_uri([examples[place]], split)
        for place, names in splits.items()
        for split in names
    ]
    files = [file for folder in folders for file in fileio.glob(f"{folder}/*")]
    if not files:
        raise UserError(f"{', '.join(folders)}: no files to judge by; run ExampleGen again.")
    return sorted(files)


def unusable_rows(result: beam.runners.runner.PipelineResult) -> dict[str, int]:
    """How many rows could not be used, by the reason, as the Beam pipeline counted them."""
    query = beam.metrics.MetricsFilter().with_namespace(COUNTERS)
    return {
        counter.key.metric.name: counter.result
        for counter in result.metrics().query(query)["counters"]
        if counter.result
    }


def check_rows(slices: list[Slice], unusable: dict[str, int], asked: Asked) -> None:
    """Refuses rows that no model can be judged by.

    Raises:
        UserError: Says which.
    """
    where, label, said = asked.judged_on, asked.label, asked.measures.unusable
    if not slices:
        raise UserError(
            f"{where}: there is no row to judge a model by. Give the eval split a larger weight "
            "(data.eval_buckets) or more data."
        )
    overall = slices[0]
    # The mean of models is not to blame for what one of them says.
    for reason, rows in sorted(unusable.items(), key=lambda found: (ENSEMBLE in found[0], found)):
        if reason == UNUSABLE_LABELS:
            raise UserError(
                f"{where}: {rows} of {overall.rows} rows have no label: {label!r} is missing or "
                f"{said.label}. Correct the data, or features.label."
            )
        name = reason.removeprefix(UNUSABLE_PREDICTIONS)
        raise UserError(
            f"{where}: the model {name!r} gave {said.answer} for {rows} of {overall.rows} rows. "
            f"{said.advice}"
        )
    if asked.models.target.classes and overall.label_mean in (0, 1):
        raise UserError(
            f"{where}: all {overall.rows} rows have the same {label}: one class alone says nothing "
            "about a model. Use more data, or another data.split_by."
        )
    sliced = {tuple(part.columns) for part in slices}
    for columns in asked.config.slices:
        if columns not in sliced:
            raise UserError(
                f"{where}: evaluate.slices names {list(columns)}, but no row has a value in each "
                "of them. Correct the name, or take the slice out."
            )


def decide(slices: list[Slice], asked: Asked) -> Verdict:
    """The verdict over all candidates; `slices` are all rows first, then every slice."""
    overall, *parts = slices
    config, models = asked.config, asked.models
    checks = {name: judge(config, slices, name, models.live) for name in models.candidates}
    return Verdict(
        problem=models.target.problem,
        classes=models.target.classes,
        candidates=models.candidates,
        blessed={name: all(check.passed for check in made) for name, made in checks.items()},
        members=models.members,
        live=models.live,
        not_compared=models.not_compared,
        live_framework=models.live_framework,
        rows=overall.rows,
        judged_on=asked.judged_on,
        cross_validation=config.cross_validation,
        label_mean=overall.label_mean,
        models=overall.models,
        intervals=overall.intervals,
        spread=read_spread(asked),
        by_class=read_classes(asked),
        errors=overall.errors,
        confidence=config.confidence,
        replicates=config.replicates if overall.intervals else 0,
        groups=asked.group_by or "rows",
        slices=parts,
        checks=[check for made in checks.values() for check in made],
    )


def read_spread(asked: Asked) -> dict[str, Metrics]:
    """Each metric's standard deviation over the repeats of a cross-validation, by model."""
    file = f"{asked.folder}/{REPEATS_FILE}"
    if not fileio.exists(file):
        return {}
    spread: dict[str, Metrics] = {}
    for row in tables.read_any(file).to_pylist():
        deviation = float(np.std(row["values"], ddof=1))
        found = None if math.isnan(deviation) else deviation
        spread.setdefault(row["model"], {})[Metric(row["metric"])] = found
    return spread


def read_classes(asked: Asked) -> dict[str, tuple[ClassMetrics, ...]]:
    """How each model does on each of several classes."""
    if asked.models.target.problem is not Problem.MULTICLASS:
        return {}
    found = Confusion.of(tables.read_any(f"{asked.folder}/{confusion.FILE}"))
    repeats = max(asked.models.repeats, 1)
    return {name: found.by_class(name, repeats=repeats) for name in found.models}


def read_examples(path: str) -> list[bytes]:
    """The serialized tf.Examples of canary rows."""
    rows: list[bytes] = tables.read_any(path)["example"].to_pylist()
    return rows
