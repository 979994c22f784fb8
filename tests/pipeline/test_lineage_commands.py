"""The lineage's commands, on a small store that is made by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

from custom_components.evaluator.verdict import Verdict
from pipeline.__main__ import main
from pipeline.config import PROJECT
from tests.pipeline.written_store import CACHED, FAILED, Writer

COMMIT = "4d5e6f" * 6 + "4d5e"
COMMANDS = (
    ["runs"],
    ["show", "newest"],
    ["show", "1"],
    ["lineage"],
    ["lineage", "--down", "1"],
    ["diff", "run-1", "run-2"],
    ["live"],
    ["recall", "1"],
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spans 1 and 2, two models of both, one of which is live; then one of span 2 that is not."""
    root = tmp_path_factory.mktemp("root")
    w = Writer(root)
    evaluation = root / "evaluation"
    evaluation.mkdir()
    found = Verdict(
        candidates=("keras", "sklearn"),
        blessed={},
        live=None,
        rows=100,
        label_mean=0.2,
        models={"keras": {"auc": 0.71234}, "sklearn": {"auc": 0.7}},
        slices=[],
        checks=[],
    )
    (evaluation / "verdict.json").write_text(found.model_dump_json())

    w.facts("run-1-span-1", backfill="[]")
    one = w.artifact("Examples", span=1)
    w.execution("ExampleGen", [], [one], run="run-1-span-1")
    facts = {"started": "2013-01-01T00:00:00+00:00", "pipeline": "flights", "runner": "local"}
    w.facts("run-1", span="2", commit="1a2b3c", note="with [all] columns", **facts)
    two = w.artifact("Examples", span=2)
    w.execution("ExampleGen", [], [two])
    keras, sklearn = (w.artifact("Model", uri=f"/{name}") for name in ("keras", "sklearn"))
    w.execution("Trainer.keras", [one, two], [keras])
    w.execution("Trainer.sklearn", [one, two], [sklearn])
    judged = w.artifact("ModelEvaluation", uri=str(evaluation))
    w.execution("Evaluator", [two, keras, sklearn], [judged])
    chosen = {"framework": "keras", "digest": "d", "source_model_uri": "/keras"}
    champion = w.artifact("Model", **chosen)
    selection = w.artifact("ModelSelection", winner="keras", reason="keras is best")
    w.execution("ModelSelector", [keras, sklearn, judged], [champion, selection])
    pushed = w.artifact("PushedModel", pushed=1, pushed_version="100", **chosen)
    w.execution("Pusher", [champion], [pushed])
    told = w.artifact("Registration", model_name="flights", model_version="4")
    w.execution("Registrar", [pushed, champion], [told])
    w.facts("run-1", outcome="succeeded")

    w.facts("run-2", span="2", commit=f"{COMMIT}+", **facts)
    w.execution("ExampleGen", [], [two], run="run-2", state=CACHED)
    other = w.artifact("Model", uri="/other")
    w.execution("Trainer.keras", [two], [other], run="run-2")
    w.execution("Evaluator", [other, pushed], [], run="run-2", state=FAILED, error="out of memory")
    w.facts("run-2", outcome="failed", failed_node="Evaluator", reason="Evaluator: out of memory")
    return root


class Ask(Protocol):
    def __call__(self, *arguments: str, code: int = 0) -> str: ...


@pytest.fixture
def ask(root: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs a command; what it prints, or what it complains of."""

    def run(*arguments: str, code: int = 0) -> str:
        assert main([*arguments, "--set", f"root={json.dumps(str(root))}"]) == code
        told = capsys.readouterr()
        return told.err if code else told.out

    return run


def from_json(text: str) -> Any:
    return json.loads(text)


def words(text: str) -> list[list[str]]:
    """The words of each line."""
    return [line.split() for line in text.splitlines()]


def test_runs_are_listed_the_newest_first_without_their_backfills(ask: Ask) -> None:
    listed = from_json(ask("runs", "--json"))
    assert [(run["run"], run["state"], run["span"]) for run in listed] == [
        ("run-2", "failed", 2),
        ("run-1", "complete", 2),
    ]
    assert (listed[1]["commit"], listed[1]["champion"]) == ("1a2b3c", "keras")
    head, newest, oldest = words(ask("runs"))
    assert head[:5] == ["run", "state", "begun", "seconds", "span"]
    assert (newest[:2], newest[-1]) == (["run-2", "failed"], "4d5e6f4d5+")
    assert oldest[-5:] == ["1a2b3c", "keras", "with", "[all]", "columns"]
    assert len(words(ask("runs", "--limit", "1"))) == 2


def test_a_run_is_shown_with_its_decision_and_its_nodes(ask: Ask) -> None:
    shown = words(ask("show", "run-1"))
    assert ["decision", "keras", "is", "best"] in shown
    assert ["backfills", "run-1-span-1"] in shown
    (trainer,) = (line for line in shown if line[:1] == ["Trainer.keras"])
    assert (trainer[1], trainer[-2:]) == ("complete", ["Model", "3"])


def test_newest_stands_for_the_newest_run_which_says_why_it_failed(ask: Ask) -> None:
    shown = from_json(ask("show", "newest", "--json"))
    assert (shown["run"], shown["failure"]) == ("run-2", "Evaluator: out of memory")
    nodes = {node["node"]: node for node in shown["nodes"]}
    assert nodes["ExampleGen"]["cached"]
    assert nodes["Evaluator"]["error"] == "out of memory"
    assert nodes["Trainer.keras"]["inputs"] == {"input": [2]}
    assert nodes["Trainer.keras"]["outputs"] == {"output": [10]}


def test_an_artifact_is_shown_with_who_made_and_who_read_it(ask: Ask) -> None:
    shown = from_json(ask("show", "2", "--json"))
    assert shown["producer"] == {"node": "ExampleGen", "run": "run-1"}
    assert shown["properties"] == {"span": 2}
    readers = [(reader["node"], reader["run"]) for reader in shown["consumers"]]
    assert readers[-1] == ("Trainer.keras", "run-2")
    told = words(ask("show", "2"))
    assert ["producer", "ExampleGen", "in", "run", "run-1"] in told
    assert ["Trainer.sklearn", "run-1", "complete"] in told


def test_lineage_as_json_has_each_artifact_once_with_its_parents(ask: Ask) -> None:
    found = from_json(ask("lineage", "3", "--json"))
    assert [(a["id"], a["parents"]) for a in found] == [(3, [1, 2]), (1, []), (2, [])]


def test_lineage_down_is_what_was_made_of_an_artifact_up_to_what_was_pushed(ask: Ask) -> None:
    found = from_json(ask("lineage", "1", "--down", "--json"))
    children = {a["id"]: a["children"] for a in found}
    assert children[1] == [3, 4]
    assert children[8] == []  # the pushed model, though it was told to MLflow
    told = ask("lineage", "1", "--down")
    assert "─ PushedModel 8  Pusher in run run-1" in told
    assert "lineage 8 --down goes on from here" in told
    assert "[dim]" not in told


def test_only_a_champion_is_said_to_be_in_mlflow(ask: Ask) -> None:
    assert "In MLflow: flights version 4" in ask("lineage")
    assert "In MLflow: flights version 4" in ask("lineage", "6")
    assert "In MLflow" not in ask("lineage", "4")


def test_diff_says_what_changed_and_what_could_not_be_compared(ask: Ask) -> None:
    found = from_json(ask("diff", "run-1", "newest", "--json"))
    assert (found["before"], found["after"]) == ("run-1", "run-2")
    changed = {(c["section"], c["key"]): (c["before"], c["after"]) for c in found["changes"]}
    assert changed["commit", "commit"] == ("1a2b3c", f"{COMMIT}+")
    assert changed["data", "span 1"] == ("Examples 1", None)
    told = ask("diff", "run-1", "newest")
    assert ["commit", "commit", "1a2b3c", f"{COMMIT}+"] in words(told)
    assert told.count("Not compared: ") == len(found["unread"]) > 0


def test_the_live_model_is_told_with_its_data_commit_metrics_and_version(ask: Ask) -> None:
    live = from_json(ask("live", "--json"))
    assert (live["id"], live["version"], live["run"], live["spans"]) == (8, "100", "run-1", [1, 2])
    assert (live["commit"], live["trained"]) == (["1a2b3c"], ["run-1"])
    assert live["metrics"] == {"auc": 0.71234}
    assert live["mlflow"] == {"name": "flights", "version": "4"}
    told = words(ask("live"))
    assert ["spans", "1,", "2"] in told
    assert ["auc", "0.7123"] in told
    assert ["MLflow", "flights", "version", "4"] in told


def test_the_live_model_is_told_without_metrics_when_its_evaluation_is_gone(
    root: Path, ask: Ask
) -> None:
    file = root / "evaluation" / "verdict.json"
    kept = file.read_text()
    file.unlink()
    try:
        assert "no such file" in from_json(ask("live", "--json"))["unread"]
        assert "version" in ask("live")
    finally:
        file.write_text(kept)


def test_recall_names_the_models_that_learned_from_a_span_and_which_is_live(ask: Ask) -> None:
    found = [(m["id"], m["run"], m["live"]) for m in from_json(ask("recall", "2", "--json"))]
    assert found == [(3, "run-1", "now"), (4, "run-1", "never"), (10, "run-2", "never")]
    # The last one was only compared with a model that learned from span 1.
    (live, _) = from_json(ask("recall", "1", "--json"))
    assert (live["versions"], live["pushed_in"]) == (["100"], ["run-1"])
    assert from_json(ask("recall", "--artifact", "1", "--json"))[0] == live
    assert "No model has learned from ModelEvaluation 5." in ask("recall", "--artifact", "5")


def test_a_model_that_was_live_is_recalled_as_such(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    span = w.artifact("Examples", span=1)
    w.execution("ExampleGen", [], [span])
    for version in ("100", "200"):
        model = w.artifact("Model", uri=f"/{version}")
        w.execution("Trainer.keras", [span], [model], run=version)
        champion = w.artifact("Model", source_model_uri=f"/{version}")
        w.execution("ModelSelector", [model], [champion], run=version)
        source = {"source_model_uri": f"/{version}"}
        pushed = w.artifact("PushedModel", pushed=1, pushed_version=version, **source)
        w.execution("Pusher", [champion], [pushed], run=version)
    done = python("recall", "1", "--json", "--set", f"root={json.dumps(str(tmp_path))}")
    assert [(m["versions"], m["live"]) for m in from_json(done.stdout)] == [
        (["100"], "before"),
        (["200"], "now"),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "run-3"], "there is no run 'run-3' in the metadata store; did you mean run-"),
        (["diff", "run-1", "rum-2"], "did you mean run-2?"),
        (["show", "99"], "there is no artifact 99 in the metadata store; the nearest is 10"),
        (["recall", "7"], "span 7 was not ingested"),
        (["recall", "--artifact", "x"], "ARTIFACT_ID: 'x' is not an artifact's number, as in 23"),
    ],
)
def test_mistakes_are_told_with_what_is_there(ask: Ask, arguments: list[str], said: str) -> None:
    assert said in ask(*arguments, code=2)


def test_a_store_without_runs_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Writer(tmp_path)
    empty = ["--set", f"root={json.dumps(str(tmp_path))}"]
    assert main(["runs", *empty]) == 0
    assert capsys.readouterr().out == "There is no run yet.\n"
    assert main(["show", "newest", *empty]) == 2
    assert "there is no run in the metadata store yet" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_no_command_imports_tensorflow_tfx_or_numpy(root: Path, more: list[str]) -> None:
    setting = ["--set", f"root={json.dumps(str(root))}"]
    script = (
        "import sys\nfrom pipeline.__main__ import main\n"
        f"codes = [main([*c, *{more + setting!r}]) for c in {COMMANDS!r}]\n"
        "heavy = ('tensorflow', 'tfx', 'apache_beam', 'pandas', 'numpy', 'pyarrow')\n"
        "print(codes, [m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == f"{[0] * len(COMMANDS)} []"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
