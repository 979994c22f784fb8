"""What ran, what was learned from what, and what changed: asked of stores made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from custom_components.evaluator.verdict import Verdict
from pipeline import lineage
from pipeline.errors import UserError
from tests import services
from tests.pipeline import payloads
from tests.pipeline.written_store import (
    CACHED,
    FAILED,
    INTERNAL_OUTPUT,
    RUNNING,
    Writer,
)

SCHEMA = 'feature {{ name: "{name}" type: FLOAT }} feature {{ name: "carrier" type: BYTES }}'


def verdict(auc: dict[str, float]) -> str:
    found = Verdict(
        candidates=tuple(name for name in auc if name != "live"),
        blessed={},
        live="live" if "live" in auc else None,
        rows=100,
        label_mean=0.2,
        models={name: {"auc": value} for name, value in auc.items()},
        slices=[],
        checks=[],
    )
    return found.model_dump_json()


def write(w: Writer, files: Path) -> None:
    """Two runs: the second has another seed, a new span, and leaves the model of the first live.

    Artifacts 1 and 2 are the spans' examples of the first run, 4 its model, 6 its champion.
    """
    for run, name, rows, auc in (
        ("a", "distance", 90, {"keras": 0.7}),
        ("b", "air_time", 99, {"keras": 0.6, "live": 0.7}),
    ):
        for file, content in (
            (f"{run}/statistics/Split-train/FeatureStats.pb", payloads.statistics(rows)),
            (f"{run}/schema/schema.pbtxt", SCHEMA.format(name=name)),
            (f"{run}/evaluation/verdict.json", verdict(auc)),
            (
                f"{run}/model/Format-Serving/bundle.json",
                json.dumps({"provenance": {"versions": {"keras": run, "tfx": "1"}}}),
            ),
        ):
            payloads.write(files / file, content)

    pushed: list[int] = []
    spans: list[int] = []
    for run, first, seed in (("a", 1, 1), ("b", 2, 7)):
        config = json.dumps({"name": "flights", "train": {"seed": seed, "rounds": 9}})
        w.facts(run, started="2013-01-01T00:00:00+00:00", span=str(first + 1), config=config)
        w.facts(run, commit=f"commit-{run}", note=f"try {run}", runner="kubeflow", pipeline="p")
        folder = files / run
        earlier = f"{run}-span-{first}"
        if spans:
            w.execution("ExampleGen", [], [spans[-1]], run=earlier, state=CACHED)
        else:
            spans.append(w.artifact("Examples", span=first))
            w.execution("ExampleGen", [], [spans[-1]], run=earlier)
        spans.append(w.artifact("Examples", span=first + 1))
        statistics = w.artifact(
            "ExampleStatistics", uri=str(folder / "statistics"), split_names='["train"]'
        )
        w.execution("ExampleGen", [], [spans[-1]], run=run, code_digest="same")
        w.execution("StatisticsGen", [spans[-2], spans[-1]], [statistics], run=run)
        schema = w.artifact("Schema", uri=str(folder / "schema"))
        w.execution("SchemaGen", [], [schema], run=run)
        window = spans[-2:]
        w.execution("Window", [], window, run=run, output_event=INTERNAL_OUTPUT)
        transformed = w.artifact("Examples", span=first)
        w.execution("Transform", [schema, statistics, *window], [transformed], run=run)
        model = w.artifact("Model", uri=str(folder / "model"))
        w.execution("Trainer.keras", [transformed], [model], run=run, code_digest=f"of {run}")
        evaluation = w.artifact("ModelEvaluation", uri=str(folder / "evaluation"))
        w.execution("Evaluator", [spans[-1], model, *pushed], [evaluation], run=run)
        chosen = {} if pushed else {"framework": "keras", "digest": "d"}
        champion = w.artifact("Model", **chosen)
        w.execution("ModelSelector", [evaluation, model, *pushed], [champion], run=run)
        live = w.artifact("PushedModel", pushed=int(not pushed), framework="keras")
        w.execution("Pusher", [champion], [live], run=run)
        w.facts(run, outcome="succeeded")
        pushed.append(live)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    write(Writer(root), root)
    return root


@pytest.fixture
def store(root: Path) -> lineage.Store:
    return lineage.open(root / "metadata.sqlite")


def ask_everything(store: lineage.Store) -> None:
    newest, oldest = store.runs()
    assert [newest.id, oldest.id] == ["b", "a"]
    assert [run.id for run in newest.backfills] == ["b-span-2"]
    assert (newest.state, newest.span, newest.commit) == ("complete", 3, "commit-b")
    names = [node.name for node in oldest.nodes]
    assert names[:3] == ["ExampleGen", "StatisticsGen", "SchemaGen"]
    assert names[-1] == "Pusher"
    live = store.live_model()
    assert (live.is_live, live.data_spans()) == (True, (1, 2))
    assert live.metrics() == {"auc": 0.7}
    (bad,) = store.span(1)
    assert {model.producer.run.id for model in bad.models() if model.producer} == {"a"}
    assert {a.type for a in bad.descendants()} >= {"ModelEvaluation", "PushedModel"}
    assert newest.champion is None
    assert {change.section for change in oldest.diff(newest)} == {
        "result",
        "commit",
        "data",
        "config",
        "code",
        "statistics",
        "schema",
        "versions",
        "metrics",
    }


def test_an_sqlite_store_answers(store: lineage.Store) -> None:
    ask_everything(store)


def test_a_server_answers_alike(server: services.Server, tmp_path: Path) -> None:
    url = server.database()
    write(Writer(url), tmp_path)
    ask_everything(lineage.open(url))


def test_a_run_has_what_its_runner_kept_of_it(store: lineage.Store) -> None:
    run = store.run("a")
    assert (run.pipeline, run.note, run.runner) == ("p", "try a", "kubeflow")
    assert run.config["train"] == {"seed": 1, "rounds": 9}
    assert run.champion
    assert run.champion.properties["framework"] == "keras"
    assert run.seconds is not None
    assert repr(run).startswith("<Run a: complete, span 2, 20")


def test_a_backfill_without_its_run_stands_alone(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    w.execution("ExampleGen", [], [w.artifact("Examples", span=4)], run="c-span-4")
    (run,) = lineage.open(tmp_path / "metadata.sqlite").runs()
    assert (run.id, run.span, run.state, run.pipeline) == ("c-span-4", 4, "complete", "flights")


@pytest.mark.parametrize(
    ("states", "facts", "expected"),
    [
        ([pb.Execution.COMPLETE, CACHED], {}, "complete"),
        ([pb.Execution.COMPLETE, RUNNING], {}, "running"),
        ([pb.Execution.COMPLETE, FAILED], {"started": "now"}, "failed"),
        ([pb.Execution.COMPLETE], {"started": "now"}, "running"),
        ([pb.Execution.COMPLETE], {"started": "now", "outcome": "failed"}, "failed"),
        ([RUNNING], {"started": "now", "outcome": "failed"}, "failed"),
        ([], {"started": "now"}, "running"),
    ],
)
def test_the_state_of_a_run_is_what_its_runner_says_or_its_nodes(
    tmp_path: Path, states: list[int], facts: dict[str, str], expected: str
) -> None:
    w = Writer(tmp_path)
    w.facts("r", **facts)
    for number, state in enumerate(states):
        w.execution(f"Node.{number}", [], [], run="r", state=state)
    run = lineage.open(tmp_path / "metadata.sqlite").run("r")
    assert run.state == expected
    assert (run.seconds is None) == (expected == "running")


def test_of_a_node_that_was_tried_again_the_last_try_counts(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    w.execution("Trainer", [], [], run="r", state=FAILED, error="no memory")
    w.execution("Trainer", [], [], run="r")
    run = lineage.open(tmp_path / "metadata.sqlite").run("r")
    assert [node.id for node in run.nodes] == [2]
    assert run.state == "complete"


def test_a_node_says_why_it_failed(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    w.execution("Trainer", [], [], run="r", state=FAILED, error="no memory")
    run = lineage.open(tmp_path / "metadata.sqlite").run("r")
    (node,) = run.nodes
    assert node.error == "no memory"
    assert run.reason == "Trainer: no memory"
    assert not [key for key in node.settings if key.startswith("__")]


def test_a_node_has_its_inputs_and_outputs_by_name(store: lineage.Store) -> None:
    node = store.run("a").node("Window")
    assert node
    assert node.inputs == {}
    assert [a.properties["span"] for a in node.outputs["output"]] == [1, 2]
    assert store.run("a").node("Nowhere") is None


def test_an_artifact_is_found_by_its_type_and_properties(store: lineage.Store) -> None:
    (found,) = store.find("PushedModel", pushed=1)
    assert found is store.live_model()
    assert store.find(digest="d")[0].type == "Model"
    assert store.find("PushedModel", pushed=2) == ()
    with pytest.raises(
        UserError, match=r"no type 'Modle' of artifacts; there are: ExampleStatistics, E"
    ):
        store.find("Modle")


def test_a_span_is_what_was_ingested_not_what_was_made_of_it(store: lineage.Store) -> None:
    (examples,) = store.span(2)
    assert examples.producer
    assert examples.producer.name == "ExampleGen"
    with pytest.raises(
        UserError, match="span 9 was not ingested; there are 3, the nearest: 1, 2, 3"
    ):
        store.span(9)


def test_a_model_did_not_learn_from_what_it_was_compared_with(store: lineage.Store) -> None:
    (_, second) = (m for m in store.find("Model") if m.producer and "Trainer" in m.producer.name)
    assert second.data_spans() == (2, 3)
    assert store.live_model() in store.run("b").outputs("PushedModel")[0].ancestors()


def test_where_no_model_was_chosen_there_is_none(store: lineage.Store) -> None:
    (empty,) = store.run("b").node("ModelSelector").outputs["output"]  # type: ignore[union-attr]
    (refused,) = store.find("PushedModel", pushed=0)
    for artifact in (empty, refused):
        assert not artifact.is_live
        with pytest.raises(UserError, match="has no metrics"):
            artifact.metrics()
        assert artifact not in store.span(3)[0].models()


def test_metrics_are_those_by_which_a_model_was_judged(store: lineage.Store) -> None:
    judged = {
        model.producer.run_id: model.metrics()
        for model in store.find("Model")
        if model.producer and model.producer.name == "Trainer.keras"
    }
    assert judged == {"a": {"auc": 0.7}, "b": {"auc": 0.6}}


def test_metrics_whose_file_is_gone_are_a_mistake_in_words(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    model, evaluation = w.artifact("Model"), w.artifact("ModelEvaluation", uri="/nowhere")
    w.execution("Trainer.keras", [], [model])
    w.execution("Evaluator", [model], [evaluation])
    with pytest.raises(UserError, match=r"/nowhere/verdict\.json: ModelEvaluation 2 has no such"):
        lineage.open(tmp_path / "metadata.sqlite").artifact(model).metrics()


def test_a_difference_names_what_changed(store: lineage.Store) -> None:
    found = store.run("a").diff(store.run("b"))
    assert {(c.section, c.key): (c.before, c.after) for c in found if c.section != "schema"} == {
        ("result", "champion"): ("keras", None),
        ("commit", "commit"): ("commit-a", "commit-b"),
        ("data", "span 1"): ("Examples 1", None),
        ("data", "span 3"): (None, f"Examples {store.span(3)[0].id}"),
        ("config", "train.seed"): (1, 7),
        ("code", "Trainer.keras"): ("of a", "of b"),
        ("statistics", "rows of train"): (90, 99),
        ("versions", "keras"): ("a", "b"),
        ("metrics", "keras.auc"): (0.7, 0.6),
        ("metrics", "live.auc"): (None, 0.7),
    }
    assert [change.key for change in found.section("schema")] == ["distance", "air_time"]
    assert found.unread == ()
    assert "config 1, code 1, statistics 1, schema 2" in repr(found)
    assert len(store.run("a").diff(store.run("a"))) == 0


def test_a_difference_says_what_it_could_not_read(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    w.execution("SchemaGen", [], [w.artifact("Schema", uri="/nowhere")], settings='{"a": 1}')
    other = w.artifact("Schema", uri="/nowhere")
    w.execution("SchemaGen", [], [other], run="run-2", settings='{"a": 2}')
    store = lineage.open(tmp_path / "metadata.sqlite")
    found = store.run("run-1").diff(store.run("run-2"))
    (unread,) = found.unread
    assert unread.startswith("schema: /nowhere/schema.pbtxt: Schema 1 has no such file")
    (change,) = found
    assert (change.key, change.before, change.after) == ("SchemaGen.settings.a", 1, 2)


def test_a_difference_says_which_run_has_made_none(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    payloads.write(tmp_path / "schema.pbtxt", SCHEMA.format(name="distance"))
    w.execution("SchemaGen", [], [w.artifact("Schema", uri=str(tmp_path))])
    w.execution("ExampleGen", [], [], run="run-2")
    store = lineage.open(tmp_path / "metadata.sqlite")
    one, two = store.run("run-1"), store.run("run-2")
    for found in (one.diff(two), two.diff(one)):
        assert found.unread == ("schema: run run-2 has made no Schema",)
        assert not found.section("schema")


def test_what_both_runs_have_is_not_read(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    schema = w.artifact("Schema", uri="/nowhere")
    w.execution("SchemaGen", [], [schema])
    w.execution("SchemaGen", [], [schema], run="run-2", state=CACHED)
    store = lineage.open(tmp_path / "metadata.sqlite")
    found = store.run("run-1").diff(store.run("run-2"))
    assert (found.changes, found.unread) == ((), ())


def test_a_run_that_is_not_there_is_a_mistake_with_the_nearest(store: lineage.Store) -> None:
    with pytest.raises(UserError, match=r"no run 'b-span' in the .* did you mean b-span-2\?"):
        store.run("b-span")


def test_an_address_that_is_none_is_a_mistake_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no metadata store's address; expected sqlite:///FILE"):
        lineage.open("output/metadata.sqlite")
    with pytest.raises(UserError, match=r"nothing\.sqlite: there is no metadata store"):
        lineage.open(tmp_path / "nothing.sqlite")
    assert not (tmp_path / "nothing.sqlite").exists()


def test_tables_have_a_row_for_each(store: lineage.Store) -> None:
    runs = store.frame()
    assert list(runs["run"]) == ["b", "a"]
    assert list(runs["champion"]) == [None, "keras"]
    nodes = store.run("a").frame()
    assert nodes["node"].iloc[0] == "ExampleGen"
    assert nodes["seconds"].max() < timedelta(hours=1).total_seconds()
    assert "train.seed" in set(store.run("a").diff(store.run("b")).frame()["key"])


@pytest.mark.parametrize(
    "thing",
    [
        lambda store: store,
        lambda store: store.run("a"),
        lambda store: store.run("a").nodes[0],
        lambda store: store.live_model(),
        lambda store: store.run("a").diff(store.run("b")),
    ],
)
def test_a_notebook_shows_tables(
    store: lineage.Store, thing: Callable[[lineage.Store], object]
) -> None:
    shown = thing(store)._repr_html_()  # type: ignore[attr-defined]
    assert shown.count("<table>") == shown.count("</table>") >= 1


def test_a_notebook_shows_texts_as_they_are(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    artifact = w.artifact("Model", note="<script>")
    shown = lineage.open(tmp_path / "metadata.sqlite").artifact(artifact)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
