import json
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import project, report, taxi, template
from benchmarks.measure import Cost

CONFIG = "[train.keras]\nbatch_size = 40\nepochs = 4\n"


class Pretended:
    """Both sides, without their pipelines: each run leaves what the benchmark reads."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, ...]] = []

    def template(self, folder: Path, *, log: Path) -> Cost:
        self.runs.append((folder.name,))
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("1000/1000 ━━━ 5s 4ms/step - loss: 0.5\n")
        store = folder / "tfx_metadata" / "taxi" / "metadata.db"
        if not store.exists():
            store.parent.mkdir(parents=True)
            (folder / "tfx_pipeline_output" / "taxi" / "serving_model" / "1").mkdir(parents=True)
            database = sqlite3.connect(store)
            database.executescript(
                """
                CREATE TABLE Type AS SELECT 1 AS id, 'node' AS name;
                CREATE TABLE Context AS SELECT 1 AS id, 1 AS type_id, 'taxi.Trainer' AS name;
                CREATE TABLE Association AS SELECT 1 AS context_id, 1 AS execution_id;
                CREATE TABLE Execution AS SELECT 1 AS id, 0 AS create_time_since_epoch,
                    12500 AS last_update_time_since_epoch;
                """
            )
            database.close()
        return Cost(60.0 + len(self.runs), 50.0, 1000)

    def ours(self, folder: Path, config: str, *arguments: str, log: Path) -> Cost:
        self.runs.append(("ours", *arguments))
        root = folder / "output" / "taxi"
        run = root / "runs" / f"{len(self.runs):03}"
        run.mkdir(parents=True)
        ran = {"node": "Trainer.keras", "start": 5.0, "end": 15.0, "cpu": 10.0}
        (run / "run.json").write_text(json.dumps({"nodes": [ran]}))
        (root / "serving" / str(len(self.runs))).mkdir(parents=True)
        verdict = root / "Evaluator" / "evaluation" / "1" / "verdict.json"
        verdict.parent.mkdir(parents=True, exist_ok=True)
        models = {"keras": {"accuracy": 0.78}}
        verdict.write_text(json.dumps({"candidates": ["keras"], "models": models}))
        database = sqlite3.connect(root / "metadata.sqlite")
        database.execute(
            "CREATE TABLE IF NOT EXISTS ArtifactProperty AS "
            "SELECT 1 AS artifact_id, 'rows_train' AS name, 10017 AS int_value"
        )
        database.close()
        return Cost(30.0, 40.0, 900)


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    tree = tmp_path / "tree"
    for name, text in {"configs/taxi.toml": CONFIG, "models/keras_model.py": "A = 1\n"}.items():
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    pretended = Pretended()
    monkeypatch.setattr(project, "PROJECT", tree)
    monkeypatch.setattr(project, "run", pretended.ours)
    monkeypatch.setattr(taxi, "FOLDER", tmp_path / "made")
    monkeypatch.setattr(taxi, "start_template", pretended.template)
    monkeypatch.setattr(template, "accuracy", lambda folder, log: 0.77)
    return pretended


def test_the_sides_take_turns_in_every_scenario(sides: Pretended) -> None:
    taxi.compare(runs=2)
    cached = ("template-cached",)
    warm_up = [cached, cached, ("ours", "--set", "root=output/warm-up")]
    full = [("template",), ("ours",), ("template",), ("ours", "--no-cache")]
    assert sides.runs == [*warm_up, *full, *full, ("ours",), *([cached, ("ours",)] * 4)]


def test_the_edits_are_made_in_the_copies(sides: Pretended, tmp_path: Path) -> None:
    taxi.compare(runs=2)
    model = Path("models") / "keras_model.py"
    assert (project.PROJECT / model).read_text() == "A = 1\n"
    assert "_EDITED = 2" in (tmp_path / "made" / "ours" / model).read_text()
    settings = (tmp_path / "made" / "template-cached" / "pipeline" / "configs.py").read_text()
    assert "TRAIN_NUM_STEPS = 1002" in settings


def test_the_figures_are_those_of_the_fastest_run(sides: Pretended) -> None:
    figures: dict[str, Any] = taxi.compare(runs=2)
    assert figures["scenarios"]["first"]["template"]["wall"] == 64.0
    assert figures["components"] == {
        "template": {"Trainer": 12.5, "rest": 51.5},
        "ours": {"Trainer.keras": 10.0, "rest": 5.0},
    }
    assert figures["pushed"] == {"template": 1, "ours": 1}
    assert figures["steps"] == {"template": 1000, "ours": 1004}
    assert figures["template_steps_per_second"] == 250
    assert "| this project   |" in report.taxi(json.loads(json.dumps(figures)))
