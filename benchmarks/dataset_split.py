"""Which rows of a file a run learned from, and which judged: for the reference to do the same."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.dataset_reference import Parts
from models import cross_validation
from models.features import ModelInputs
from pipeline.config import PipelineConfig
from pipeline.lineage import Run

_SPLITS = ("eval", "train")
"""In the order in which training reads a cross-validation's files."""


def parts_of(run: Run, config: PipelineConfig, frame: pd.DataFrame) -> Parts:
    """Positions in `frame`, the file's rows, of those that are learned from and that judge.

    Raises:
        ValueError: If the run has a row that the file has not.
    """
    (examples,) = run.outputs("Examples")[:1]
    tables = {split: examples.rows(split) for split in _SPLITS}
    where = positions(frame, pd.concat(tables.values()), nulls=config.data.csv.null_values)
    if config.evaluate.cross_validation is None:
        judges = len(tables["eval"])
        return [(where[judges:], where[:judges])]
    return _partings(run, config, where)


def _partings(run: Run, config: PipelineConfig, where: NDArray[np.int64]) -> Parts:
    """The parts of each repeat; `where` is in the order of the run's files."""
    settings = config.evaluate.cross_validation
    assert settings
    (examples,) = run.outputs("Examples")[:1]
    (graph,) = run.outputs("TransformGraph")
    transform = graph.transform_output()
    inputs = ModelInputs.of(
        config.features, transform.transformed_feature_spec(), transform.vocabulary_size_by_name
    )
    _, rows, _ = cross_validation.read(
        [f"{examples.uri}/Split-{split}/*" for split in _SPLITS],
        inputs,
        transform,
        classes=len(config.features.class_names),
        weights=(),
    )
    return [
        (where[part != number], where[part == number])
        for part in cross_validation.partings(rows, settings, seed=config.train.seed)
        for number in range(settings.folds)
    ]


def positions(
    frame: pd.DataFrame, found: pd.DataFrame, *, nulls: tuple[str, ...]
) -> NDArray[np.int64]:
    """Where in `frame` each row of `found` is, which has some of its columns; of equals, in turn.

    Raises:
        ValueError: If one is not there.
    """
    columns = [name for name in found if name in frame and frame[name].dtype.kind != "M"]
    places: dict[str, list[int]] = defaultdict(list)
    for place, key in reversed([*enumerate(_keys(frame[columns], nulls))]):
        places[key].append(place)
    try:
        return np.array([places[key].pop() for key in _keys(found[columns], nulls)], np.int64)
    except IndexError:
        raise ValueError(f"a row of the run is not in the file, by {', '.join(columns)}") from None


def _keys(frame: pd.DataFrame, nulls: tuple[str, ...]) -> list[str]:
    texts = [_texts(frame[name], nulls) for name in frame]
    return ["\x1f".join(values) for values in zip(*texts, strict=True)]


def _texts(values: pd.Series[Any], nulls: tuple[str, ...]) -> list[str]:
    """Values as text, the same for a number whatever its type; a truth value is no number."""
    values = values.astype(str) if values.dtype == bool else values
    numbers = pd.to_numeric(values, errors="coerce").astype(np.float32)
    texts = values.astype(str).str.lower()
    missing = values.isna() | values.astype(str).isin(nulls)
    return [
        "" if absent else text if np.isnan(number) else f"{number:.6g}"
        for number, text, absent in zip(numbers, texts, missing, strict=True)
    ]
