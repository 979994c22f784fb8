"""A model that went on from another has learned from all that the other had."""

from __future__ import annotations

from pathlib import Path

from pipeline import lineage
from tests.pipeline.written_store import Writer


def test_a_model_has_learned_from_the_spans_of_the_one_it_went_on_from(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    base: list[int] = []
    models = []
    for span in (1, 2):
        run = f"run-{span}"
        examples, graph = w.artifact("Examples", span=span), w.artifact("TransformGraph")
        model = w.artifact("Model")
        w.execution("ExampleGen", [], [examples], run=run)
        w.execution("Transform", [examples], [graph], run=run)
        w.execution("Trainer.keras", [graph, *base], [model], run=run)
        base = [model]
        models.append(model)
    store = lineage.open(tmp_path / "metadata.sqlite")
    first, second = map(store.artifact, models)
    assert (first.data_spans(), second.data_spans()) == ((1,), (1, 2))
    assert first in second.ancestors()
    (span,) = store.span(1)
    assert span.models() == (first, second)
