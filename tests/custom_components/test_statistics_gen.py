"""StatisticsGen in this process, held to TFX's own executor on the same examples."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import json_format, text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx.components.statistics_gen import executor as tfx_executor
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import artifact_utils, channel_utils, standard_artifacts

from custom_components import statistics_gen
from custom_components.beam import runs_here
from custom_components.statistics_gen import StatisticsGen, compute
from pipeline.errors import UserError

BEAM_ARGS = ["--direct_running_mode=in_memory", "--sdk_container_image=unused"]
REMOTE = ("Flink", "Spark", "Portable", "Prism", "my.Own")
SCHEMA = text_format.Parse(
    """
    feature { name: "hour" type: INT int_domain { is_categorical: true } }
    feature { name: "carrier" type: BYTES }
    feature { name: "raw" type: BYTES image_domain {} }
    """,
    schema_pb2.Schema(),
)

Value = list[Any] | None


def rows(size: int, *, seed: int = 1) -> list[dict[str, Value]]:
    """Rows with a column of every kind; None is a feature without a value."""
    random = np.random.default_rng(seed)
    return [
        {
            "hour": [int(random.integers(0, 24))],
            "temp": [float(random.normal(50, 20))] if random.random() < 0.8 else None,
            "with_nan": [math.nan if i % 10 == 0 else i / 7],
            "carrier": [str(random.choice(["AA", "UA", "B6"])).encode()],
            "flight": [f"flight {random.integers(0, 2000)}".encode()],
            "raw": [b"\xff\xfe" if i % 3 else b"\xfd"],
            "empty": None,
            "Zürich ✈": [f"Ort {i % 5} ü".encode()],
            "many": [float(k) for k in range(i % 4)],
            **({"rare": [i]} if i % 97 == 0 else {}),
        }
        for i in range(size)
    ]


def serialized(row: dict[str, Value]) -> bytes:
    example = tf.train.Example()
    for name, values in row.items():
        feature = example.features.feature[name]
        for value in values or []:
            kind = {bytes: "bytes_list", float: "float_list", int: "int64_list"}[type(value)]
            getattr(feature, kind).value.append(value)
    return bytes(example.SerializeToString())


def write(file: Path, content: Iterable[dict[str, Value]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file), "GZIP" if file.suffix == ".gz" else "") as writer:
        for row in content:
            writer.write(serialized(row))
    return file


def make_examples(folder: Path, splits: Iterable[str] = ("train", "eval")) -> Any:
    examples = standard_artifacts.Examples()
    examples.uri = str(folder)
    examples.split_names = artifact_utils.encode_split_names(list(splits))
    examples.span = 7
    return examples


@dataclass
class Run:
    """What an executor wrote."""

    artifact: Any

    def __getitem__(self, split: str) -> statistics_pb2.DatasetFeatureStatisticsList:
        return tfdv.load_stats_binary(f"{self.artifact.uri}/Split-{split}/FeatureStats.pb")


def run(
    module: Any,
    examples: Any,
    out: Path,
    *,
    schema: Any = None,
    beam_args: Iterable[str] = (),
    **properties: Any,
) -> Run:
    statistics = standard_artifacts.ExampleStatistics()
    statistics.uri = str(out)
    context = module.Executor.Context([*BEAM_ARGS, *beam_args], tmp_dir=str(out), unique_id="1")
    inputs = {"examples": [examples]} | ({"schema": [schema]} if schema else {})
    properties = {"exclude_splits": "[]"} | properties
    module.Executor(context).Do(inputs, {"statistics": [statistics]}, properties)
    return Run(statistics)


def assert_close(found: Any, expected: Any, *, rel: float = 1e-12) -> None:
    """Messages are the same field for field, but for the rounding of sums of floats."""
    if isinstance(expected, statistics_pb2.DatasetFeatureStatisticsList):
        found, expected = json_format.MessageToDict(found), json_format.MessageToDict(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_close(found[key], expected[key], rel=rel)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other, rel=rel)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=rel)
    else:
        assert found == expected


def features(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
) -> dict[str, statistics_pb2.FeatureNameStatistics]:
    (dataset,) = statistics.datasets
    return {feature.path.step[0]: feature for feature in dataset.features}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two files of rows in one split, a file without rows in the other."""
    folder = tmp_path_factory.mktemp("examples")
    write(folder / "Split-train" / "a.gz", rows(600))
    write(folder / "Split-train" / "b.gz", rows(250, seed=2))
    write(folder / "Split-eval" / "a.gz", [])
    return make_examples(folder)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, examples: Any) -> tuple[Run, Run]:
    """What our executor and TFX's wrote."""
    folder = tmp_path_factory.mktemp("both")
    return (
        run(statistics_gen, examples, folder / "ours"),
        run(tfx_executor, examples, folder / "theirs"),
    )


def test_statistics_are_those_of_tfx_for_every_kind_of_column(both: tuple[Run, Run]) -> None:
    ours, theirs = both
    assert_close(ours["train"], theirs["train"])
    found = features(ours["train"])
    assert found.keys() == rows(1)[0].keys()
    assert found["raw"].string_stats.top_values[0].value == "__BYTES_VALUE__"
    assert found["empty"].string_stats.common_stats.num_missing == 850
    assert found["flight"].string_stats.unique > 500


def test_a_split_without_rows_has_empty_statistics_as_in_tfx(both: tuple[Run, Run]) -> None:
    ours, theirs = both
    assert ours["eval"] == theirs["eval"]
    assert ours["eval"].datasets[0].num_examples == 0


def test_the_artifact_is_described_as_by_tfx(both: tuple[Run, Run]) -> None:
    ours, theirs = (copy.deepcopy(made.artifact.mlmd_artifact) for made in both)
    theirs.uri = ours.uri
    assert ours == theirs


def test_tfx_readers_find_the_statistics(both: tuple[Run, Run]) -> None:
    ours, _ = both
    view = stats_artifact_utils.load_statistics(ours.artifact, "train")
    assert view.proto() == ours["train"]


def test_options_and_schema_count_as_in_tfx(tmp_path: Path, examples: Any) -> None:
    schema, out = standard_artifacts.Schema(), tmp_path.with_name("out")
    schema.uri = str(tmp_path)
    tfdv.write_schema_text(SCHEMA, str(tmp_path / "schema.pbtxt"))
    options = tfdv.StatsOptions(
        num_top_values=3, num_rank_histogram_buckets=50, num_histogram_buckets=4
    )
    properties = {"stats_options_json": options.to_json(), "exclude_splits": '["eval"]'}
    ours, theirs = (
        run(module, examples, out / name, schema=schema, **properties)
        for name, module in (("ours", statistics_gen), ("theirs", tfx_executor))
    )
    assert_close(ours["train"], theirs["train"])
    assert ours.artifact.split_names == theirs.artifact.split_names == '["train"]'
    assert len(features(ours["train"])["hour"].string_stats.top_values) == 3
    assert not (out / "ours" / "Split-eval").exists()


def test_counts_do_not_depend_on_the_batches(tmp_path: Path) -> None:
    file = str(write(tmp_path / "a", rows(700)))
    few, many = features(compute([file])), features(compute([file], batch_rows=16))
    for name, feature in few.items():
        for message in (feature, many[name]):
            for common in (message.num_stats.common_stats, message.string_stats.common_stats):
                common.ClearField("num_values_histogram")
            message.num_stats.ClearField("histograms")
            message.num_stats.ClearField("median")
        assert_close(*map(json_format.MessageToDict, (many[name], feature)), rel=1e-9)


def test_quantiles_are_within_epsilon_however_small_the_batches(tmp_path: Path) -> None:
    size, epsilon = 20_000, 0.01
    values = np.random.default_rng(3).normal(size=size).astype(np.float32)
    file = write(tmp_path / "a.gz", ({"x": [float(value)]} for value in values))
    for batch_rows in (100, 8192):
        found = features(compute([str(file)], batch_rows=batch_rows))["x"].num_stats
        standard, quantiles = found.histograms
        for decile, bucket in enumerate(quantiles.buckets, 1):
            assert (values <= bucket.high_value).mean() == pytest.approx(decile / 10, abs=epsilon)
        for bucket in standard.buckets:
            inside = ((values >= bucket.low_value) & (values < bucket.high_value)).sum()
            assert bucket.sample_count == pytest.approx(inside, abs=2 * epsilon * size)
        assert (values <= found.median).mean() == pytest.approx(0.5, abs=epsilon)


@pytest.mark.parametrize(
    "options",
    [
        {"sample_rate": 0.5},
        {"weight_feature": "hour"},
        {"label_feature": "hour"},
        {"enable_semantic_domain_stats": True},
        {"feature_allowlist": ["hour"]},
        {"experimental_result_partitions": 2},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_that_need_beam_go_to_tfx(
    options: dict[str, Any], examples: Any, tmp_path: Path, tfx_calls: list[Any]
) -> None:
    text = tfdv.StatsOptions(**options).to_json()
    run(statistics_gen, examples, tmp_path, stats_options_json=text)
    assert len(tfx_calls) == 1


def test_a_cluster_and_what_else_tfx_alone_can_do_go_to_tfx(
    examples: Any, tmp_path: Path, tfx_calls: list[Any]
) -> None:
    run(statistics_gen, examples, tmp_path, beam_args=["--runner=FlinkRunner"])
    run(statistics_gen, examples, tmp_path, sharded_stats_output=True)
    run(statistics_gen, examples, tmp_path, sample_rate_by_split='{"train": 0.1}')
    assert len(tfx_calls) == 3


@pytest.fixture
def tfx_calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of TFX's executor, which does nothing."""
    calls: list[Any] = []
    monkeypatch.setattr(tfx_executor.Executor, "Do", lambda *given: calls.append(given))
    return calls


def test_a_split_without_files_is_a_mistake_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"split 'train' has no files: run ExampleGen"):
        run(statistics_gen, make_examples(tmp_path, ["train"]), tmp_path / "out")


def test_excluding_every_split_is_refused(examples: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leaves none of the splits train, eval"):
        run(statistics_gen, examples, tmp_path, exclude_splits='["train", "eval"]')


def test_the_node_keeps_the_name_of_tfx() -> None:
    component = StatisticsGen(channel_utils.as_channel([standard_artifacts.Examples()]))
    assert component.id == "StatisticsGen"
    assert component.executor_spec.executor_class is statistics_gen.Executor


@pytest.mark.parametrize(
    ("arguments", "here"),
    [
        ([], True),
        (["--direct_running_mode=in_memory", "--direct_num_workers=1"], True),
        (["--runner=DirectRunner"], True),
        (["--runner", "directrunner"], True),
        (["--runner=apache_beam.runners.direct.direct_runner.DirectRunner"], True),
        (["--runner=FlinkRunner", "--runner=DirectRunner"], True),
        (["--project", "p", "--runner", "DataflowRunner"], False),
        *(([f"--runner={name}Runner"], False) for name in REMOTE),
    ],
)
def test_where_beam_runs_is_read_from_its_arguments(arguments: list[str], here: bool) -> None:
    assert runs_here(arguments) is here
