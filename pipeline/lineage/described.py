"""Statistics, schema and anomalies of data, as tables; TensorFlow is needed for displays alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from tensorflow_metadata.proto.v0 import anomalies_pb2, path_pb2, schema_pb2, statistics_pb2

from pipeline.lineage import html

if TYPE_CHECKING:
    import pandas as pd

Facts = dict[str, Any]
Column: TypeAlias = statistics_pb2.FeatureNameStatistics

_ALL_ROWS = ("", "All Examples")
"""What TFDV calls the part of the data that is all of it."""


@dataclass(frozen=True, repr=False)
class Statistics:
    """The statistics of a split."""

    name: str
    """Which they are, as in "train of span 3"."""
    split: str
    """The split."""
    splits: tuple[str, ...]
    """All splits that there are statistics of."""
    proto: statistics_pb2.DatasetFeatureStatisticsList
    """As TensorFlow Data Validation takes them."""

    @property
    def all_rows(self) -> statistics_pb2.DatasetFeatureStatistics:
        """The statistics that are of no slice of the data."""
        datasets = self.proto.datasets
        return next((found for found in datasets if found.name in _ALL_ROWS), datasets[0])

    @property
    def rows(self) -> int:
        """How many rows the split has."""
        return int(self.all_rows.num_examples)

    def columns(self) -> dict[str, Column]:
        """What was counted of each feature, by its name."""
        found = {_path(column.path) or column.name: column for column in self.all_rows.features}
        return dict(sorted(found.items()))

    def facts(self) -> list[Facts]:
        """What a table says of each feature; None where it does not apply.

        `rows` has the rows of the split, `missing` the share of those without a value (or with
        NaN), `zeros` the share of values that are 0, `unique` how many values differ, `top` the
        commonest one and `top_share` its share of the values.
        """
        return [facts_of(name, column) for name, column in self.columns().items()]

    def frame(self) -> pd.DataFrame:
        """The features as a table, a row for each; `facts` has the columns' meaning."""
        return _frame(self.facts(), facts_of("", Column()))

    def display(self, other: Statistics | None = None) -> None:
        """Shows them in a notebook as TFDV does, with histograms; beside others if given.

        The browser fetches TFDV's viewer, Facets, from the network.
        """
        import tensorflow_data_validation as tfdv

        if other is None:
            tfdv.visualize_statistics(self.proto, lhs_name=self.name)
        else:
            theirs = other.name if other.name != self.name else f"{other.name} (other)"
            tfdv.visualize_statistics(self.proto, other.proto, lhs_name=self.name, rhs_name=theirs)

    def __repr__(self) -> str:
        return f"<Statistics of {self.name}: {self.rows:,} rows, {len(self.columns())} features>"

    def _repr_html_(self) -> str:
        return html.facts(f"Statistics of {self.name}", {}) + html.table(self.facts())


@dataclass(frozen=True, repr=False)
class Schema:
    """What data must look like."""

    proto: schema_pb2.Schema
    """As TensorFlow Data Validation takes it."""

    def features(self) -> dict[str, schema_pb2.Feature]:
        """The features by name; one inside of another has a name as in "address.city"."""
        return dict(_features(self.proto.feature))

    def domain(self, feature: schema_pb2.Feature) -> tuple[str, ...] | str | None:
        """The values that a feature may have: its texts, or a range in words; None: any."""
        texts = {domain.name: tuple(domain.value) for domain in self.proto.string_domain}
        match feature.WhichOneof("domain_info"):
            case None:
                return None
            case "domain":
                return texts.get(feature.domain, ())
            case "string_domain":
                return tuple(feature.string_domain.value)
            case "bool_domain":
                kind = feature.bool_domain
                return tuple(filter(None, (kind.false_value, kind.true_value))) or "a truth value"
            case "int_domain" | "float_domain" as kind:
                return _range(getattr(feature, kind))
            case kind:
                return str(kind).removesuffix("_domain").replace("_", " ")

    def facts(self) -> list[Facts]:
        """What a table says of each feature; None where the schema demands nothing.

        `presence` has the least share of rows with a value, `values` how many a row may have, and
        `domain` which ones.
        """
        return [self._of_feature(name, feature) for name, feature in self.features().items()]

    def _of_feature(self, name: str, feature: schema_pb2.Feature) -> Facts:
        domain = self.domain(feature)
        return {
            "feature": name,
            "type": schema_type(feature),
            "presence": presence(feature),
            "values": values(feature),
            "domain": ", ".join(domain) if isinstance(domain, tuple) else domain,
        }

    def frame(self) -> pd.DataFrame:
        """The features as a table, a row for each; `facts` has the columns' meaning."""
        return _frame(self.facts(), self._of_feature("", schema_pb2.Feature()))

    def display(self) -> None:
        """Shows it in a notebook as TFDV does."""
        import tensorflow_data_validation as tfdv

        tfdv.display_schema(self.proto)

    def __repr__(self) -> str:
        return f"<Schema of {len(self.features())} features>"

    def _repr_html_(self) -> str:
        return html.facts("Schema", {}) + html.table(self.facts())


@dataclass(frozen=True, repr=False)
class Anomalies:
    """Where data breaks its schema."""

    name: str
    """Of which data, as in "span 3"."""
    protos: Mapping[str, anomalies_pb2.Anomalies]
    """As TensorFlow Data Validation takes them, by split."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that were looked at."""
        return tuple(self.protos)

    @property
    def proto(self) -> anomalies_pb2.Anomalies:
        """Those of the split; of several splits the first one's."""
        return next(iter(self.protos.values()))

    def facts(self) -> list[Facts]:
        """What a table says of each anomaly; `feature` is None where it concerns whole rows."""
        return [fact for split, proto in self.protos.items() for fact in _anomalies(split, proto)]

    def frame(self) -> pd.DataFrame:
        """The anomalies as a table, a row for each, of all splits that were asked for."""
        return _frame(self.facts(), _anomaly("", "", anomalies_pb2.AnomalyInfo()))

    def display(self) -> None:
        """Shows them in a notebook as TFDV does, split by split."""
        import tensorflow_data_validation as tfdv

        for proto in self.protos.values():
            tfdv.display_anomalies(proto)

    def __repr__(self) -> str:
        return f"<Anomalies of {self.name}: {len(self.facts()) or 'none'}>"

    def _repr_html_(self) -> str:
        facts = self.facts()
        title = html.facts(f"{'Anomalies' if facts else 'No anomalies'} of {self.name}", {})
        return title + (html.table(facts) if facts else "")


def type_of(column: Column) -> str:
    """What a feature was seen to be, as in "FLOAT"."""
    return _name(Column.Type, column.type)


def schema_type(feature: schema_pb2.Feature) -> str:
    """What a feature must be, as in "BYTES"."""
    return _name(schema_pb2.FeatureType, feature.type)


def count_values(column: Column) -> int:
    """Rows with a value; NaN is none, though TFDV counts it as one."""
    histograms = column.num_stats.histograms
    not_a_number = histograms[0].num_nan if histograms else 0
    return int(common(column).num_non_missing - not_a_number)


def common(column: Column) -> statistics_pb2.CommonStatistics:
    """What is counted of a feature of any type."""
    kind = column.WhichOneof("stats")
    if kind is None:
        return statistics_pb2.CommonStatistics()
    found: statistics_pb2.CommonStatistics = getattr(column, kind).common_stats
    return found


def missing_share(column: Column) -> float | None:
    """The share of rows without a value; None where there are no rows."""
    told = common(column)
    rows = told.num_missing + told.num_non_missing
    return (rows - count_values(column)) / rows if rows else None


def shares(column: Column) -> dict[str, float]:
    """Each text's share of the values, the commonest first; TFDV keeps the 1,000 commonest."""
    told = common(column)
    total = told.tot_num_values or told.num_non_missing
    buckets = column.string_stats.rank_histogram.buckets
    return {bucket.label: bucket.sample_count / total for bucket in buckets} if total else {}


def facts_of(name: str, column: Column) -> Facts:
    """A line of the table: `Statistics.facts` says what it means."""
    told = common(column)
    numbers = column.num_stats if column.HasField("num_stats") and count_values(column) else None
    texts = shares(column)
    top = next(iter(texts), None)
    return {
        "feature": name,
        "type": type_of(column),
        "rows": told.num_missing + told.num_non_missing,
        "missing": missing_share(column),
        "mean": numbers.mean if numbers else None,
        "std": numbers.std_dev if numbers else None,
        "min": numbers.min if numbers else None,
        "median": numbers.median if numbers else None,
        "max": numbers.max if numbers else None,
        "zeros": numbers.num_zeros / count_values(column) if numbers else None,
        "unique": column.string_stats.unique if column.HasField("string_stats") else None,
        "top": top,
        "top_share": texts.get(top) if top is not None else None,
    }


def presence(feature: schema_pb2.Feature) -> float | None:
    """The least share of rows that must have a value; None: none need to."""
    told = feature.presence
    return told.min_fraction or (0.0 if told.min_count else None)


def values(feature: schema_pb2.Feature) -> str | None:
    """How many values a row may have, in words; None: any number."""
    if feature.HasField("shape"):
        return " x ".join(str(dim.size) for dim in feature.shape.dim) or "1"
    return _range(feature.value_count) if feature.HasField("value_count") else None


def _features(
    features: Iterable[schema_pb2.Feature], prefix: str = ""
) -> Iterator[tuple[str, schema_pb2.Feature]]:
    for feature in features:
        yield f"{prefix}{feature.name}", feature
        yield from _features(feature.struct_domain.feature, f"{prefix}{feature.name}.")


def _anomalies(split: str, found: anomalies_pb2.Anomalies) -> Iterator[Facts]:
    if found.data_missing:
        info = anomalies_pb2.AnomalyInfo(
            severity=anomalies_pb2.AnomalyInfo.ERROR,
            short_description="No data",
            description="There are no rows.",
        )
        yield _anomaly(split, None, info)
    if found.HasField("dataset_anomaly_info"):
        yield _anomaly(split, None, found.dataset_anomaly_info)
    for name in sorted(found.anomaly_info):
        info = found.anomaly_info[name]
        yield _anomaly(split, _path(info.path) or name, info)


def _anomaly(split: str, feature: str | None, info: anomalies_pb2.AnomalyInfo) -> Facts:
    return {
        "split": split,
        "feature": feature,
        "severity": _name(anomalies_pb2.AnomalyInfo.Severity, info.severity).lower(),
        "anomaly": info.short_description,
        "description": info.description,
    }


def _name(enum: Any, number: int) -> str:
    """The name of a value; its number if it is of a later version."""
    return str(enum.Name(number)) if number in enum.values() else str(number)


def _path(path: path_pb2.Path) -> str:
    return ".".join(path.step)


def _range(limits: Any) -> str | None:
    low = f"{limits.min:g}" if limits.HasField("min") else None
    high = f"{limits.max:g}" if limits.HasField("max") else None
    if low is not None and high is not None:
        return low if low == high else f"{low} to {high}"
    if low is None and high is None:
        return None
    return f"at least {low}" if high is None else f"at most {high}"


def _frame(facts: list[Facts], columns: Facts) -> pd.DataFrame:
    """A table that has its columns without a row, too."""
    import pandas as pd

    return pd.DataFrame(facts, columns=list(columns))
