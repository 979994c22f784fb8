"""What lies behind an artifact and takes TensorFlow to read: rows, models, graphs, evaluations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from custom_components import statistics_gen
from pipeline import lineage
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.files import storage
from pipeline.lineage import Artifact
from tests import object_stores
from tests.custom_components.evaluations import (
    make_rows,
    run,
    save_reader,
    write_examples,
)
from tests.pipeline.payloads import write
from tests.pipeline.written_store import Writer

ROWS = make_rows(300)
Of = Callable[..., Artifact]


@pytest.fixture
def of(tmp_path: Path) -> Of:
    """Gives an artifact of a store of its own."""
    w = Writer(tmp_path / "store")

    def made(kind: str, uri: Path | str, **properties: Any) -> Artifact:
        number = w.artifact(kind, uri=str(uri), **properties)
        return lineage.open(tmp_path / "store/metadata.sqlite").artifact(number)

    return made


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> str:
    (made,) = write_examples(tmp_path_factory.mktemp("examples"), ROWS)
    return str(made.uri)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_reader(tmp_path_factory.mktemp("model"), "strong")


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory, model: str) -> str:
    other = save_reader(tmp_path_factory.mktemp("weak"), "weak", framework="xgboost")
    done = run(tmp_path_factory.mktemp("evaluation"), [ROWS], model, other, slices=[["carrier"]])
    return str(done.evaluation.uri)


def test_rows_are_those_that_were_written(of: Of, examples: str) -> None:
    found = of("Examples", examples, split_names='["train", "eval"]').rows("eval")
    assert sorted(found.columns) == sorted(ROWS)
    expected = pd.DataFrame(ROWS)[list(found.columns)]
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_rows_are_as_many_as_are_asked_for(of: Of, examples: str) -> None:
    found = of("Examples", examples, split_names='["eval"]')
    assert list(found.rows(limit=7)["hour"]) == list(ROWS["hour"][:7])
    assert len(found.rows(limit=10_000)) == len(found.load()) == 300
    with pytest.raises(UserError, match="has no split 'test'; there are: eval"):
        found.rows("test")


def test_a_missing_value_is_none_or_not_a_number(of: Of, tmp_path: Path) -> None:
    rows = {
        "carrier": np.array(["UA", None, "ü"], object),
        "hour": np.array([np.int64(1), None, np.int64(3)], object),
        "temp": np.array([None, np.float32(0.5), None], object),
    }
    (made,) = write_examples(tmp_path, rows)
    found = of("Examples", made.uri, split_names='["eval"]').rows()
    assert found["carrier"].tolist() == ["UA", None, "ü"]
    assert found[["hour", "temp"]].isna().to_numpy().tolist() == [
        [False, True],
        [True, False],
        [False, True],
    ]


def test_a_split_without_rows_is_empty(of: Of, tmp_path: Path) -> None:
    (made,) = write_examples(tmp_path, [])
    assert of("Examples", made.uri, split_names='["eval"]').rows().empty


@pytest.mark.parametrize("content", [b"no records", "a record that is no Example"])
def test_rows_that_are_damaged_are_named(of: Of, tmp_path: Path, content: bytes | str) -> None:
    file = tmp_path / "Split-eval" / "data.gz"
    if isinstance(content, bytes):
        write(file, content)
    else:
        file.parent.mkdir()
        with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
            writer.write(content.encode())
    found = of("Examples", tmp_path, split_names='["eval"]')
    with pytest.raises(UserError, match=f"{tmp_path}/Split-eval: not tf.Examples; it was damaged"):
        found.rows()


def test_statistics_are_those_that_statistics_gen_counts(
    of: Of, tmp_path: Path, examples: str
) -> None:
    counted = statistics_gen.compute([f"{examples}/Split-eval/data-00000-of-00001.gz"])
    write(tmp_path / "Split-eval/FeatureStats.pb", counted)
    found = of("ExampleStatistics", tmp_path, split_names='["eval"]').load().frame()
    of_feature = found.set_index("feature")
    assert set(of_feature["rows"]) == {300}
    for column in ("strong", "hour"):
        assert of_feature.loc[column, "mean"] == pytest.approx(ROWS[column].mean(), rel=1e-5)
        assert of_feature.loc[column, "std"] == pytest.approx(ROWS[column].std(), rel=1e-4)
        assert of_feature.loc[column, "zeros"] == (ROWS[column] == 0).mean()
    values, counts = np.unique(ROWS["carrier"], return_counts=True)
    assert of_feature.loc["carrier", "unique"] == 3
    assert of_feature.loc["carrier", "top"] == values[counts.argmax()]
    assert of_feature.loc["carrier", "top_share"] == counts.max() / 300


def test_a_model_predicts_wherever_it_lies(of: Of, model: str) -> None:
    trained = of("Model", model)
    pushed = of("PushedModel", f"{model}/Format-Serving", pushed=1)
    for found in (trained, pushed):
        predicted = found.bundle().predict(pd.DataFrame(ROWS))
        np.testing.assert_array_equal(predicted, ROWS["strong"])
    assert trained.load().manifest.framework == "keras"


def test_an_evaluation_is_tfmas_too(of: Of, evaluation: str) -> None:
    found = of("ModelEvaluation", evaluation)
    verdict = found.verdict()
    for name in verdict.models:
        result = found.tfma(name)
        everything = dict(result.slicing_metrics)[()][""][""]
        auc = everything["auc"]["boundedValue"]["value"]
        assert auc == pytest.approx(verdict.models[name][Metric.AUC])
        assert len(result.slicing_metrics) == 4
    assert found.tfma().slicing_metrics == found.tfma("keras").slicing_metrics
    with pytest.raises(UserError, match="is of no model 'torch'; there are: keras, xgboost"):
        found.tfma("torch")


def test_an_evaluation_that_is_damaged_is_named(of: Of, tmp_path: Path, evaluation: str) -> None:
    for name in ("verdict.json", "eval_config.json"):
        write(tmp_path / name, Path(evaluation, name).read_bytes())
    write(tmp_path / "metrics-00000-of-00001.tfrecord", b"no records" * 9)
    with pytest.raises(UserError, match="not TFMA's files; it was damaged"):
        of("ModelEvaluation", tmp_path).tfma()


def test_curves_hold_every_row(of: Of, evaluation: str) -> None:
    curves = of("ModelEvaluation", evaluation).curves()
    assert set(curves.models) == {"keras", "xgboost"}
    assert sum(point.rows for point in curves.calibration("keras")) == 300


def graph(folder: Path) -> Path:
    """A transform graph that doubles."""

    class Double(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": 2 * x}

    tf.saved_model.save(Double(), str(folder / "transform_fn"))
    schema = 'feature { name: "y" type: FLOAT presence { min_fraction: 1 } shape { } }'
    write(folder / "transformed_metadata/schema.pbtxt", schema)
    return folder


def test_a_transform_graph_knows_its_outputs(of: Of, tmp_path: Path) -> None:
    found = of("TransformGraph", graph(tmp_path)).transform_output()
    assert list(found.transformed_feature_spec()) == ["y"]


def test_what_lies_on_an_object_store_is_there_as_long_as_it_is_needed(
    of: Of, tmp_path: Path, examples: str, model: str
) -> None:
    with object_stores.reached(object_stores.s3):
        bucket = f"s3://{object_stores.BUCKET}"
        for name, folder in {
            "graph": graph(tmp_path / "graph"),
            "model": Path(model),
            "examples": Path(examples),
        }.items():
            storage.upload(folder, f"{bucket}/{name}")
        rows = of("Examples", f"{bucket}/examples", split_names='["eval"]').rows(limit=2)
        predicted = of("Model", f"{bucket}/model").bundle().predict(rows)
        np.testing.assert_array_equal(predicted, ROWS["strong"][:2])
        found = of("TransformGraph", f"{bucket}/graph").transform_output()
        copy = Path(found.transform_savedmodel_dir)
        assert list(found.transformed_feature_spec()) == ["y"]
        assert copy.exists()
        del found
        assert not copy.exists()
