"""What trying the pushed form of a model gave: the schema of canary.json.

It lies in the folder of the InfraBlessing artifact. This module imports neither TFX nor TensorFlow:

    report = CanaryReport.model_validate_json((folder / FILE).read_text())
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

FILE = "canary.json"
"""The report's name in the artifact's folder."""

SIGNATURES = ("serving_default", "serving_raw")
"""What is tried of a SavedModel: a batch of serialized tf.Examples, a tensor per raw column."""
METHODS = ("predict_examples", "predict")
"""The same two ways of `models.bundle.Bundle`, for a model of any other form."""


Answer = float | list[float]
"""To a row: a probability or a value, or of more than two classes the probability of each."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Latency(_Record):
    """How quickly the model answers, called in a process with raw columns."""

    p50_ms: float
    """Milliseconds for one row: the median."""
    p95_ms: float
    """Milliseconds for one row: 95 of 100 calls are as quick or quicker."""
    rows_per_second: float
    """With all rows in one batch."""


class Answers(_Record):
    """What a loaded model said, and how quickly."""

    load_seconds: float
    """To load the model, and its framework, in a process that has TensorFlow."""
    predictions: dict[str, list[Answer | None]]
    """By signature or method, one for each row; None where the model says NaN or infinity."""
    latency: Latency
    """How quickly it answers."""


class ProbeResult(_Record):
    """What the probe's process has to say: one of the two."""

    error: str | None = None
    """Why the model could not be tried, in a sentence."""
    answers: Answers | None = None
    """What it said."""


class CanaryReport(_Record):
    """Whether the pushed form can be served, and how it does."""

    blessed: bool
    """Whether it may go live."""
    reason: str | None
    """Why not; None if it may."""
    rows: int = 0
    """Raw rows sent."""
    tolerance: float
    """Largest difference to the evaluator's predictions that is allowed; in a regression as a share
    of the largest of them."""
    max_difference: float | None = None
    """Largest difference that was seen, over both ways of asking; in the unit of `tolerance`."""
    load_seconds: float | None = None
    """To load the model, and its framework, in a process that has TensorFlow."""
    latency: Latency | None = None
    """None if the model could not be tried."""
