"""When one more run would only repeat the last one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import code, runs, unchanged
from pipeline.config import PipelineConfig
from pipeline.errors import UserError


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    (tmp_path / "data/span-1").mkdir(parents=True)
    (tmp_path / "data/span-1/rows.csv").write_text("wind,late\n3,1\n")
    (tmp_path / "schema.pbtxt").write_text("")
    return configured(tmp_path)


def configured(folder: Path, **settings: object) -> PipelineConfig:
    data = {"path": str(folder / "data"), "schema_file": str(folder / "schema.pbtxt")}
    features = {"label": "late", "numeric": ["wind"]}
    given = {"name": "p", "root": str(folder / "root"), "data": data, "features": features}
    return PipelineConfig.model_validate(given | settings)


@pytest.fixture
def finished(config: PipelineConfig) -> runs.Run:
    run = runs.new(Path(config.pipeline_root))
    Path(config.store_url.removeprefix("sqlite://")).touch()
    run.write(finished=True, inputs=unchanged.inputs(config), outcome=unchanged.outcome(config))
    return run


def test_a_finished_run_is_repeated_while_nothing_changes(
    config: PipelineConfig, finished: runs.Run
):
    assert unchanged.repeated(config) == finished


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "data/span-1/rows.csv").write_text("wind,late\n4,1\n"),
        lambda folder: os.utime(folder / "data/span-1/rows.csv", (1, 1)),
        lambda folder: (folder / "data/span-2").write_text("wind,late\n4,1\n"),
        lambda folder: (folder / "schema.pbtxt").write_text("# another\n"),
        lambda folder: (
            (folder / "root/serving/1").mkdir(parents=True)
            or (folder / "root/serving/1/saved_model.pb").touch()
        ),
        lambda folder: runs.new(folder / "root"),
        lambda folder: (folder / "root/metadata.sqlite").unlink(),
    ],
    ids=["contents", "time", "another span", "schema", "serving folder", "another run", "store"],
)
def test_what_a_run_depends_on_has_it_run_again(
    config: PipelineConfig,
    finished: runs.Run,
    tmp_path: Path,
    change: Callable[[Path], object],
):
    change(tmp_path)
    assert unchanged.repeated(config) is None


@pytest.mark.parametrize(
    "settings", [{"train": {"seed": 1}}, {"run": {"cache": False}}, {"name": "q"}]
)
def test_other_settings_have_it_run_again(
    config: PipelineConfig, finished: runs.Run, tmp_path: Path, settings: dict[str, object]
):
    assert unchanged.repeated(configured(tmp_path, **settings)) is None


def test_edited_code_has_it_run_again(
    config: PipelineConfig, finished: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    edited = tmp_path / "edited.py"
    edited.write_text("x = 1\n")
    monkeypatch.setattr(unchanged, "project_files", lambda: [*code.project_files(), edited])
    assert unchanged.repeated(config) is None


def test_a_schema_that_is_not_there_is_told_in_words(config: PipelineConfig, tmp_path: Path):
    (tmp_path / "schema.pbtxt").unlink()
    with pytest.raises(UserError, match=r"schema\.pbtxt: no such file"):
        unchanged.inputs(config)


def test_a_run_of_some_nodes_is_never_repeated(config: PipelineConfig):
    runs.new(Path(config.pipeline_root)).write(
        finished=True, inputs=None, outcome=unchanged.outcome(config)
    )
    Path(config.store_url.removeprefix("sqlite://")).touch()
    assert unchanged.repeated(config) is None


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"data": {"path": "gs://bucket/data"}},
        {"root": "gs://bucket/root"},
        {"push": {"directory": "gs://bucket/serving"}},
    ],
    ids=["data", "root", "serving folder"],
)
def test_what_lies_elsewhere_is_looked_at_by_a_run(tmp_path: Path, elsewhere: dict[str, object]):
    config = configured(tmp_path, **elsewhere)
    assert unchanged.inputs(config) is None
