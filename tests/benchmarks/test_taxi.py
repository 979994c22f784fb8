import ast
import csv
import py_compile
import sqlite3
from pathlib import Path

import pytest

from benchmarks import template


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "span-1" / "data.csv"
    template.write_data(file)
    return file


@pytest.fixture
def copied(tmp_path: Path, data: Path) -> Path:
    return template.copy(tmp_path / "template", data=data)


def appended(statements: list[ast.stmt]) -> list[str]:
    """The variables that `components.append` is called with, in any depth of `statements`."""
    calls = [n for s in statements for n in ast.walk(s) if isinstance(n, ast.Call)]
    return [
        call.args[0].id
        for call in calls
        if ast.unparse(call.func) == "components.append" and isinstance(call.args[0], ast.Name)
    ]


def definition(folder: Path) -> str:
    return (folder / "pipeline" / "pipeline.py").read_text()


def test_the_copy_has_every_stage_switched_on_but_the_one_that_needs_a_schema(
    copied: Path,
) -> None:
    assert "# components.append" not in definition(copied)
    (function,) = ast.parse(definition(copied)).body[-1:]
    assert isinstance(function, ast.FunctionDef)
    (branch,) = [s for s in function.body if isinstance(s, ast.If) and "schema" in ast.dump(s.test)]
    assert appended(branch.body) == ["schema_gen"]
    assert appended(branch.orelse) == ["schema_gen", "example_validator"]
    always = [s for s in function.body if s is not branch]
    stages = ["example_gen", "statistics_gen", "transform", "trainer", "model_resolver"]
    assert appended(always) == [*stages, "evaluator", "pusher"]


def test_the_copy_compiles_and_stands_by_itself(copied: Path) -> None:
    files = list(copied.rglob("*.py"))
    for file in files:
        py_compile.compile(str(file), doraise=True)
        assert "experimental.templates" not in file.read_text()
        assert "{{" not in file.read_text()
    assert not (copied / "e2e_tests").exists()
    assert not (copied / "kubeflow_v2_runner.py").exists()
    assert (copied / "data" / "data.csv").is_file()


def test_the_cache_is_on_only_where_it_is_asked_for(tmp_path: Path, data: Path) -> None:
    plain = template.copy(tmp_path / "plain", data=data)
    cached = template.copy(tmp_path / "cached", data=data, cache=True)
    assert "      # enable_cache=True,\n" in definition(plain)
    assert "      enable_cache=True,\n" in definition(cached)


def test_the_number_of_training_steps_can_be_changed_again_and_again(copied: Path) -> None:
    for steps in (1001, 1002):
        template.set_train_steps(copied, steps)
        settings = (copied / "pipeline" / "configs.py").read_text()
        assert f"\nTRAIN_NUM_STEPS = {steps}\n" in settings


@pytest.mark.parametrize(
    ("tips", "fare", "label"),
    [
        ("2.5", "10", 1),
        ("1.5", "10", 0),
        ("0", "0", 0),
        ("", "12.45", 0),
        ("1", "", 1),
        # A fifth on paper, but more than that in 32-bit floats.
        ("0.18", "0.9", 1),
    ],
)
def test_a_big_tipper_gives_more_than_a_fifth(tips: str, fare: str, label: int) -> None:
    assert template.big_tipper(tips, fare) == label


def test_the_data_is_what_tfx_ships_and_the_label(data: Path) -> None:
    source = template.tfx_folder() / "examples/chicago_taxi_pipeline/data/simple/data.csv"
    with source.open(newline="") as given, data.open(newline="") as written:
        shipped, made = list(csv.DictReader(given)), list(csv.DictReader(written))
    labels = [row.pop("big_tipper") for row in made]
    assert made == shipped
    assert set(labels) == {"0", "1"}


def test_steps_a_second_are_read_through_keras_colours(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "INFO 3/4 of it\n\x1b[1m1000/1000\x1b[0m \x1b[32m━━━\x1b[0m\x1b[37m\x1b[0m "
        "\x1b[1m5s\x1b[0m 4ms/step - loss: 0.5438\n"
    )
    assert template.steps_per_second(log) == 250
    log.write_text("nothing\n")
    assert template.steps_per_second(log) is None


def test_components_are_timed_by_their_newest_execution(tmp_path: Path) -> None:
    store = tmp_path / "tfx_metadata" / "taxi" / "metadata.db"
    store.parent.mkdir(parents=True)
    database = sqlite3.connect(store)
    database.executescript(
        """
        CREATE TABLE Type (id, name);
        CREATE TABLE Context (id, type_id, name);
        CREATE TABLE Association (context_id, execution_id);
        CREATE TABLE Execution (id, create_time_since_epoch, last_update_time_since_epoch);
        INSERT INTO Type VALUES (1, 'node'), (2, 'pipeline');
        INSERT INTO Context VALUES (1, 1, 'taxi.Trainer'), (2, 2, 'taxi');
        INSERT INTO Execution VALUES (1, 0, 9000), (2, 10000, 12500);
        INSERT INTO Association VALUES (1, 1), (2, 1), (1, 2), (2, 2);
        """
    )
    database.close()
    assert template.components(tmp_path) == {"Trainer": 2.5}
