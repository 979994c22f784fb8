"""The columns, and what is predicted: the section [features] of the configuration."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.sections import Column, Section


class Problem(StrEnum):
    """What kind of value is predicted."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


DATE_FIELDS = ("Y", "y", "m", "b", "B", "d", "H", "I", "p", "M", "S", "f")
"""What may follow a % in a `DateConfig.format`, as strptime has it."""


class DateConfig(Section):
    """How a date is read, and what becomes of it."""

    format: str = "iso"
    """iso: 2026-11-30, with or without a time after a blank or a T; or as strptime has it, of %Y,
    %y, %m, %b, %B, %d, %H, %I, %p, %M, %S, %f and what stands between them, as in "%d/%m/%Y"; or
    "epoch": seconds since 1970, a whole number. What follows as a time zone is passed over."""
    parts: tuple[Literal["year", "month", "day", "weekday", "hour", "minute"], ...] = (
        "month",
        "weekday",
    )
    """Each is an input: the year as a number, the others as sine and cosine of their place."""
    age: bool = True
    """Whether the days between the date and the newest one that the models learned from are an
    input: with it a trend can be learned."""

    @model_validator(mode="after")
    def _is_a_date(self) -> Self:
        if not self.parts and not self.age:
            raise ValueError("a date without parts and age is no input; name some, or drop it")
        if self.format in ("iso", "epoch"):
            return self
        fields = re.findall("%(.?)", self.format.replace("%%", ""))
        if unknown := [field for field in fields if field not in DATE_FIELDS]:
            raise ValueError(
                f"format {self.format!r}: %{unknown[0]} is not known; expected iso, epoch, or of "
                + " ".join(f"%{field}" for field in DATE_FIELDS)
            )
        if len(set(fields)) < len(fields) or not {"Y", "y"} & set(fields):
            raise ValueError(
                f"format {self.format!r}: expected a year, %Y or %y, and each field once"
            )
        return self


class TextConfig(Section):
    """How words become numbers."""

    method: Literal["hash", "vocabulary"] = "hash"
    """hash: each n-gram of words falls into one of `size` places by its hash. vocabulary: the
    `size` most frequent n-grams have a place each, and others none."""
    size: Annotated[int, Field(ge=2, le=4096)] = 256
    """How many numbers a text becomes."""
    ngrams: Annotated[int, Field(ge=1, le=3)] = 2
    """Up to so many words beside one another are counted as one."""


class FeaturesConfig(Section):
    """The columns: the one list from which preprocessing, models and serving are made."""

    label: Column
    """The column to predict."""
    problem: Problem = Problem.BINARY
    """binary: which of two classes; multiclass: which of several; regression: a number."""
    classes: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    """The label's values, as text; of two, the second is the one whose probability is predicted.
    By default 0 and 1."""
    numeric: tuple[Column, ...] = ()
    """Numbers: scaled to mean 0 and variance 1; missing ones set to the mean and flagged."""
    log: tuple[Column, ...] = ()
    """Numbers that reach over orders of magnitude: the logarithm of 1 + the absolute value, with
    the sign, then as `numeric`."""
    categorical: tuple[Column, ...] = ()
    """Strings or integers of few values: a vocabulary each, with a place for unseen ones."""
    cyclical: dict[Column, Annotated[float, Field(gt=0)]] = {}
    """Numbers that wrap around, with their period, as in hour = 24: sine and cosine of each."""
    bucketized: dict[Column, Annotated[int, Field(ge=2)]] = {}
    """Numbers of which the rank matters, with a number of buckets: each bucket holds as many rows
    as the next and is a category, as in latitude = 10."""
    hashed: dict[Column, Annotated[int, Field(ge=2)]] = {}
    """Strings or integers of many values, with a number of places: each value falls into one of
    them by its hash, as in zip_code = 500."""
    target_encoded: tuple[Column, ...] = ()
    """Strings or integers of many values: the label's mean (of each class, if there are several)
    over other rows that share the value, never over the row itself, drawn to the mean of all where
    these are few."""
    dates: dict[Column, DateConfig] = {}
    """Dates, as text or seconds since 1970: parts of each, and its age."""
    text: dict[Column, TextConfig] = {}
    """Texts of several words: how often each n-gram of words is in them."""
    keep: tuple[Column, ...] = ()
    """Ingested and checked, for splits and slices, but not predicted from."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The raw columns that a model needs for a prediction, in the order of the config."""
        return (
            *self.numeric,
            *self.log,
            *self.categorical,
            *self.cyclical,
            *self.bucketized,
            *self.hashed,
            *self.target_encoded,
            *self.dates,
            *self.text,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Every raw column that is ingested."""
        return (*self.inputs, *self.keep, self.label)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The label's values in the order of the classes' numbers, from 0; none in a regression."""
        if self.problem is Problem.REGRESSION:
            return ()
        return self.classes or ("0", "1")

    @model_validator(mode="after")
    def _each_column_has_one_role(self) -> Self:
        if self.label in self.inputs:
            raise ValueError(
                f"the label {self.label!r} is also a feature: a model that sees the label learns "
                "nothing else; take it out of the features"
            )
        seen: set[str] = set()
        for column in self.columns:
            if column in seen:
                raise ValueError(f"column {column!r} is named twice; give it one role")
            seen.add(column)
        if not self.inputs:
            raise ValueError(
                "no features: name columns in numeric, log, categorical, cyclical, bucketized, "
                "hashed, target_encoded, dates or text"
            )
        return self

    @model_validator(mode="after")
    def _classes_fit_the_problem(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes names a value twice; each is one class")
        expected = {
            Problem.BINARY: len(self.classes) in (0, 2),
            Problem.MULTICLASS: len(self.classes) > 2,
            Problem.REGRESSION: not self.classes,
        }
        if not expected[self.problem]:
            how_many = {
                Problem.BINARY: "two, or none for 0 and 1",
                Problem.MULTICLASS: "three or more",
                Problem.REGRESSION: "none: the label is a number",
            }[self.problem]
            raise ValueError(
                f"classes has {len(self.classes)} values, and the problem is {self.problem}; "
                f"expected {how_many}"
            )
        return self
