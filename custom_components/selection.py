"""Which model goes live, and why: the schema of selection.json.

It lies in the folder of the ModelSelection artifact. This module imports neither TFX nor
TensorFlow:

    selection = Selection.model_validate_json((folder / FILE).read_text())
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from pipeline.evaluate_config import Metric

FILE = "selection.json"
"""The selection's name in the artifact's folder."""

SOURCE_MODEL_URI = "source_model_uri"
"""Custom property of a champion and of a PushedModel: the uris, one a line, of the trained Model
artifacts that it is a copy of; several are an ensemble's."""
JUDGED_MODEL_URIS = "judged_model_uris"
"""Custom property of both: the uris, one a line, of all that it was chosen from."""
CHAMPION_PROPERTIES = (SOURCE_MODEL_URI, JUDGED_MODEL_URIS, "framework", "digest")
"""What the selector says of a champion, and whoever pushes it passes on."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Interval(_Record):
    """A difference in a metric, and where it lies in most of the bootstrap's samples.

    Without samples (`Selection.replicates` is 0) both ends are the value itself, and the certainty
    is 1 or 0: whether the rule holds on all rows.
    """

    value: float
    """On all rows; above 0 the first model is better."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    confidence: float
    """Share of the samples in between."""
    certainty: float
    """Share of the samples in which the rule that was asked for holds."""


class Candidate(_Record):
    """One row of the table."""

    name: str
    """The candidate's name: a framework, or "ensemble"."""
    members: tuple[str, ...] = ()
    """Of an ensemble: the candidates whose mean it is."""
    value: float | None
    """`Selection.metric` over all rows; None where it is undefined."""
    better_than_live: Interval | None
    """How much better than the live model; None if no model is live."""
    latency_ms: float
    """Median of the milliseconds for one raw row."""
    rows_per_second: float
    """With many rows in a batch."""
    size_mb: float
    """Megabytes of its folder."""
    eligible: bool
    """Whether it may go live."""
    reason: str
    """Why it may or may not, or was not taken, in a sentence."""


class Selection(_Record):
    """What was decided."""

    metric: Metric
    """What the best is best in."""
    margin: float
    """How much better than the live model it had to be."""
    confidence: float
    """In what share of the bootstrap's samples."""
    replicates: int
    """How many samples there were."""
    groups: str
    """What the bootstrap drew: "rows", or the column whose values were kept together."""
    winner: str | None
    """The candidate that goes live; None: the live model stays."""
    reason: str
    """Why, in a sentence."""
    live: str | None
    """The live model's framework, or None if no model is live."""
    live_value: float | None
    """Its metric."""
    candidates: tuple[Candidate, ...]
    """Every candidate, the best first."""
