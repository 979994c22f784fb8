"""What the page says of the data: spans, rows, statistics, drift, findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from custom_components.gate_report import Measure
from pipeline.lineage import Artifact, Run
from pipeline.report import charts
from pipeline.report.drawing import Chart
from pipeline.report.evidence import Evidence

if TYPE_CHECKING:
    from custom_components.gate_report import Drift, Finding

_ROWS = "rows_"
_DRAWN = 20
"""Columns of a chart: those that moved the farthest."""


@dataclass(frozen=True)
class Span:
    """Ingested examples that the run learned from, or that it looked at."""

    number: int | None
    rows: dict[str, int]
    """By split."""
    dropped: int
    files: tuple[str, ...]
    """The names of those that were read, as far as they are known."""
    run: str
    """The run that ingested it."""
    artifact: Artifact


@dataclass(frozen=True)
class Data:
    """The data of a run."""

    checked: Run
    """The run, or its backfill, whose data this is of."""
    spans: tuple[Span, ...]
    splits: tuple[str, ...]
    learned_from: tuple[int, ...]
    window: int | str | None
    schema: str
    """Where the schema comes from, in words."""
    statistics: tuple[dict[str, Any], ...]
    drift: tuple[Drift, ...]
    """The farthest beyond its threshold first."""
    charts: tuple[Chart, ...]
    findings: tuple[Finding, ...]
    anomalies: tuple[dict[str, Any], ...]


def data(found: Evidence) -> Data:
    """The data that the run looked at and learned from."""
    models = found.run.outputs("Model")
    learned = models[0].data() if models else ()
    ingested = tuple(
        a
        for a in found.data_run.outputs("Examples")
        if all(p.type != "Examples" for p in a.parents())
    )
    spans = tuple(_span(artifact) for artifact in learned or ingested)
    gate = found.gate.content
    drift = sorted(gate.drift if gate else (), key=_beyond, reverse=True)
    by_measure = {m: [d for d in drift if d.measure is m] for m in Measure}
    anomalies = found.anomalies.content
    statistics = found.statistics.content
    settings = found.run.config.get("data", {})
    return Data(
        checked=found.data_run,
        spans=spans,
        splits=tuple(dict.fromkeys(split for span in spans for split in span.rows)),
        learned_from=tuple(a.properties["span"] for a in learned if "span" in a.properties),
        window=settings.get("window"),
        schema=_schema(found, settings.get("schema_file")),
        statistics=tuple(statistics.facts()) if statistics else (),
        drift=tuple(drift),
        charts=tuple(charts.drift(str(m), of[:_DRAWN]) for m, of in by_measure.items() if of),
        findings=gate.findings if gate else (),
        anomalies=tuple(anomalies.facts()) if anomalies else (),
    )


def _beyond(drift: Drift) -> float:
    return drift.value / drift.threshold if drift.threshold else float("inf")


def _span(artifact: Artifact) -> Span:
    facts = artifact.properties
    return Span(
        number=facts.get("span"),
        rows=dict(_rows(artifact)),
        dropped=facts.get("rows_dropped", 0),
        files=tuple(_files(str(facts.get("input_fingerprint", "")))),
        run=artifact.producer.run_id if artifact.producer else "",
        artifact=artifact,
    )


def _rows(artifact: Artifact) -> Iterator[tuple[str, int]]:
    for key, value in sorted(artifact.properties.items(), reverse=True):  # train before eval
        if key.startswith(_ROWS) and key != f"{_ROWS}dropped":
            yield key.removeprefix(_ROWS), value


def _files(fingerprint: str) -> Iterator[str]:
    """The names in a fingerprint, which has a line for each file: its name, size and time."""
    for line in fingerprint.splitlines():
        name, *stamp = line.rsplit(" ", 2)
        yield name if len(stamp) == 2 and all(part.isdecimal() for part in stamp) else line


def _schema(found: Evidence, file: str | None) -> str:
    schema = found.last("Schema")
    if schema is None:
        return ""
    made = f" in run {schema.producer.run_id}" if schema.producer else ""
    source = f"from {file}" if file else "inferred from statistics"
    return f"{source}, as artifact {schema.id}{made}"
