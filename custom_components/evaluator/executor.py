"""The Evaluator's executor: what happens when the node runs."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from absl import logging
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from custom_components.beam import runs_here
from custom_components.evaluator.judge import judge
from custom_components.evaluator.signature import check_signature
from custom_components.evaluator.verdict import (
    COUNTERS,
    FILE,
    LIVE,
    UNUSABLE_LABELS,
    UNUSABLE_PREDICTIONS,
    Slice,
    Verdict,
)
from pipeline.config import EvaluateConfig
from pipeline.errors import UserError

SPLIT = "eval"
"""The split that models are judged by."""

Artifacts = dict[str, list[types.Artifact]]


class Executor(base_beam_executor.BaseBeamExecutor):
    """Evaluates the candidate and the live model, and blesses the candidate or does not."""

    @staticmethod
    def prepare() -> None:
        """Imports TFMA, which takes a second; whoever runs the node may call it beforehand."""
        from custom_components.evaluator import evaluate, tfma_files  # noqa: F401

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes the evaluation and the blessing; a model that is not blessed is no error.

        Args:
            input_dict: `examples` (one artifact per span), `model`, and `baseline_model` (none or
                one).
            output_dict: `evaluation`, `blessing`.
            exec_properties: `evaluate` (EvaluateConfig as JSON), `label`, `candidate`,
                `canary_rows`.

        Raises:
            UserError: If a model's signature does not fit, there are no rows to judge by, or a
                column is missing.
        """
        from custom_components.evaluator import tfma_files
        from custom_components.evaluator.evaluate import Asked, evaluate, evaluate_here

        config = EvaluateConfig.model_validate_json(exec_properties["evaluate"])
        candidate, label = exec_properties["candidate"], exec_properties["label"]
        model = artifact_utils.get_single_instance(input_dict["model"])
        live = next(iter(input_dict.get("baseline_model") or []), None)
        folder = artifact_utils.get_single_uri(output_dict["evaluation"])

        paths = {candidate: path_utils.serving_model_path(model.uri)}
        check_signature(paths[candidate], f"the model {candidate!r}")
        if live:
            paths[LIVE] = live.uri
            check_signature(paths[LIVE], "the live model")
        files = eval_files(input_dict["examples"])
        tfma_files.write_config(
            folder, config, label=label, models=paths, data=files[0].rpartition("/")[0]
        )
        asked = Asked(
            files, paths, candidate, label, config, exec_properties["canary_rows"], folder
        )
        if runs_here(self._beam_pipeline_args):
            unusable = evaluate_here(asked)
        else:
            with self._make_beam_pipeline() as pipeline:
                evaluate(pipeline, asked)
            unusable = unusable_rows(pipeline.result)
        slices = tfma_files.read_slices(folder, config.metrics, config.slices)
        check_rows(slices, unusable, label, config)

        verdict = decide(slices, config, candidate, LIVE if live else None)
        with fileio.open(f"{folder}/{FILE}", "w") as file:
            file.write(verdict.model_dump_json(indent=2))
        tfma_files.write_validation(folder, verdict)
        bless(artifact_utils.get_single_instance(output_dict["blessing"]), verdict, model, live)


def eval_files(examples: list[types.Artifact]) -> list[str]:
    """The files of the eval split of all spans.

    Raises:
        UserError: If an artifact has no eval split, or none has a file.
    """
    files = []
    for artifact in examples:
        splits = artifact_utils.decode_split_names(artifact.split_names)
        if SPLIT not in splits:
            raise UserError(
                f"{artifact.uri} has no split {SPLIT!r} to judge models by (it has: "
                f"{', '.join(splits) or 'none'}). Set data.eval_buckets to 1 or more."
            )
        folder = artifact_utils.get_split_uri([artifact], SPLIT)
        files += fileio.glob(f"{folder}/*")
    if not files:
        raise UserError("the eval split has no files: run ExampleGen again.")
    return sorted(files)


def unusable_rows(result: beam.runners.runner.PipelineResult) -> dict[str, int]:
    """How many rows could not be used, by the reason, as the Beam pipeline counted them."""
    query = beam.metrics.MetricsFilter().with_namespace(COUNTERS)
    return {
        counter.key.metric.name: counter.result
        for counter in result.metrics().query(query)["counters"]
        if counter.result
    }


def check_rows(
    slices: list[Slice], unusable: dict[str, int], label: str, config: EvaluateConfig
) -> None:
    """Refuses rows that no model can be judged by.

    Raises:
        UserError: Says which.
    """
    if not slices:
        raise UserError(
            "the eval split has no rows: nothing to judge a model by. Give it a larger weight "
            "(data.eval_buckets) or more data."
        )
    overall = slices[0]
    for reason, rows in unusable.items():
        if reason == UNUSABLE_LABELS:
            raise UserError(
                f"{rows} of {overall.rows} rows of the eval split have no label: {label!r} is "
                "missing or neither 0 nor 1. Correct the data, or features.label."
            )
        name = reason.removeprefix(UNUSABLE_PREDICTIONS)
        raise UserError(
            f"the model {name!r} gave no probability (a number from 0 to 1) for {rows} of "
            f"{overall.rows} rows. Its last layer must be a sigmoid, and it must cope with "
            "missing values."
        )
    if overall.label_mean in (0, 1):
        raise UserError(
            f"all {overall.rows} rows of the eval split have {label} = {overall.label_mean:.0f}: "
            "one class alone says nothing about a model. Use more data, or another "
            "data.split_by."
        )
    sliced = {tuple(part.columns) for part in slices}
    for columns in config.slices:
        if columns not in sliced:
            raise UserError(
                f"evaluate.slices names {list(columns)}, but no row of the eval split has a value "
                "in each of them. Correct the name, or take the slice out."
            )


def decide(
    slices: list[Slice], config: EvaluateConfig, candidate: str, live: str | None
) -> Verdict:
    """The verdict over the candidate; `slices` are all rows first, then every slice."""
    overall, *parts = slices
    checks = judge(config, slices, candidate, live)
    return Verdict(
        blessed=all(check.passed for check in checks),
        candidate=candidate,
        live=live,
        rows=overall.rows,
        label_mean=overall.label_mean,
        models=overall.models,
        slices=parts,
        checks=checks,
    )


def bless(
    blessing: types.Artifact,
    verdict: Verdict,
    model: types.Artifact,
    live: types.Artifact | None,
) -> None:
    """Writes the verdict as TFX's own Evaluator does, for its Pusher and its resolvers."""
    name = constants.BLESSED_FILE_NAME if verdict.blessed else constants.NOT_BLESSED_FILE_NAME
    fileio.makedirs(blessing.uri)
    with fileio.open(f"{blessing.uri}/{name}", "w") as file:
        file.write("")
    message = "; ".join(check.reason for check in verdict.failures) or "every check passed"
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(verdict.blessed))
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BLESSING_MESSAGE_KEY, message)
    blessing.set_string_custom_property(
        constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri
    )
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if live:
        blessing.set_string_custom_property(
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, live.uri
        )
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, live.id)
    logging.info("%s: %s", name, message)
