"""The pre-flight check: each misfit of configuration and data has a message of its own."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from tfx.types import standard_artifacts

from custom_components.preflight import Preflight
from pipeline.errors import UserError
from pipeline.evaluate_config import EvaluateConfig
from pipeline.features_config import FeaturesConfig

FEATURES: dict[str, Any] = {
    "label": "late",
    "numeric": ["distance", "temp"],
    "categorical": ["carrier", "weekday"],
    "cyclical": {"hour": 24},
    "keep": ["date"],
}


THREE = {"problem": "multiclass", "classes": ["a", "x", "y"]}
NUMBERED = {"problem": "multiclass", "classes": ["1", "2", "3"]}
NUMBER = {"problem": "regression"}
WEEKDAY = {"categorical": ["weekday"]}


def frame(rows: int = 400, *, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "late": random.integers(0, 2, rows),
            "distance": random.integers(100, 3000, rows),
            "temp": random.normal(10, 8, rows),
            "carrier": random.choice(["AA", "UA", "DL"], rows),
            "weekday": random.integers(1, 8, rows),
            "hour": random.integers(0, 24, rows),
            "date": random.choice(["2013-01-01", "2013-01-02"], rows),
        }
    )


def check(
    folder: Path,
    train: pd.DataFrame,
    evaluation: pd.DataFrame | None = None,
    *,
    features: dict[str, Any] | None = None,
    evaluate: dict[str, Any] | None = None,
    split_by: str = "date",
    memory_budget: float = 1.0,
) -> None:
    """Runs the component on statistics of the two frames, and the schema of the first."""
    statistics, schema = standard_artifacts.ExampleStatistics(), standard_artifacts.Schema()
    statistics.uri, schema.uri = str(folder / "statistics"), str(folder / "schema")
    statistics.split_names = json.dumps(["train", "eval"])
    frames = {"train": train, "eval": train if evaluation is None else evaluation}
    for split, rows in frames.items():
        found = tfdv.generate_statistics_from_dataframe(rows, n_jobs=1)
        path = folder / "statistics" / f"Split-{split}" / "FeatureStats.pb"
        path.parent.mkdir(parents=True)
        path.write_bytes(found.SerializeToString())
        if split == "train":
            Path(schema.uri).mkdir()
            tfdv.write_schema_text(tfdv.infer_schema(found), f"{schema.uri}/schema.pbtxt")
    Preflight.EXECUTOR_SPEC.executor_class().Do(
        {"statistics": [statistics], "schema": [schema]},
        {},
        {
            "features": FeaturesConfig(**(FEATURES | (features or {}))).model_dump_json(),
            "evaluate": EvaluateConfig(**(evaluate or {})).model_dump_json(),
            "split_by": split_by,
            "memory_budget": memory_budget,
        },
    )


def test_data_that_fits_passes_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "custom_components"):
        check(tmp_path, frame(1000), evaluate={"slices": [["carrier"], ["weekday", "carrier"]]})
    assert not [record for record in caplog.records if "preflight" in record.name]


def test_all_misfits_are_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        check(
            tmp_path,
            frame(),
            features={"label": "latte", "numeric": ["distances", "carrier"], "categorical": []},
        )
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("nothing was trained:")
    assert len(lines) == 4
    assert "features.label: the schema has no column 'latte'; did you mean 'late'" in lines[1]
    assert "features.numeric: the schema has no column 'distances'; did you mean 'dist" in lines[2]
    assert "features.numeric: column 'carrier' holds text (" in lines[3]


@pytest.mark.parametrize(
    ("change", "features", "message"),
    [
        ({"late": 1}, {}, "in the train split column 'late' is 1 in every row: one class"),
        ({"late": [0, 2] * 200}, {}, "'late' holds other numbers than 0 and 1, from 0 to 2"),
        ({"late": [0, 1, 0.5, 0] * 100}, {}, "'late' holds other numbers than 0 and 1"),
        ({"late": ["yes", "no"] * 200}, {}, "'late' holds 'yes' or 'no'; expected '0' or '1'"),
        ({"late": ["a", "b"] * 200}, THREE, "'late' holds 'b'; expected 'a', 'x' or 'y': name all"),
        ({"late": "a"}, THREE, "'late' is a in every row: one class alone"),
        ({"late": [1, 2] * 200}, THREE, "'late' holds numbers, from 1 to 2; expected 'a', 'x'"),
        ({"late": [1, 4] * 200}, NUMBERED, "'late' holds other numbers than '1', '2' or '3'"),
        ({"late": [1, 3, 2, 1] * 100}, {"classes": ["1", "3"]}, "other numbers than 1 and 3"),
        ({"late": "1.5 EUR"}, NUMBER, r"'late' holds text \('1.5 EUR'\); expected numbers"),
        ({"late": 7.5}, NUMBER, "'late' is 7.5 in every row: there is nothing to predict"),
        ({}, {"hashed": {"temp": 9}, "numeric": []}, "features.hashed: column 'temp' holds decim"),
        ({}, {"text": {"temp": {}}, "numeric": []}, "features.text: column 'temp' holds numbers"),
        ({}, {"log": ["carrier"], "categorical": []}, "features.log: column 'carrier' holds text"),
        (
            {},
            {"dates": {"date": {"format": "%d.%m.%Y"}}, "keep": []},
            r"no value of column 'date' can be read as %d\.%m\.%Y, as '2013-01-0",
        ),
        (
            {},
            {"dates": {"temp": {"format": "epoch"}}, "numeric": []},
            "features.dates: column 'temp' holds decimal numbers",
        ),
        ({"late": [0, None, 1, 0] * 100}, {}, "'late' has no value in 100 of 400 rows"),
        ({"temp": None}, {}, "column 'temp' has no value in any of the train split's 400 rows"),
        ({"hour": "noon"}, {}, r"features.cyclical: column 'hour' holds text \('noon'\)"),
        ({}, {"cyclical": {"hour": 12}}, "'hour' goes from 0 to 23, farther than its period 12"),
        (
            {},
            {"numeric": [], "categorical": ["temp"]},
            "features.categorical: column 'temp' holds decimal numbers",
        ),
    ],
)
def test_misfit_is_refused_in_words(
    tmp_path: Path, change: dict[str, Any], features: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check(tmp_path, frame().assign(**change), features=features)


def test_float_label_of_zeros_and_ones_passes(tmp_path: Path) -> None:
    check(tmp_path, frame().astype({"late": float}))


@pytest.mark.parametrize(
    ("change", "features"),
    [
        ({"late": ["0", "1"] * 200}, {}),
        ({"late": ["no", "yes"] * 200}, {"classes": ["no", "yes"]}),
        ({"late": [1.0, 3.0] * 200}, {"classes": ["1", "3"]}),
        ({"late": ["a", "x"] * 200}, THREE),
        ({"late": [1, 2, 3, 1] * 100}, NUMBERED),
        ({"late": [-1.5, 2e6] * 200}, NUMBER),
        ({"date": [20130101, 20130228] * 200}, {"dates": {"date": {}}, "keep": []}),
        ({"date": ["2013-01-01T10:00Z", "?"] * 200}, {"dates": {"date": {}}, "keep": []}),
        ({"late": [0, 1] * 200, "note": "a b"}, {"text": {"note": {}}}),
    ],
)
def test_labels_and_dates_that_can_be_read_pass(
    tmp_path: Path, change: dict[str, Any], features: dict[str, Any]
) -> None:
    check(tmp_path, frame().assign(**change), features=features)


def test_eval_split_is_checked_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in the eval split column 'late' is 0 in every row"):
        check(tmp_path, frame(), frame().assign(late=0))


def test_empty_eval_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the eval split has no rows: change data\.train"):
        check(tmp_path, frame(), frame().iloc[:0])


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("airline", "evaluate.slices: the schema has no column 'airline'"),
        ("temp", "evaluate.slices: column 'temp' holds decimal numbers"),
    ],
)
def test_slice_that_cannot_be_made_is_refused(tmp_path: Path, column: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(tmp_path, frame(), evaluate={"slices": [[column]]})


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"split_by": ""}, "column 'date' holds dates.* set data.split_by = \"date\", or da"),
        ({"carrier": [f"C{i}" for i in range(400)]}, {}, "'carrier' has 400 values in 400"),
        ({"temp": 7.0}, {}, "'temp' is 7 in every row"),
        ({"carrier": "AA"}, {}, "'carrier' is 'AA' in every row"),
        ({}, {}, r"the span has 800 rows.*set \[evaluate.cross_validation\]"),
        (
            {"date": ["2013-01-01", "soon"] * 200},
            {"features": {"dates": {"date": {}}, "keep": []}},
            "50.0% of column 'date' cannot be read as iso, as 'soon', and counts as missing",
        ),
        (
            {"late": ["a"] * 395 + ["x"] * 5},
            {"features": THREE},
            "features.classes: 'x' has 5 rows in the train split",
        ),
        (
            {},
            {"split_by": "carrier", "features": {"target_encoded": ["carrier"], **WEEKDAY}},
            "split by column 'carrier', so none of its values is in both",
        ),
        (
            {"note": "a b"},
            {"features": {"text": {"note": {"size": 4096}}}, "memory_budget": 0.001},
            "become 4096 numbers a row, 0.0 GiB in the train split of this span, more than data.me",
        ),
    ],
)
def test_what_may_not_be_meant_is_a_warning(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    settings: dict[str, Any],
    message: str,
) -> None:
    with caplog.at_level(logging.WARNING, "custom_components"):
        check(tmp_path, frame().assign(**change), **settings)
    assert pd.Series([record.getMessage() for record in caplog.records]).str.contains(message).any()


def test_few_rows_are_no_warning_where_all_of_them_judge(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "custom_components"):
        check(tmp_path, frame(), frame(50), evaluate={"cross_validation": {}})
    assert not caplog.records


def test_small_eval_split_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "custom_components"):
        check(tmp_path, frame(), frame(50))
    assert "the eval split has 50 rows" in caplog.text
