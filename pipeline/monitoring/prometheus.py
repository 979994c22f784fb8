"""The newest state as text in Prometheus' exposition format, for node_exporter to collect.

See https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4. Series are of the
newest span alone, so that their number does not grow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.monitoring.history import History
from pipeline.store import decisions

Samples = Mapping[tuple[tuple[str, str], ...], float]
"""A value for each set of labels."""


@dataclass(frozen=True)
class Family:
    """A metric with all of its series."""

    name: str
    about: str
    samples: Samples
    kind: str = "gauge"


def render(history: History) -> str:
    """The text; a metric that has no value now is left out."""
    return "".join(_text(family, history.config.name) for family in _families(history))


def _families(history: History) -> Iterator[Family]:
    verdicts = Counter(one.verdict for one in history.decisions)
    # A series that begins at 1 is no increase: each is there from the start.
    every = {_label("verdict", verdict): float(verdicts[verdict]) for verdict in decisions.VERDICTS}
    yield Family("decisions_total", "Decisions of the policy.", every, "counter")
    failed = sum(one.state == decisions.FAILED for one in history.decisions)
    about = "Runs that were given up after the last try."
    yield Family("decisions_failed_total", about, {(): float(failed)}, "counter")
    if history.decisions:
        last = history.decisions[0].when.timestamp()
        about = "When the policy decided last, in seconds since the epoch."
        yield Family("last_decision_timestamp_seconds", about, {(): last})
        came = max(line.arrived for line in history.lines).timestamp()
        about = "When a span was decided about last of which nothing had come before."
        yield Family("last_span_timestamp_seconds", about, {(): came})
    if (live := history.live) is not None:
        named = {"version": "pushed_version", "framework": "framework"}
        labels = tuple((key, str(live.properties.get(of, ""))) for key, of in named.items())
        yield Family("live_model_version_info", "The live model; the value is 1.", {labels: 1.0})
        about = "When the live model was pushed, in seconds since the epoch."
        yield Family("live_model_since_timestamp_seconds", about, {(): live.created.timestamp()})
    yield from _of_the_newest_span(history)


def _of_the_newest_span(history: History) -> Iterator[Family]:
    line = next((one for one in reversed(history.lines) if one.seen), None)
    seen = line.seen if line else None
    if line is None or seen is None:
        return
    yield Family("span", "The newest span that was looked at.", {(): float(line.span)})
    yield Family("span_rows", "Its rows.", {(): float(seen.rows)})
    about = "Spans since the newest that a run had learned from, when the live model was scored."
    unlearned: Samples = {(): float(seen.unlearned)} if seen.live_since else {}
    yield Family("unlearned_spans", about, unlearned)
    about = "Columns of the newest span that moved by more than their thresholds."
    moved: Samples = {(): float(len(seen.moved))} if seen.distances else {}
    yield Family("drifted_columns", about, moved)
    about = "How far a column is from all that the live model learned from: 0 same, 1 disjoint."
    distances = {_label("column", one.column): one.distance for one in seen.distances}
    yield Family("column_distance", about, distances)
    scores = line.scores
    about = "The live model on the newest span, of which it had seen no row."
    live = {_label("metric", name): score.value for name, score in scores.items()}
    yield Family("live_score", about, live)
    low = {_label("metric", name): score.low for name, score in scores.items()}
    yield Family("live_score_low", "The 5th percentile of live_score, by bootstrap.", low)
    high = {_label("metric", name): score.high for name, score in scores.items()}
    yield Family("live_score_high", "The 95th percentile of live_score, by bootstrap.", high)
    other = {_label("metric", name): s.value for name, s in line.challenger_scores.items()}
    yield Family("challenger_score", "The challenger on the same rows.", other)


def _label(name: str, value: str) -> tuple[tuple[str, str], ...]:
    return ((name, value),)


def _text(family: Family, pipeline: str) -> str:
    if not family.samples:
        return ""
    name = f"pipeline_{family.name}"
    lines = [f"# HELP {name} {family.about}", f"# TYPE {name} {family.kind}"]
    for labels, value in family.samples.items():
        pairs = (f'{key}="{_escaped(text)}"' for key, text in (("pipeline", pipeline), *labels))
        lines.append(f"{name}{{{','.join(pairs)}}} {value!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """A label's value, as it may stand between quotation marks."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
