"""A store with runs of every kind, as a page of all runs has to show them."""

from __future__ import annotations

from pathlib import Path

from custom_components.selection import FILE, Candidate, Selection
from pipeline.config_file import load
from pipeline.evaluate_config import Metric
from tests.pipeline.written_store import FAILED, RUNNING, Writer

HOSTILE = "<script>console.error('run')</script>"
"""A note that does something where it is not escaped."""
PUSHED, NONE_BETTER, STOPPED, AT_WORK = "run-1", "run-2", "run-3", "run-4"
VALUES = {PUSHED: (0.712345678, None), NONE_BETTER: (0.698765432, 0.709876543)}
"""What the best candidate, and the live model, had in each run that chose."""


def write(root: Path) -> None:
    """Writes it below a root."""
    writer = Writer(root)
    config = load(overrides=[f"root={str(root)!r}"]).model_dump_json()
    facts = {"pipeline": "flights", "started": "2013-04-02T06:00:00+00:00", "config": config}
    for span, run in enumerate((PUSHED, NONE_BETTER, STOPPED, AT_WORK), start=1):
        note = HOSTILE if run == NONE_BETTER else ""
        writer.facts(run, span=str(span), note=note, **facts)
        examples = writer.artifact("Examples", span=span)
        writer.execution("ExampleGen", [], [examples], run=run)
    live = _chosen(writer, root, PUSHED, winner="keras")
    writer.facts(PUSHED, outcome="succeeded")
    _chosen(writer, root, NONE_BETTER, live=live)
    writer.facts(NONE_BETTER, outcome="succeeded")
    why = "the data of span 3 may not go on:\n- carrier: ?? is not in the domain"
    writer.execution("DataGate", [], [], run=STOPPED, state=FAILED, error=why)
    writer.facts(STOPPED, outcome="failed", failed_node="DataGate", reason=why)
    writer.execution("Transform", [], [], run=AT_WORK, state=RUNNING)


def _chosen(
    writer: Writer, root: Path, run: str, *, winner: str | None = None, live: int | None = None
) -> int:
    """A run that chose; the id of the PushedModel, by which a model is live or none is."""
    value, live_value = VALUES[run]
    reason = f"{winner} is the best" if winner else "the live keras stays: the best is no better"
    candidate = Candidate(
        name="keras",
        value=value,
        better_than_live=None,
        latency_ms=1.0,
        rows_per_second=1000.0,
        size_mb=1.0,
        eligible=winner is not None,
        reason=reason,
    )
    selection = Selection(
        metric=Metric.AUC,
        margin=0.0,
        confidence=0.9,
        replicates=0,
        groups="rows",
        winner=winner,
        reason=reason,
        live="keras" if live else None,
        live_value=live_value,
        candidates=(candidate,),
    )
    folder = root / "ModelSelector" / run
    folder.mkdir(parents=True)
    (folder / FILE).write_text(selection.model_dump_json())
    told = {"winner": winner or "", "reason": reason}
    made = writer.artifact("ModelSelection", uri=str(folder), **told)
    of = {"framework": "keras", "digest": run} if winner else {}
    champion = writer.artifact("Model", uri=f"/champion/{run}", **of)
    writer.execution("ModelSelector", [live] if live else [], [champion, made], run=run)
    pushed = {"pushed": 1, "pushed_version": "100", **of} if winner else {"pushed": 0}
    model = writer.artifact("PushedModel", uri=f"/pushed/{run}", **pushed)
    writer.execution("Pusher", [champion], [model], run=run)
    return model
