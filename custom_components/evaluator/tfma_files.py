"""An evaluation in TensorFlow Model Analysis's files, so that its loaders and viewers read it.

TFMA's own evaluator walks through the rows one by one in Python, for every metric, slice and model:
about 2 minutes where adding up tallies takes a second. So the metrics are ours, under TFMA's
names and in its files, and the tests hold them to scikit-learn's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_model_analysis import constants, version
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import (
    config_pb2,
    metrics_for_slice_pb2,
    validation_result_pb2,
)
from tensorflow_model_analysis.slicer import slicer_lib
from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer as tfma_writer

from custom_components.evaluator.verdict import (
    LIVE,
    Check,
    Errors,
    Rule,
    Slice,
    Value,
    Verdict,
)
from pipeline.evaluate_config import EvaluateConfig, Metric
from pipeline.features_config import Problem
from pipeline.files.storage import original

ROWS = "example_count"
"""TFMA's name for a slice's rows."""
LABEL_MEAN = "mean_label"
"""TFMA's name for the mean of the labels; see `verdict.Slice.label_mean` for several classes."""
_SIGNED, _SIZE = "error_", "error_size_"
"""Before the share at which a quantile of a regression's errors is told."""

SliceKey = tuple[tuple[str, Value], ...]
"""A slice as TFMA writes it: (column, value) pairs, none for all rows."""

_CLASSES = {
    Problem.BINARY: {
        Metric.AUC: "AUC",
        Metric.LOG_LOSS: "BinaryCrossEntropy",
        Metric.CALIBRATION: "Calibration",
        Metric.ACCURACY: "BinaryAccuracy",
        Metric.PRECISION: "Precision",
        Metric.RECALL: "Recall",
        Metric.F1: "F1Score",
    },
    Problem.MULTICLASS: {
        Metric.ACCURACY: "SparseCategoricalAccuracy",
        Metric.LOG_LOSS: "SparseCategoricalCrossentropy",
        Metric.TOP_K_ACCURACY: "SparseTopKCategoricalAccuracy",
    },
    Problem.REGRESSION: {
        Metric.RMSE: "RootMeanSquaredError",
        Metric.MAE: "MeanAbsoluteError",
        Metric.R2: "R2Score",
    },
}
"""TFMA's class of each metric, or Keras's; of the others neither has one that computes the same."""


def write_config(
    folder: str,
    config: EvaluateConfig,
    *,
    label: str,
    problem: Problem,
    models: Mapping[str, str],
    data: str,
) -> None:
    """Writes what was evaluated: eval_config.json.

    Args:
        folder: The evaluation's folder.
        config: Metrics, slices, and thresholds over all rows (guards are left out: TFMA would judge
            small slices too).
        label: The label's column.
        problem: What is predicted; a metric of which TFMA and Keras have no class is left out.
        models: Location of each model by its name.
        data: Location of the rows.
    """
    at_threshold: dict[str, object] = {"thresholds": [config.decision_threshold]}
    extras: dict[Metric, dict[str, object]] = {
        Metric.ACCURACY: {"threshold": config.decision_threshold},
        Metric.PRECISION: at_threshold,
        Metric.RECALL: at_threshold,
        Metric.F1: at_threshold,
        Metric.TOP_K_ACCURACY: {"k": config.top_k},
    }
    if problem is Problem.MULTICLASS:
        extras.pop(Metric.ACCURACY)
    classes = _CLASSES[problem]
    run = config_pb2.EvalRun(
        eval_config=config_pb2.EvalConfig(
            model_specs=[
                config_pb2.ModelSpec(
                    name=name, label_key=label, prediction_key=name, is_baseline=name == LIVE
                )
                for name in models
            ],
            slicing_specs=[
                config_pb2.SlicingSpec(feature_keys=columns) for columns in ((), *config.slices)
            ],
            metrics_specs=[
                config_pb2.MetricsSpec(
                    model_names=list(models),
                    metrics=[
                        config_pb2.MetricConfig(class_name=name)
                        for name in ("ExampleCount", *_label_mean(problem))
                    ]
                    + [
                        config_pb2.MetricConfig(
                            class_name=classes[metric],
                            config=json.dumps({"name": str(metric), **extras.get(metric, {})}),
                            per_slice_thresholds=_thresholds(
                                metric, config, compare=LIVE in models
                            ),
                        )
                        for metric in config.metrics
                        if metric in classes
                    ],
                )
            ],
        ),
        version=version.VERSION,
        data_location=original(data),
        file_format="tfrecords",
        model_locations={name: original(location) for name, location in models.items()},
    )
    with tf.io.gfile.GFile(f"{folder}/eval_config.json", "w") as file:
        file.write(json_format.MessageToJson(run))


def _label_mean(problem: Problem) -> tuple[str, ...]:
    return () if problem is Problem.MULTICLASS else ("MeanLabel",)


def _thresholds(
    metric: Metric, config: EvaluateConfig, *, compare: bool
) -> list[config_pb2.PerSliceMetricThreshold]:
    """The bounds of a metric over all rows, if there are any; TFMA cannot say "nearer to 1"."""
    if metric not in config.thresholds:
        return []
    given = config.thresholds[metric]
    result = config_pb2.MetricThreshold()
    if given.min is not None:
        _bound(result, metric, Rule.MIN, given.min)
    if given.max is not None:
        _bound(result, metric, Rule.MAX, given.max)
    if given.max_regression is not None and compare and metric.ideal is None:
        _bound(result, metric, Rule.MAX_REGRESSION, given.max_regression)
    # a threshold that names no slice would hold for every one of them
    overall = config_pb2.SlicingSpec()
    return [config_pb2.PerSliceMetricThreshold(slicing_specs=[overall], threshold=result)]


def _bound(threshold: config_pb2.MetricThreshold, metric: Metric, rule: Rule, bound: float) -> None:
    """Adds one bound to TFMA's threshold."""
    if rule is Rule.MIN:
        threshold.value_threshold.lower_bound.value = bound
    elif rule is Rule.MAX:
        threshold.value_threshold.upper_bound.value = bound
    elif metric.higher_is_better:
        threshold.change_threshold.absolute.value = -bound
        threshold.change_threshold.direction = config_pb2.HIGHER_IS_BETTER
    else:
        change = threshold.change_threshold
        allowed = change.relative if metric.is_relative else change.absolute
        allowed.value = bound
        change.direction = config_pb2.LOWER_IS_BETTER


def metrics_proto(
    slice_key: SliceKey,
    models: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Mapping[Metric, tuple[float, float]]],
) -> metrics_for_slice_pb2.MetricsForSlice:
    """A slice's metrics by model as TFMA stores them, with the differences to the live model.

    Args:
        slice_key: The slice.
        models: Metrics by model.
        intervals: Their ends by model, of those that have an interval.
    """
    values = {
        metric_types.MetricKey(name=metric, model_name=model): value
        for model, metrics in models.items()
        for metric, value in metrics.items()
    }
    differences = {
        key.make_diff_key(): value - values[key.make_baseline_key(LIVE)]
        for key, value in values.items()
        if LIVE in models and key.model_name != LIVE
    }
    bounded = {
        (key := metric_types.MetricKey(name=metric, model_name=model)): _bounded(values[key], *ends)
        for model, found in intervals.items()
        for metric, ends in found.items()
    }
    everything = values | differences | bounded
    return tfma_writer.convert_slice_metrics_to_proto((slice_key, everything), None)


def _bounded(value: float, low: float, high: float) -> metrics_for_slice_pb2.BoundedValue:
    bounded = metrics_for_slice_pb2.BoundedValue()
    bounded.value.value, bounded.lower_bound.value, bounded.upper_bound.value = value, low, high
    return bounded


def write_metrics(folder: str, slices: Iterable[metrics_for_slice_pb2.MetricsForSlice]) -> None:
    """Writes all slices' metrics."""
    _write_records(folder, constants.METRICS_KEY, slices)


def read_slices(
    folder: str, metrics: Sequence[Metric], columns: Sequence[tuple[str, ...]]
) -> list[Slice]:
    """The metrics in the evaluation's folder.

    Args:
        folder: The evaluation's folder.
        metrics: Which metrics.
        columns: The columns of each slicing.

    Returns:
        All rows first (nothing at all if there are none), then the slices in the order of
        `columns`, those with most rows first.
    """
    order = {slicing: position for position, slicing in enumerate(((), *columns))}
    slices = [_slice(proto, metrics) for proto in tfma_writer.load_and_deserialize_metrics(folder)]
    return sorted(slices, key=lambda s: (order[tuple(s.columns)], -s.rows, s.name))


def _slice(proto: metrics_for_slice_pb2.MetricsForSlice, metrics: Sequence[Metric]) -> Slice:
    values: dict[str, dict[str, float]] = {}
    ends: dict[str, dict[str, tuple[float, float]]] = {}
    for pair in proto.metric_keys_and_values:
        if not pair.key.is_diff:
            name, model = pair.key.name, pair.key.model_name
            values.setdefault(model, {})[name] = pair.value.double_value.value
            if pair.HasField("confidence_interval"):
                interval = pair.confidence_interval
                ends.setdefault(model, {})[name] = (
                    interval.lower_bound.double_value.value,
                    interval.upper_bound.double_value.value,
                )
    anyone = next(iter(values.values()))
    errors = {name: _errors(model) for name, model in values.items()}
    return Slice(
        columns=dict(slicer_lib.deserialize_slice_key(proto.slice_key)),
        rows=int(anyone[ROWS]),
        label_mean=anyone[LABEL_MEAN],
        models={
            name: {metric: _defined(model[metric]) for metric in metrics}
            for name, model in values.items()
        },
        intervals={
            name: {metric: model.get(metric) for metric in metrics} for name, model in ends.items()
        },
        errors={name: found for name, found in errors.items() if found},
    )


def flat_errors(errors: Errors | None) -> dict[str, float]:
    """The quantiles of a regression's errors, each by a name of its own."""
    if errors is None:
        return {}
    signed = {f"{_SIGNED}{share:g}": value for share, value in errors.signed.items()}
    return signed | {f"{_SIZE}{share:g}": value for share, value in errors.size.items()}


def _errors(values: Mapping[str, float]) -> Errors | None:
    """The quantiles, from among what a model has by name."""

    def named(prefix: str) -> dict[float, float]:
        found = {name.removeprefix(prefix): value for name, value in values.items()}
        return {float(share): value for share, value in found.items() if share[:1].isdigit()}

    signed, size = named(_SIGNED), named(_SIZE)
    return Errors(signed=signed, size=size) if signed else None


def _defined(value: float) -> float | None:
    return None if value != value else value


def write_validation(folder: str, verdict: Verdict) -> None:
    """Writes the verdict as TFMA's ValidationResult: what `tfma.load_validation_result` reads.

    As there, it is well if it is for every model; each failure names its own.
    """
    result = validation_result_pb2.ValidationResult(
        validation_ok=all(verdict.blessed.values()), rubber_stamp=verdict.live is None
    )
    for check in verdict.checks:
        if check.passed:
            continue
        result.metric_validations_per_slice.add(
            slice_key=slicer_lib.serialize_slice_key(tuple(check.slice.items())),
            failures=[_failure(check)],
        )
    _write_records(folder, constants.VALIDATIONS_KEY, [result])


def _failure(check: Check) -> validation_result_pb2.ValidationFailure:
    key = metric_types.MetricKey(name=check.metric, model_name=check.model)
    threshold = config_pb2.MetricThreshold()
    _bound(threshold, check.metric, check.rule, check.bound)
    value = float("nan") if check.value is None else check.value
    if check.rule in (Rule.MAX_REGRESSION, Rule.GUARD):
        key = key.make_diff_key()
        value -= check.live or 0
    return validation_result_pb2.ValidationFailure(
        metric_key=key.to_proto(),
        metric_threshold=threshold,
        metric_value=tfma_writer.convert_metric_value_to_proto(value),
        message=check.reason,
    )


def _write_records(folder: str, name: str, records: Iterable[Message]) -> None:
    file = f"{folder}/{name}-00000-of-00001.tfrecord"
    with tf.io.TFRecordWriter(file) as writer:
        for record in records:
            writer.write(record.SerializeToString())
