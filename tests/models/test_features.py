"""The columns that models learn from."""

from __future__ import annotations

import keyword
from types import SimpleNamespace

from hypothesis import example, given
from hypothesis import strategies as st

from models import features
from models.features import ModelInputs, vocabulary
from pipeline.features_config import FeaturesConfig

FEATURES = FeaturesConfig(label="late", numeric=("wind",), categorical=("carrier", "dest"))


def specs(*names: str) -> dict[str, SimpleNamespace]:
    """Of columns of one value."""
    return {name: SimpleNamespace(shape=[]) for name in names}


def test_an_output_that_someone_adds_to_preprocessing_is_an_input_of_the_models():
    names = ["label", "fold", "carrier_index", "dest_index", "wind_scaled", "wind_squared"]
    inputs = ModelInputs.of(FEATURES, specs(*names), {"carrier": 16, "dest": 96}.get)
    assert inputs.numbers == ("wind_scaled", "wind_squared")
    assert inputs.widths == (1, 1)


def test_an_output_of_several_numbers_is_as_wide_as_they_are_many():
    both = specs("wind_scaled", "label") | {"note_words": SimpleNamespace(shape=[8])}
    inputs = ModelInputs.of(FEATURES, both, {"carrier": 16, "dest": 96}.get)
    assert inputs.numbers == ("note_words", "wind_scaled")
    assert inputs.widths == (8, 1)


def test_categories_keep_the_order_of_the_configuration_and_numbers_do_not_depend_on_any():
    names = ["dest_index", "b", "carrier_index", "a"]
    sizes = {"carrier": 16, "dest": 96}.get
    inputs = ModelInputs.of(FEATURES, specs(*names), sizes)
    assert inputs.categories == ("carrier_index", "dest_index")
    assert inputs == ModelInputs.of(FEATURES, specs(*reversed(names)), sizes)


def test_a_category_has_a_place_for_missing_ones_and_a_vocabulary_one_for_unseen_ones():
    config = FeaturesConfig(
        label="late", categorical=("carrier",), bucketized={"latitude": 10}, hashed={"tail": 500}
    )
    inputs = ModelInputs.of(config, {}, {"carrier": 16}.get)
    assert dict(zip(inputs.categories, inputs.sizes, strict=True)) == {
        "carrier_index": 18,
        "latitude_index": 11,
        "tail_index": 501,
    }


def test_columns_of_any_name_have_vocabularies_of_their_own():
    columns = ["a/b", "a b", "a_b", "a%2Fb", "é"]
    files = {vocabulary(column) for column in columns}
    assert len(files) == len(columns)
    assert not any("/" in file for file in files)


@given(st.text(min_size=1))
@example("class")
@example("wind (mph)")
@example("Ux20_")
@example("_id")
@example("2nd")
@example("Träger")
def test_the_name_of_a_tensor_is_an_identifier_that_leads_back_to_the_column(column):
    tensor = features.tensor(column)
    assert tensor.isidentifier() and tensor.isascii() and not keyword.iskeyword(tensor)
    assert features.column(tensor) == column


def test_a_column_with_a_plain_name_gives_its_tensor_that_name():
    assert features.tensor("wind_speed2") == "wind_speed2"
