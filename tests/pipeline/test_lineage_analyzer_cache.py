"""An earlier analysis saves a run time, and is no part of where its model comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import lineage
from tests.pipeline.written_store import Writer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[lineage.Store, dict[str, int]]:
    """Two runs, on span 1 and on span 2, whose Transform had the first one's analysis as well."""
    root: Path = tmp_path_factory.mktemp("root")
    w = Writer(root)
    ids: dict[str, int] = {}
    for span in (1, 2):
        run, before = f"run-{span}", ids.get("cache-1")
        ids |= {f"examples-{span}": w.artifact("Examples", span=span)}
        for name, kind in (("graph", "TransformGraph"), ("cache", "TransformCache")):
            ids[f"{name}-{span}"] = w.artifact(kind)
        ids[f"model-{span}"] = w.artifact("Model")
        examples, graph, cache, model = (i for n, i in ids.items() if n.endswith(f"-{span}"))
        w.execution("ExampleGen", [], [examples], run=run)
        w.execution(
            "Transform", [examples], [graph, cache], cache=[before] if before else [], run=run
        )
        w.execution("Trainer.keras", [graph], [model], run=run)
    return lineage.open(root / "metadata.sqlite"), ids


def test_a_model_descends_from_the_spans_of_its_window_alone(
    made: tuple[lineage.Store, dict[str, int]],
) -> None:
    store, ids = made
    model = store.artifact(ids["model-2"])
    assert [a.id for a in model.ancestors()] == [ids["graph-2"], ids["examples-2"]]
    assert model.data_spans() == (2,)


def test_a_span_is_recalled_from_the_models_that_learned_from_it_alone(
    made: tuple[lineage.Store, dict[str, int]],
) -> None:
    store, ids = made
    (span,) = store.span(1)
    of_it = {ids[name] for name in ("graph-1", "cache-1", "model-1")}
    assert {a.id for a in span.descendants()} == of_it
    assert [model.id for model in span.models()] == [ids["model-1"]]


def test_who_read_the_analysis_is_told_all_the_same(
    made: tuple[lineage.Store, dict[str, int]],
) -> None:
    store, ids = made
    cache = store.artifact(ids["cache-1"])
    (reader,) = cache.consumers
    assert (reader.name, reader.run_id) == ("Transform", "run-2")
    assert reader.inputs["analyzer_cache"] == (cache,)
    assert cache.children() == ()
