"""Asking a model for predictions on raw rows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import manifest
from models.bundle import Bundle
from pipeline.config import PROJECT
from pipeline.errors import UserError

ROW = {"distance": 500, "wind": 9.5, "carrier": "UA", "gate": 2, "hour": 7, "angle": 90.0}


def test_rows_of_a_csv_file_and_typed_rows_are_the_same(model: Bundle):
    text = {name: str(value) for name, value in ROW.items()}
    assert model.predict([text]) == model.predict([ROW])


def test_an_arrow_table_is_a_list_of_rows(model: Bundle):
    rows = [ROW, ROW | {"carrier": None, "wind": None}]
    expected = model.predict(rows)
    assert expected.shape == (2,) and expected.dtype == np.float32
    np.testing.assert_array_equal(model.predict(pa.Table.from_pylist(rows)), expected)


def test_a_row_is_kept_as_short_as_its_numbers_of_32_bits_can_be():
    wide = float(np.float32(102.29))
    assert wide != 102.29
    row = {"mass": wide, "name": b"a", "lost": float("nan"), "count": 3, "far": 1e30}
    expected = {"mass": 102.29, "name": "a", "lost": None, "count": 3, "far": 1e30}
    assert manifest.plain(row) == expected


def test_no_rows_give_no_predictions(model: Bundle):
    assert model.predict([]).shape == (0,)
    assert model.predict_examples([]).shape == (0,)


def test_columns_that_the_model_does_not_take_are_ignored(model: Bundle):
    assert model.predict([ROW | {"late": 1, "note": "x"}]) == model.predict([ROW])


@pytest.mark.parametrize("column", ["wind", "gate", "angle", "carrier"])
def test_a_missing_value_may_be_written_in_several_ways(model: Bundle, column: str):
    ways = [None, "", float("nan")]
    predictions = model.predict([ROW | {column: way} for way in ways])
    assert np.ptp(predictions) < 1e-6
    assert predictions[0] != model.predict([ROW])[0]


def test_a_missing_column_is_named_with_what_was_expected_and_the_nearest_name(model: Bundle):
    row = {("distanze" if name == "distance" else name): value for name, value in ROW.items()}
    with pytest.raises(UserError) as error:
        model.predict([row])
    assert str(error.value) == (
        "Row 1 has no column 'distance': expected a whole number, which no row may lack. "
        "Is it 'distanze'? Rename it."
    )


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("distance", None, "a whole number, which no row may lack"),
        ("distance", "far", "a whole number, which no row may lack"),
        ("distance", 1.5, "a whole number, which no row may lack"),
        ("distance", 2**63, "a whole number, which no row may lack"),
        ("gate", "2.5", "a whole number, or null if it is missing"),
        ("wind", "strong", "a number, or null if it is missing"),
        ("wind", 1e39, "a number, or null if it is missing"),
        ("wind", [1.0], "a number, or null if it is missing"),
        ("carrier", ["UA"], "a string, or null if it is missing"),
        ("carrier", 1.5, "a string, or null if it is missing"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_row_and_column(
    model: Bundle, column: str, value: object, expected: str
):
    with pytest.raises(UserError) as error:
        model.predict([ROW, ROW | {column: value}])
    assert str(error.value) == (
        f"Row 2, column {column!r}: {value!r} does not fit; expected {expected}."
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(-(2**53), 2**53))
def test_whole_numbers_are_the_same_as_int_as_float_and_as_text(model: Bundle, number: int):
    ways = [number, float(number), str(number), f" {number} ", np.int64(number)]
    for column in ("distance", "gate"):
        predictions = model.predict([ROW | {column: way} for way in ways])
        assert np.ptp(predictions) < 1e-6


@settings(max_examples=50, deadline=None)
@given(
    st.fixed_dictionaries(
        {name: st.none() | st.integers() | st.floats() | st.text() for name in ROW}
    )
)
def test_any_row_gets_a_probability_or_a_message(model: Bundle, row: dict[str, object]):
    try:
        (probability,) = model.predict([row])
    except UserError as error:
        assert "column" in str(error)
    else:
        assert 0 <= probability <= 1


def test_what_is_no_example_is_refused_in_words(model: Bundle):
    with pytest.raises(UserError, match="cannot take these rows"):
        model.predict_examples([b"no example"])


def test_an_example_without_a_value_that_rows_always_have_is_refused(model: Bundle):
    with pytest.raises(UserError, match="distance"):
        model.predict_examples([b""])


def test_the_types_in_which_rows_come_make_no_difference(model: Bundle, table: pa.Table):
    expected = model.predict(table)
    frame = table.to_pandas()
    ways = [
        frame,
        frame.convert_dtypes(),
        frame.astype({"carrier": "category"}),
        {name: frame[name].to_numpy() for name in frame},
        table.to_batches(max_chunksize=7),
        table.to_batches()[0],
        table.to_pylist(),
    ]
    for rows in ways:
        np.testing.assert_array_equal(model.predict(rows), expected)


def test_columns_of_unequal_length_are_refused(model: Bundle):
    columns = {name: [value] for name, value in ROW.items()} | {"hour": [1, 2]}
    with pytest.raises(UserError, match=r"not of the same length: .*hour 2"):
        model.predict(columns)


def test_a_bundle_knows_its_inputs_and_where_it_comes_from(model: Bundle):
    assert model.manifest.framework == "keras"
    assert model.manifest.label == "late"
    assert list(model.manifest.inputs) == list(ROW)


def test_a_folder_without_a_bundle_is_refused_in_words(tmp_path: Path):
    with pytest.raises(UserError, match=r"holds no bundle: expected bundle.json there"):
        Bundle.load(tmp_path)


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def test_a_file_that_was_changed_is_refused_before_it_is_loaded(copy: Path):
    file = copy / "saved_model.pb"
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"saved_model.pb was changed after it was written"):
        Bundle.load(copy)


def test_a_file_that_is_gone_is_named(copy: Path):
    next((copy / "variables").iterdir()).unlink()
    with pytest.raises(UserError, match=r"is not whole: variables/.* is not there"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"late"', '"later"', "was changed after it was written"),
        ('"tabular-bundle/1"', '"tabular-bundle/9"', "expected 'tabular-bundle/1'"),
        ('"label"', '"lable"', "damaged: label"),
        ("{", "", "it is no JSON"),
    ],
)
def test_a_manifest_that_was_changed_is_refused(copy: Path, old: str, new: str, said: str):
    file = copy / "bundle.json"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=said):
        Bundle.load(copy)


def test_importing_the_bundle_does_not_import_tensorflow():
    code = "import sys, models.bundle; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0
