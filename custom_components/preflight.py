"""The pre-flight check: before anything is trained, does the configuration fit the data?"""

import logging
import re
from collections.abc import Iterator
from difflib import get_close_matches

from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import ExampleStatistics, Schema

from custom_components.preflight_data import (
    DECIMALS,
    EVAL,
    TEXT,
    TRAIN,
    Data,
    common,
    counts,
    examples,
    extent,
    listed,
    read_data,
)
from custom_components.preflight_warnings import warnings
from models.dates import pattern
from pipeline.errors import UserError
from pipeline.evaluate_config import EvaluateConfig
from pipeline.features_config import FeaturesConfig, Problem

# This module cannot say `from __future__ import annotations`: the decorator reads the annotations
# below as objects, not as text.


@component
def Preflight(
    statistics: InputArtifact[ExampleStatistics],
    schema: InputArtifact[Schema],
    features: Parameter[str],
    evaluate: Parameter[str],
    split_by: Parameter[str] = "",
    memory_budget: Parameter[float] = 1.0,
) -> None:
    """Compares what the configuration asks for with the data that is there, and lists every misfit.

    This is a component in TFX's function style with no output: all that it can say is "go on", by
    returning, or "stop", by raising. Since nothing is handed on, the pipeline says what waits for
    it, `transform.add_upstream_node(preflight)`. Metadata knows the run of such a node as it
    knows any other, and takes it from the cache while its inputs and parameters are the same.

    A check like this pays because the mistakes are common and the price is not: a label that is
    none of the classes, a split with one class only, a slice by a column that is not there would
    all be noticed after Transform and Trainer have run for nothing.

    Args:
      statistics: the span's statistics, of the train and the eval split.
      schema: the columns and their types.
      features: JSON of the `FeaturesConfig`.
      evaluate: JSON of the `EvaluateConfig`.
      split_by: `data.split_by` or `data.split_time`, or "" where rows are split one by one.
      memory_budget: GiB that rows may take in memory.

    Raises:
      UserError: the configuration and the data do not fit; the message holds all that was found.
    """
    columns = FeaturesConfig.model_validate_json(features)
    wanted = EvaluateConfig.model_validate_json(evaluate)
    data = read_data(statistics, schema)
    for warning in warnings(data, columns, wanted, split_by=split_by, memory_budget=memory_budget):
        logging.getLogger(__name__).warning(warning)
    findings = list(misfits(data, columns, wanted))
    if findings:
        raise UserError(
            "the configuration and the data do not fit, so nothing was trained:\n"
            + "\n".join(f"  - {finding}" for finding in findings)
        )


def misfits(data: Data, features: FeaturesConfig, evaluate: EvaluateConfig) -> Iterator[str]:
    """Every reason why the pipeline would fail or mean nothing, in words."""
    empty = [split for split in (TRAIN, EVAL) if not data.rows.get(split)]
    for split in empty:
        yield (
            f"the {split} split has no rows: change data.train_buckets and data.eval_buckets, or "
            "data.split_by if it leaves too few groups"
        )
    roles = {features.label: "features.label"}
    for role in _ROLES:
        roles |= dict.fromkeys(getattr(features, role), f"features.{role}")
    for columns in evaluate.slices:
        roles = dict.fromkeys(columns, "evaluate.slices") | roles
    for name, role in roles.items():
        yield from _absent(data, role, name)
    yield from _wrong_kinds(data, features)
    yield from _wrong_dates(data, features)
    for name in dict.fromkeys(column for columns in evaluate.slices for column in columns):
        if data.types.get(name) == DECIMALS:
            yield (
                f"evaluate.slices: column {name!r} holds decimal numbers, so nearly every row "
                "would be a slice of its own; slice by a column of text or integers"
            )
    if features.label in data.types:
        yield from _unusable_label(data, features)


_NUMBERS = ("numeric", "log", "bucketized")
_VALUES = ("categorical", "hashed", "target_encoded")
_ROLES = (*_NUMBERS, "cyclical", *_VALUES, "dates", "text", "keep")


def _absent(data: Data, role: str, name: str) -> Iterator[str]:
    if name not in data.types:
        near = get_close_matches(name, data.types, n=3) or sorted(data.types)
        yield (
            f"{role}: the schema has no column {name!r}; did you mean {listed(near)}? "
            "Correct the name, or add the column to the schema"
        )
    elif data.rows.get(TRAIN) and name not in data.columns[TRAIN] and role != "features.keep":
        yield (
            f"{role}: column {name!r} has no value in any of the train split's "
            f"{data.rows[TRAIN]} rows; take it out, or look at why it is empty"
        )


def _wrong_kinds(data: Data, features: FeaturesConfig) -> Iterator[str]:
    for role in _NUMBERS:
        for name in getattr(features, role):
            if data.types.get(name) == TEXT:
                yield (
                    f"features.{role}: column {name!r} holds text{examples(data, name)}; list it "
                    "in categorical, or turn it into numbers"
                )
    for role in _VALUES:
        for name in getattr(features, role):
            if data.types.get(name) == DECIMALS:
                yield (
                    f"features.{role}: column {name!r} holds decimal numbers, too many to be "
                    "categories; list it in numeric, or ingest it as integers or text"
                )
    for name in features.text:
        if name in data.types and data.types[name] != TEXT:
            yield (
                f"features.text: column {name!r} holds numbers, and no words; list it in numeric "
                "or in categorical"
            )
    for name, period in features.cyclical.items():
        if data.types.get(name) == TEXT:
            yield (
                f"features.cyclical: column {name!r} holds text{examples(data, name)}; a number "
                "is expected that wraps around"
            )
        elif name in data.columns.get(TRAIN, {}):
            low, high = extent(data.columns[TRAIN][name])
            if high - low > period:
                yield (
                    f"features.cyclical: column {name!r} goes from {low:g} to {high:g}, farther "
                    f"than its period {period:g}; give the period in the column's unit"
                )


def _wrong_dates(data: Data, features: FeaturesConfig) -> Iterator[str]:
    """The columns of dates of which not one can be read."""
    for name, date in features.dates.items():
        column = data.columns.get(TRAIN, {}).get(name)
        if data.types.get(name) == DECIMALS:
            yield (
                f"features.dates: column {name!r} holds decimal numbers; expected text, or whole "
                "seconds since 1970: ingest it as one of these"
            )
        elif column:
            is_text = data.types.get(name) == TEXT
            seen = counts(column) if is_text else [f"{number:.0f}" for number in extent(column)]
            expression = re.compile(pattern(date.format), re.ASCII)
            if not any(expression.fullmatch(text.strip().lower()) for text in seen):
                yield (
                    f"features.dates: no value of column {name!r} can be read as {date.format}, "
                    f"as {next(iter(seen))!r}; give its format in features.dates"
                )


def _unusable_label(data: Data, features: FeaturesConfig) -> Iterator[str]:
    label, names = features.label, features.class_names
    if not names and data.types[label] == TEXT:
        yield (
            f"features.label: column {label!r} holds text{examples(data, label)}; expected "
            'numbers: features.problem is "regression"'
        )
        return
    for split in (TRAIN, EVAL):
        if label not in data.columns.get(split, {}):
            continue
        column = data.columns[split][label]
        where = f"features.label: in the {split} split column {label!r}"
        missing = data.rows[split] - int(common(column).num_non_missing)
        if missing:
            yield f"{where} has no value in {missing} of {data.rows[split]} rows; drop such rows"
        if data.types[label] == TEXT:
            found = counts(column)
            if strange := [value for value in found if value not in names]:
                yield (
                    f"{where} holds {listed(strange[:3])}; expected {listed(names[:10])}: name all "
                    "of its values in features.classes"
                )
            low, high = min(found, default=""), max(found, default="")
        else:
            low, high = (f"{number:g}" for number in extent(column))
            yield from _strange_numbers(where, column, features)
        if low == high:
            yield f"{where} is {low} in every row: {_ONE_VALUE[features.problem]}"


_ONE_VALUE = {
    **dict.fromkeys(
        (Problem.BINARY, Problem.MULTICLASS),
        "one class alone teaches nothing and judges nothing; use more data, or another "
        "data.split_by",
    ),
    Problem.REGRESSION: "there is nothing to predict; use more data, or another label",
}


def _strange_numbers(
    where: str, column: statistics_pb2.FeatureNameStatistics, features: FeaturesConfig
) -> Iterator[str]:
    """That a label of numbers holds others than the classes, as far as statistics tell."""
    low, high = extent(column)
    names = features.class_names
    try:
        numbers = sorted(map(float, names))
    except ValueError:
        yield f"{where} holds numbers, from {low:g} to {high:g}; expected {listed(names[:10])}"
        return
    if not numbers:
        return
    inside = numbers[0] <= low and high <= numbers[-1]
    if not inside or (len(numbers) == 2 and not _is_one_of(numbers, column.num_stats)):
        expected = " and ".join(names) if len(names) == 2 else listed(names[:10])
        yield f"{where} holds other numbers than {expected}, from {low:g} to {high:g}"


def _is_one_of(two: list[float], numbers: statistics_pb2.NumericStatistics) -> bool:
    """Whether there is nothing between two numbers, which bound all others: by the variance."""
    low, high = two
    variance = (numbers.mean - low) * (high - numbers.mean)
    return bool(abs(numbers.std_dev**2 - variance) < 1e-7 * (high - low) ** 2)
