"""Which spans a run learns from, be there a place for their number or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import unchanged
from pipeline.config import PipelineConfig
from pipeline.continuous.spans import Watch
from pipeline.errors import UserError
from pipeline.launch import spans_of
from pipeline.parameters import of_span


def configured(folder: Path, **data: Any) -> PipelineConfig:
    features = {"label": "late", "numeric": ["wind"]}
    root = str(folder / "root")
    return PipelineConfig.model_validate(
        {"name": "p", "root": root, "data": data, "features": features}
    )


@pytest.fixture
def one(tmp_path: Path) -> PipelineConfig:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.csv").write_text("wind,late\n3,1\n")
    (tmp_path / "data/notes.txt").write_text("Nothing.\n")
    return configured(tmp_path, path=str(tmp_path / "data"), pattern="*.csv")


def test_without_a_place_for_its_number_there_is_one_span(one: PipelineConfig) -> None:
    assert spans_of(one) == [1]
    (arrival,) = Watch(one, lambda: 0.0).look()
    assert (arrival.span, [name for name, _, _ in arrival.listing]) == (1, ["a.csv"])
    with pytest.raises(UserError, match=r"no file of span 2 \(data\.span\) matches \*\.csv"):
        spans_of(of_span(one, 2))


def test_another_file_of_the_folder_changes_nothing(one: PipelineConfig, tmp_path: Path) -> None:
    before = unchanged.inputs(one)
    (tmp_path / "data/notes.txt").write_text("Something else.\n")
    assert unchanged.inputs(one) == before
    (tmp_path / "data/b.csv").write_text("wind,late\n3,1\n")
    assert unchanged.inputs(one) != before


def test_the_spans_of_a_query_are_those_up_to_the_one_asked_for(tmp_path: Path) -> None:
    asked = {"database": "sqlite:///a.db", "query": "SELECT {SPAN:2}"}
    config = configured(tmp_path, **asked, span=3, window=2)
    assert config.data_folder == f"{tmp_path}/root/queries"
    assert spans_of(config) == [2, 3]
    assert spans_of(configured(tmp_path, **asked | {"query": "SELECT 1"})) == [1]
    assert unchanged.inputs(config) is None
    with pytest.raises(UserError, match="nobody can look which spans"):
        spans_of(of_span(config, None))
    with pytest.raises(UserError, match="there is span 1 alone"):
        spans_of(of_span(configured(tmp_path, **asked | {"query": "SELECT 1"}), 3))
    with pytest.raises(UserError, match=r"data\.query: the policy looks at files"):
        Watch(config, lambda: 0.0)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"path": "a", "pattern": "a.csv", "span": 2}, "there is span 1 alone"),
        ({"database": "sqlite:///a", "query": "{SPAN}"}, "nobody can look which spans"),
        ({}, "expected path, the folder of the files, or database and query"),
    ],
)
def test_a_span_that_cannot_be_is_refused(tmp_path: Path, data: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        configured(tmp_path, **data)


def test_what_nobody_has_seen_needs_several_spans(tmp_path: Path) -> None:
    data = {"path": "a", "pattern": "a.csv"}
    config = configured(tmp_path, **data).model_dump(by_alias=True)
    config["evaluate"]["on"] = "unseen"
    with pytest.raises(ValueError, match="there is one span alone"):
        PipelineConfig.model_validate(config)
