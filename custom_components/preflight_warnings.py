"""What a configuration may ask of the data and may not mean."""

from __future__ import annotations

import re
from collections.abc import Iterator

from custom_components.preflight_data import EVAL, TEXT, TRAIN, Data, counts, extent
from models.dates import pattern
from pipeline.evaluate_config import EvaluateConfig
from pipeline.features_config import FeaturesConfig

_FEW_EVAL_ROWS = 100
"""An eval split with fewer rows gets a warning: its metrics are mostly chance."""
_FEW_ROWS = 2000
"""With fewer rows the eval split alone says little: better that all of them judge."""
_FEW_ROWS_OF_A_CLASS = 10
"""A class with fewer rows to learn from gets a warning."""
_ROWS_PER_VALUE = 10
"""A categorical feature with fewer rows per value, on average, gets a warning."""
_MANY_SLICES = 500
"""A slice column with more values gets a warning: each becomes a row of every report."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d|(19|20)\d{6}$")


def warnings(
    data: Data,
    features: FeaturesConfig,
    evaluate: EvaluateConfig,
    *,
    split_by: str,
    memory_budget: float,
) -> Iterator[str]:
    """What is allowed and may still not be meant, in words."""
    yield from _too_few(data, features, evaluate)
    yield from _odd_columns(data, features)
    for name in dict.fromkeys(column for slicing in evaluate.slices for column in slicing):
        if (values := data.distinct(name)) > _MANY_SLICES:
            yield (
                f"evaluate.slices: column {name!r} has {values} values, each of which becomes a "
                "slice"
            )
    if not split_by:
        for name in _dates(data, features):
            yield (
                f"column {name!r} holds dates, and rows of one date fall in both splits: they "
                "share more than a model will know of the future, which flatters it; set "
                f'data.split_by = "{name}", or data.split_time for the newest rows to judge'
            )
    elif split_by in features.target_encoded:
        yield (
            f"features.target_encoded: the rows are split by column {split_by!r}, so none of its "
            "values is in both splits: what is learned of one says nothing of the rows that judge"
        )
    width = sum(text.size for text in features.text.values())
    if len(features.class_names) > 2:
        width += len(features.class_names) * len(features.target_encoded)
    needed = 4 * width * data.rows.get(TRAIN, 0) / 2**30
    if needed > memory_budget:
        yield (
            f"texts and target encodings become {width} numbers a row, {needed:.1f} GiB in the "
            f"train split of this span, more than data.memory_budget = {memory_budget:g}: what is "
            "more stays on disk, which is slower; lower features.text.….size, or raise the budget"
        )


def _too_few(data: Data, features: FeaturesConfig, evaluate: EvaluateConfig) -> Iterator[str]:
    total = sum(data.rows.values())
    if 0 < total < _FEW_ROWS and not evaluate.cross_validation:
        yield (
            f"the span has {total} rows, and only those of the eval split judge: set "
            "[evaluate.cross_validation], and all of them do"
        )
    if 0 < data.rows.get(EVAL, 0) < _FEW_EVAL_ROWS and not evaluate.cross_validation:
        yield f"the eval split has {data.rows[EVAL]} rows: metrics on so few are mostly chance"
    label = data.columns.get(TRAIN, {}).get(features.label)
    if label and data.types.get(features.label) == TEXT:
        found = counts(label)
        for name in features.class_names:
            if found[name] < _FEW_ROWS_OF_A_CLASS:
                yield (
                    f"features.classes: {name!r} has {found[name]} rows in the train split, too "
                    "few to learn from"
                )


def _odd_columns(data: Data, features: FeaturesConfig) -> Iterator[str]:
    columns = data.columns.get(TRAIN, {})
    for name in features.categorical:
        if (values := data.distinct(name)) * _ROWS_PER_VALUE > data.rows.get(TRAIN, 0):
            yield (
                f"features.categorical: column {name!r} has {values} values in "
                f"{data.rows[TRAIN]} rows, too few rows for a model to learn from each; list it "
                "in hashed or target_encoded, or leave it out if it names the rows"
            )
    numbers = {"numeric": features.numeric, "log": features.log}
    for role, names in numbers.items():
        for name in names:
            if name in columns and data.types.get(name) != TEXT:
                low, high = extent(columns[name])
                if low == high:
                    yield f"features.{role}: column {name!r} is {low:g} in every row"
    for role in ("categorical", "hashed", "target_encoded"):
        for name in getattr(features, role):
            if data.distinct(name) == 1:
                (value,) = counts(columns[name])
                yield f"features.{role}: column {name!r} is {value!r} in every row that has one"
    for name, date in features.dates.items():
        if name in columns and data.types.get(name) == TEXT:
            found = counts(columns[name])
            expression = re.compile(pattern(date.format), re.ASCII)
            odd = [text for text in found if not expression.fullmatch(text.strip().lower())]
            share = sum(found[text] for text in odd) / max(found.total(), 1)
            if 0 < share < 1:
                yield (
                    f"features.dates: {share:.1%} of column {name!r} cannot be read as "
                    f"{date.format}, as {odd[0]!r}, and counts as missing"
                )


def _dates(data: Data, features: FeaturesConfig) -> Iterator[str]:
    columns = data.columns.get(TRAIN, {})
    for name in features.columns:
        values = columns[name].string_stats.top_values if name in columns else ()
        if name in features.dates or (values and all(_DATE.match(v.value) for v in values)):
            yield name
