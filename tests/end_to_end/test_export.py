"""The evaluation on its way to a warehouse: a container component in a run of the pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from custom_components.evaluator.verdict import Verdict
from tests.end_to_end.project import SmallProject
from tests.receiver import Receiver

pytestmark = pytest.mark.e2e


def test_a_run_posts_its_evaluation_once_and_no_secret_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORT_TOKEN", "s3cret-token")
    project = SmallProject.make(tmp_path)
    with Receiver() as receiver:
        chosen = {
            "data__window": "1",
            "train__frameworks": '["sklearn", "xgboost"]',
            "export__url": receiver.url,
        }
        first = project.run(**chosen)
        assert first.returncode == 0, first.stdout + first.stderr
        again = project.run(**chosen, register__enabled="false")
        assert again.returncode == 0, again.stdout + again.stderr
    (posted,) = receiver.requests
    assert posted.headers["Authorization"] == "Bearer s3cret-token"
    records = json.loads(posted.body)

    run_id, run_again = project.run_ids()
    assert {r["run"] for r in records} == {run_id}
    nodes = project.executions(run_id)
    (evaluation,) = project.store().get_artifacts_by_id(nodes["Evaluator"].outputs["evaluation"])
    verdict = Verdict.model_validate_json((Path(evaluation.uri) / "verdict.json").read_text())
    of_all = {(r["model"], r["metric"]): r for r in records if r["slice"] == "all rows"}
    assert set(of_all) == {(m, k) for m, values in verdict.models.items() for k in values}
    for (model, metric), record in of_all.items():
        expected = verdict.models[model][metric]
        assert record["value"] == (expected and pytest.approx(expected, rel=1e-4))
        assert record["blessed"] == verdict.blessed[model]
        assert record["rows"] == verdict.rows
    assert {r["slice"] for r in records} == {"all rows", *(s.name for s in verdict.slices)}
    assert len({r["model"] for r in records if r["champion"]}) == 1

    assert project.executions(run_again)["ExportEvaluation"].state == "CACHED"
    kept = [f for f in project.root.rglob("*") if f.is_file()]
    assert not [f for f in kept if b"s3cret-token" in f.read_bytes()]
