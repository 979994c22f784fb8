"""What a model relies on, told by shuffling its columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

from models.bundle import Bundle
from models.importance import importance
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from tests.models.tiny import save_model


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Relies on temp, and less on the carrier; knows nothing of the wind."""
    return Bundle.load(save_model(tmp_path_factory.mktemp("model") / "bundle"))


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    random = np.random.default_rng(1)
    temp = random.normal(0, 2, 1000)
    carrier = random.choice(["AA", "UA"], 1000)
    score = temp + (carrier == "AA")
    return pd.DataFrame(
        {
            "wind": random.normal(size=1000),
            "carrier": np.where(random.random(1000) < 0.1, None, carrier),
            "temp": np.where(random.random(1000) < 0.1, np.nan, temp),
            "late": (random.random(1000) < 1 / (1 + np.exp(-score))).astype(int),
        }
    )


def test_columns_come_by_how_much_the_model_relies_on_them(
    bundle: Bundle, rows: pd.DataFrame
) -> None:
    found = importance(bundle, rows)
    assert list(found.columns) == ["column", "importance", "std"]
    assert list(found["column"]) == ["temp", "carrier"]
    assert found["importance"][0] > 10 * found["importance"][1] > 0
    assert (found["std"] > 0).all()


def test_importance_is_the_loss_of_the_metric(bundle: Bundle, rows: pd.DataFrame) -> None:
    shuffled = rows.assign(temp=rows["temp"].sample(frac=1, random_state=3).to_numpy())
    for metric, of, sign in (
        (Metric.AUC, sklearn.metrics.roc_auc_score, 1),
        (Metric.LOG_LOSS, sklearn.metrics.log_loss, -1),
    ):
        before, after = (of(rows["late"], bundle.predict(r)) for r in (rows, shuffled))
        found = importance(bundle, rows, metric=metric, repeats=10).set_index("column")
        told, spread = found["importance"]["temp"], found["std"]["temp"]
        assert told == pytest.approx(sign * (before - after), abs=4 * spread)


@pytest.mark.parametrize("names", [("v1", "v1.0"), ("1.0", "2.0"), ("no", "yes")])
def test_labels_of_text_are_what_they_are_spelled(
    bundle: Bundle, rows: pd.DataFrame, names: tuple[str, str]
) -> None:
    manifest = bundle.manifest.model_copy(update={"classes": names})
    renamed = Bundle(manifest, bundle._model)
    spelled = rows.assign(late=[names[late] for late in rows["late"]])
    told = importance(renamed, spelled, repeats=1)
    pd.testing.assert_frame_equal(told, importance(bundle, rows, repeats=1))


def test_the_same_seed_gives_the_same(bundle: Bundle, rows: pd.DataFrame) -> None:
    first, again, other = (importance(bundle, rows, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first["importance"].equals(other["importance"])


def test_the_rows_stay_as_they_were(bundle: Bundle, rows: pd.DataFrame) -> None:
    before = rows.copy()
    importance(bundle, rows, repeats=1)
    pd.testing.assert_frame_equal(rows, before)


def test_rows_without_the_label_are_refused(bundle: Bundle, rows: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="have no column 'late', the label"):
        importance(bundle, rows.drop(columns="late"))
    some = rows.assign(late=[None, *rows["late"][1:]])
    with pytest.raises(UserError, match="1 of 1000 rows have no label"):
        importance(bundle, some)


@pytest.mark.parametrize("size", [0, 1])
def test_rows_of_one_class_are_refused(bundle: Bundle, rows: pd.DataFrame, size: int) -> None:
    with pytest.raises(UserError, match="do not have several labels"):
        importance(bundle, rows.head(size))


def test_a_missing_column_is_named(bundle: Bundle, rows: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="temp"):
        importance(bundle, rows.drop(columns="temp"))


def test_a_metric_of_a_threshold_is_refused(bundle: Bundle, rows: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="expected auc or log_loss"):
        importance(bundle, rows, metric=Metric.RECALL)
