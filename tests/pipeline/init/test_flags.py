"""What is not to be guessed is said by flags of `python -m pipeline init`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.evaluate_config import Metric
from tests.pipeline.init import tables
from tests.pipeline.init.tables import init


def test_every_guess_is_a_flag(shop: Path) -> None:
    words = ["--positive", "in time", "--categorical", "age", "--keep", "remark,town"]
    words += ["--drop", "shop", "--date", "joined=%m.%d.%Y", "--folds", "0", "--metric", "f1"]
    config = init(shop, "--label", "late", *words, rc=2)
    assert config is None  # Of which most are no dates.
    words[words.index("joined=%m.%d.%Y")] = "joined=%d.%m.%Y"
    config = init(shop, "--label", "late", *words)
    assert config is not None
    assert config.features.classes == ("late", "in time")
    assert "age" in config.features.categorical
    assert {"remark", "town"} <= set(config.features.keep)
    assert "shop" not in config.features.columns
    assert config.evaluate.cross_validation is None
    assert config.select.metric == "f1"


def test_how_models_are_judged_is_a_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tables.write(tmp_path, tables.shop(2400))
    words = ["--thresholds", "auc=0.52,log_loss=0.9", "--slices", "town", "--guards", "member"]
    config = init(file, "--label", "late", *words, "--decision-threshold", "0.4")
    assert config is not None
    told = config.evaluate
    assert {metric: (one.min, one.max) for metric, one in told.thresholds.items()} == {
        Metric.AUC: (0.52, None),
        Metric.LOG_LOSS: (None, 0.9),
    }
    assert told.slices == (("town",), ("member",))
    assert [guard.columns for guard in told.guards] == [("member",)]
    assert told.decision_threshold == 0.4
    assert "auc 0.5200, as asked for" in capsys.readouterr().out
    bare = init(
        file, "--label", "late", "--thresholds", "", "--slices", "", "--guards", "", "--force"
    )
    assert bare is not None
    assert (bare.evaluate.thresholds, bare.evaluate.slices, bare.evaluate.guards) == ({}, (), ())


def test_folds_that_are_asked_for_are_not_passed_over(tmp_path: Path) -> None:
    columns = {
        "at": [f"2024-{i // 28 % 12 + 1:02d}-{i % 28 + 1:02d}" for i in range(336)],
        "x": [i % 7 for i in range(336)],
        "y": [i / 9 + i % 5 for i in range(336)],
    }
    config = init(tables.write(tmp_path, columns), "--label", "y", "--folds", "3", "--yes")
    assert config is not None
    assert config.data.split_time is None
    assert config.evaluate.cross_validation is not None
    assert config.evaluate.cross_validation.folds == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label", "lat"], "--label lat: there is no such column; did you mean late?"),
        ([], "--label is missing: which column is to be predicted? There are: row, age"),
        (["--label", "late", "--numeric", "town"], "'town' is asked for as a number, and holds"),
        (["--label", "late", "--text", "age"], "'age' is asked for as a text, and holds numbers"),
        (["--label", "late", "--date", "age"], "'age' is asked for as a date, and no value is one"),
        (["--label", "late", "--cyclical", "age"], "expected its period, as in age=24"),
        (["--label", "late", "--keep", "agee"], "there is no such column; did you mean age?"),
        (["--label", "late", "--numeric", "age", "--keep", "age"], "'age' is asked for twice"),
        (["--label", "late", "--drop", "late"], "the label cannot be a feature or be left out"),
        (["--label", "late", "--split-by", "town"], "3 different values, and 5 are needed"),
        (["--label", "late", "--split-time", "income"], "45 rows have no value there"),
        (["--label", "late", "--split-time", "joined", "--folds", "3"], "leave one of them out"),
        (["--label", "late", "--folds", "1"], "--folds 1: expected 0, or from 2 to 200, for"),
        (["--label", "late", "--metric", "rmse"], "--metric rmse: the problem is binary; expected"),
        (["--label", "late", "--thresholds", "auc"], "expected metrics with a number each, as in"),
        (["--label", "late", "--thresholds", "rmse=3"], "--thresholds rmse: the problem is binary"),
        (["--label", "late", "--thresholds", "calibration=1"], "best at 1, so one number is no"),
        (["--label", "late", "--guards", "twon"], "'twon' is to make slices, and there is no such"),
        (["--label", "late", "--decision-threshold", "2"], "expected a probability between 0 and"),
        (["--label", "late", "--split-by", "late"], "it cannot be left out, or be the label"),
        (["--label", "late", "--frameworks", "keras,lightgbm"], "'lightgbm' is none; expected"),
        (["--label", "late", "--name", "My Shop"], "expected lower case letters, digits and"),
        (["--label", "shop"], "all 400 rows have the same value, 'north'"),
        (
            ["--label", "late", "--keep", "age,income,town,member,joined,remark"],
            "no column is left to predict from",
        ),
    ],
)
def test_mistakes_are_told_in_words_and_nothing_is_written(
    shop: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    init(shop, *words, rc=2)
    assert said in capsys.readouterr().err
    assert not (shop.parent / "configs").exists()
