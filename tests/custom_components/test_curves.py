"""Calibration, threshold and ROC curves from counts, held to scikit-learn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn.calibration
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from custom_components.evaluator import curves
from custom_components.evaluator.curves import BINS, Curves
from pipeline.errors import UserError

EDGES = np.arange(BINS) / BINS
JUST_BELOW = np.nextafter(EDGES[1:], 0)


def some(size: int = 20_000, *, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    predictions = random.beta(1, 3, size)
    return random.random(size) < predictions**1.3, predictions


def of(labels: np.ndarray, predictions: np.ndarray) -> Curves:
    return Curves({"one": count(labels, predictions)})


def count(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return curves.counts(np.bincount(curves.keys(labels, predictions), minlength=2 * BINS))


def test_thresholds_are_scikit_learns() -> None:
    labels, predictions = some()
    points = of(labels, predictions).thresholds("one")
    assert [point.threshold for point in points] == [n / 100 for n in range(100)]
    for point in points[:95]:
        flagged = predictions >= point.threshold
        assert point.precision == pytest.approx(sklearn.metrics.precision_score(labels, flagged))
        assert point.recall == pytest.approx(sklearn.metrics.recall_score(labels, flagged))
        assert point.accuracy == pytest.approx(sklearn.metrics.accuracy_score(labels, flagged))
        assert point.flagged == pytest.approx(flagged.mean())


@given(
    hnp.arrays(
        np.float64,
        st.integers(1, 50),
        elements=st.one_of(st.sampled_from([*EDGES, *JUST_BELOW, 1.0]), st.floats(0, 1)),
    ),
    st.data(),
)
def test_a_threshold_at_the_edge_of_a_bin_is_exact(
    predictions: np.ndarray, data: st.DataObject
) -> None:
    labels = data.draw(hnp.arrays(np.bool_, len(predictions)))
    for threshold, precision, recall, accuracy, flagged in of(labels, predictions).thresholds(
        "one", BINS
    ):
        at = predictions >= threshold
        assert flagged == at.mean()
        assert (precision is None) == (not at.any())
        if at.any():
            assert precision == labels[at].mean()
        assert accuracy == (at == labels).mean()
        if labels.any():
            assert recall == at[labels].mean()


def test_calibration_is_scikit_learns_for_groups_of_equal_size() -> None:
    labels, predictions = some()
    points = of(labels, predictions).calibration("one")
    observed, predicted = sklearn.calibration.calibration_curve(
        labels, predictions, n_bins=10, strategy="quantile"
    )
    assert [point.predicted for point in points] == pytest.approx(predicted, abs=0.002)
    assert [point.observed for point in points] == pytest.approx(observed, abs=0.01)
    assert {point.rows for point in points} <= set(range(1900, 2100))


def test_rows_with_one_prediction_are_one_point_of_the_calibration() -> None:
    (point,) = of(np.array([True, False, False, False]), np.full(4, 0.3)).calibration("one")
    assert point == (pytest.approx(0.3005), 0.25, 4)


@given(hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(0, 1)), st.integers(1, 20))
def test_every_row_is_in_one_point_of_the_calibration(predictions: np.ndarray, bins: int) -> None:
    labels = predictions > 0.5
    points = of(labels, predictions).calibration("one", bins)
    assert 1 <= len(points) <= bins
    assert sum(point.rows for point in points) == len(predictions)
    assert sum(point.rows * point.observed for point in points) == pytest.approx(labels.sum())
    assert [p.predicted for p in points] == sorted(p.predicted for p in points)


def test_the_area_under_the_roc_is_scikit_learns() -> None:
    labels, predictions = some()
    false, true = of(labels, predictions).roc("one")
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(
        sklearn.metrics.roc_auc_score(labels, predictions), abs=1e-5
    )
    rounded = np.floor(predictions * BINS)
    assert np.trapezoid(true, false) == pytest.approx(
        sklearn.metrics.roc_auc_score(labels, rounded)
    )


def test_what_is_written_is_read_again_in_order(tmp_path: Path) -> None:
    labels, predictions = some(500)
    counts = {
        "xgboost": count(labels, predictions),
        "live": count(labels, predictions / 2),
    }
    table = curves.table(counts)
    assert table.schema.names == ["model", "bin", "rows", "positives"]
    assert min(table["rows"].to_pylist()) > 0
    pq.write_table(table, tmp_path / curves.FILE)
    for place in (tmp_path, str(tmp_path), tmp_path / curves.FILE):
        found = Curves.read(place)
        assert found.models == ("xgboost", "live")
        for model in found.models:
            assert found.thresholds(model) == Curves(counts).thresholds(model)


def test_a_folder_without_curves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        Curves.read(tmp_path)


@pytest.mark.parametrize(
    "columns",
    [
        {"model": ["one"]},
        {"model": ["one"], "bin": [BINS], "rows": [1], "positives": [0]},
        {"model": ["one"], "bin": ["x"], "rows": [1], "positives": [0]},
    ],
)
def test_another_table_is_refused(tmp_path: Path, columns: dict[str, list[object]]) -> None:
    pq.write_table(pa.table(columns), tmp_path / curves.FILE)
    with pytest.raises(UserError, match=curves.FILE):
        Curves.read(tmp_path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / curves.FILE).write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="no curves of an evaluation"):
        Curves.read(tmp_path)


def test_an_unknown_model_is_named_beside_those_there_are() -> None:
    found = of(*some(100))
    with pytest.raises(UserError, match=r"no curves of a model 'two'; there are: one"):
        found.roc("two")


def test_curves_are_read_without_tensorflow() -> None:
    code = (
        "import sys, custom_components.evaluator.curves;"
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'tfx', 'apache_beam')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
