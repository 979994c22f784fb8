"""The store's objects: runs over several spans, what they are made of, and wrong questions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import lineage
from pipeline.__main__ import main
from pipeline.errors import UserError
from pipeline.store import decisions
from tests.pipeline.written_store import CACHED, FAILED, Writer

DECIDED = decisions.Facts(
    pipeline="flights",
    span=2,
    content="",
    listing="",
    verdict=decisions.RETRAIN,
    reason="Span 2: retrain, as it is new.",
    numbers="[]",
    policy="{}",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on spans 1 and 2; then one on 2 and 3 whose data gate stopped span 2."""
    root = tmp_path_factory.mktemp("root")
    w = Writer(root)
    one, two = (w.artifact("Examples", span=span, split_names="[]") for span in (1, 2))
    schema, statistics = w.artifact("Schema"), w.artifact("ExampleStatistics", zebra=1, ant=2)
    facts = {"started": "2013-01-01T00:00:00+00:00", "pipeline": "flights"}

    w.facts("run-a", span="2", outcome="succeeded", **facts)
    w.execution("ExampleGen", [], [one], run="run-a-span-1")
    w.execution("ExampleGen", [], [two], run="run-a", code_digest="same")
    w.execution("StatisticsGen", [two, schema], [statistics], run="run-a", code_digest="one")
    w.execution("Trainer.keras", [two], [w.artifact("Model")], run="run-a", code_digest="x")

    w.facts("run-b", span="3", outcome="failed", failed_node="DataGate", **facts)
    decided = decisions.write(w.store, DECIDED, {})
    decisions.started(w.store, decided, "run-b")
    w.execution("ExampleGen", [], [two], run="run-b-span-2", state=CACHED)
    gate = {"run": "run-b-span-2", "state": FAILED, "error": "it drifted"}
    w.execution("DataGate", [two], [], **gate)

    w.facts("run-c", span="3", outcome="failed", **facts)
    w.execution("StatisticsGen", [two], [], run="run-c", state=FAILED, code_digest="two")
    w.execution("DataGate", [two], [], run="run-c", code_digest="y")
    return root


@pytest.fixture
def store(root: Path) -> lineage.Store:
    return lineage.open(root / "metadata.sqlite")


def test_a_run_was_on_the_spans_of_its_backfills_too(store: lineage.Store) -> None:
    assert {run.id: run.spans for run in store} == {"run-a": (1, 2), "run-b": (2, 3), "run-c": (3,)}
    assert [run.id for run in store if 2 in run.spans] == ["run-b", "run-a"]


def test_a_run_that_failed_in_a_backfill_says_so(store: lineage.Store) -> None:
    run = store.run("run-b")
    assert run.nodes == ()
    assert run.failed_backfill is store.run("run-b-span-2")
    assert run.reason == "DataGate: it drifted"
    assert run.seconds is not None
    assert run.picture().title.startswith("Run run-b: failed in backfill run-b-span-2; nodes: ")
    assert "DataGate" in run.picture().svg
    assert "DataGate" in run._repr_html_()
    for other in ("run-a", "run-c", "run-b-span-2"):
        assert store.run(other).failed_backfill is None


def test_each_is_iterated_over_for_what_it_has(store: lineage.Store) -> None:
    assert tuple(store) == store.runs()
    run = store.run("run-a")
    assert tuple(run) == run.nodes
    node = run.node("StatisticsGen")
    assert node
    assert [artifact.type for artifact in node] == ["ExampleStatistics"]
    assert node.frame().values.tolist() == [
        ["input", "input", 2, "Examples", "/data/Examples"],
        ["input", "input", 3, "Schema", "/data/Schema"],
        ["output", "output", 4, "ExampleStatistics", "/data/ExampleStatistics"],
    ]


def test_what_the_store_has_kept_cannot_be_changed_and_is_in_order(store: lineage.Store) -> None:
    (statistics,) = store.find("ExampleStatistics")
    run = store.run("run-a")
    for kept in (statistics.properties, run.facts, run.nodes[0].settings):
        with pytest.raises(TypeError):
            kept["ant"] = 7  # type: ignore[index]
        assert list(kept) == sorted(kept)
    assert list(statistics.properties) == ["ant", "zebra"]


def test_what_only_one_run_has_is_no_change(store: lineage.Store) -> None:
    found = store.run("run-a").diff(store.run("run-c"))
    assert [(c.key, c.before, c.after) for c in found.section("code")] == [
        ("StatisticsGen", "one", "two")
    ]
    assert not found.section("versions")
    assert "versions: run run-c has made no Model" in found.unread
    (code,) = (reason for reason in found.unread if reason.startswith("code: "))
    assert code == (
        "code: DataGate did not run in run run-a; "
        "ExampleGen, Trainer.keras did not run in run run-c"
    )


def test_a_property_is_found_as_a_number_and_as_text(store: lineage.Store) -> None:
    assert store.find("ExampleStatistics", ant="2") == store.find("ExampleStatistics", ant=2)
    assert store.find("ExampleStatistics", ant="2")
    assert store.find("Examples", span=9) == ()
    with pytest.raises(
        UserError, match=r"no ExampleStatistics has a property 'aunt'; .* ant, zebra"
    ):
        store.find("ExampleStatistics", aunt=2)


def test_a_run_that_is_like_none_is_answered_with_the_newest(store: lineage.Store) -> None:
    with pytest.raises(UserError, match=r"no run 'yesterday' .*; the newest is run-c$"):
        store.run("yesterday")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda store: store.artifact("23"), "'23' is not an artifact's number, as in 3"),
        (lambda store: store.span("3"), "'3' is not a span's number, as in 3"),
        (lambda store: store.run("run-a").diff("run-b"), "'run-b' is no run to compare with"),
        (lambda store: store.run(7), "7 is not a run's id"),
        (lambda store: store.runs(-1), "expected how many runs, as in runs"),
        (
            lambda store: lineage.open(None),  # type: ignore[arg-type]
            "None is no metadata store's address",
        ),
    ],
)
def test_a_question_of_the_wrong_type_is_a_mistake_in_words(
    store: lineage.Store, ask: Callable[[lineage.Store], object], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        ask(store)


def test_the_path_of_a_store_may_be_a_text(root: Path) -> None:
    assert len(lineage.open(str(root / "metadata.sqlite")).runs()) == 3


def test_a_database_of_another_kind_is_told_from_a_store(tmp_path: Path) -> None:
    file = tmp_path / "other.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE flights (id INTEGER)")
    connection.close()
    content = file.read_bytes()
    with pytest.raises(UserError, match="it is an sqlite database, but holds no ML Metadata"):
        lineage.open(file)
    assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


def asked(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments, "--set", f"root={json.dumps(str(root))}"]) == 0
    return capsys.readouterr().out


def test_runs_are_listed_by_span(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(asked(root, capsys, "runs", "--span", "2", "--json"))
    assert [run["run"] for run in listed] == ["run-b", "run-a"]
    assert len(json.loads(asked(root, capsys, "runs", "--span=2", "--limit=1", "--json"))) == 1
    assert asked(root, capsys, "runs", "--span", "9") == "No run was on span 9.\n"


def test_a_run_is_shown_with_what_started_it_and_where_it_failed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = asked(root, capsys, "show", "run-b")
    assert "backfill run-b-span-2: DataGate; its nodes are below (show run-b-span-2)" in shown
    assert f": {DECIDED.reason}\n" in shown
    assert [line.split()[:2] for line in shown.splitlines()][-1] == ["DataGate", "failed"]
    told = json.loads(asked(root, capsys, "show", "run-b", "--json"))
    assert (told["failed_in"], told["started_by"]["span"]) == ("run-b-span-2", 2)
    assert told["spans"] == [2, 3]
    assert [node["node"] for node in told["nodes"]] == ["ExampleGen", "DataGate"]


@pytest.mark.parametrize("limit", ["0", "-1", "x"])
def test_no_runs_cannot_be_asked_for(
    root: Path, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["runs", "--limit", limit])
    assert "--limit" in capsys.readouterr().err
