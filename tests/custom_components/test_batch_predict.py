"""Batch inference: rows in, the same rows with predictions out."""

from __future__ import annotations

import gzip
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types.artifact import Artifact
from tfx.types.channel import Channel
from tfx.types.standard_artifacts import PushedModel

from custom_components.artifacts import Predictions
from custom_components.batch_predict import score
from custom_components.batch_predict.component import BatchPredict
from custom_components.batch_predict.driver import STAMPS, Driver
from custom_components.batch_predict.executor import FILE, FILES, READ, Executor
from custom_components.batch_predict.score import Scorer
from custom_components.batch_predict.settings import ReadSettings
from custom_components.batch_predict.write import is_parquet, write
from pipeline.data_config import CsvOptions, DataConfig
from pipeline.errors import UserError
from pipeline.features_config import Problem
from tests.models import tiny
from tests.models.spoken import CLASSES, spoken

CSV = "id,mass,island,year\n007,1.0,Biscoe,0\n008,,,2\n"


def scored(file: Path | list[Path], *, problem: Problem = Problem.BINARY, **known: Any) -> pa.Table:
    files = file if isinstance(file, list) else [file]
    scorer = Scorer(spoken(problem), "17", known.pop("csv", CsvOptions()), **known)
    return pa.Table.from_batches(scorer.scored([str(f) for f in files]))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "rows.csv"
    file.write_text(CSV)
    return file


def test_rows_come_out_as_they_are_spelled_with_the_probability_and_the_version(file: Path) -> None:
    assert scored(file).to_pylist() == [
        {"id": "007", "mass": "1.0", "island": "Biscoe", "year": "0"}
        | {"probability": 0.5, "model_version": "17"},
        {"id": "008", "mass": None, "island": None, "year": "2"}
        | {"probability": 1.0, "model_version": "17"},
    ]


def test_of_several_classes_the_most_probable_one_and_each_ones_probability(file: Path) -> None:
    said = scored(file, problem=Problem.MULTICLASS)
    assert said["prediction"].to_pylist() == [CLASSES[0], CLASSES[2]]
    assert [said[f"probability_{name}"].to_pylist() for name in CLASSES] == [[1, 0], [0, 0], [0, 1]]


def test_in_a_regression_the_value(file: Path) -> None:
    said = scored(file, problem=Problem.REGRESSION)
    assert said["prediction"].to_pylist() == [1, 0]
    assert "probability" not in said.column_names


def test_what_the_model_takes_comes_out_of_csv_as_numbers_where_types_are_asked_for(
    file: Path,
) -> None:
    kinds = scored(file, typed=True).schema
    assert [str(kinds.field(name).type) for name in ("id", "mass", "island", "year")] == [
        *("string", "float", "string", "int64")
    ]


def test_columns_of_parquet_keep_their_types_and_values_are_read_as_ingest_reads_them(
    tmp_path: Path,
) -> None:
    rows = pa.table(
        {
            "mass": pa.array([1, None], pa.int16()),
            "island": pa.array(["Biscoe", None]).dictionary_encode(),
            "year": [True, False],
            "seen": pa.array([0, 1], pa.date32()),
        }
    )
    pq.write_table(rows, tmp_path / "rows.parquet")
    said = scored(tmp_path / "rows.parquet", problem=Problem.MULTICLASS)
    assert said["prediction"].to_pylist() == [CLASSES[1], CLASSES[0]]
    assert str(said.schema.field("seen").type) == "date32[day]"
    assert said["island"].to_pylist() == ["Biscoe", None]


def test_many_files_and_blocks_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.parquet_file.BATCH_ROWS", 7)
    numbers = list(range(100))
    for name, some in (("a", numbers[:60]), ("b", numbers[60:])):
        rows = pa.table({"mass": some, "island": ["x"] * len(some), "year": some})
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    said = scored(tmp_path, problem=Problem.REGRESSION)
    assert said["prediction"].to_pylist() == said["year"].to_pylist() == numbers


def test_a_packed_file_with_another_delimiter_is_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv.gz"
    file.write_bytes(gzip.compress(CSV.replace(",", ";").encode()))
    assert len(scored(file, csv=CsvOptions(delimiter=";"))) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CSV.replace("1.0", "heavy"), "rows.csv, row 2, column 'mass': 'heavy', expected a number"),
        (
            CSV.replace(",2\n", ",\n"),
            "row 3, column 'year': the value is missing, expected a whole",
        ),
        (CSV.replace(",2\n", ",2.5\n"), "row 3, column 'year': '2.5', expected a whole number"),
        (CSV.replace(",2\n", "\n"), "row 3: 3 values, expected 4"),
        (
            CSV.replace("mass", "masse"),
            "no column 'mass', which the model takes; did you mean mass",
        ),
        (CSV.replace("id", "probability"), "has a column 'probability', which is what the predict"),
        (CSV.replace("id", "mass"), "has the column 'mass' 2 times"),
        ("", "rows.csv"),
    ],
)
def test_what_does_not_fit_is_refused_by_file_and_row(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        scored(file)


def test_text_that_is_not_in_the_encoding_is_refused_by_its_row(file: Path) -> None:
    file.write_bytes(CSV.encode().replace(b"008", b"\xff8"))
    with pytest.raises(UserError, match=r"row 3, column 'id'.*expected text in utf-8"):
        scored(file)


def test_files_with_other_columns_are_told_apart(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text(CSV.replace("id", "name"))
    with pytest.raises(
        UserError, match=r"other.csv has other columns than .*it lacks 'id'; only it"
    ):
        scored([file, other])


def test_what_a_model_refuses_is_told_with_its_rows(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("cannot take these rows")

    monkeypatch.setattr("models.bundle.Bundle.predict", refuse)
    with pytest.raises(UserError, match=r"rows\.csv, rows 2 to 3: cannot take these rows"):
        scored(file)


@pytest.mark.parametrize("name", ["said.csv", "said.csv.gz", "said.tsv.zst", "said.parquet"])
def test_a_file_is_written_as_its_name_says(tmp_path: Path, name: str) -> None:
    rows = pa.table({"a": ["x", 'two "words", and more', None], "p": [0.5, 0.25, 1.0]})
    output = tmp_path / name
    assert write(rows.to_batches(max_chunksize=1), str(output)) == 3
    if is_parquet(str(output)):
        read = pq.read_table(output)
    else:
        options = pa_csv.ParseOptions(delimiter="\t" if ".tsv" in name else ",")
        convert = pa_csv.ConvertOptions(strings_can_be_null=True)
        read = pa_csv.read_csv(output, parse_options=options, convert_options=convert)
    assert read.to_pylist() == rows.to_pylist()
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_what_fails_on_the_way_leaves_the_file_before_as_it_was(tmp_path: Path, file: Path) -> None:
    output = tmp_path / "said.parquet"
    output.write_text("of before")
    file.write_text(CSV + "009,heavy,,1\n")
    with pytest.raises(UserError, match="row 4"):
        write(Scorer(spoken(), "17", CsvOptions()).scored([str(file)]), str(output))
    assert output.read_text() == "of before"
    assert sorted(tmp_path.iterdir()) == [file, output]


@pytest.mark.parametrize("name", ["said", "said.json", "said.parquet.gz", "nowhere/said.csv"])
def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"tells no format|there is no folder"):
        is_parquet(str(tmp_path / name))


def test_times_in_csv_have_no_fraction_of_zeros(tmp_path: Path) -> None:
    whole, parts = [datetime(2025, 2, 4), None], [datetime(2025, 2, 4, 1, 2, 3, 500000), None]
    kind = pa.timestamp("ns")
    rows = pa.table({"a": pa.array(whole, kind), "b": pa.array(parts, kind)})
    write(rows.to_batches(), str(tmp_path / "said.csv"))
    lines = (tmp_path / "said.csv").read_text().splitlines()
    assert lines[1:] == ["2025-02-04 00:00:00,2025-02-04 01:02:03.500000000", ","]


def test_csv_has_no_form_for_lists(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'tags' holds list.*Parquet"):
        write(pa.table({"tags": [["a"]]}).to_batches(), str(tmp_path / "said.csv"))


def pushed(folder: Path, *, bias: float, version: str, is_pushed: bool = True) -> Artifact:
    artifact = PushedModel()
    artifact.uri = str(folder / version)
    artifact.set_int_custom_property("pushed", int(is_pushed))
    if is_pushed:
        tiny.save_model(folder / version, bias=bias)
        artifact.set_string_custom_property("pushed_version", version)
    return artifact


def execute(folder: Path, file: Path, **models: Artifact) -> Artifact:
    """What the node puts out."""
    predictions = Predictions()
    predictions.uri = str(folder / "predictions")
    Path(predictions.uri).mkdir()
    read = ReadSettings.of(DataConfig(path="data")).model_dump_json()
    Executor().Do(
        {name: [model] for name, model in models.items()},
        {"predictions": [predictions]},
        {FILES: str(file), READ: read},
    )
    return predictions


@pytest.fixture
def flights(tmp_path: Path) -> Path:
    file = tmp_path / "flights.csv"
    file.write_text("carrier,temp\nAA,0.5\nUA,-2.0\nAA,\n,1.0\n")
    return file


@pytest.mark.parametrize("pushes", [True, False])
def test_the_model_that_this_run_pushed_is_asked_or_else_the_one_that_stays(
    tmp_path: Path, flights: Path, pushes: bool
) -> None:
    models = {
        "pushed_model": pushed(tmp_path, bias=1.0, version="2", is_pushed=pushes),
        "live_model": pushed(tmp_path, bias=0.0, version="1"),
    }
    made = execute(tmp_path, flights, **models)
    asked, bias = ("2", 1.0) if pushes else ("1", 0.0)
    rows = pq.read_table(Path(made.uri, FILE))
    assert rows["probability"].to_pylist() == pytest.approx(tiny.expected(bias))
    assert set(rows["model_version"].to_pylist()) == {asked}
    assert made.get_string_custom_property("model_version") == asked
    assert made.get_string_custom_property("source_model_uri") == str(tmp_path / asked)
    assert made.get_int_custom_property("rows") == 4


def test_without_a_live_model_nothing_is_predicted_and_it_says_why(
    tmp_path: Path, flights: Path
) -> None:
    made = execute(tmp_path, flights)
    assert list(Path(made.uri).iterdir()) == []
    assert made.get_string_custom_property("reason") == "no model is live yet"


def test_the_driver_tells_a_file_that_was_written_again_and_one_that_is_not_there(
    flights: Path,
) -> None:
    def stamps(name: str) -> str:
        read = ReadSettings.of(DataConfig(path="data")).model_dump_json()
        info = ExecutionInfo(exec_properties={FILES: name, READ: read})
        output = Driver(None).run(info)  # type: ignore[arg-type]
        return str(output.exec_properties[STAMPS].string_value)

    before = stamps(str(flights))
    assert before == stamps(str(flights)) and before.startswith(f"{flights} ")
    flights.write_text(flights.read_text() + "UA,3.0\n")
    assert stamps(str(flights)) != before
    with pytest.raises(UserError, match="there is no such file"):
        stamps(f"{flights}.gone")


def test_the_node_is_defined_without_a_pusher() -> None:
    live = Channel(type=PushedModel)
    read = ReadSettings.of(DataConfig(path="data"))
    node = BatchPredict(["a.csv", "b.csv"], live_model=live, read=read)
    assert node.exec_properties[FILES] == "a.csv\nb.csv"
    assert list(node.inputs) == ["live_model"]
    assert node.outputs["predictions"].type is Predictions


def test_few_blocks_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    taken: list[int] = []

    def items() -> Any:
        for number in range(20):
            taken.append(number)
            yield number

    done = score._in_order(lambda number: -number, items())
    assert [next(done), next(done)] == [0, -1]
    assert len(taken) <= 6
    assert list(done) == [-number for number in range(2, 20)]
