"""Tests of benchmarks.datasets and of what it is made of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks import dataset_reference, dataset_split, datasets, report_datasets
from pipeline.evaluate_config import Metric
from pipeline.features_config import FeaturesConfig, Problem
from tests.benchmarks import figures


def test_a_set_is_a_miss_beyond_its_bound_or_where_it_failed() -> None:
    told = figures.datasets()
    assert report_datasets.misses(told) == {
        "diabetes": "5.8% behind the reference",
        "cars": "Preflight failed: no rows",
    }
    told["sets"]["wine"]["champion"] = None
    assert "no model went live" in report_datasets.misses(told)["wine"]
    text = report_datasets.datasets(told)
    assert "- diabetes: 5.8% behind the reference" in text
    assert "0.9830" in text


def test_an_error_is_behind_by_its_share_and_a_score_by_its_difference() -> None:
    assert dataset_reference.behind(Metric.RMSE, 11, 10) == pytest.approx(0.1)
    assert dataset_reference.behind(Metric.AUC, 0.75, 0.8) == pytest.approx(0.05)


def test_rows_are_found_again_by_their_values_and_equal_ones_in_turn() -> None:
    frame = pd.DataFrame({"a": [1, 2, 1, 3], "b": ["x", "N/A", "x", "y"], "id": [7, 8, 9, 10]})
    frame["c"] = [True, False, True, True]
    found = pd.DataFrame({"b": ["y", "x", None, "x"], "a": np.float32([3, 1, 2, 1])})
    found["c"] = ["True", "True", "False", "True"]
    where = dataset_split.positions(frame, found, nulls=("N/A",))
    assert where.tolist() == [3, 0, 1, 2]
    with pytest.raises(ValueError, match="not in the file"):
        dataset_split.positions(frame, found.assign(a=5), nulls=())


def test_columns_become_numbers_dates_words_and_categories() -> None:
    frame = pd.DataFrame(
        {
            "size": [1, 2, 3],
            "day": ["2024-01-05", "2024-01-07", None],
            "note": ["a red house here", "a blue house there", None],
            "colour": ["red", None, "red"],
            "key": ["a1", "b2", "c3"],
        }
    )
    table = dataset_reference.prepare(frame)
    assert table["size"].tolist() == [1, 2, 3]
    assert table["day"].tolist()[:2] == [0, 2]
    assert table["note house"].tolist()[2] == 0 < table["note house"].tolist()[0]
    assert table["colour"].dtype == "category"
    assert {"key", "note"}.isdisjoint(table)


def test_the_reference_learns_what_can_be_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_reference, "TRIALS", 1)
    monkeypatch.setattr(dataset_reference, "_MOST_TREES", 20)
    values = np.random.default_rng(0).normal(size=200)
    reference = dataset_reference.Reference(
        pd.DataFrame({"x": values}), (values > 0).astype(int), Problem.BINARY
    )
    halves = np.arange(100), np.arange(100, 200)
    assert reference.evaluate([halves]) > 0.95


def test_labels_are_numbers_of_the_classes_in_their_order() -> None:
    features = FeaturesConfig(label="y", classes=("no", "yes"), numeric=("x",))
    column = pd.Series(["yes", None, "no"])
    assert datasets.labels(column, features).tolist() == [1, -1, 0]
    assert datasets.kinds(features) == "1 numeric"
