import json

import pytest

from benchmarks import history
from benchmarks.lineage import QUESTIONS, commands
from benchmarks.report_lineage import lineage as report
from pipeline import lineage
from pipeline.config_file import load
from tests.benchmarks import figures
from tests.benchmarks.test_results import cells


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> lineage.Store:
    root = tmp_path_factory.mktemp("root")
    config = load(overrides=[f"root={json.dumps(str(root))}"])
    history.write(config, config.store_url, 200)
    return lineage.open(config)


def test_a_history_has_whole_runs_with_a_window_and_a_live_model(store: lineage.Store) -> None:
    runs = store.runs()
    assert [len(run.nodes) for run in runs] == [history.NODES] * 13
    newest = runs[0]
    assert newest.state == "complete"
    live = store.live_model()
    assert live in newest.outputs("PushedModel")
    assert live.is_live
    assert live.metrics() == {"auc": 0.7, "accuracy": 0.8}
    assert live.data_spans() == (9, 10, 11)
    (champion,) = (artifact for artifact in live.parents() if artifact.type == "Model")
    parents = ["PushedModel", "ModelEvaluation", "Model", "Model"]
    assert [artifact.type for artifact in champion.parents()] == parents
    assert [sum(node.cached for node in run.nodes) for run in runs[2:4]] == [1, 7]
    assert len([a for a in live.ancestors() if a.type == "PushedModel"]) == 4


def test_every_question_has_an_answer(store: lineage.Store) -> None:
    answers = {name: len(question(store)) for name, question in QUESTIONS.items()}
    assert min(answers.values()) > 0, answers
    assert answers["frame of all runs"] == 13
    newest, before = (run.id for run in store.runs(2))
    assert commands([], store)["diff RUN RUN"][-2:] == [before, newest]


def test_the_report_gives_growth_beside_the_answers() -> None:
    text = report(figures.lineage())
    rows = cells(text)
    assert rows["live model"] == ["10", "40", "4.0", "1.0", "20.0", "20.0"]
    assert rows["`runs`"] == ["0.40", "20", "0.40", "neither"]
    assert rows["`live`"][-1] == "tensorflow"
    assert "the slowest command, `live`: 0.50 s (target: below 1 s)" in text
    assert "Not measured on MariaDB: mariadbd is not installed" in text
