"""The label says what kind of problem it is, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import UserError
from pipeline.features_config import Problem
from pipeline.init.problems import Label, label_of
from pipeline.init.survey import Counted


def label(values: Sequence[Any], **wishes: Any) -> Label:
    counted = Counted()
    counted.add(pa.array(values))
    return label_of("y", counted, len(values), **wishes)


@pytest.mark.parametrize(
    ("values", "problem", "classes"),
    [
        ([0, 1] * 50, "binary", ("0", "1")),
        ([1.0, 2.0] * 30 + [2.0] * 40, "binary", ("2", "1")),
        (["yes", "no"] * 30 + ["yes"] * 20, "binary", ("no", "yes")),
        (["nein", "ja"] * 30 + ["ja"] * 20, "binary", ("nein", "ja")),
        (["good", "bad"] * 30 + ["good"] * 20, "binary", ("bad", "good")),
        (["red", "blue"] * 30 + ["red"] * 20, "binary", ("red", "blue")),
        (["a", "b", "c"] * 20, "multiclass", ("a", "b", "c")),
        (list(range(10)) * 20, "multiclass", tuple(map(str, range(10)))),
        (np.random.default_rng(0).poisson(1.5, 500).tolist(), "regression", ()),
        (np.random.default_rng(0).normal(size=100).tolist(), "regression", ()),
        (list(range(100)), "regression", ()),
    ],
)
def test_values_tell_the_problem(values: list[Any], problem: str, classes: tuple[str, ...]) -> None:
    found = label(values)
    assert (found.problem, found.classes) == (problem, classes), found.why


def test_what_is_asked_for_goes_before_what_is_guessed() -> None:
    assert label(["no", "yes"] * 50, positive="no").classes == ("yes", "no")
    three = label(["no", "No ", "yes"] * 20, problem=Problem.MULTICLASS)
    assert three.classes == ("No ", "no", "yes")
    assert label(list(range(10)) * 20, problem=Problem.REGRESSION).problem == "regression"
    two = label(["a", "b", "c"] * 20, classes=("c", "a"))
    assert (two.problem, two.classes, two.left_out) == ("binary", ("c", "a"), 20)


@pytest.mark.parametrize(
    ("values", "wishes", "said"),
    [
        (["x"] * 100, {}, "all 100 rows have the same value, 'x'"),
        (["x", "y"] * 20, {}, "40 rows have a label 'y'; expected 50 or more"),
        (["x"], {}, "1 row has a label 'y'"),
        (["no", "No ", "yes"] * 20, {}, "'No ', 'no' differ only in case or spaces. If they are"),
        (["x"] * 90 + ["y"] * 7, {}, "too few rows of a class: 'y' has 7; expected 8 or more"),
        (
            ["x", "z"] * 40 + ["y"] * 7,
            {},
            "Gather more rows of it, name the others (--classes x,z)",
        ),
        ([f"v{i}" for i in range(200)], {}, "200 different values are too many classes"),
        (["a", "b"] * 40, {"problem": Problem.REGRESSION}, "holds text ('a', 'b')"),
        (["a", "b"] * 40, {"problem": Problem.MULTICLASS}, "has 2 classes (a, b); expected three"),
        (["a", "b"] * 40, {"positive": "c"}, "y is never 'c'; its values are: a, b"),
    ],
)
def test_a_label_of_which_nothing_is_learned_is_refused(
    values: list[Any], wishes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as error:
        label(values, **wishes)
    assert said in str(error.value)


def test_a_label_without_values_is_refused() -> None:
    counted = Counted()
    counted.add(pa.nulls(80, pa.string()))
    with pytest.raises(UserError, match="no value in any of the 80 rows"):
        label_of("y", counted, 80)
