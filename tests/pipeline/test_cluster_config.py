"""The settings of a cluster, and configurations that stand on others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cluster_config import Retries, StoreConfig, TaskSettings, Toleration
from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import DEFAULT, load
from pipeline.errors import UserError
from pipeline.train_config import Framework

CLUSTER = DEFAULT.with_name("flights-kubeflow.toml")


def mistake(*overrides: str) -> str:
    with pytest.raises(UserError) as raised:
        load(CLUSTER, overrides)
    return str(raised.value)


def test_the_example_is_the_local_one_on_a_cluster() -> None:
    local, cluster = load(), load(CLUSTER)
    for section in ("name", "data", "features", "gate", "train", "evaluate", "select"):
        assert getattr(cluster, section) == getattr(local, section)
    assert cluster.store_url == "postgresql://pipeline@metadata-store:5432/metadata"
    assert local.store_url == f"sqlite:///{PROJECT}/output/flights/metadata.sqlite"


def test_a_configuration_comes_back_from_its_json() -> None:
    config = load(CLUSTER)
    assert PipelineConfig.model_validate_json(config.model_dump_json(), strict=True) == config


def test_what_a_node_says_goes_before_the_default_and_tables_are_merged() -> None:
    config = load(
        CLUSTER,
        [
            'tasks.nodes.Canary={cpu="3", secrets={TOKEN="names/token"}}',
            'tasks.nodes.Pusher={retries={count=0}}',
            'tasks.trainers.keras={image="keras@1"}',
        ],
    )  # fmt: skip
    canary, default = config.tasks.of("Canary"), config.tasks.of("init")
    assert (canary.cpu, canary.memory, canary.image) == ("3", default.memory, default.image)
    assert canary.secrets == {**default.secrets, "TOKEN": "names/token"}
    assert default.retries == Retries(count=2, backoff_seconds=30)
    assert config.tasks.of("Pusher").retries == Retries(count=0)
    assert config.tasks.of_trainer(Framework.KERAS).image == "keras@1"
    assert config.tasks.of_trainer(Framework.KERAS).memory == default.memory


@given(st.builds(TaskSettings, cpu=st.sampled_from([None, "1"]), node_selector=st.just({"a": "b"})))
def test_settings_over_themselves_are_themselves(settings: TaskSettings) -> None:
    assert settings.over(settings) == settings
    assert settings.over(TaskSettings()) == settings


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("store.url=oracle://me@host/db", "begins with 'oracle'; expected one of sqlite, postgre"),
        ("store.url=sqlite:///store.db", "names a file by an absolute path"),
        ("store.url=postgresql://host/db", "expected postgresql://USER@HOST:PORT/DATABASE"),
        ("store.url=mysql://me@host", "expected mysql://USER@HOST:PORT/DATABASE"),
        ("store.url=mysql://me@host:port/db", "expected mysql://USER@HOST:PORT/DATABASE"),
        ("store.url=mysql://me@host:99999/db", "expected mysql://USER@HOST:PORT/DATABASE"),
        ("tasks.defaults.cpu=lots", "tasks.defaults.cpu"),
        ("tasks.defaults.memory=4GB", "tasks.defaults.memory"),
        ("tasks.defaults.secrets.PASSWORD=secret", "tasks.defaults.secrets.PASSWORD"),
        ("tasks.defaults.environment.lower-case=1", "tasks.defaults.environment"),
        ("tasks.defaults.retries.count=-1", "tasks.defaults.retries.count"),
        ("tasks.defaults.tolerations=[{effect='Sometimes'}]", "tasks.defaults.tolerations"),
        ("tasks.trainers.prophet={}", "tasks.trainers"),
        ("kubeflow.auth=iap", "auth is iap, which needs iap_client_id"),
        ("schedule.cron=daily", "cron is 'daily'; expected five fields"),
        (
            "schedule={cron='0 6 2 * *', interval_seconds=3600}",
            "names both cron and interval_seconds",
        ),
        ("export.url=ftp://host", "export.url"),
        ("tasks.default.cpu=1", "did you mean defaults?"),
    ],
)
def test_a_mistake_is_told_with_its_key(setting: str, said: str) -> None:
    message = mistake(setting)
    assert said in message
    assert message.startswith(("--set: ", "configs/", str(CLUSTER)))


def test_a_password_in_the_stores_url_is_refused_and_not_repeated() -> None:
    message = mistake("store.url=postgresql://me:hunter2@host/db")
    assert "holds a password; put it in PIPELINE_STORE_PASSWORD" in message
    assert "hunter2" not in message


@given(st.text())
def test_any_url_of_a_store_is_taken_or_refused_in_words(url: str) -> None:
    for text in (url, f"mysql://{url}", f"postgresql://me@{url}"):
        try:
            StoreConfig(url=text)
        except ValueError as error:
            assert str(error)


def test_a_toleration_needs_a_key() -> None:
    assert Toleration(key="gpu").operator == "Exists"
    with pytest.raises(ValueError, match="key"):
        Toleration(key="")


class Layers:
    """Files that extend one another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("base", name='"base"', data='{path = "data", window = 2}',
                   features='{label = "y", numeric = ["a", "b"]}')  # fmt: skip

    def write(self, file: str, **settings: str) -> Path:
        path = self.folder / f"{file}.toml"
        path.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        return path


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path)


def test_a_file_says_only_what_differs_from_the_one_it_extends(layers: Layers) -> None:
    layers.write("middle", extends='"base.toml"', name='"middle"', data="{window = 3}")
    top = layers.write("top", extends='"middle.toml"', features='{numeric = ["c"]}')
    config = load(top)
    assert (config.name, config.data.path, config.data.window) == ("middle", "data", 3)
    assert (config.features.label, config.features.numeric) == ("y", ("c",))
    assert load(top, ["data.window=4"]).data.window == 4


def test_a_mistake_is_told_of_the_file_that_makes_it(layers: Layers) -> None:
    top = layers.write("top", extends='"base.toml"', run='{jobs = "two"}')
    with pytest.raises(UserError, match=r"top\.toml: run\.jobs"):
        load(top)
    layers.write("base", name='"base"', data='{path = "data", windows = 2}',
                 features='{label = "y", numeric = ["a"]}')  # fmt: skip
    with pytest.raises(UserError, match=r"base\.toml: data\.windows: unknown key; did you mean"):
        load(layers.write("top", extends='"base.toml"'))


@pytest.mark.parametrize(
    ("extends", "said"),
    [
        ('"top.toml"', "extends: the files extend one another"),
        ('"missing.toml"', "missing.toml: no such configuration file"),
        ("3", "extends: expected the name of a file beside it"),
    ],
)
def test_what_cannot_be_extended_is_told(layers: Layers, extends: Any, said: str) -> None:
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        load(layers.write("top", extends=extends))


def test_files_that_extend_one_another_are_told(layers: Layers) -> None:
    layers.write("one", extends='"two.toml"')
    with pytest.raises(UserError, match="extend one another"):
        load(layers.write("two", extends='"one.toml"'))
