"""The whole pipeline on a small slice; each step asks the metadata store what happened.

The steps share one project and run in the order in which they stand, as a person's day would.
"""

from __future__ import annotations

import html
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import mlflow
import pyarrow as pa
import pytest

from models import manifest
from pipeline import config_file, lineage
from pipeline.config import PROJECT
from pipeline.store import record
from tests.end_to_end.project import FRAMEWORKS, SmallProject, newest
from tools import notebooks

pytestmark = pytest.mark.e2e

TRAINERS = {f"Trainer.{framework}" for framework in FRAMEWORKS}
NODES = {
    *("ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "PreviousStatistics"),
    *("DataGate", "Preflight", "Window", "AnalyzerCache", "Transform", *TRAINERS),
    *("LiveModel", "Evaluator", "ModelSelector", "Canary", "Pusher", "BatchPredict"),
    *("Registrar", "Report"),
}
RESOLVERS = {"PreviousStatistics", "Window", "AnalyzerCache", "LiveModel"}
UNCHANGED = {n: "COMPLETE" if n in {*RESOLVERS, "Report"} else "CACHED" for n in NODES}


def test_the_first_run_backfills_then_trains_and_pushes(project: SmallProject) -> None:
    backfill, run = project.run_ids()[1], project.run_ids()[0]
    assert backfill == f"{run}-span-1"
    states = {n: e.state for n, e in project.executions(run).items()}
    # The schema is the one that the backfill has imported.
    assert states == dict.fromkeys(NODES, "COMPLETE") | {"SchemaGen": "CACHED"}
    assert not TRAINERS & set(project.executions(backfill))
    assert "DataGate" in project.executions(backfill)
    facts = record.read(project.store(), run)
    told = {key: facts[key] for key in ("runner", "span", "backfill", "outcome")}
    assert told == {"runner": "local", "span": "2", "backfill": "[1]", "outcome": "succeeded"}
    assert json.loads(facts["config"])["name"] == "flights"


def test_the_window_holds_both_spans_in_order(project: SmallProject) -> None:
    run = newest(project)
    window = project.executions(run)["Window"].outputs["examples"]
    artifacts = {a.id: a for a in project.store().get_artifacts_by_id(window)}
    assert [artifacts[i].custom_properties["span"].int_value for i in window] == [1, 2]
    executions = project.executions(run)
    assert sorted(executions["Transform"].inputs["examples"]) == sorted(window)
    assert len(executions["Transform"].outputs["transformed_examples"]) == 2


def test_the_artifacts_are_linked_from_rows_to_the_pushed_model(project: SmallProject) -> None:
    nodes = project.executions(newest(project))
    links = [
        ("ExampleGen", "examples", "StatisticsGen", "examples"),
        ("StatisticsGen", "statistics", "ExampleValidator", "statistics"),
        ("SchemaGen", "schema", "Transform", "schema"),
        ("Transform", "transformed_examples", "Trainer.keras", "examples"),
        ("Transform", "transform_graph", "Trainer.keras", "transform_graph"),
        ("Transform", "transformed_examples", "Trainer.xgboost", "examples"),
        ("Evaluator", "evaluation", "ModelSelector", "evaluation"),
        ("ModelSelector", "model", "Canary", "model"),
        ("ModelSelector", "model", "Pusher", "model"),
        ("ModelSelector", "blessing", "Pusher", "model_blessing"),
        ("Evaluator", "evaluation", "Canary", "evaluation"),
        ("Pusher", "pushed_model", "BatchPredict", "pushed_model"),
        ("Canary", "blessing", "Pusher", "infra_blessing"),
    ]
    for maker, output, taker, given in links:
        assert nodes[maker].outputs[output] == nodes[taker].inputs[given], (maker, taker)
    models = {i for trainer in TRAINERS for i in nodes[trainer].outputs["model"]}
    for judge in ("Evaluator", "ModelSelector"):
        assert set(nodes[judge].inputs["model" if judge == "Evaluator" else "models"]) == models
        assert "baseline_model" not in nodes[judge].inputs


def test_the_best_model_is_chosen_blessed_and_pushed_once(project: SmallProject) -> None:
    nodes = project.executions(newest(project))
    store = project.store()
    blessing, canary, pushed, selection = (
        store.get_artifacts_by_id(nodes[n].outputs[key])[0].custom_properties
        for n, key in (
            ("ModelSelector", "blessing"),
            ("Canary", "blessing"),
            ("Pusher", "pushed_model"),
            ("ModelSelector", "selection"),
        )
    )
    assert (blessing["blessed"].int_value, canary["blessed"].int_value) == (1, 1)
    assert pushed["pushed"].int_value == 1
    assert project.serving == [pushed["pushed_version"].string_value]
    pushed_bundle = manifest.read(project.root / "serving" / project.serving[0])
    assert pushed_bundle.framework == selection["winner"].string_value
    assert pushed_bundle.provenance.run == newest(project)
    assert pushed_bundle.provenance.spans == (1, 2)
    assert set(pushed_bundle.example) == set(pushed_bundle.inputs)
    judged = store.get_artifacts_by_id(nodes["Evaluator"].outputs["blessing"])
    assert {b.custom_properties["candidate"].string_value for b in judged} == set(FRAMEWORKS)


def test_the_summary_tells_what_was_decided(project: SmallProject) -> None:
    shown = (project.folder / "first_output.txt").read_text()
    assert "auc" in shown
    assert "pushed" in shown
    assert f"serving/{project.serving[0]}" in shown.replace("\n", "")
    assert "python -m pipeline predict" in shown


def test_the_run_ends_with_its_report(project: SmallProject) -> None:
    nodes = project.executions(newest(project))
    store = project.store()
    report, selection = (
        store.get_artifacts_by_id(nodes[node].outputs[key])[0]
        for node, key in (("Report", "report"), ("ModelSelector", "selection"))
    )
    assert report.custom_properties["complete"].int_value == 1
    page = Path(report.uri, "index.html")
    shown = (project.folder / "first_output.txt").read_text()
    assert shown.rstrip().endswith(f"Report: {page}")
    text = html.unescape(page.read_text())
    assert newest(project) in text
    assert f"went live as version {project.serving[0]}" in text
    assert selection.custom_properties["reason"].string_value.replace(" %", "%") in text
    decided = [
        *nodes["Pusher"].outputs["pushed_model"],
        *nodes["Registrar"].outputs["registration"],
        *nodes["Evaluator"].outputs["evaluation"],
    ]
    read = {artifact for artifacts in nodes["Report"].inputs.values() for artifact in artifacts}
    assert set(decided) < read


def test_mlflow_knows_every_training_and_the_champion(project: SmallProject) -> None:
    store = f"sqlite:///{project.root}/mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=store, registry_uri=store)
    (experiment,) = (e for e in client.search_experiments() if e.name == "flights")
    runs = client.search_runs([experiment.experiment_id])
    by_framework = {run.data.tags["framework"]: run for run in runs}
    assert set(by_framework) >= set(FRAMEWORKS)
    nodes = project.executions(newest(project))
    for framework in FRAMEWORKS:
        run = by_framework[framework]
        assert run.data.tags["tfx.run"] == newest(project)
        assert int(run.data.tags["tfx.execution"]) == nodes[f"Trainer.{framework}"].id
        assert run.data.tags["data.spans"] == "1, 2"
        assert 0.5 < run.data.metrics["auc"] < 1
        assert client.get_metric_history(run.info.run_id, "training.learned")
    champion = client.get_model_version_by_alias("flights", "champion")
    assert champion.tags["served.version"] == project.serving[0]

    place = ("--set", "root=output/small")
    shown = project.pipeline_cli("lineage", *place).stdout
    assert f"In MLflow: flights version {champion.version}" in shown
    shown = project.pipeline_cli("registry", "show", "champion", *place).stdout
    assert f"lineage {' '.join(place)} {nodes['Pusher'].outputs['pushed_model'][0]}" in shown


def test_the_run_says_who_ran_when(project: SmallProject) -> None:
    shown = (project.folder / "first_output.txt").read_text()
    folder = project.root / "runs" / project.run_ids()[0]
    assert "cores busy" in shown
    assert "timeline.svg" in shown.replace("\n", "")
    picture = ElementTree.parse(folder / "timeline.svg")
    words = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert words >= NODES
    ran = json.loads((folder / "run.json").read_text())["nodes"]
    assert {node["node"] for node in ran} == NODES
    ends = {node["node"]: node["end"] for node in ran if node["run"] == folder.name}
    starts = {node["node"]: node["start"] for node in ran if node["run"] == folder.name}
    for trainer in TRAINERS:
        assert ends["Transform"] <= starts[trainer] < ends[trainer] <= starts["Evaluator"]


def test_a_run_that_would_repeat_the_last_one_says_so_and_shows_its_result(
    project: SmallProject,
) -> None:
    before = project.run_ids()
    done = project.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Nothing changed since run {before[0]}" in done.stdout
    assert "auc" in done.stdout
    assert "Loading TensorFlow" not in done.stdout
    assert project.run_ids() == before


def test_nodes_that_nothing_changed_for_run_no_executor(project: SmallProject) -> None:
    before, known = project.serving, project.run_ids()
    file = project.folder / "pipeline/summary.py"  # No node's code.
    file.write_text(file.read_text() + "\nEDITED = True\n")
    done = project.run()
    assert done.returncode == 0, done.stdout + done.stderr
    (run_id,) = set(project.run_ids()) - set(known)  # The earlier span is not asked about again.
    executions = project.executions(run_id)
    assert {n: e.state for n, e in executions.items()} == {n: UNCHANGED[n] for n in executions}
    assert project.serving == before


def test_a_challenger_that_is_no_better_is_not_pushed(project: SmallProject) -> None:
    before = project.serving
    done = project.run(evaluate__thresholds__auc__min="0.999", train__seed="7")
    assert done.returncode == 0, done.stdout + done.stderr
    nodes = project.executions(newest(project))
    store = project.store()
    judges = ("Evaluator", "ModelSelector", "Canary", "Pusher")
    assert {nodes[n].state for n in judges} == {"COMPLETE"}
    assert nodes["Transform"].state == "CACHED"
    for judge in ("Evaluator", "ModelSelector"):
        for blessing in store.get_artifacts_by_id(nodes[judge].outputs["blessing"]):
            assert blessing.custom_properties["blessed"].int_value == 0
    pushed = store.get_artifacts_by_id(nodes["Pusher"].outputs["pushed_model"])[0]
    assert pushed.custom_properties["pushed"].int_value == 0
    live = nodes["Evaluator"].inputs["baseline_model"]
    first = project.executions(project.run_ids()[0])
    assert live == first["Pusher"].outputs["pushed_model"]
    assert project.serving == before
    assert "not pushed" in done.stdout
    assert "0.999" in done.stdout


def test_an_edit_of_preprocessing_reruns_transform_and_what_follows(
    project: SmallProject,
) -> None:
    file = project.folder / "models/preprocessing.py"
    file.write_text(file.read_text() + "\nEDITED = True\n")
    done = project.run()
    assert done.returncode == 0, done.stdout + done.stderr
    states = {n: e.state for n, e in project.executions(newest(project)).items()}
    assert {states[n] for n in ("Transform", *TRAINERS, "Evaluator")} == {"COMPLETE"}
    earlier = {"ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "DataGate"}
    assert {states[n] for n in earlier} == {"CACHED"}


def test_a_changed_setting_reruns_the_nodes_that_read_it(project: SmallProject) -> None:
    done = project.run(train__xgboost__max_depth="3")
    assert done.returncode == 0, done.stdout + done.stderr
    states = {n: e.state for n, e in project.executions(newest(project)).items()}
    assert states["Trainer.keras"] == states["Trainer.sklearn"] == "CACHED"
    assert states["Trainer.xgboost"] == states["Evaluator"] == "COMPLETE"


def test_the_gate_stops_a_span_with_values_outside_their_domain(project: SmallProject) -> None:
    rows = project.flights(2)
    strange = pa.array(["??"] * rows.num_rows)
    index = rows.schema.get_field_index("carrier")
    project.write_span(3, rows.set_column(index, "carrier", strange))
    before = project.serving
    done = project.run(data__span="3")
    assert done.returncode == 1
    assert "DataGate" in done.stdout
    assert "carrier" in done.stdout
    assert "run it again" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    executions = project.executions(newest(project))
    assert executions["DataGate"].state == "FAILED"
    assert "carrier" in executions["DataGate"].error
    assert not {"Transform", "Pusher"} & set(executions)
    facts = record.read(project.store(), newest(project))
    assert (facts["outcome"], facts["failed_node"]) == ("failed", "DataGate")
    assert "carrier" in facts["reason"]
    assert project.serving == before
    page = project.root / "runs" / newest(project) / "report.html"
    assert f"Report: {page}" in done.stdout
    assert "Stopped by the data gate" in page.read_text()


def test_a_run_killed_while_training_is_resumed_with_nothing_lost(project: SmallProject) -> None:
    killed = subprocess.Popen(
        project.command("--no-cache", "--plain", train__keras__max_epochs="500"),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
    )
    wait_for_log(project, "Trainer.keras.log", "Training model")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    run_id = newest(project)
    assert project.executions(run_id)["Trainer.keras"].state == "RUNNING"
    transformed = project.executions(run_id)["Transform"].id
    time.sleep(1)  # Its children end with it.

    refused = project.run("--no-cache", "--resume", data__train_buckets="4")
    assert refused.returncode == 2
    assert "cannot go on" in refused.stderr
    done = project.run("--no-cache", "--resume")
    assert done.returncode == 0, done.stdout + done.stderr
    assert newest(project) == run_id
    executions = project.executions(run_id)
    assert {e.state for e in executions.values()} == {"COMPLETE"}
    assert executions["Transform"].id == transformed
    assert set(executions) == NODES
    again = project.run("--resume")
    assert again.returncode == 2
    assert "nothing to resume" in again.stderr


def test_one_node_runs_alone_on_what_earlier_runs_made(project: SmallProject) -> None:
    done = project.run("--only", "Evaluator", evaluate__decision_threshold="0.4")
    assert done.returncode == 0, done.stdout + done.stderr
    executions = project.executions(newest(project))
    assert executions["Evaluator"].state == "COMPLETE"
    assert executions["Trainer.keras"].state == "CACHED"
    assert "Pusher" not in executions
    done = project.run("--from", "Traner")
    assert done.returncode == 2
    assert "there is no node 'Traner'" in done.stderr


def test_ctrl_c_ends_the_run_and_tells_how_to_go_on(project: SmallProject) -> None:
    process = subprocess.Popen(
        project.command("--no-cache", train__keras__max_epochs="500"),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # It is ignored where the tests themselves run in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for_log(project, "Trainer.keras.log", "Training model")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("file", notebooks.files()[:3], ids=lambda file: file.stem)
def test_a_notebook_runs_in_a_kernel_of_its_own_and_shows_what_the_store_holds(
    project: SmallProject, file: Path
) -> None:
    done = notebooks.execute(file, "configs/flights.toml", [f"root={project.root}"])
    outputs = [output for cell in done.cells for output in cell.get("outputs", ())]
    shown = "".join(o.get("text") or o.data.get("text/plain", "") for o in outputs)
    store = lineage.open(project.root / "metadata.sqlite")
    live, (statistics, *_) = store.live_model(), store.find("ExampleStatistics", span=1)
    expected = {
        "01_data": f" {statistics.statistics('train').rows} ",
        "02_lineage": repr(live),
        "03_models": f"{live.metrics()['auc']:.4f}",
    }
    assert expected[file.stem] in shown


def test_the_documented_questions_are_answered_as_they_stand(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (PROJECT / "docs/lineage.md").read_text(), re.S)
    begin, *questions = blocks
    monkeypatch.setattr(config_file, "load", lambda: project.root / "metadata.sqlite")
    names: dict[str, Any] = {}
    exec(begin, names)
    answers = [eval(question, names) for question in questions]
    assert len(answers) == 10
    live = names["live"]
    assert answers[0] == live.data_spans() == (1, 2)
    assert live.producer.run in answers[1]
    assert live.producer.run.spans == (1, 2)
    assert {model for model, is_live in answers[4] if is_live} >= {live}
    assert answers[5].seconds == max(n.seconds or 0 for r in names["store"].runs() for n in r.nodes)
    assert dict(answers[8])[live.producer.run_id] == live.metrics()["auc"]
    assert live in answers[9]


def wait_for_log(project: SmallProject, name: str, text: str) -> None:
    """Waits until the newest run's log of a node holds `text`."""
    before = set((project.root / "runs").iterdir())
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        for folder in set((project.root / "runs").iterdir()) - before:
            log = folder / "logs" / name
            if log.exists() and text in log.read_text():
                return
        time.sleep(0.2)
    raise AssertionError(f"no {name} with {text!r} within 180 s")
