"""What a run leaves to its users: the live model, and the report; nothing here runs it again."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from custom_components.evaluator import verdict as verdicts
from custom_components.evaluator.verdict import CANARY_FILE, Verdict
from models import manifest
from models.bundle import Bundle
from pipeline.report.page import CONTENTS
from tests.browser import browser
from tests.end_to_end.project import FRAMEWORKS, SmallProject, newest, raw_row

pytestmark = pytest.mark.e2e


def test_the_report_is_whole_in_a_browser_and_fits_a_phone(
    project: SmallProject, tmp_path: Path
) -> None:
    nodes = project.executions(newest(project))
    (report,) = project.store().get_artifacts_by_id(nodes["Report"].outputs["report"])
    (evaluation,) = project.store().get_artifacts_by_id(nodes["Evaluator"].outputs["evaluation"])
    verdict = Verdict.model_validate_json(Path(evaluation.uri, verdicts.FILE).read_text())
    with browser(tmp_path) as opened:
        opened.open(f"file://{report.uri}/index.html", width=400, dark=True)
        assert opened.complaints == []
        assert len(opened.requests) == 1
        assert not opened.scrolls_sideways
        named = opened.ask("[...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
        assert named == list(CONTENTS)
        shown = opened.ask("[...document.querySelectorAll('data')].map(d => Number(d.value))")
    measured = {v for metrics in verdict.models.values() for v in metrics.values() if v is not None}
    assert measured <= set(shown)


def test_the_pushed_model_answers_on_the_command_line(
    project: SmallProject, tmp_path: Path
) -> None:
    flights = project.flights(2).slice(0, 20)
    pa_csv.write_csv(flights, tmp_path / "flights.csv")
    place = ("--set", "root=output/small")
    done = project.pipeline_cli("predict", *place, str(tmp_path / "flights.csv"))
    lines = done.stdout.splitlines()
    assert (done.returncode, len(lines)) == (0, 21), done.stderr
    assert lines[0].endswith(",probability,model_version")
    probabilities = [float(line.split(",")[-2]) for line in lines[1:]]
    assert all(0 < p < 1 for p in probabilities)
    assert len(set(probabilities)) > 10

    row = json.dumps(flights.slice(0, 1).to_pylist()[0])
    done = project.pipeline_cli("predict", *place, "--row", row)
    assert done.stdout.startswith(f"late: {probabilities[0]:.4f}"), done.stderr
    done = project.pipeline_cli("predict", *place, "--row", '{"carrier": "UA"}')
    assert done.returncode == 2
    assert "has no column" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_way_to_ask_a_model_gives_what_the_evaluator_saw(project: SmallProject) -> None:
    nodes = project.executions(newest(project))
    store = project.store()

    def folder(node: str, key: str) -> Path:
        return Path(store.get_artifacts_by_id(nodes[node].outputs[key])[0].uri)

    seen = pq.read_table(folder("Evaluator", "evaluation") / CANARY_FILE)
    examples = [tf.train.Example.FromString(row) for row in seen["example"].to_pylist()]
    for framework in FRAMEWORKS:
        path = folder(f"Trainer.{framework}", "model") / "Format-Serving"
        bundle = Bundle.load(path)
        rows = [raw_row(example, bundle.inputs) for example in examples]
        judged = seen[framework].to_numpy()
        assert np.ptp(judged) > 0.01
        np.testing.assert_allclose(bundle.predict(rows), judged, atol=1e-6)
    saved_model = tf.saved_model.load(str(folder("Trainer.keras", "model") / "Format-Serving"))
    served = saved_model.signatures["serving_default"](tf.constant(seen["example"].to_pylist()))
    np.testing.assert_allclose(
        served["probability"].numpy()[:, 0], seen["keras"].to_numpy(), atol=1e-6
    )
    canary = json.loads((folder("Canary", "blessing") / "canary.json").read_text())
    assert canary["max_difference"] <= 1e-6

    winner = manifest.read(project.root / "serving" / project.serving[0]).framework
    judged = seen[winner].to_numpy()
    for choose in (mlflow.set_tracking_uri, mlflow.set_registry_uri):  # Others chose before.
        choose(f"sqlite:///{project.root}/mlflow.db")
    champion = mlflow.pyfunc.load_model("models:/flights@champion")
    frame = pd.DataFrame(rows)
    np.testing.assert_allclose(champion.predict(frame), judged, atol=1e-6)


def test_the_pushed_model_has_predicted_every_row_of_the_files_that_are_named(
    project: SmallProject,
) -> None:
    made = project.executions(newest(project))["BatchPredict"].outputs["predictions"]
    (predictions,) = project.store().get_artifacts_by_id(made)
    rows = pq.read_table(Path(predictions.uri, "predictions.parquet"))
    (version,) = set(rows["model_version"].to_pylist())
    assert version in project.serving
    assert rows.num_rows == project.flights(2).num_rows
    assert 0 < min(rows["probability"].to_pylist()) < max(rows["probability"].to_pylist()) < 1
