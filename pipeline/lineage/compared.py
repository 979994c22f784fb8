"""What changed in the statistics of data, and in its schema, feature by feature."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.lineage.described import (
    Column,
    Schema,
    Statistics,
    facts_of,
    presence,
    schema_type,
    shares,
    type_of,
    values,
)

Changes = Iterator[tuple[str, Any, Any]]
"""Names of what changed, each with what it was and what it is; None: it was, or is, not there."""
Thing = TypeVar("Thing")

MOVE = 0.1
"""What is noticeable of a mean or a share, in standard deviations."""
FACTOR = 2.0
"""What is noticeable of a variance, or of how many values differ."""
_COMPARED = ("name", "type", "presence", "shape", "value_count")


def statistics(before: Statistics, after: Statistics) -> Changes:
    """The features that moved noticeably.

    A mean moved by `MOVE` standard deviations, whose variance is the mean of the two; a share of
    missing values, or of one text, likewise, as the mean of zeros and ones; a variance, or the
    number of different texts, by `FACTOR`. Where no text is in both, the commonest two are told.

    Groups that are nearer than a tenth are commonly taken for alike: P. C. Austin, "Balance
    diagnostics for comparing the distribution of baseline covariates between treatment groups in
    propensity-score matched samples", Statistics in Medicine, 2009. The factor is that of D. B.
    Rubin, "Using propensity scores to help design observational studies", Health Services and
    Outcomes Research Methodology, 2001.
    """
    yield from _by_name(before.columns(), after.columns(), type_of, _moved)


def schema(before: Schema, after: Schema) -> Changes:
    """The features that are new, gone or other ones; under "rest" what else the schema says.

    Of a domain of texts, those are told that are only in the one and only in the other.
    """

    def changed(name: str, old: schema_pb2.Feature, new: schema_pb2.Feature) -> Changes:
        yield f"{name}.type", schema_type(old), schema_type(new)
        yield f"{name}.presence", presence(old), presence(new)
        yield f"{name}.values", values(old), values(new)
        yield f"{name}.domain", *_domains(before.domain(old), after.domain(new))
        yield f"{name}.rest", _rest_of_feature(old), _rest_of_feature(new)

    yield from _by_name(before.features(), after.features(), schema_type, changed)
    old, new = (_text(each.proto, ("feature", "string_domain")) for each in (before, after))
    if old != new:
        yield "rest", old, new


def _by_name(
    before: Mapping[str, Thing],
    after: Mapping[str, Thing],
    told: Callable[[Thing], str],
    changes: Callable[[str, Thing, Thing], Changes],
) -> Changes:
    """The changes of what is in both, and what is in one alone."""
    for name in dict.fromkeys((*before, *after)):
        if name not in after:
            yield name, told(before[name]), None
        elif name not in before:
            yield name, None, told(after[name])
        else:
            for key, old, new in changes(name, before[name], after[name]):
                if old != new:
                    yield key, old, new


def _moved(name: str, before: Column, after: Column) -> Changes:
    old, new = facts_of(name, before), facts_of(name, after)
    yield f"{name}.type", old["type"], new["type"]
    if _share_move(old["missing"], new["missing"]) > MOVE:
        yield f"{name}.missing", old["missing"], new["missing"]
    if None not in (old["mean"], new["mean"]):
        if _move(old["mean"], new["mean"], old["std"], new["std"]) > MOVE:
            yield f"{name}.mean", old["mean"], new["mean"]
        if _is_multiple(old["std"] * old["std"], new["std"] * new["std"]):
            yield f"{name}.std", old["std"], new["std"]
    if None not in (old["unique"], new["unique"]):
        if _is_multiple(old["unique"], new["unique"]):
            yield f"{name}.unique", old["unique"], new["unique"]
        was, now = (defaultdict(float, shares(column)) for column in (before, after))
        if was and now and not was.keys() & now.keys():  # As in a column of dates.
            yield f"{name}.top, none in common", old["top"], new["top"]
            return
        most = max({**was, **now}, key=lambda text: _share_move(was[text], now[text]), default="")
        if _share_move(was[most], now[most]) > MOVE:
            yield f"{name}.share of {most}", was[most], now[most]


def _move(before: float, after: float, std_before: float, std_after: float) -> float:
    """How far a mean moved, in standard deviations."""
    spread = math.hypot(std_before, std_after) / math.sqrt(2)
    if before == after:
        return 0.0
    return abs(after - before) / spread if spread else math.inf


def _share_move(before: float | None, after: float | None) -> float:
    """How far a share did; 0 for None."""
    was, now = before or 0.0, after or 0.0
    stds = (math.sqrt(max(share * (1 - share), 0)) for share in (was, now))
    return _move(was, now, *stds)


def _is_multiple(before: float, after: float) -> bool:
    return max(before, after) >= FACTOR * min(before, after) and before != after


def _domains(before: Any, after: Any) -> tuple[Any, Any]:
    """Two domains; of two lists of texts what is only in the one, and only in the other."""
    if isinstance(before, tuple) and isinstance(after, tuple):
        gone, new = (
            tuple(text for text in texts if text not in others)
            for texts, others in ((before, after), (after, before))
        )
        return gone or None, new or None
    return before, after


def _rest_of_feature(feature: schema_pb2.Feature) -> str | None:
    return _text(feature, (*_COMPARED, *filter(None, [feature.WhichOneof("domain_info")])))


def _text(message: Message, without: Iterable[str]) -> str | None:
    """What else a message says, as text."""
    rest = type(message)()
    rest.CopyFrom(message)
    for name in without:
        rest.ClearField(name)
    return text_format.MessageToString(rest, as_one_line=True) or None
