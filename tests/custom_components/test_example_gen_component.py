"""The component as a pipeline runs it: its driver finds the span, its cache key tells a change."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.orchestration import data_types, metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import range_config_pb2

from custom_components.example_gen import ColumnType, Table, TabularExampleGen
from custom_components.example_gen.columns import table_from_features, table_from_schema
from custom_components.example_gen.spans import available_spans
from pipeline.errors import UserError
from pipeline.features_config import DateConfig, FeaturesConfig
from tests.custom_components.ingest import TABLE, csv_file, days, read_split, settings

PATTERN = "span-{SPAN:2}/*.csv"


def component(data: Path, **changes: Any) -> TabularExampleGen:
    arguments = {"settings": settings(split_by="day"), "table": TABLE} | changes
    return TabularExampleGen(str(data), arguments.pop("pattern", PATTERN), **arguments)


def one_span(number: int) -> range_config_pb2.RangeConfig:
    static = range_config_pb2.StaticRange(start_span_number=number, end_span_number=number)
    return range_config_pb2.RangeConfig(static_range=static)


def run(root: Path, example_gen: TabularExampleGen) -> list[mlmd.Artifact]:
    """Runs the component as a pipeline; gives all Examples in its store, oldest first."""
    connection = sqlite_metadata_connection_config(str(root / "metadata.db"))
    pipeline = Pipeline("test", str(root), connection, [example_gen], enable_cache=True)
    LocalDagRunner().run(pipeline)
    with metadata.Metadata(connection) as store:
        return sorted(store.store.get_artifacts_by_type("Examples"), key=lambda a: a.id)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for span in (1, 2, 11):
        csv_file(tmp_path / "data" / f"span-{span:02}", days(20 + span))
    return tmp_path / "data"


def test_a_span_is_ingested_cached_and_ingested_again_when_it_changes(
    tmp_path: Path, data: Path
) -> None:
    root = tmp_path / "root"
    (first,) = run(root, component(data, range_config=one_span(2)))
    assert first.custom_properties["span"].int_value == 2
    assert first.custom_properties["payload_format"].string_value == "FORMAT_TF_EXAMPLE"
    splits = [read_split(Path(first.uri), split) for split in ("train", "eval")]
    assert sum(map(len, splits)) == 22

    (still,) = run(root, component(data, range_config=one_span(2)))
    assert still.id == first.id

    file = data / "span-02" / "a.csv"
    file.write_text(file.read_text().replace("1.5", "9.5"))
    _, changed = run(root, component(data, range_config=one_span(2)))
    assert changed.custom_properties["span"].int_value == 2


def test_the_latest_span_is_taken_when_none_is_named(tmp_path: Path, data: Path) -> None:
    (artifact,) = run(tmp_path / "root", component(data))
    assert artifact.custom_properties["span"].int_value == 11


def test_the_span_may_be_a_runtime_parameter(tmp_path: Path, data: Path) -> None:
    default = '{"static_range": {"start_span_number": "1", "end_span_number": "1"}}'
    parameter = data_types.RuntimeParameter("span", str, default)
    (artifact,) = run(tmp_path / "root", component(data, range_config=parameter))
    assert artifact.custom_properties["span"].int_value == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"range_config": one_span(3)}, ["find span 3 below", PATTERN, "there: 01, 02, 11. Check"]),
        ({"range_config": one_span(123)}, ["find span 123", "width is less", "01, 02, 11"]),
        ({"pattern": "span-{SPAN}/*.csv", "range_config": one_span(2)}, ["there: 01, 02, 11"]),
        ({"pattern": "month-{SPAN}/*.csv"}, ["the latest span", "No file there fits the pattern"]),
        ({"pattern": "{SPAN}-02/*.csv"}, ["the latest span", "span number", "there: span."]),
    ],
    ids=["no such span", "too wide", "no width", "none", "no number"],
)
def test_a_span_that_is_not_there_is_told(
    tmp_path: Path, data: Path, changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        run(tmp_path / "root", component(data, **changes))
    for word in words:
        assert word in str(error.value)


def test_mistakes_in_rows_reach_whoever_runs_the_pipeline(tmp_path: Path, data: Path) -> None:
    csv_file(data / "span-11", [*days(), "d,warm,1,1"])
    with pytest.raises(UserError, match="row 32, column 'temp': 'warm'"):
        run(tmp_path / "root", component(data))


@pytest.mark.parametrize("column", ["temp", "colour"])
def test_a_column_that_cannot_tell_the_split_is_refused(tmp_path: Path, column: str) -> None:
    with pytest.raises(UserError, match=rf"data.split_by: '{column}' is"):
        component(tmp_path, settings=settings(split_by=column))


def test_a_split_by_time_needs_its_column(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.split_time: 'when' is not an ingested column"):
        component(tmp_path, settings=settings(split_time="when"))


def test_a_label_that_is_a_number_to_predict_is_no_text() -> None:
    with pytest.raises(ValueError, match="label 'late' is a column of strings; expected numbers"):
        Table(columns={"late": ColumnType.STRING}, label="late", classes=())
    with pytest.raises(ValueError, match="label 'late' is not among the columns"):
        Table(columns={"day": ColumnType.STRING}, label="late")


@pytest.mark.parametrize("pattern", ["*.csv", "one.csv"])
def test_without_a_place_for_the_span_all_files_are_span_1(tmp_path: Path, pattern: str) -> None:
    csv_file(tmp_path / "data", days(), "one.csv")
    made = component(tmp_path / "data", pattern=pattern, range_config=one_span(1))
    (artifact,) = run(tmp_path / "root", made)
    assert artifact.custom_properties["span"].int_value == 1
    assert available_spans(str(tmp_path / "data"), pattern) == [1]
    assert available_spans(str(tmp_path / "data"), "b*.csv") == []
    other = component(tmp_path / "data", pattern=pattern, range_config=one_span(2))
    with pytest.raises(UserError, match=r"Cannot find span 2 below .*Spans there: 1"):
        run(tmp_path / "root", other)


def flights_database(folder: Path, *, newest_first: bool = False) -> str:
    """The URL of a database whose table has a month's rows."""
    rows = [(f"d{n}", n + 0.5, n % 24, n % 2, 1 + n % 2) for n in range(60)]
    with closing(sqlite3.connect(folder / "a.db")) as database, database:
        database.execute("DROP TABLE IF EXISTS flights")
        database.execute("CREATE TABLE flights (day TEXT, temp, hour INTEGER, late, month)")
        insert = "INSERT INTO flights VALUES (?, ?, ?, ?, ?)"
        database.executemany(insert, rows[::-1] if newest_first else rows)
    return f"sqlite:///{folder / 'a.db'}"


def test_the_rows_of_a_query_are_kept_by_their_content(tmp_path: Path) -> None:
    root, kept = tmp_path / "root", tmp_path / "root" / "queries"
    query = "SELECT day, temp, hour, late FROM flights WHERE month = {SPAN} AND '12:30' <> ''"
    asked = settings(path=None, database=flights_database(tmp_path), query=query, span=2)

    def ingested(span: int) -> list[mlmd.Artifact]:
        changes = {"pattern": "*.parquet", "settings": asked, "range_config": one_span(span)}
        return run(root, component(kept, **changes))

    (first,) = ingested(2)
    assert first.custom_properties["span"].int_value == 2
    rows = [row for split in ("train", "eval") for row in read_split(Path(first.uri), split)]
    assert {row["day"] for row in rows} == {f"d{n}" for n in range(1, 60, 2)}
    assert len(list(kept.glob("*/rows.parquet"))) == 1

    flights_database(tmp_path, newest_first=True)
    assert [artifact.id for artifact in ingested(2)] == [first.id]

    assert len(ingested(1)) == 2
    assert len(list(kept.glob("*/rows.parquet"))) == 2


SCHEMA = text_format.Parse(
    """
    feature { name: "day" type: BYTES }
    feature { name: "temp" type: FLOAT }
    feature { name: "late" type: INT }
    """,
    schema_pb2.Schema(),
)


def test_a_schema_gives_the_types_and_the_configuration_the_classes() -> None:
    features = FeaturesConfig(
        label="late", numeric=("temp",), dates={"day": DateConfig(format="%d/%m/%Y")}
    )
    table = table_from_schema(SCHEMA, features, split_time="day")
    assert table.columns == {"day": "string", "temp": "float", "late": "int"}
    assert (table.classes, table.time_format) == (("0", "1"), "%d/%m/%Y")


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"numeric": ("tmp",)}, "no column 'tmp', which the configuration names; did you mean"),
        ({"label": "later"}, "no column 'later'.*mean 'late'"),
        ({"label": "day", "problem": "regression"}, "'day' the type BYTES, .* is regression"),
    ],
)
def test_a_schema_that_does_not_fit_the_configuration_is_told(
    features: dict[str, Any], words: str
) -> None:
    asked = FeaturesConfig.model_validate({"label": "late", "numeric": ("temp",)} | features)
    with pytest.raises(UserError, match=words):
        table_from_schema(SCHEMA, asked)


def test_without_a_schema_the_features_give_the_types() -> None:
    features = FeaturesConfig(
        label="late", numeric=("temp",), categorical=("dest",), cyclical={"hour": 24}, keep=("day",)
    )
    assert table_from_features(features).columns == {
        "temp": "float", "hour": "float", "dest": "string", "day": "string", "late": "int"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ({}, "int"),
        ({"classes": ("no", "yes")}, "string"),
        ({"problem": "multiclass", "classes": ("1", "2", "3")}, "int"),
        ({"problem": "regression"}, "float"),
    ],
)
def test_without_a_schema_the_classes_give_the_label_s_type(
    label: dict[str, Any], kind: str
) -> None:
    given = {"label": "late", "numeric": ("temp",), "dates": {"at": {"format": "epoch"}}}
    table = table_from_features(FeaturesConfig.model_validate(given | label))
    assert (table.columns["late"], table.columns["at"]) == (kind, "int")
