"""How far each column moved from one span to the next, measured by TFDV."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from custom_components.gate_report import Drift, Measure
from pipeline.config import GateConfig
from pipeline.features_config import FeaturesConfig, Problem

_Columns = dict[str, statistics_pb2.FeatureNameStatistics]

_FEATURE_TYPE = {
    statistics_pb2.FeatureNameStatistics.INT: schema_pb2.INT,
    statistics_pb2.FeatureNameStatistics.FLOAT: schema_pb2.FLOAT,
    statistics_pb2.FeatureNameStatistics.STRING: schema_pb2.BYTES,
    statistics_pb2.FeatureNameStatistics.BYTES: schema_pb2.BYTES,
}
_NOTICEABLE = 0.01
"""A change of the share of missing values that is worth a word."""


def measure_drift(
    now: statistics_pb2.DatasetFeatureStatisticsList,
    before: statistics_pb2.DatasetFeatureStatisticsList,
    *,
    features: FeaturesConfig,
    gate: GateConfig,
) -> Iterator[Drift]:
    """How far each model input and the label moved between the statistics of two spans.

    Numbers are compared by Jensen-Shannon divergence and strings by L-infinity distance. What
    counts is how TFDV sees a column: it says an L-infinity distance of 0 for any two columns of
    numbers (tfx#4685), so categories that are written as numbers are compared as numbers. Of a
    label of two numbers, such as 0 and 1, it is the share of the second. The columns in
    `features.keep` are left out: what is kept to split or slice by, such as a date, is new in every
    span; so are dates to predict from.

    A column that has values in one span only, or changed its type, moved by 1, as far as there is.
    """
    columns_now, columns_before = _with_values(now), _with_values(before)
    measured = _measured_by_tfdv(now, before)
    for name in (*features.inputs, features.label):
        if name in features.dates:
            continue
        column, old = columns_now.get(name), columns_before.get(name)
        known = column or old
        if known is None:
            continue  # No values in either span: nothing that could move.
        is_label = (
            name == features.label
            and features.problem is Problem.BINARY
            and known.HasField("num_stats")
        )
        is_numeric = known.HasField("num_stats") and not is_label
        measure = Measure.JENSEN_SHANNON if is_numeric else Measure.L_INFINITY
        default = gate.max_js_divergence if is_numeric else gate.max_l_infinity
        if column is None or old is None or column.WhichOneof("stats") != old.WhichOneof("stats"):
            value, change = 1.0, f"{_words(old)} before, {_words(column)} now"
        elif is_label:
            first, second = map(float, features.class_names)
            before_it, now_it = (
                (some.num_stats.mean - first) / (second - first) for some in (old, column)
            )
            value = abs(now_it - before_it)
            change = f"share of {features.class_names[1]} from {before_it:.1%} to {now_it:.1%}"
        else:
            value = measured[name]
            change = _moments(old, column) if is_numeric else _largest_move(old, column)
            change += _missing(old, column)
        yield Drift(
            feature=name,
            measure=measure,
            value=value,
            threshold=gate.thresholds.get(name, default),
            change=change,
        )


def _measured_by_tfdv(
    now: statistics_pb2.DatasetFeatureStatisticsList,
    before: statistics_pb2.DatasetFeatureStatisticsList,
) -> dict[str, float]:
    """TFDV's measurement by column.

    The schema made here asks for nothing but a measurement. In the pipeline's own schema a column
    with another complaint against it, such as too few values, would be left unmeasured.
    """
    schema = schema_pb2.Schema()
    for name, column in _with_values(now).items():
        feature = schema.feature.add(name=name, type=_FEATURE_TYPE[column.type])
        if column.HasField("num_stats"):
            feature.drift_comparator.jensen_shannon_divergence.threshold = 1.0
        else:
            feature.drift_comparator.infinity_norm.threshold = 1.0
            feature.int_domain.is_categorical = feature.type == schema_pb2.INT
    comparison: anomalies_pb2.Anomalies = tfdv.validate_statistics(
        now, schema, previous_statistics=before
    )
    return {
        info.path.step[0]: measurement.value
        for info in comparison.drift_skew_info
        for measurement in info.drift_measurements
    }


def _with_values(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> _Columns:
    columns = tfdv.DatasetListView(statistics).get_default_slice_or_die().proto().features
    return {c.path.step[0]: c for c in columns if _count_values(c)}


def _count_values(column: statistics_pb2.FeatureNameStatistics) -> int:
    """Rows with a value; NaN is none, though TFDV counts it as one."""
    histograms = column.num_stats.histograms
    not_a_number = histograms[0].num_nan if histograms else 0
    return int(_common(column).num_non_missing - not_a_number)


def _common(column: statistics_pb2.FeatureNameStatistics) -> statistics_pb2.CommonStatistics:
    return getattr(column, column.WhichOneof("stats")).common_stats


def _words(column: statistics_pb2.FeatureNameStatistics | None) -> str:
    if column is None:
        return "no values"
    return "numbers" if column.HasField("num_stats") else "strings"


def _moments(
    old: statistics_pb2.FeatureNameStatistics, new: statistics_pb2.FeatureNameStatistics
) -> str:
    a, b = old.num_stats, new.num_stats
    return (
        f"mean from {a.mean:.4g} to {b.mean:.4g}, "
        f"standard deviation from {a.std_dev:.4g} to {b.std_dev:.4g}"
    )


def _largest_move(
    old: statistics_pb2.FeatureNameStatistics, new: statistics_pb2.FeatureNameStatistics
) -> str:
    a, b = _shares(old), _shares(new)
    moved = max(a.keys() | b.keys(), key=lambda v: (abs(b.get(v, 0) - a.get(v, 0)), v), default="")
    return f"share of {moved!r} from {a.get(moved, 0):.1%} to {b.get(moved, 0):.1%}"


def _shares(column: statistics_pb2.FeatureNameStatistics) -> dict[str, float]:
    """Each value's share of the values there are; as TFDV counts, the 1,000 commonest only."""
    buckets = column.string_stats.rank_histogram.buckets
    total = sum(bucket.sample_count for bucket in buckets)
    return {bucket.label: bucket.sample_count / total for bucket in buckets}


def _missing(
    old: statistics_pb2.FeatureNameStatistics, new: statistics_pb2.FeatureNameStatistics
) -> str:
    a, b = _missing_share(old), _missing_share(new)
    return f"; missing from {a:.1%} to {b:.1%}" if abs(a - b) >= _NOTICEABLE else ""


def _missing_share(column: statistics_pb2.FeatureNameStatistics) -> float:
    common = _common(column)
    return float(1 - _count_values(column) / (common.num_missing + common.num_non_missing))
