"""What lies behind an artifact: records, statistics, schemas and anomalies, and their mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from custom_components.canary.report import CanaryReport
from custom_components.evaluator.verdict import Verdict
from custom_components.gate_report import Report
from custom_components.selection import Selection
from models import history
from models.history import Curve, History
from pipeline import lineage
from pipeline.config import PROJECT
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.files import storage
from pipeline.lineage import Artifact
from pipeline.lineage.described import Anomalies, Statistics
from pipeline.lineage.payload import BY_TYPE
from tests import object_stores
from tests.pipeline.payloads import statistics, write
from tests.pipeline.written_store import Writer

SPLITS = json.dumps(["train", "eval"])
VERDICT = Verdict(
    candidates=("keras",),
    blessed={"keras": True},
    live=None,
    rows=10,
    label_mean=0.5,
    models={"keras": {Metric.AUC: 0.7}},
    slices=[],
    checks=[],
)
SELECTION = Selection(
    metric=Metric.AUC,
    margin=0,
    confidence=0.9,
    replicates=0,
    groups="rows",
    winner=None,
    reason="none is good enough",
    live=None,
    live_value=None,
    candidates=(),
)
CANARY = CanaryReport(blessed=True, reason=None, rows=5, tolerance=1e-5)
GATE = Report(span=3, previous_span=None, rows={"train": 5}, findings=(), drift=())
RECORDS: dict[str, tuple[str, Any]] = {
    "ModelEvaluation": ("verdict.json", VERDICT),
    "ModelSelection": ("selection.json", SELECTION),
    "InfraBlessing": ("canary.json", CANARY),
    "GateReport": ("report.json", GATE),
}
SCHEMA = """
feature { name: "temp" type: FLOAT presence { min_fraction: 0.9 min_count: 1 }
          value_count { min: 1 max: 1 } float_domain { min: -40 max: 130 } }
feature { name: "carrier" type: BYTES presence { min_fraction: 1.0 } domain: "carriers"
          shape { dim { size: 1 } } }
feature { name: "tags" type: BYTES value_count { min: 1 } }
feature { name: "seats" type: INT int_domain { min: 1 } }
feature { name: "place" type: STRUCT struct_domain { feature { name: "city" type: BYTES
          string_domain { value: "Ulm" } } } }
string_domain { name: "carriers" value: "AA" value: "UA" }
"""
ANOMALY = anomalies_pb2.Anomalies()
ANOMALY.anomaly_info["temp"].CopyFrom(
    anomalies_pb2.AnomalyInfo(
        severity=anomalies_pb2.AnomalyInfo.ERROR,
        short_description="Out-of-range values",
        description="Unexpectedly high value: 200.",
    )
)
ANOMALY.anomaly_info["temp"].path.step.append("temp")


def artifact(root: Path, kind: str, content: Mapping[str, Any], **properties: Any) -> Artifact:
    """The artifact of a store of its own, with these files."""
    folder = root / kind
    for name, what in content.items():
        write(folder / name, what)
    made = Writer(root).artifact(kind, uri=str(folder), **properties)
    return lineage.open(root / "metadata.sqlite").artifact(made)


def of_splits(name: str, train: Any, held_out: Any) -> dict[str, Any]:
    return {f"Split-train/{name}": train, f"Split-eval/{name}": held_out}


def described(root: Path) -> Statistics:
    train = statistics(
        numbers={"temp": (50.0, 10.0), "empty": (0.0, 0.0)},
        texts={"carrier": {"UA": 60, "AA": 30}},
        missing={"carrier": 10, "empty": 100},
        not_a_number=20,
    )
    train.datasets[0].features[1].num_stats.histograms[0].num_nan = 0
    files = of_splits("FeatureStats.pb", train, statistics(7))
    return artifact(root, "ExampleStatistics", files, split_names=SPLITS, span=3).statistics()


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_comes_back_as_it_was_written(tmp_path: Path, kind: str) -> None:
    file, expected = RECORDS[kind]
    found = artifact(tmp_path, kind, {file: expected.model_dump_json()})
    assert found.load() == expected
    assert getattr(found, BY_TYPE[kind])() == expected


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_that_is_damaged_is_named(tmp_path: Path, kind: str) -> None:
    file, _ = RECORDS[kind]
    found = artifact(tmp_path, kind, {file: '{"rows": "many"}'})
    with pytest.raises(UserError, match=rf"{kind}/{file}: not a \w+ that this code understands: "):
        found.load()


def test_a_history_has_a_row_for_each_step(tmp_path: Path) -> None:
    told = History(
        framework="keras",
        step="epoch",
        steps=2,
        search=Curve(learned=(0.6, 0.5, 0.4), held_out=(0.61, 0.55, 0.56)),
        training=Curve(learned=(0.6, 0.52)),
        seconds=1.5,
    )
    run = artifact(tmp_path, "ModelRun", {})
    history.write(Path(run.uri), told)
    found = run.history()
    expected = {
        "step": [1, 2, 3],
        "learned": [0.6, 0.52, None],
        "search_learned": [0.6, 0.5, 0.4],
        "search_held_out": [0.61, 0.55, 0.56],
    }
    pd.testing.assert_frame_equal(found, pd.DataFrame(expected))
    told_of = {"framework": "keras", "step": "epoch", "steps": 2, "loss": "log loss"}
    assert found.attrs == {**told_of, "seconds": 1.5, "begun": ""}


def test_a_model_has_the_history_of_its_training_wherever_it_went(tmp_path: Path) -> None:
    told = History(framework="keras", step="fit", steps=1, training=Curve(learned=(0.6,)))
    history.write(tmp_path / "run", told)
    w = Writer(tmp_path)
    run = w.artifact("ModelRun", uri=str(tmp_path / "run"))
    models = [w.artifact("Model", uri=f"/{name}") for name in ("keras", "sklearn")]
    w.execution("Trainer.keras", [], [models[0], run])
    w.execution("Trainer.sklearn", [], [models[1]])

    def pushed(source: str) -> int:
        properties = {"source_model_uri": source, "digest": "d"}
        champion = w.artifact("Model", **properties)
        w.execution("ModelSelector", models, [champion])
        made = w.artifact("PushedModel", pushed=1, **properties)
        w.execution("Pusher", [champion], [made])
        return made

    single, ensemble = pushed("/keras"), pushed("/keras\n/sklearn")
    (copy,) = lineage.open(tmp_path / "metadata.sqlite").artifact(single).parents()
    store = lineage.open(tmp_path / "metadata.sqlite")
    for model in (models[0], copy.id, single):
        assert list(store.artifact(model).history()["learned"]) == [0.6]
    with pytest.raises(UserError, match=r"is an ensemble.*ask Model 2, Model 3"):
        store.artifact(ensemble).history()
    with pytest.raises(UserError, match=r"Model 3 has no history: its producer, Trainer\.sklearn"):
        store.artifact(models[1]).history()


def test_statistics_are_a_table_of_features(tmp_path: Path) -> None:
    found = described(tmp_path)
    assert (found.split, found.splits, found.rows) == ("train", ("train", "eval"), 100)
    frame = found.frame().set_index("feature")
    assert list(frame.index) == ["carrier", "empty", "temp"]
    temp, carrier, empty = (frame.loc[name] for name in ("temp", "carrier", "empty"))
    assert (temp["type"], temp["rows"], temp["missing"]) == ("FLOAT", 100, 0.2)
    assert tuple(temp[["mean", "std", "min", "median", "max"]]) == (50, 10, 40, 50, 60)
    assert temp["zeros"] == 5 / 80
    assert (carrier["missing"], carrier["unique"], carrier["top"]) == (0.1, 2, "UA")
    assert carrier["top_share"] == 60 / 90
    assert empty["missing"] == 1
    assert pd.isna(empty["mean"])
    assert repr(found) == "<Statistics of train of span 3: 100 rows, 3 features>"
    assert found._repr_html_().count("<tr>") == 4


def test_statistics_are_of_the_split_that_is_asked_for(tmp_path: Path) -> None:
    files = of_splits("FeatureStats.pb", statistics(5), statistics(7))
    found = artifact(tmp_path, "ExampleStatistics", files, split_names=SPLITS)
    assert found.statistics("eval").rows == 7
    assert list(found.statistics("eval").frame().columns)[:3] == ["feature", "type", "rows"]
    with pytest.raises(UserError, match="has no split 'test'; there are: train, eval"):
        found.statistics("test")


def test_statistics_of_slices_are_left_aside(tmp_path: Path) -> None:
    both = statistics(5)
    both.datasets[0].name = "carrier_UA"
    both.datasets.add(name="All Examples", num_examples=9)
    files = of_splits("FeatureStats.pb", both, both)
    found = artifact(tmp_path, "ExampleStatistics", files, split_names=SPLITS)
    assert found.statistics().rows == 9


def test_a_schema_is_a_table_of_features(tmp_path: Path) -> None:
    found = artifact(tmp_path, "Schema", {"schema.pbtxt": SCHEMA}).schema()
    assert isinstance(found.proto, schema_pb2.Schema)
    frame = found.frame().astype(object)
    assert list(frame.columns) == ["feature", "type", "presence", "values", "domain"]
    table = frame.where(frame.notna(), None).values.tolist()
    assert table == [
        ["temp", "FLOAT", 0.9, "1", "-40 to 130"],
        ["carrier", "BYTES", 1.0, "1", "AA, UA"],
        ["tags", "BYTES", None, "at least 1", None],
        ["seats", "INT", None, None, "at least 1"],
        ["place", "STRUCT", None, None, "struct"],
        ["place.city", "BYTES", None, None, "Ulm"],
    ]
    assert repr(found) == "<Schema of 6 features>"
    assert "AA, UA" in found._repr_html_()


def test_anomalies_are_told_of_every_split(tmp_path: Path) -> None:
    files = of_splits("SchemaDiff.pb", anomalies_pb2.Anomalies(), ANOMALY)
    found = artifact(tmp_path, "ExampleAnomalies", files, split_names=SPLITS, span=3)
    both = found.anomalies()
    assert both.splits == ("train", "eval")
    assert both.facts() == [
        {
            "split": "eval",
            "feature": "temp",
            "severity": "error",
            "anomaly": "Out-of-range values",
            "description": "Unexpectedly high value: 200.",
        }
    ]
    assert repr(both) == "<Anomalies of span 3: 1>"
    of_train = found.anomalies("train")
    assert of_train.frame().empty
    assert list(of_train.frame().columns) == list(both.frame().columns)
    assert "No anomalies of span 3" in of_train._repr_html_()
    assert found.anomalies("eval").proto == ANOMALY


def test_anomalies_of_whole_data_have_no_feature() -> None:
    proto = anomalies_pb2.Anomalies(data_missing=True)
    proto.dataset_anomaly_info.short_description = "Few rows"
    facts = Anomalies("span 3", {"train": proto}).facts()
    assert [(fact["feature"], fact["anomaly"]) for fact in facts] == [
        (None, "No data"),
        (None, "Few rows"),
    ]


def test_tables_show_texts_as_they_are() -> None:
    proto = statistics(texts={"<b>": {"<script>": 1}})
    assert "<script>" not in Statistics("x", "x", ("x",), proto)._repr_html_()


@pytest.mark.parametrize(
    ("kind", "file", "content", "said"),
    [
        ("ExampleStatistics", "Split-train/FeatureStats.pb", b"\xff\xff", "it holds no Dataset"),
        ("ExampleStatistics", "Split-train/FeatureStats.pb", b"", "there are no statistics in it"),
        ("ExampleAnomalies", "Split-train/SchemaDiff.pb", b"\xff", "it holds no Anomalies"),
        ("Schema", "schema.pbtxt", b"feature { nonsense: 1 }", "not a schema: 1:"),
        ("Schema", "schema.pbtxt", b"\xff", "it is no text"),
    ],
)
def test_a_file_that_is_damaged_is_named(
    tmp_path: Path, kind: str, file: str, content: bytes, said: str
) -> None:
    found = artifact(tmp_path, kind, {file: content}, split_names='["train"]')
    with pytest.raises(UserError, match=said) as raised:
        found.load()
    assert str(raised.value).startswith(f"{found.uri}/{file}: ")


@pytest.mark.parametrize("kind", BY_TYPE)
def test_a_folder_that_is_gone_is_named(tmp_path: Path, kind: str) -> None:
    found = artifact(tmp_path, kind, {}, split_names=SPLITS, pushed=1)
    with pytest.raises(UserError, match=f"{tmp_path}/{kind}.*(no such file|no bundle)"):
        found.load()


READERS = [*BY_TYPE.values(), "curves", "tfma"]


@pytest.mark.parametrize("reader", READERS)
def test_an_artifact_of_another_type_is_refused_in_words(tmp_path: Path, reader: str) -> None:
    found = artifact(tmp_path, "ModelBlessing", {})
    with pytest.raises(UserError, match=r"ModelBlessing 1 has no .*: expected an artifact of type"):
        getattr(found, reader)()


def test_what_cannot_be_loaded_is_said_with_what_can(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ModelBlessing 1 holds nothing.*one of ExampleAnom"):
        artifact(tmp_path, "ModelBlessing", {}).load()


def test_a_model_that_was_not_chosen_is_no_model(tmp_path: Path) -> None:
    refused = artifact(tmp_path, "PushedModel", {}, pushed=0)
    readers: tuple[Callable[[], Any], ...] = (refused.bundle, refused.history)
    for read in readers:
        with pytest.raises(UserError, match="PushedModel 1 holds no model: its run has chosen"):
            read()


def test_an_evaluation_from_before_curves_says_so(tmp_path: Path) -> None:
    old = artifact(tmp_path, "ModelEvaluation", {"verdict.json": VERDICT.model_dump_json()})
    with pytest.raises(UserError, match="was made before evaluations kept their curves"):
        old.curves()


def test_an_artifact_without_splits_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ExampleStatistics 1 has no splits"):
        artifact(tmp_path, "ExampleStatistics", {}).statistics()


def test_a_page_is_its_text(tmp_path: Path) -> None:
    assert artifact(tmp_path, "Report", {"index.html": "<p>é"}).page() == "<p>é"


def test_files_on_an_object_store_are_read_from_there(tmp_path: Path) -> None:
    with object_stores.reached(object_stores.s3):
        uri = f"s3://{object_stores.BUCKET}/statistics"
        storage.write(f"{uri}/Split-train/FeatureStats.pb", statistics(9).SerializeToString())
        w = Writer(tmp_path)
        there = w.artifact("ExampleStatistics", uri=uri, split_names='["train"]')
        gone = w.artifact("ModelSelection", uri=f"s3://{object_stores.BUCKET}/nowhere")
        store = lineage.open(tmp_path / "metadata.sqlite")
        assert store.artifact(there).statistics().rows == 9
        with pytest.raises(UserError, match=r"s3://bucket/nowhere/selection\.json: nothing is"):
            store.artifact(gone).selection()


def test_tables_do_not_import_tensorflow(tmp_path: Path) -> None:
    described(tmp_path)
    script = (
        "import sys\nfrom pathlib import Path\nfrom pipeline import lineage\n"
        f"store = lineage.open(Path({str(tmp_path / 'metadata.sqlite')!r}))\n"
        "print(len(store.artifact(1).load().frame()))\n"
        "print([m for m in ('tensorflow', 'tfx', 'apache_beam') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["3", "[]"]
