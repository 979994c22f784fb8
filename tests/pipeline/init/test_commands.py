"""`python -m pipeline init`: from a table to two files that the pipeline takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.__main__ import main
from pipeline.config import PROJECT
from pipeline.config_file import load
from pipeline.evaluate_config import Metric
from tests.pipeline.init import tables
from tests.pipeline.init.tables import init


def test_a_table_becomes_a_configuration_that_loads(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = init(shop, "--label", "late")
    assert config is not None
    features = config.features
    assert (features.problem, features.classes) == ("binary", ("in time", "late"))
    assert features.numeric == ("age",)
    assert features.log == ("income",)
    assert features.categorical == ("town", "member")
    assert features.dates["joined"].format == "%d.%m.%Y"
    assert list(features.text) == ["remark"]
    assert features.keep == ("row", "shop")
    assert "N/A" in config.data.csv.null_values
    assert config.evaluate.cross_validation is not None
    assert 0.5 < (config.evaluate.thresholds[config.select.metric].min or 0) < 1
    said = capsys.readouterr().out
    for words in ("another number in each row", "N/A", "5 folds, 4 times", "make run CONFIG="):
        assert words in said


def test_the_schema_leaves_room_for_new_data(shop: Path) -> None:
    init(shop, "--label", "late")
    text = (shop.parent / "configs" / "shop.schema.pbtxt").read_text()
    schema = text_format.Parse(text, schema_pb2.Schema())
    found = {feature.name: feature for feature in schema.feature}
    age, income, town = found["age"], found["income"], found["town"]
    assert age.type == schema_pb2.FLOAT  # The next one may be half a year older.
    assert age.float_domain.min <= 0
    assert age.float_domain.max >= 130
    assert age.presence.min_fraction == pytest.approx(0.9)
    assert income.presence.min_fraction < 0.9
    assert list(town.string_domain.value) == ["Bonn", "Kiel", "Ulm"]
    assert town.distribution_constraints.min_domain_mass == pytest.approx(0.9)
    assert list(found["late"].string_domain.value) == ["in time", "late"]
    assert found["late"].presence.min_fraction == 1.0


def test_what_few_rows_have_stops_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = tables.shop()
    rows = len(columns["row"])
    columns["seen"] = ["2024-01-01"] + [""] * (rows - 1)
    columns["fax"] = ["yes", "no"] * 15 + [""] * (rows - 30)
    columns["street"] = [f"street {row}" if row < 60 else "market" for row in range(rows)]
    file = tables.write(tmp_path, columns)
    config = init(file, "--label", "late", "--categorical", "street")
    assert config is not None
    assert "seen" not in config.features.columns
    assert "a value in 1 of 400 rows alone: not read" in capsys.readouterr().out
    schema = text_format.Parse(
        (tmp_path / "configs" / "table.schema.pbtxt").read_text(), schema_pb2.Schema()
    )
    found = {feature.name: feature for feature in schema.feature}
    assert (found["fax"].presence.min_count, found["fax"].presence.min_fraction) == (0, 0)
    assert not found["street"].string_domain.value  # Each seventh row brings a new one.
    kept = init(file, "--label", "late", "--keep", "seen", "--force")
    assert kept is not None
    assert "seen" in kept.features.keep


def test_a_text_in_a_column_of_numbers_is_no_missing_value_of_all_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = tables.shop()
    columns["age"][7] = columns["age"][30] = "x7"
    file = tables.write(tmp_path, columns)
    config = init(file, "--label", "late")
    assert config is not None
    assert "age" in config.features.numeric
    assert "x7" not in config.data.csv.null_values
    assert config.data.on_bad_row == "drop"
    said = " ".join(capsys.readouterr().out.split())
    assert "'x7' in 2 rows, the first of them row 9, is no number: such rows are dropped" in said
    columns["age"][:12] = ["x7"] * 12
    config = init(tables.write(tmp_path, columns), "--label", "late", "--force")
    assert config is not None
    assert "age" in config.features.keep
    assert config.data.on_bad_row == "fail"
    assert "age" in (tmp_path / "configs" / "table.schema.pbtxt").read_text()


def test_rows_that_are_there_twice_are_told_by_the_side_they_may_be_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = tables.shop()
    for values in columns.values():
        values += [*values[:5], *values[10:15]]
    columns["row"][-5:] = range(401, 406)
    init(tables.write(tmp_path, columns), "--label", "late", "--folds", "0")
    said = " ".join(capsys.readouterr().out.split())
    assert "5 of 410 rows repeat another one in every column. They stay on its side" in said
    assert "5 of 410 rows repeat another one but for row" in said
    assert "--drop row keeps them together" in said


@pytest.mark.parametrize(("far", "metric"), [(3_000, "mae"), (90_000, "rmse")])
def test_few_rows_that_decide_are_told_and_do_not_if_a_model_beats_the_median(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], far: int, metric: str
) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=2500)
    price = 100 + 20 * x + 5 * random.normal(size=2500)
    price[::600] = far
    file = tables.write(tmp_path, {"x": x.round(4), "price": price.round(2)})
    config = init(file, "--label", "price")
    assert config is not None
    assert config.select.metric == metric
    assert list(config.evaluate.thresholds) == [metric]
    said = capsys.readouterr().out
    assert "and more from the mean, make half" in said
    assert ("in mae the median is hardly to be beaten" in said) == (metric == "rmse")


def test_a_first_run_has_to_explain_something(tmp_path: Path) -> None:
    """Where chance moves rmse by more than what there is to learn, r2 tells."""
    random = np.random.default_rng(0)
    x = random.normal(size=2500)
    minutes = 40 * x + 60 * random.standard_t(5, size=2500)
    config = init(tables.write(tmp_path, {"x": x, "minutes": minutes}), "--label", "minutes")
    assert config is not None
    bounds = config.evaluate.thresholds
    assert 0 < (bounds[Metric.R2].min or 0) < 0.2
    assert (bounds[Metric.RMSE].max or 0) > minutes.std()


def test_slices_with_rows_enough_are_guarded(tmp_path: Path) -> None:
    columns = tables.shop(4000)
    file = tables.write(tmp_path, columns)
    config = init(file, "--label", "late", "--frameworks", "xgboost,sklearn")
    assert config is not None
    assert {guard.columns[0] for guard in config.evaluate.guards} == {"member"}  # A third judges.
    assert all(guard.min_rows == 500 for guard in config.evaluate.guards)
    assert config.train.frameworks == ("xgboost", "sklearn")
    assert "[continuous" not in (tmp_path / "configs" / "table.toml").read_text()  # It has no span.


def test_a_span_needs_half_of_the_rows_that_one_has_now(tmp_path: Path) -> None:
    for span in (1, 2, 3):
        (tmp_path / f"week-{span:02d}").mkdir()
        for part in ("a", "b"):
            tables.write(tmp_path, tables.shop(80), f"week-{span:02d}/{part}.csv")
    words = ["--label", "late", "--name", "weeks", "--directory", str(tmp_path), "--json"]
    assert main(["init", str(tmp_path / "week-{SPAN:2}" / "*.csv"), *words]) == 0
    config = load(tmp_path / "weeks.toml")
    assert (config.continuous.min_rows, config.gate.min_rows) == (80, 80)


def test_no_mean_of_the_label_is_an_input_where_all_rows_judge(tmp_path: Path) -> None:
    columns = tables.shop(1000) | {"seller": [f"s{row % 125}" for row in range(1000)]}
    file = tables.write(tmp_path, columns)
    found = [init(file, "--label", "late", "--force", "--folds", folds) for folds in ("0", "5")]
    assert [one.features.target_encoded for one in found if one] == [("seller",), ()]
    assert found[1] is not None
    assert "seller" in found[1].features.categorical


def test_a_time_that_is_the_same_in_all_rows_is_no_input(tmp_path: Path) -> None:
    days = [f"2024-{i // 28 % 12 + 1:02d}-{i % 28 + 1:02d}" for i in range(336)]
    columns = {
        "day": [f"{day}T00:00:00" for day in days],
        "at": [f"{day} {i % 24:02d}:10" for i, day in enumerate(days)],
        "y": [i % 2 for i in range(336)],
    }
    config = init(tables.write(tmp_path, columns), "--label", "y")
    assert config is not None
    parts = {name: one.parts for name, one in config.features.dates.items()}
    assert parts == {"day": ("month", "weekday"), "at": ("month", "weekday", "hour")}


def test_signs_that_command_a_terminal_are_kept_from_it_and_from_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = tables.shop(80)
    columns["town"] = ["red \x1b[31m", "bell \x07", "plain", "low \x01"] * 20
    columns["same"] = ["\x1b[2J"] * 80
    columns["la\nbel"] = columns.pop("late")
    assert init(tables.write(tmp_path, columns), "--label", "la\nbel", "--yes") is not None
    assert not set(capsys.readouterr().out) & set("\x1b\x07\x01")


def test_nothing_is_overwritten_without_force(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init(shop, "--label", "late")
    written = shop.parent / "configs" / "shop.toml"
    written.write_text("mine")
    init(shop, "--label", "late", rc=2)
    assert "shop.toml is there already; --force overwrites it" in capsys.readouterr().err
    assert written.read_text() == "mine"
    init(shop, "--label", "late", "--force")


def test_both_files_are_written_or_none(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.init.writing.toml", lambda *_: "[data]\nno = 1\n")
    init(shop, "--label", "late", rc=2)
    assert not list((shop.parent / "configs").iterdir())


def test_the_same_is_told_as_json(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(shop, "--label", "late", "--json")
    told = json.loads(capsys.readouterr().out)
    columns = {column["name"]: column for column in told["columns"]}
    assert (columns["income"]["kind"], columns["income"]["distinct_exact"]) == ("number", True)
    assert 0 < columns["income"]["missing"] < 0.5
    assert {"missing value", "constant", "identifier"} <= {flag["about"] for flag in told["flags"]}
    assert told["baselines"]["trivial"]["auc"] == 0.5


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a person types, in this order."""
    given: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: given.pop(0))
    yield given
    assert not given


def test_a_person_is_asked_what_cannot_be_known(
    tmp_path: Path, answers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "day": [f"{d}/{m}/2024" for d, m in random.integers(1, 13, (600, 2))],
        "patient_id": random.integers(0, 120, 600),
        "dose": random.normal(size=600).round(3),
        "stage": random.integers(0, 5, 600),
    }
    file = tables.write(tmp_path, columns)
    answers += ["", "stage", "7", "2", "2", ""]
    monkeypatch.setattr("sys.argv", ["pipeline", "init", "t.csv", "--force", "--name", "table"])
    config = init(file)
    assert config is not None
    assert config.features.label == "stage"
    assert config.features.dates["day"].format == "%d/%m/%Y"
    assert config.features.problem == "regression"
    assert config.data.split_by == "patient_id"
    head = (tmp_path / "configs" / "table.toml").read_text().splitlines()[0]
    told = "--label stage --date day=%d/%m/%Y --problem regression --split-by patient_id`"
    assert head.endswith(f"init t.csv --name table {told}")


def test_columns_of_any_name_come_through(tmp_path: Path) -> None:
    names = ['a"b', "two\nlines", "a.b", "c=d", "e,f", "it's", "#hash", "日本"]
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {name: random.normal(size=80).round(3) for name in names}
    columns["#hash"] = random.choice(['"', "#", "v\nw"], 80)
    columns["y"] = [0, 1] * 40
    config = init(tables.write(tmp_path, columns), "--label", "y", "--keep", "e,f")
    assert config is not None
    assert set(config.features.columns) == {*names, "y"}
    assert config.features.keep == ("e,f",)


def test_yes_asks_nothing(tmp_path: Path, answers: list[str]) -> None:
    columns = {"day": ["1/2/2024", "3/4/2024"] * 40, "y": [0, 1] * 40, "x": list(range(40)) * 2}
    assert init(tables.write(tmp_path, columns), "--label", "y", "--yes") is not None
    assert not answers


def test_rows_that_follow_one_another_in_time_are_split_by_it(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    columns = {
        "at": [f"2024-{i // 28 % 12 + 1:02d}-{i % 28 + 1:02d}" for i in range(336)],
        "x": random.normal(size=336).round(3),
        "y": random.normal(size=336).round(3),
    }
    config = init(tables.write(tmp_path, columns), "--label", "y")
    assert config is not None
    assert config.data.split_time == "at"
    assert config.evaluate.cross_validation is None  # Folds would mix what was and what will be.


def test_what_gives_the_label_away_is_kept_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = tables.shop()
    columns["late_since"] = ["2024-05-01" if one == "late" else "" for one in columns["late"]]
    columns["twin"] = columns["age"]
    config = init(tables.write(tmp_path, columns), "--label", "late")
    assert config is not None
    assert {"late_since", "twin"} <= set(config.features.keep)
    said = capsys.readouterr().out
    assert "alone it predicts the label almost perfectly (AUC 1.000) and is named after" in said
    assert "holds the same as age" in said


def test_a_span_in_the_name_stays_in_the_pattern(tmp_path: Path) -> None:
    for span in ("01", "02"):
        (tmp_path / "in" / f"span-{span}").mkdir(parents=True)
        tables.write(tmp_path / "in" / f"span-{span}", tables.shop(60), "shop.csv")
    source = f"{tmp_path}/in/span-{{SPAN:2}}/*.csv"
    assert main(["init", source, "--label", "late", "--directory", str(tmp_path)]) == 0
    config = load(tmp_path / "in.toml")
    assert config.data.pattern == "span-{SPAN:2}/*.csv"
    assert config.data.has_spans
    assert "[continuous.performance]" in (tmp_path / "in.toml").read_text()


def test_rows_without_a_label_are_dropped(tmp_path: Path) -> None:
    columns = tables.shop()
    columns["late"][:20] = [""] * 20
    config = init(tables.write(tmp_path, columns), "--label", "late")
    assert config is not None
    assert config.data.on_bad_row == "drop"
    assert 20 / 400 < config.data.max_bad_fraction < 0.2


def test_few_positives_are_judged_by_their_ranking(tmp_path: Path) -> None:
    columns = tables.shop(600)
    columns["late"] = [int(i % 40 == 0) for i in range(600)]
    config = init(tables.write(tmp_path, columns), "--label", "late")
    assert config is not None
    assert config.select.metric == "pr_auc"


def test_it_answers_without_tensorflow(shop: Path) -> None:
    words = ["init", str(shop), "--label", "late", "--directory", str(shop.parent)]
    script = (
        "import sys\nfrom pipeline.__main__ import main\n"
        f"code = main({words!r})\n"
        "heavy = [m for m in ('tensorflow', 'tfx', 'apache_beam', 'keras') if m in sys.modules]\n"
        "print(code, heavy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"
