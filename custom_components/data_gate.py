"""The data gate: stops a run whose data breaks the schema or moved too far from the last span."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.components.statistics_gen.stats_artifact_utils import load_statistics
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics

from custom_components.artifacts import GateReport
from custom_components.drift import measure_drift
from custom_components.gate_report import FILE, Drift, Finding, Kind, Report
from pipeline.config import GateConfig, Severity
from pipeline.errors import UserError
from pipeline.features_config import FeaturesConfig

_DRIFT_SPLIT = "train"
"""The split whose spans are compared: what models learn from, and the larger sample."""

_LOG_LEVEL = {
    Severity.INFO: logging.INFO,
    Severity.WARN: logging.WARNING,
    Severity.STOP: logging.ERROR,
}

# This module cannot say `from __future__ import annotations`: the decorator reads the annotations
# below as objects, not as text.


@component
def DataGate(
    statistics: InputArtifact[ExampleStatistics],
    anomalies: InputArtifact[ExampleAnomalies],
    report: OutputArtifact[GateReport],
    config: Parameter[str],
    features: Parameter[str],
    previous_statistics: InputArtifact[ExampleStatistics] = None,
) -> None:
    """Judges the span's anomalies, its drift and its size, each by the severity that is configured.

    This is a component in TFX's first style, a decorated function. Take it where a step reads some
    artifacts, writes some, and needs nothing but Python in between: the annotations are the whole
    interface, and the body is what runs. Take a fully custom component (see `canary`) where inputs
    hold several artifacts, the executor has state, or another executor should be able to take its
    place; subclass one of TFX's own (see `pusher`) where it does nearly what you want.

    The annotations say what each argument is:

    *   `InputArtifact[T]`: an artifact that another node put out, already resolved: read the files
        below its `uri`, and its properties. `= None` makes it optional.
    *   `OutputArtifact[T]`: an artifact of this node's own: write files below its `uri`, set its
        properties. Both are recorded in the metadata store when the function returns. A function
        that raises puts out nothing, so the error has to say all there is to know.
    *   `Parameter[str | int | float | bool]`: a setting, known when the pipeline is defined. It is
        part of the cache key: the function runs again when it, or an input, changes. That is why
        this one gets its two sections of the configuration, as JSON, and not the whole.

    Args:
      statistics: the span's statistics, of each split.
      anomalies: where it breaks the schema, from ExampleValidator.
      report: the findings, for people and later nodes: see `gate_report.Report`.
      config: JSON of the `GateConfig`.
      features: JSON of the `FeaturesConfig`.
      previous_statistics: statistics of the span before, if there is one.

    Raises:
      UserError: a finding of severity "stop"; the message holds all of these findings.
    """
    gate = GateConfig.model_validate_json(config)
    splits = artifact_utils.decode_split_names(statistics.split_names)
    views = {split: load_statistics(statistics, split) for split in splits}
    rows = {split: _rows(view.proto()) for split, view in views.items()}
    drift: tuple[Drift, ...] = ()
    previous_span = None
    if previous_statistics is not None:
        previous_span = previous_statistics.span
        drift = tuple(
            measure_drift(
                views[_DRIFT_SPLIT].proto(),
                load_statistics(previous_statistics, _DRIFT_SPLIT).proto(),
                features=FeaturesConfig.model_validate_json(features),
                gate=gate,
            )
        )
    findings = [
        *_too_few_rows(rows, gate),
        *_anomalies(anomalies, gate.anomalies),
        *_drifted(drift, gate.drift, previous_span),
    ]
    found = Report(
        span=statistics.span,
        previous_span=previous_span,
        rows=rows,
        findings=tuple(f for f in findings if f.severity is not Severity.IGNORE),
        drift=drift,
    )
    (Path(report.uri) / FILE).write_text(found.model_dump_json(indent=2))
    report.span = found.span
    report.findings = len(found.findings)
    for finding in found.findings:
        logging.getLogger(__name__).log(
            _LOG_LEVEL[finding.severity], "span %d: %s", found.span, finding.message
        )
    if found.stopping:
        raise UserError(_stop_message(found))


def _rows(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> int:
    return int(tfdv.DatasetListView(statistics).get_default_slice_or_die().proto().num_examples)


def _too_few_rows(rows: dict[str, int], gate: GateConfig) -> Iterator[Finding]:
    total = sum(rows.values())
    if total < gate.min_rows:
        yield Finding(
            severity=Severity.STOP,
            kind=Kind.ROWS,
            value=total,
            threshold=gate.min_rows,
            message=f"the span has {total} rows, fewer than {gate.min_rows}",
        )
    for split in (split for split, count in rows.items() if not count):
        yield Finding(
            severity=Severity.STOP,
            kind=Kind.ROWS,
            split=split,
            value=0,
            threshold=1,
            message=f"the {split} split has no rows",
        )


def _anomalies(anomalies: ExampleAnomalies, severity: Severity) -> Iterator[Finding]:
    for split in artifact_utils.decode_split_names(anomalies.split_names):
        folder = Path(artifact_utils.get_split_uri([anomalies], split))
        found = anomalies_pb2.Anomalies.FromString((folder / DEFAULT_FILE_NAME).read_bytes())
        by_feature: list[tuple[str | None, anomalies_pb2.AnomalyInfo]] = sorted(
            found.anomaly_info.items()
        )
        if found.HasField("dataset_anomaly_info"):
            by_feature.append((None, found.dataset_anomaly_info))
        for feature, info in by_feature:
            for reason in info.reason or (info,):
                yield Finding(
                    severity=severity,
                    kind=Kind.ANOMALY,
                    feature=feature,
                    split=split,
                    message=f"{feature or 'the rows'} ({split} split): "
                    f"{reason.short_description}: {reason.description}",
                )


def _drifted(
    drift: Iterable[Drift], severity: Severity, previous_span: int | None
) -> Iterator[Finding]:
    for moved in (d for d in drift if d.is_finding):
        yield Finding(
            severity=severity,
            kind=Kind.DRIFT,
            feature=moved.feature,
            split=_DRIFT_SPLIT,
            measure=moved.measure,
            value=moved.value,
            threshold=moved.threshold,
            message=f"{moved.feature} moved since span {previous_span}: {moved.measure} "
            f"{moved.value:.3g}, above {moved.threshold:.3g} ({moved.change})",
        )


def _stop_message(report: Report) -> str:
    """Every finding that stops the run, and what can be done about each kind."""
    kinds = {finding.kind for finding in report.stopping}
    features = [f.feature for f in report.stopping if f.kind is Kind.DRIFT]
    remedies = {
        Kind.ROWS: "add rows to the span, or lower gate.min_rows; an empty split wants other "
        "data.split_by or bucket weights",
        Kind.ANOMALY: "mend the data; if it is right, put what it holds into the schema; "
        'gate.anomalies = "warn" lets it pass',
        Kind.DRIFT: "find out why the data moved; if it may, raise "
        f"{', '.join(f'gate.thresholds.{f}' for f in features)}; "
        'gate.drift = "warn" lets it pass',
    }
    lines = [f"the data of span {report.span} may not go on:"]
    lines += [f"  - {finding.message}" for finding in report.stopping]
    lines += ["What to do:"]
    lines += [f"  - {remedies[kind]}" for kind in Kind if kind in kinds]
    return "\n".join(lines)
