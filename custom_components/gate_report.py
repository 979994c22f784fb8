"""What the data gate found: the schema of report.json.

It lies in the folder of the GateReport artifact. This module imports neither TFX nor TensorFlow, so
a summary, a report or a question to the lineage can read it quickly:

    report = Report.model_validate_json((folder / FILE).read_text())
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from pipeline.config import Severity

FILE = "report.json"
"""The report's name in the artifact's folder."""


class Measure(StrEnum):
    """How far apart two distributions are, from 0 (the same) to 1 (nothing in common)."""

    JENSEN_SHANNON = "Jensen-Shannon divergence"
    """Of numbers, by their histograms."""
    L_INFINITY = "L-infinity distance"
    """Of categories: the largest change of one value's share."""


class Kind(StrEnum):
    """What a finding is about."""

    ANOMALY = "anomaly"
    """The data breaks the schema."""
    DRIFT = "drift"
    """A distribution moved since the previous span."""
    ROWS = "rows"
    """There are too few rows."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Drift(_Record):
    """How far one column moved since the previous span."""

    feature: str
    """The column."""
    measure: Measure
    """How the distance is measured."""
    value: float
    """The distance."""
    threshold: float
    """The distance from which it is a finding."""
    change: str
    """What changed, in words."""

    @property
    def is_finding(self) -> bool:
        """Whether the column moved by more than its threshold."""
        return self.value > self.threshold


class Finding(_Record):
    """One thing that is not as it should be."""

    severity: Severity
    """What follows from it."""
    kind: Kind
    """What it is about."""
    feature: str | None = None
    """The column; None where it concerns whole rows."""
    split: str | None = None
    """The split that it was seen in; None where it concerns all of them."""
    measure: Measure | None = None
    """Of drift: how it is measured."""
    value: float | None = None
    """Of drift and rows: what was measured."""
    threshold: float | None = None
    """Of drift and rows: the bound that `value` breaks."""
    message: str
    """The finding in a sentence."""


class Report(_Record):
    """What the gate looked at, and what it found."""

    span: int
    """The span that was checked."""
    previous_span: int | None
    """The span that it was compared with; None if it is the first."""
    rows: dict[str, int]
    """Rows of each split."""
    findings: tuple[Finding, ...]
    """Everything that is not as it should be and is not ignored."""
    drift: tuple[Drift, ...]
    """How far each column moved, whether or not it is a finding; empty for a first span."""

    @property
    def stopping(self) -> tuple[Finding, ...]:
        """The findings that stop the run."""
        return tuple(f for f in self.findings if f.severity is Severity.STOP)
