"""Configurations, right and wrong: what is loaded, and what is said of a mistake."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import PROJECT, PipelineConfig, absolute
from pipeline.config_file import DEFAULT, json_schema, load
from pipeline.continuous_config import ContinuousConfig
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric

MINIMAL = """
name = "small"
[data]
path = "data/small"
[features]
label = "y"
numeric = ["a"]
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "small.toml"
    file.write_text(text)
    return file


def test_a_minimal_file_gets_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL))
    assert (config.data.window, config.run.cache) == ("expanding", True)
    assert config.pipeline_root == str(PROJECT / "output/small")
    assert config.serving_directory == str(PROJECT / "output/small/serving")


def test_overrides_win_over_the_file() -> None:
    config = load(
        overrides=[
            "data.window=2",
            "train.keras.hidden_units=[64, 32]",
            "name=other",
            "gate.thresholds.temp = 0.5",
            "evaluate.thresholds={log_loss={max=0.6}}",
        ]
    )
    assert (config.data.window, config.name) == (2, "other")
    assert config.train.keras.hidden_units == (64, 32)
    assert config.gate.thresholds["temp"] == 0.5
    assert config.evaluate.thresholds[Metric.LOG_LOSS].max == 0.6


def test_a_url_is_a_location_as_it_is() -> None:
    assert absolute("gs://bucket/data") == "gs://bucket/data"
    assert absolute("/data/flights") == "/data/flights"


def test_with_a_root_on_an_object_store_the_rest_stays_on_this_machine(tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL), ["root=s3://bucket/small"])
    assert config.pipeline_root == "s3://bucket/small"
    assert config.serving_directory == "s3://bucket/small/serving"
    assert config.local_root == PROJECT / "output/small"
    assert config.store_url == f"sqlite:///{PROJECT}/output/small/metadata.sqlite"
    assert config.tracking_uri == f"sqlite:///{PROJECT}/output/small/mlflow.db"


@pytest.mark.parametrize("key", ["root", "push.directory"])
def test_a_store_that_cannot_be_written_to_is_a_mistake(tmp_path: Path, key: str) -> None:
    with pytest.raises(UserError, match=f"{key} begins with hdfs://"):
        load(write(tmp_path, MINIMAL), [f"{key}=hdfs://names/small"])


@pytest.mark.parametrize(
    ("override", "key", "said"),
    [
        ("data.windw=3", "data.windw", "unknown key; did you mean window?"),
        ("datta.window=3", "datta", "unknown key; did you mean data?"),
        ("zzz=3", "zzz", "unknown key; known here: name, root, data"),
        ("train.keras.hiden_units=3", "train.keras.hiden_units", "did you mean hidden_units?"),
        ("evaluate.thresholds.auc.minimum=1", "evaluate.thresholds.auc.minimum", "unknown key"),
        ("evaluate.guards=[{columns=['carrier'],metrc='auc'}]", "metrc", "did you mean metric?"),
        ("data.csv.sep=','", "data.csv.sep", "known here: delimiter, quote, encoding"),
        ("data.window=three", "data.window", 'is "three"; expected a whole number'),
        ("data.window=0", "data.window", 'number of spans, 1 or more, or "expanding"'),
        ("data.window=2.5", "data.window", "is 2.5; expected a whole number"),
        ("data.window=true", "data.window", "is true; expected a whole number"),
        ("data.window=[]", "data.window", "is []; expected a whole number"),
        ("data.half_life=0", "data.half_life", "is 0; expected greater than 0"),
        ("data.half_life=inf", "data.half_life", "is Infinity; expected a finite number"),
        ("data.span=-1", "data.span", "greater than or equal to 0"),
        ("data.span=march", "data.span", 'is "march"; expected a whole number'),
        ("data=3", "data", "is 3; expected a section"),
        ("data.path=''", "data.path", "at least 1 character"),
        ("data.path=7", "data.path", "is 7; expected a string"),
        ("data.pattern=flights.csv", "data", "span is 3, but without {SPAN} in the pattern"),
        ("data.pattern='{SPAN}/{SPAN}'", "data.pattern", "holds {SPAN} more than once"),
        ("data.path=https://a", "data.path", "begins with https://; expected a folder, gs://"),
        ("data.database=sqlite:///a.db", "data", "or database and query; and not both"),
        ("data.query=SELECT", "data", "database and query go together"),
        ("data.database=oracle://a", "data.database", "begins with 'oracle'; expected one of"),
        ("data.database=mysql://a:b@c/d", "data.database", "PIPELINE_DATABASE_PASSWORD"),
        ("data.database=mysql://a@c/d?passwd=b", "data.database", "PIPELINE_DATABASE_PASSWORD"),
        ("data.database=mysql:///d", "data.database", "expected mysql://USER@HOST:PORT/DATABASE"),
        ("data.split_time=date", "data", "split_by and split_time are both set"),
        ("data.csv={decimal=',', thousands=','}", "data.csv", "are both ','"),
        ("data.format=xlsx", "data.format", 'is "xlsx"; expected one of csv, parquet'),
        ("data.format=parqet", "data.format", "did you mean parquet?"),
        ("data.split_by=day", "data.split_by", "which no list in [features] holds"),
        (
            "continuous.drift.thresholds.tmp=0.3",
            "continuous.drift.thresholds",
            "did you mean temp?",
        ),
        ("data.train_buckets=0", "data.train_buckets", "greater than or equal to 1"),
        ("data.on_bad_row=skip", "data.on_bad_row", "expected one of fail, drop"),
        ("data.max_bad_fraction=1.5", "data.max_bad_fraction", "less than or equal to 1"),
        ("data.max_bad_fraction=5%", "data.max_bad_fraction", 'is "5%"; expected a number'),
        ("data.csv.delimiter=';;'", "data.csv.delimiter", "at most 1 character"),
        ("features.label=temp", "features", "is also a feature"),
        ("features.numeric=temp", "features.numeric", 'expected a list, as in ["a", "b"]'),
        ("features.numeric=[1]", "features.numeric.0", "is 1; expected a string"),
        ("features.numeric=['carrier']", "features", "'carrier' is named twice; give it one role"),
        ("features.categorical=['dest','dest']", "features", "'dest' is named twice"),
        ("features.cyclical.month=0", "features.cyclical.month", "expected greater than 0"),
        ("features.cyclical=['hour']", "features.cyclical", "expected a table of keys and values"),
        ("features={label='late'}", "features", "no features"),
        ("features={numeric=['temp']}", "features.label", "is missing and has no default; add it"),
        ("gate.drift=stp", "gate.drift", "did you mean stop?"),
        ("gate.anomalies=3", "gate.anomalies", "expected"),
        ("gate.max_js_divergence=2", "gate.max_js_divergence", "less than or equal to 1"),
        ("gate.thresholds.tmp=0.1", "gate.thresholds", "names the column 'tmp'"),
        ("train.frameworks=['torch']", "train.frameworks.0", 'is "torch"; expected one of'),
        ("train.frameworks=['keras','keras']", "train.frameworks", "names a framework twice"),
        ("train.frameworks=[]", "train.frameworks", "at least 1 item"),
        ("train.xgboost.depth=3", "train.xgboost.depth", "unknown key; did you mean max_depth?"),
        ("train.sklearn.model=svm", "train.sklearn.model", "expected one of auto"),
        ("tune.space.xgboost.gamma={low=1}", "tune.space.xgboost.gamma", "give both low and high"),
        ("tune.space.xgboost.gamma={low=2,high=1}", "tune.space.xgboost.gamma", "not below high"),
        ("tune.space.xgbost={}", "tune.space.xgbost", "did you mean xgboost?"),
        ("evaluate.metrics=['log_loss']", "evaluate", "thresholds.auc"),
        ("select.confidence=1", "select.confidence", "expected less than 1"),
        ("select.metric=calibratoin", "select.metric", "did you mean calibration?"),
        ("register.approval=maybe", "register.approval", "expected one of auto, manual, shadow"),
        ("train.seed=lucky", "train.seed", "expected a whole number"),
        ("train.class_weight=auto", "train.class_weight", "expected one of none, balanced"),
        ("train.keras.dropout=1", "train.keras.dropout", "expected less than 1"),
        ("train.keras.hidden_units=64", "train.keras.hidden_units", "expected a list"),
        (
            "train.keras.hidden_units=[0]",
            "train.keras.hidden_units.0",
            "greater than or equal to 1",
        ),
        ("train.keras.learning_rate=0", "train.keras.learning_rate", "expected greater than 0"),
        ("train.keras.learning_rate=nan", "train.keras.learning_rate", "finite"),
        ("evaluate.metrics=[]", "evaluate.metrics", "at least 1 item"),
        ("evaluate.metrics=['f2']", "evaluate.metrics.0", 'is "f2"; expected one of auc'),
        ("evaluate.metrics=['accuracy']", "evaluate", "not in metrics"),
        ("evaluate.thresholds.acu.min=1", "evaluate.thresholds.acu", "did you mean auc?"),
        ("evaluate.thresholds.auc={}", "evaluate.thresholds.auc", "needs at least one of min"),
        ("evaluate.thresholds.auc={min=2,max=1}", "evaluate.thresholds.auc", "no value can pass"),
        ("evaluate.thresholds.auc.min=high", "evaluate.thresholds.auc.min", "expected a number"),
        ("evaluate.slices=['carrier']", "evaluate.slices.0", "expected a list"),
        ("evaluate.slices=[['plane']]", "evaluate", "slices"),
        ("evaluate.guards=[{columns=['dest']}]", "evaluate", "which are not in slices"),
        ("continuous.performance.rmse.max=9", "continuous.performance", "names rmse, and features"),
        ("evaluate={on='unseen',cross_validation={}}", "evaluate", "take one of the two away"),
        ("canary.tolerance=0", "canary.tolerance", "expected greater than 0"),
        ("canary.rows=none", "canary.rows", "expected a whole number"),
        ("run.jobs=0", "run.jobs", "greater than or equal to 1"),
        ("run.cache=yes", "run.cache", 'is "yes"; expected true or false'),
        ("name=My Pipeline", "name", "expected a name that matches"),
        ("name.first=x", "name", "is a value, not a section"),
        ("window", "--set window", "expected section.key=value"),
        ("data..window=3", "--set data..window=3", "expected section.key=value"),
    ],
)
def test_a_wrong_setting_is_refused_in_words(override: str, key: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        load(overrides=[override])
    assert key in str(refused.value)
    assert said in str(refused.value)


def test_metrics_by_default_are_those_of_the_problem(tmp_path: Path) -> None:
    several = "problem='multiclass'\nclasses=['a','b','c']"
    for said, first in ((several, Metric.MACRO_F1), ("problem='regression'", Metric.RMSE)):
        config = load(write(tmp_path, MINIMAL.replace("[features]", f"[features]\n{said}")))
        assert config.evaluate.metrics[0] == config.select.metric == first
        assert [metric for metric, _ in config.continuous.performance.rules()] == [first]


def test_a_span_that_is_to_judge_unseen_is_not_the_only_one_of_the_window() -> None:
    with pytest.raises(UserError, match=r'evaluate.on is "unseen", but data.window is 1'):
        load(overrides=["evaluate.on=unseen", "data.window=1"])
    assert load(overrides=["evaluate.on=unseen", "data.window=2"]).data.window == 2


def test_the_newest_rows_and_all_rows_are_not_both_to_judge(tmp_path: Path) -> None:
    parted = "[evaluate.cross_validation]\n"
    assert load(write(tmp_path, MINIMAL + parted)).evaluate.cross_validation
    by_time = MINIMAL.replace("[data]", "[data]\nsplit_time='a'")
    with pytest.raises(UserError, match=r"data.split_time is set and \[evaluate.cross_validation"):
        load(write(tmp_path, by_time + parted))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = \n", "not valid TOML: Invalid value (at line 1, column 8)"),
        ("name = 'a'\nname = 'b'", "not valid TOML: Cannot overwrite a value"),
        ("", "name: is missing"),
        ("name = 'a'", "data: is missing"),
        (MINIMAL.replace("a", "\xff").encode("latin-1"), "is not UTF-8"),
        (MINIMAL + "bogus = 1\n", "small.toml: features.bogus: unknown key"),
    ],
)
def test_a_wrong_file_is_refused_by_its_name(tmp_path: Path, text: str | bytes, said: str) -> None:
    file = tmp_path / "small.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as refused:
        load(file)
    assert "small.toml" in str(refused.value)
    assert said in str(refused.value)


def test_a_missing_file_is_answered_with_those_that_are_there() -> None:
    with pytest.raises(UserError, match=r"nope.toml: no such.*configs/flights.toml"):
        load(Path("nope.toml"))


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(UserError) as refused:
        load(overrides=["data.window=0", "gate.drift=stp", "nonsense=1"])
    assert len(str(refused.value).splitlines()) == 3


def _settings() -> list[str]:
    defaults = load().model_dump(mode="json")
    flat: list[str] = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                walk(f"{prefix}.{key}" if prefix else key, below)
        else:
            flat.append(prefix)

    walk("", defaults)
    return flat


@given(
    key=st.sampled_from(_settings()),
    value=st.one_of(
        st.text(),
        st.integers().map(str),
        st.floats().map(str),
        st.sampled_from(["[]", "{}", "[1]"]),
    ),
)
def test_no_value_of_any_setting_makes_more_than_a_message(key: str, value: str) -> None:
    try:
        config = load(overrides=[f"{key}={value}"])
    except UserError as refused:
        assert key.split(".")[0] in str(refused)
    else:
        assert PipelineConfig.model_validate_json(config.model_dump_json()) == config


def test_the_schema_for_editors_is_the_one_in_the_repository() -> None:
    assert (DEFAULT.parent / "schema.json").read_text() == json_schema()


def test_every_setting_says_what_it_means() -> None:
    sections = json.loads(json_schema())["$defs"]
    silent = [
        f"{name}.{setting}"
        for name, section in sections.items()
        for setting, schema in section.get("properties", {}).items()
        if "description" not in schema and "$ref" not in schema and setting != "label"
    ]
    assert not silent


def test_the_example_shows_no_setting_that_is_gone() -> None:
    assert tomllib.loads(DEFAULT.read_text())["name"] == load().name


def test_the_page_on_continuous_training_has_every_setting_and_a_sample_that_is_right(
    tmp_path: Path,
) -> None:
    page = (PROJECT / "docs" / "continuous.md").read_text()
    named = set(re.findall(r"`(?:continuous\.)?(\w+)", page))
    assert set(ContinuousConfig.model_fields) <= named
    (sample,) = re.findall(r"```toml\n(\[continuous\].*?)```", page, re.DOTALL)
    columns = MINIMAL.replace('["a"]', '["temp", "dest"]')
    assert load(write(tmp_path, f"{columns}\n{sample}")).continuous.drift.thresholds["dest"] == 1
