"""Transform gives what TFX's own gives, without its Beam pipeline where there is no need of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.transform import executor as tfx_executor
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts

from custom_components.transform import executor
from models import columns, export
from models.features import FOLD, LABEL, tensor
from pipeline.features_config import DateConfig, FeaturesConfig, TextConfig
from tests.custom_components.evaluations import BEAM_ARGS
from tests.models.conftest import FEATURES, ROWS, SCHEMA, make_table
from tests.models.transformed import examples, parse_schema

OWN = "models.preprocessing.preprocessing_fn"
OTHER = "tests.custom_components.preprocessings"
EVERY_ROLE = FEATURES.model_copy(
    update={
        "bucketized": {"temperature": 3},
        "log": ("fare",),
        "hashed": {"tail": 50},
        "target_encoded": ("route", "stop"),
        "dates": {
            "booked": DateConfig(parts=("year", "month", "day", "weekday", "hour", "minute")),
            "made": DateConfig(format="epoch", age=True, parts=()),
        },
        "text": {
            "note": TextConfig(size=8),
            "remark": TextConfig(size=5, ngrams=1, method="vocabulary"),
        },
    }
)
MAYBE = "value_count { min: 1 max: 1 }"
MORE = f"""
feature {{ name: "temperature" type: FLOAT {MAYBE} }}
feature {{ name: "fare" type: FLOAT {MAYBE} }}
feature {{ name: "tail" type: BYTES {MAYBE} }}
feature {{ name: "route" type: BYTES {MAYBE} }}
feature {{ name: "stop" type: INT {MAYBE} }}
feature {{ name: "booked" type: BYTES {MAYBE} }}
feature {{ name: "made" type: INT {MAYBE} }}
feature {{ name: "note" type: BYTES {MAYBE} }}
feature {{ name: "remark" type: BYTES {MAYBE} }}
"""

Artifacts = dict[str, list[Any]]
Rows = dict[str, np.ndarray]


def make_rows() -> pa.Table:
    """A value for every role; some are missing, and some dates none."""
    table = make_table()
    rng = np.random.default_rng(1)
    number = np.arange(ROWS)
    words = np.array(["On time", "late, as ever", "no crew: late", "", "fuel"])
    added = {
        "temperature": table.column("wind"),
        "fare": pa.array(rng.lognormal(4, 2, ROWS), mask=number % 6 == 0),
        "tail": [None if n % 11 == 0 else f"N{n % 90}" for n in number],
        "route": [None if n % 13 == 0 else f"R{n % 37}" for n in number],
        "stop": pa.array(number % 7, mask=number % 10 == 3),
        "booked": [
            "soon" if n % 9 == 0 else f"201{n % 3}-{n % 12 + 1:02}-{n % 28 + 1:02} {n % 24:02}:30"
            for n in number
        ],
        "made": pa.array(1_300_000_000 + 777_777 * number, mask=number % 8 == 0),
        "note": [None if n % 5 == 4 else str(words[n % 4]) for n in number],
        "remark": [" ".join(words[[n % 5, n % 3]]) or None for n in number],
    }
    for name, values in added.items():
        table = table.append_column(name, values if hasattr(values, "type") else pa.array(values))
    return table


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Two spans of 400 rows, half of each to train on; one file each."""
    folder = tmp_path_factory.mktemp("raw")
    schema = parse_schema(SCHEMA + MORE)
    table = make_rows()
    spans = []
    for span in range(2):
        artifact = standard_artifacts.Examples()
        artifact.uri = str(folder / f"examples-{span}")
        artifact.split_names = json.dumps(["train", "eval"])
        artifact.set_int_custom_property("span", span)
        examples_utils.set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(artifact, "tfrecords_gzip")
        rows = examples(table.slice(span * 40), schema)
        for split, part in (("train", rows[::2]), ("eval", rows[1::2])):
            write(Path(artifact.uri) / f"Split-{split}" / "data-00000-of-00001.gz", part)
        spans.append(artifact)
    known = standard_artifacts.Schema()
    known.uri = str(folder / "schema")
    Path(known.uri).mkdir()
    (folder / "schema" / "schema.pbtxt").write_text(str(schema))
    return {"examples": spans, "schema": [known]}


def write(file: Path, rows: list[bytes]) -> None:
    file.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions("GZIP")) as writer:
        for row in rows:
            writer.write(row)


def run(
    kind: type,
    inputs: Artifacts,
    folder: Path,
    preprocessing_fn: str,
    *,
    features: FeaturesConfig = EVERY_ROLE,
    **properties: Any,
) -> Artifacts:
    graph = standard_artifacts.TransformGraph()
    graph.uri = str(folder / "graph")
    # As TFX gives it to the executor: one artifact, however many spans there are.
    transformed = standard_artifacts.Examples()
    transformed.uri = str(folder / "examples")
    cache = standard_artifacts.TransformCache()
    cache.uri = str(folder / "cache")
    outputs: Artifacts = {
        "transform_graph": [graph],
        "transformed_examples": [transformed],
        "updated_analyzer_cache": [cache],
    }
    custom = {"features": features.model_dump_json(), "split_by": "date"}
    context = BaseBeamExecutor.Context(BEAM_ARGS, tmp_dir=str(folder / "tmp"), unique_id="1")
    kind(context).Do(
        inputs,
        outputs,
        {
            "preprocessing_fn": preprocessing_fn,
            "disable_statistics": 1,
            "code_digest": "same",
            "custom_config": json.dumps(custom) if preprocessing_fn == OWN else None,
            **properties,
        },
    )
    return outputs


def graph(outputs: Artifacts) -> tft.TFTransformOutput:
    return tft.TFTransformOutput(outputs["transform_graph"][0].uri)


def rows(outputs: Artifacts, span: int, split: str) -> Rows:
    """The transformed rows, in the order of the input: TFX's Beam pipeline keeps it too here."""
    folder = Path(outputs["transformed_examples"][span].uri) / f"Split-{split}"
    files = sorted(map(str, folder.glob("*.gz")))
    records = [*tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()]
    parsed = tf.io.parse_example(records, graph(outputs).transformed_feature_spec())
    return {name: values.numpy() for name, values in parsed.items()}


def assert_same(ours: Artifacts, theirs: Artifacts) -> None:
    assert graph(ours).transformed_metadata.schema == graph(theirs).transformed_metadata.schema
    assert graph(ours).raw_metadata.schema == graph(theirs).raw_metadata.schema
    for span in range(len(theirs["transformed_examples"])):
        for split in ("train", "eval"):
            expected = rows(theirs, span, split)
            found = rows(ours, span, split)
            assert found.keys() == expected.keys()
            for name, values in expected.items():
                assert len(values) > 100
                if values.dtype.kind == "f":
                    np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=5e-6)
                else:
                    np.testing.assert_array_equal(found[name], values)


@pytest.fixture(scope="module")
def own(inputs: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    return run(executor.Executor, inputs, tmp_path_factory.mktemp("ours"), OWN)


@pytest.fixture
def no_beam(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a Beam pipeline was made")

    monkeypatch.setattr(tfx_executor.Executor, "Do", refuse)


def test_this_projects_preprocessing_is_the_same_as_by_tfx(
    inputs: Artifacts, own: Artifacts, tmp_path: Path
):
    theirs = run(tfx_executor.Executor, inputs, tmp_path, OWN)
    assert_same(own, theirs)
    for name in ("carrier", "gate"):
        assert graph(own).vocabulary_by_name(name) == graph(theirs).vocabulary_by_name(name)
    assert set(rows(own, 0, "train")["temperature_index"]) == {0, 1, 2, 3}


def test_analyzers_that_follow_one_another_and_cut_vocabularies_are_the_same_as_by_tfx(
    inputs: Artifacts, tmp_path: Path
):
    theirs = run(tfx_executor.Executor, inputs, tmp_path / "theirs", f"{OTHER}.combiners")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfx_executor.Executor, "Do", None)
        ours = run(executor.Executor, inputs, tmp_path / "ours", f"{OTHER}.combiners")
    assert_same(ours, theirs)


def test_small_batches_give_the_same(
    inputs: Artifacts,
    own: Artifacts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_beam: None,
):
    monkeypatch.setattr("custom_components.transform.rows._BATCH_ROWS", 7)
    assert_same(run(executor.Executor, inputs, tmp_path, OWN), own)


def test_preprocessing_that_learns_nothing(inputs: Artifacts, tmp_path: Path, no_beam: None):
    outputs = run(executor.Executor, inputs, tmp_path, f"{OTHER}.constant")
    twice = rows(outputs, 0, "train")["twice"]
    assert list(twice) == list(2 * make_table()["distance"].to_numpy()[::2])


def test_a_model_takes_rows_of_every_role_as_a_server_has_them(
    own: Artifacts, inputs: Artifacts, tmp_path: Path
):
    """Without the label and the columns that are only kept; as examples, and as raw columns."""
    expected = {
        name: values for name, values in rows(own, 0, "eval").items() if name not in (LABEL, FOLD)
    }
    export.save(
        str(tmp_path),
        lambda columns: {name: columns[name] for name in expected},
        transform=graph(own),
        config=EVERY_ROLE,
    )
    served = tf.saved_model.load(str(tmp_path)).signatures
    (file,) = Path(inputs["examples"][0].uri).glob("Split-eval/*")
    raw = [*tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator()]
    arrays = columns.arrays(
        make_rows().take(np.arange(1, ROWS, 2)), export.input_types(graph(own), EVERY_ROLE)
    )
    for found in (
        served["serving_default"](examples=tf.constant(raw)),
        served["serving_raw"](**{tensor(name): tf.constant(a) for name, a in arrays.items()}),
    ):
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("preprocessing_fn", "properties"),
    [(f"{OTHER}.by_key", {}), (OWN, {"disable_statistics": 0}), (OWN, {"force_tf_compat_v1": 1})],
)
def test_what_only_a_beam_pipeline_can_do_goes_to_tfx(
    inputs: Artifacts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    preprocessing_fn: str,
    properties: dict[str, Any],
):
    asked = []
    monkeypatch.setattr(tfx_executor.Executor, "Do", lambda *arguments: asked.append(arguments))
    outputs = run(executor.Executor, inputs, tmp_path, preprocessing_fn, **properties)
    assert len(asked) == 1
    assert asked[0][2] is outputs


def test_a_distributed_runner_is_left_to_tfx(
    inputs: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = []
    monkeypatch.setattr(tfx_executor.Executor, "Do", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(
        "tests.custom_components.test_transform.BEAM_ARGS", ["--runner=FlinkRunner"]
    )
    run(executor.Executor, inputs, tmp_path, OWN)
    assert asked
