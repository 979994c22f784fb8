"""What ingest gives: rows, types, splits, and an artifact that TFX reads."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tfx.components.example_gen import base_example_gen_executor
from tfx.components.util import tfxio_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx_bsl.tfxio import dataset_options

from custom_components.example_gen import Table
from custom_components.example_gen.encode import encode
from tests.custom_components.ingest import FLOAT, INT, STRING, csv_file, days, ingest, row


def test_rows_come_back_with_their_types_and_the_artifact_counts_them(tmp_path: Path) -> None:
    csv_file(tmp_path / "data", days(30))
    ingested = ingest(tmp_path / "data", tmp_path / "out", split_by="day")
    rows = sorted(ingested.rows, key=lambda r: r["temp"])
    assert rows == [
        {"day": f"d{day}", "temp": day + 0.5, "hour": day % 24, "late": day % 2}
        for day in range(30)
    ]
    assert [type(value) for value in rows[0].values()].count(float) == 1
    assert ingested.count("rows_train") == len(ingested.train) > 0
    assert ingested.count("rows_eval") == len(ingested.eval) > 0
    assert ingested.count("rows_dropped") == 0


def test_missing_values_are_features_without_a_value(tmp_path: Path) -> None:
    csv_file(tmp_path / "data", [*days(), ',"",NA,1', "a,NaN,,0", "b, 1.5 ,7.0,1"])
    rows = ingest(tmp_path / "data", tmp_path / "out").rows
    for expected in (
        {"day": None, "temp": None, "hour": None, "late": 1},
        {"day": "a", "temp": None, "hour": None, "late": 0},
        {"day": "b", "temp": 1.5, "hour": 7, "late": 1},
    ):
        assert expected in rows


def test_integers_written_as_floats_are_integers_and_large_ones_stay_exact(tmp_path: Path) -> None:
    csv_file(tmp_path / "data", [*days(), "a,1,3.0,1", f"b,1,{2**53 + 1},1"])
    hours = {r["day"]: r["hour"] for r in ingest(tmp_path / "data", tmp_path / "out").rows}
    assert (hours["a"], hours["b"]) == (3, 2**53 + 1)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("zipped", [False, True])
def test_any_delimiter_quotes_and_line_breaks_in_values(
    tmp_path: Path, delimiter: str, zipped: bool
) -> None:
    values = [f"a{delimiter}b", 'say "so"', "two\nlines", "ünï", " spaces "]
    lines = [delimiter.join(["day", "temp", "hour", "late"])]
    for at, value in enumerate(values * 4):
        quoted = '"' + value.replace('"', '""') + '"'
        lines.append(delimiter.join([quoted, str(at), "2", "0"]))
    file = csv_file(tmp_path / "data", lines, "plain")
    if zipped:
        (tmp_path / "data" / "a.csv.gz").write_bytes(gzip.compress(file.read_bytes()))
    else:
        (tmp_path / "data" / "a.csv").write_bytes(file.read_bytes())
    csv = {"delimiter": delimiter}
    rows = ingest(tmp_path / "data", tmp_path / "out", pattern="a.*", csv=csv).rows
    assert sorted(r["day"] for r in rows) == sorted(values * 4)


def test_the_mark_that_excel_puts_before_utf_8_is_no_part_of_a_name(tmp_path: Path) -> None:
    csv_file(tmp_path / "data", days(), encoding="utf-8-sig")
    assert len(ingest(tmp_path / "data", tmp_path / "out").rows) == 30


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig", "shift_jis"])
def test_encodings_that_python_knows(tmp_path: Path, encoding: str) -> None:
    name = "日本" if encoding == "shift_jis" else "Zürich"
    lines = [days(0)[0], *(f"{name}{day},1.5,2,0" for day in range(20))]
    csv_file(tmp_path / "data", lines, encoding=encoding)
    rows = ingest(tmp_path / "data", tmp_path / "out", csv={"encoding": encoding}).rows
    assert sorted(r["day"] for r in rows) == sorted(f"{name}{day}" for day in range(20))


def test_parquet_types_are_brought_to_the_table_s(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    count = 40
    columns = {
        "day": pa.array([f"2013-01-{1 + n % 28:02}" for n in range(count)]).cast(pa.date32()),
        "temp": pa.array([None, float("nan"), 2, 3] * 10, pa.float64()),
        "hour": pa.array([1.0, None, 3.0, 4.0] * 10).cast(pa.float32()),
        "late": pa.array([True, False] * 20),
        "city": pa.array(["", None, "a", "b"] * 10).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "data" / "a.parquet")
    kinds = {"day": STRING, "temp": FLOAT, "hour": INT, "late": INT, "city": STRING}
    table = Table(columns=kinds, label="late")
    rows = ingest(tmp_path / "data", tmp_path / "out", table=table, split_by="day").rows
    assert {(r["temp"], r["hour"], r["late"], r["city"]) for r in rows} == {
        (None, 1, 1, None), (None, None, 0, None), (2.0, 3, 1, "a"), (3.0, 4, 0, "b")
    }  # fmt: skip
    assert {r["day"] for r in rows} == {f"2013-01-{day:02}" for day in range(1, 29)}


def test_columns_that_the_table_does_not_name_are_not_ingested(tmp_path: Path) -> None:
    lines = [f"{line},{'secret' if at else 'extra'}" for at, line in enumerate(days())]
    csv_file(tmp_path / "data", lines)
    rows = ingest(tmp_path / "data", tmp_path / "out").rows
    assert all(set(r) == {"day", "temp", "hour", "late"} for r in rows)


def test_all_files_of_a_span_are_read_and_markers_are_not(tmp_path: Path) -> None:
    csv_file(tmp_path / "data", days(10), "a.csv")
    csv_file(tmp_path / "data", [days()[0], *days(30)[11:]], "b.csv")
    for marker in ("_SUCCESS", ".hidden"):
        (tmp_path / "data" / marker).touch()
    (tmp_path / "data" / "folder").mkdir()
    rows = ingest(tmp_path / "data", tmp_path / "out").rows
    assert sorted(r["day"] for r in rows) == sorted(f"d{day}" for day in range(30))


def test_the_split_is_the_one_that_tfx_makes_by_a_partition_feature(tmp_path: Path) -> None:
    csv_file(tmp_path / "data", days(60))
    ingested = ingest(
        tmp_path / "data", tmp_path / "out", split_by="day", train_buckets=3, eval_buckets=2
    )
    config = example_gen_pb2.SplitConfig(partition_feature_name="day")
    for at, rows in enumerate((ingested.train, ingested.eval)):
        for r in rows:
            example = tf.train.Example()
            example.features.feature["day"].bytes_list.value.append(r["day"].encode())
            assert base_example_gen_executor._PartitionFn(example, 2, [3, 5], config) == at


def test_without_split_by_each_row_is_split_by_its_content(tmp_path: Path) -> None:
    lines = days(200)
    csv_file(tmp_path / "one", lines)
    csv_file(tmp_path / "two", [lines[0], *reversed(lines[1:])])
    one = ingest(tmp_path / "one", tmp_path / "out1")
    two = ingest(tmp_path / "two", tmp_path / "out2")
    assert len(one.train) / 200 == pytest.approx(2 / 3, abs=0.1)
    assert one.train == list(reversed(two.train))


def test_equal_input_gives_equal_records(tmp_path: Path) -> None:
    csv_file(tmp_path / "data", days())
    for out in ("one", "two"):
        ingest(tmp_path / "data", tmp_path / out)
    name = "Split-train/data_tfrecord-00000-of-00001.gz"
    one, two = (gzip.decompress((tmp_path / out / name).read_bytes()) for out in ("one", "two"))
    assert one == two


def test_a_tfx_component_reads_the_artifact(tmp_path: Path) -> None:
    csv_file(tmp_path / "data", ["day,temp,hour,late", *(f"d{n},,{n % 24},1" for n in range(30))])
    ingested = ingest(tmp_path / "data", tmp_path / "out")
    artifact = ingested.artifact
    assert artifact_utils.decode_split_names(artifact.split_names) == ["train", "eval"]
    factory = tfxio_utils.get_tfxio_factory_from_artifact([artifact], ["test"])
    files = [f"{artifact_utils.get_split_uri([artifact], 'train')}/*"]
    options = dataset_options.RecordBatchesOptions(batch_size=100, shuffle=False, num_epochs=1)
    (batch,) = factory(files).RecordBatches(options)
    columns = batch.to_pydict()
    assert columns["hour"] == [[r["hour"]] for r in ingested.train]
    assert columns["day"] == [[r["day"].encode()] for r in ingested.train]
    assert columns.get("temp", [None] * len(ingested.train)) == [None] * len(ingested.train)


def test_rows_that_do_not_fit_are_dropped_only_when_asked_and_kept_aside(tmp_path: Path) -> None:
    lines = days(50)
    lines[7] = "d6,warm,6,0"
    lines[9] = "d8,8.5,8"
    lines[30] = "d29,29.5,5,2"
    csv_file(tmp_path / "data", lines)
    ingested = ingest(tmp_path / "data", tmp_path / "out", on_bad_row="drop", max_bad_fraction=0.1)
    assert ingested.count("rows_dropped") == 3
    assert {r["day"] for r in ingested.rows} == {f"d{n}" for n in range(50)} - {"d6", "d8", "d29"}
    kept = [json.loads(line) for line in (tmp_path / "out/bad_rows/rows.jsonl").open()]
    assert [(b["row"], b["column"], b["value"]) for b in kept] == [
        (8, "temp", "warm"),
        (10, None, "d8,8.5,8"),
        (31, "late", "2"),
    ]
    assert kept[0]["record"] == {"day": "d6", "temp": "warm", "hour": "6", "late": "0"}


def test_rows_keep_their_numbers_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.csv_file.BLOCK_BYTES", 64)
    lines = days(300)
    wrong = {20: "short", 21: "short", 22: "d,x,0,0", 150: "d,1,1.5,0", 151: "a,b,c,d,e", 290: "s"}
    for number, line in wrong.items():
        lines[number - 1] = line
    lines.insert(100, "")
    csv_file(tmp_path / "data", lines)
    ingest(tmp_path / "data", tmp_path / "out", on_bad_row="drop", max_bad_fraction=0.5)
    kept = [json.loads(line) for line in (tmp_path / "out/bad_rows/rows.jsonl").open()]
    assert [bad["row"] for bad in kept] == list(wrong)


def test_examples_are_what_protocol_buffers_read(tmp_path: Path) -> None:
    long = b"x" * 300
    batch = pa.RecordBatch.from_pydict(
        {
            "s": pa.array([b"a", None, long], pa.binary()),
            "i": pa.array([-1, 2**62, None], pa.int64()),
            "f": pa.array([None, 0.5, -1e30], pa.float32()),
        }
    )
    rows = [row(tf.train.Example.FromString(r)) for r in encode(batch).to_pylist()]
    assert rows[0] == {"f": None, "i": -1, "s": "a"}
    assert rows[1] == {"f": 0.5, "i": 2**62, "s": None}
    assert rows[2] == {"f": pytest.approx(-1e30), "i": None, "s": long.decode()}
