"""Runs the probe in a fresh process, and decides whether the model may go live."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tfx.components.util import model_utils
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.utils import path_utils

from custom_components.canary.report import FILE, Answer, CanaryReport, ProbeResult
from custom_components.evaluator.verdict import CANARY_FILE
from models import manifest
from pipeline.config import PROJECT, CanaryConfig
from pipeline.errors import UserError
from pipeline.features_config import Problem

PROBE = "custom_components.canary.probe"
PROBE_SECONDS = 300.0
"""A model that takes longer to load and to answer is not blessed."""

_waiting_probe: subprocess.Popen[str] | None = None


class Executor(BaseExecutor):
    """Blesses a model that answers, loaded as a server loads it, as the evaluator saw it answer."""

    @staticmethod
    def prepare() -> None:
        """Starts the probe, which imports TensorFlow meanwhile; whoever runs the node may call it.

        It ends with this process if the node is not run.
        """
        global _waiting_probe
        _waiting_probe = start_probe()

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Tries the model and records what came of it; a model that fails is a result, no error.

        The dictionaries' keys are the names in `component.CanarySpec`.
        """
        model, evaluation, model_blessing = (
            artifact_utils.get_single_instance(input_dict[key])
            for key in ("model", "evaluation", "model_blessing")
        )
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        config = CanaryConfig.model_validate_json(exec_properties["canary"])
        if model_utils.is_model_blessed(model_blessing):
            folder = Path(path_utils.serving_model_path(model.uri))
            report = _try(folder, Path(evaluation.uri) / CANARY_FILE, config)
        else:
            reason = "no model was selected to go live, so none was tried"
            report = CanaryReport(blessed=False, reason=reason, tolerance=config.tolerance)
        logging.getLogger(__name__).info("canary: %s", report)
        _record(report, blessing)


def _try(folder: Path, rows_file: Path, config: CanaryConfig) -> CanaryReport:
    """The report on the bundle in `folder`; one that is damaged is not even loaded.

    Raises:
      UserError: the evaluation is of other models.
    """
    try:
        bundle = manifest.read(folder)
        manifest.verify(folder, bundle)
    except UserError as refused:
        return CanaryReport(blessed=False, reason=str(refused), tolerance=config.tolerance)
    rows = pq.read_table(rows_file)
    if bundle.framework not in rows.column_names:
        raise UserError(
            f"{rows_file} has no predictions of {bundle.framework!r}: the evaluation is of other "
            "models. Connect the one that this model was selected by."
        )
    expected = rows.column(bundle.framework).to_pylist()
    is_regression = bundle.problem is Problem.REGRESSION
    return judge(run_probe(folder, rows_file), expected, config, relative=is_regression)


def start_probe() -> subprocess.Popen[str]:
    """A Python process that has loaded nothing before and waits for the model to try.

    Not a fork of this one, in which TensorFlow and the training code may be loaded already.
    """
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", PROBE],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        text=True,
    )


def run_probe(
    model_folder: Path, rows_file: Path, *, timeout: float = PROBE_SECONDS
) -> ProbeResult:
    """What the probe says of a model.

    Raises:
      RuntimeError: the probe failed by a fault of its own, not of the model; its traceback is in
        the log.
    """
    global _waiting_probe
    probe, _waiting_probe = _waiting_probe or start_probe(), None
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        order = {"model": str(model_folder), "rows": str(rows_file), "output": str(output)}
        try:
            probe.communicate(json.dumps(order), timeout)
        except subprocess.TimeoutExpired:
            probe.kill()
            probe.wait()
            return ProbeResult(error=f"the model did not load and answer within {timeout:g} s")
        code = probe.returncode
        if code < 0:
            killed_by = signal.Signals(-code).name
            return ProbeResult(error=f"the process that loaded the model was killed by {killed_by}")
        if code:
            raise RuntimeError(f"the canary's probe ended with exit code {code}; see the log")
        return ProbeResult.model_validate_json(output.read_text())


def judge(
    result: ProbeResult,
    expected: Sequence[Answer],
    config: CanaryConfig,
    *,
    relative: bool = False,
) -> CanaryReport:
    """Whether a model may go live that the evaluator saw answer `expected`, and the probe `result`.

    Both ways of asking count: each answer may differ by `config.tolerance` at most, or if that is
    `relative`, by this share of the largest answer.
    """
    answers = result.answers
    if answers is None:
        return CanaryReport(
            blessed=False, reason=result.error, rows=len(expected), tolerance=config.tolerance
        )
    unit = _largest(expected) if relative else 1.0
    difference, row, way = max(
        (_difference(said, judged) / unit, row, way)
        for way, predictions in answers.predictions.items()
        for row, (said, judged) in enumerate(zip(predictions, expected, strict=True))
    )
    reason = None
    if difference > config.tolerance:
        reason = (
            f"the model answers {answers.predictions[way][row]} to row {row} of {CANARY_FILE} by "
            f"{way}, where the evaluator saw {expected[row]}: they may differ by "
            f"{config.tolerance:g}{' of the largest answer' if relative else ''} (canary.tolerance)"
        )
    elif config.max_latency_ms is not None and answers.latency.p95_ms > config.max_latency_ms:
        reason = (
            f"the model takes {answers.latency.p95_ms:.1f} ms for one row (95th percentile), above "
            f"{config.max_latency_ms:g} (canary.max_latency_ms)"
        )
    return CanaryReport(
        blessed=reason is None,
        reason=reason,
        rows=len(expected),
        tolerance=config.tolerance,
        max_difference=difference if math.isfinite(difference) else None,
        load_seconds=answers.load_seconds,
        latency=answers.latency,
    )


def _largest(expected: Sequence[Answer]) -> float:
    """The largest answer's size, or 1 where all are 0."""
    return max(abs(value) for answer in expected for value in _numbers(answer)) or 1.0


def _difference(said: Answer | None, judged: Answer) -> float:
    """The largest difference between two answers of as many numbers."""
    ours, theirs = _numbers(said), _numbers(judged)
    if len(ours) != len(theirs) or not all(map(math.isfinite, [*ours, *theirs])):
        return math.inf
    return max(abs(one - other) for one, other in zip(ours, theirs, strict=True))


def _numbers(answer: Answer | None) -> list[float]:
    if answer is None:
        return []
    return answer if isinstance(answer, list) else [answer]


def _record(report: CanaryReport, blessing: Artifact) -> None:
    """Writes the report, and what TFX's own components and a query of the store look for."""
    folder = Path(blessing.uri)
    (folder / FILE).write_text(report.model_dump_json(indent=2))
    # The file and the property by which TFX's InfraValidator says it.
    (folder / ("INFRA_BLESSED" if report.blessed else "INFRA_NOT_BLESSED")).touch()
    blessing.set_int_custom_property("blessed", int(report.blessed))
    blessing.set_int_custom_property("rows", report.rows)
    if report.reason is not None:
        blessing.set_string_custom_property("reason", report.reason)
    numbers = {"max_difference": report.max_difference, "load_seconds": report.load_seconds}
    if report.latency is not None:
        numbers |= report.latency.model_dump()
    for name, value in numbers.items():
        if value is not None:
            blessing.set_float_custom_property(name, value)
