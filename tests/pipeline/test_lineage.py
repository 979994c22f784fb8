"""Where an artifact comes from: asked of a small store that is made by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore

from pipeline import lineage
from pipeline.__main__ import main
from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import load
from pipeline.errors import UserError
from tests.pipeline.written_store import CACHED, FAILED, INTERNAL_OUTPUT, Writer


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two spans, a model of both, pushed; then a second model that was compared with it."""
    root = tmp_path_factory.mktemp("root")
    w = Writer(root)
    one = w.artifact("Examples", span=1, rows_train=1200, rows_eval=300, rows_dropped=0)
    two = w.artifact("Examples", span=2, rows_train=1300, rows_eval=310, rows_dropped=4)
    w.execution("ExampleGen", [], [two], run="run-0", state=FAILED)
    w.execution("ExampleGen", [], [one])
    w.execution("ExampleGen", [], [two])
    w.execution("Window", [], [one, two], output_event=INTERNAL_OUTPUT)
    model, blessing = w.artifact("Model"), w.artifact("ModelBlessing", blessed=1)
    w.execution("Trainer.keras", [two, one], [model])
    w.execution("Evaluator", [one, model], [blessing])
    pushed = w.artifact("PushedModel", pushed=1, pushed_version="100")
    w.execution("Pusher", [model, blessing], [pushed])

    for node, artifact in (("ExampleGen", two), ("Trainer.keras", model)):
        w.execution(node, [], [artifact], run="run-2", state=CACHED)
    time.sleep(0.002)
    other, verdict = w.artifact("Model"), w.artifact("ModelBlessing", blessed=0)
    w.execution("Trainer.keras", [two], [other], run="run-2")
    w.execution("Evaluator", [other, pushed], [verdict], run="run-2")
    refused = w.artifact("PushedModel", pushed=0)
    w.execution("Pusher", [other, verdict], [refused], run="run-2")
    return root


def config(root: Path) -> PipelineConfig:
    return load(overrides=[f"root={json.dumps(str(root))}"])


@pytest.fixture
def store(root: Path) -> lineage.Store:
    return lineage.open(config(root))


def names(artifacts: Sequence[lineage.Artifact]) -> list[str]:
    return [f"{artifact.type} {artifact.id}" for artifact in artifacts]


def test_the_live_model_is_the_newest_that_was_pushed(store: lineage.Store) -> None:
    live = store.live_model()
    assert live.properties == {"pushed": 1, "pushed_version": "100"}
    assert live is store.artifact(live.id)


def test_parents_are_what_the_producer_read_in_the_order_of_its_inputs(
    store: lineage.Store,
) -> None:
    live = store.live_model()
    assert names(live.parents()) == ["Model 3", "ModelBlessing 4"]
    assert names(store.artifact(3).parents()) == ["Examples 2", "Examples 1"]
    assert store.artifact(1).parents() == ()


def test_ancestors_come_once_the_nearest_first(store: lineage.Store) -> None:
    ancestors = store.live_model().ancestors()
    assert names(ancestors[:2]) == ["Model 3", "ModelBlessing 4"]
    assert sorted(names(ancestors[2:])) == ["Examples 1", "Examples 2"]


def test_the_producer_is_neither_a_cached_nor_a_failed_execution_nor_a_resolver(
    store: lineage.Store,
) -> None:
    for artifact_id, node in ((2, "ExampleGen"), (3, "Trainer.keras")):
        producer = store.artifact(artifact_id).producer
        assert producer
        assert (producer.name, producer.run.id, producer.state) == (node, "run-1", "complete")


def test_an_artifact_that_nothing_made_has_no_producer(tmp_path: Path) -> None:
    alone = Writer(tmp_path).artifact("Schema")
    found = lineage.open(config(tmp_path)).artifact(alone)
    assert found.producer is None
    assert found.ancestors() == ()
    assert repr(found) == f"<Schema {alone}: /data/Schema>"


def test_artifacts_and_nodes_say_which_they_are(store: lineage.Store) -> None:
    model = store.artifact(3)
    assert repr(model) == "<Model 3 by Trainer.keras in run run-1: /data/Model>"
    assert repr(model.producer) == "<Node Trainer.keras in run run-1, complete (execution 5)>"


def test_a_long_history_is_asked_for_a_generation_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = Writer(tmp_path)
    spans = [w.artifact("Examples", span=span) for span in range(50)]
    for span in spans:
        w.execution("ExampleGen", [], [span])
    model = w.artifact("Model")
    w.execution("Trainer", spans, [model])
    calls = []
    for name in ("get_events_by_artifact_ids", "get_artifacts_by_id"):
        asked = getattr(MetadataStore, name)
        monkeypatch.setattr(
            MetadataStore, name, lambda *given, asked=asked: calls.append(1) or asked(*given)
        )
    assert len(lineage.open(config(tmp_path)).artifact(model).ancestors()) == 50
    assert len(calls) == 4


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "lineage", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)


def test_the_command_draws_each_artifact_once(root: Path) -> None:
    done = run("--set", f"root={json.dumps(str(root))}")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("PushedModel 5  Pusher in run run-1, 20")
    assert lines[0].endswith(", version 100")
    for artifact in ("Model 3", "ModelBlessing 4", "Examples 1", "Examples 2"):
        assert sum(f"─ {artifact}  " in line for line in lines) == 1, artifact
    assert done.stdout.count("(in a branch of this tree)") == 1
    (span,) = (line for line in lines if "─ Examples 2  " in line)
    assert span.endswith(", span 2, 1,300 train rows, 310 eval rows, 4 dropped rows")
    assert "ExampleGen in run run-1" in span


def test_the_tree_of_a_candidate_ends_at_the_model_that_was_live(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lineage", "--set", f"root={json.dumps(str(root))}", "7"]) == 0
    told = capsys.readouterr().out
    assert "not blessed" in told
    assert "PushedModel 5  Pusher in run run-1" in told
    assert "lineage 5 goes on from here" in told
    assert "Model 3" not in told


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("99", "there is no artifact 99 in the metadata store"),
        ("9" * 30, "there is no artifact 999"),
        ("model", "ARTIFACT_ID: 'model' is not an artifact's number"),
    ],
)
def test_an_artifact_that_is_not_there_is_a_mistake_in_words(
    root: Path, asked: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lineage", "--set", f"root={json.dumps(str(root))}", asked]) == 2
    assert said in capsys.readouterr().err


def test_without_a_store_it_says_how_to_make_one_and_makes_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no metadata store yet.*python local_runner\.py"):
        lineage.open(config(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("content", ["", "not a database, but long enough to be looked at" * 99])
def test_a_file_that_is_no_store_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    file = tmp_path / "metadata.sqlite"
    file.write_text(content)
    with pytest.raises(UserError, match="no metadata store that can be read"):
        lineage.open(config(tmp_path))
    assert file.read_text() == content


def test_no_live_model_is_said_with_what_a_push_takes(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    with pytest.raises(UserError, match="no model is live yet: no run has pushed one"):
        lineage.open(config(tmp_path)).live_model()
    w.artifact("PushedModel", pushed=0)
    with pytest.raises(UserError, match="no model is live yet"):
        lineage.open(config(tmp_path)).live_model()


def test_neither_tensorflow_nor_tfx_is_imported(root: Path) -> None:
    script = (
        "import sys\nfrom pipeline.__main__ import main\n"
        f"main(['lineage', '--set', {f'root={json.dumps(str(root))}'!r}])\n"
        "print([m for m in ('tensorflow', 'tfx', 'apache_beam', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
