"""What was learned from a span is learned once, and a graph may be taken over whole."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from absl import logging
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_transform.analyzers import QuantilesCombiner
from tfx.types import standard_artifacts

from custom_components.transform import cache, executor, graph
from custom_components.transform.accumulators import CounterCoder, coder_of
from custom_components.transform.rows import batches
from models import manifest
from tests.custom_components.test_transform import (
    OTHER,
    OWN,
    Artifacts,
    inputs,
    rows,
    run,
)

__all__ = ["inputs"]

KEPT = {"0000000001-ab": {b"key\xff": b"\x00\xfe", b"other": b""}}


@pytest.fixture(scope="module")
def own(inputs: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Both spans, analysed without a cache."""
    return run(executor.Executor, inputs, tmp_path_factory.mktemp("own"), OWN)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read to be analysed."""
    found: list[str] = []

    def noted(source: Any) -> Any:
        found.extend(source._file_pattern)
        return batches(source)

    monkeypatch.setattr(graph, "batches", noted)
    return found


def window(inputs: Artifacts, *spans: int, **more: list[Any]) -> Artifacts:
    return inputs | {"examples": [inputs["examples"][span] for span in spans]} | more


def files(outputs: Artifacts) -> dict[str, bytes]:
    return {
        file.name: file.read_bytes()
        for file in Path(outputs["updated_analyzer_cache"][0].uri).iterdir()
    }


def assert_the_same_to_the_bit(found: Artifacts, expected: Artifacts) -> None:
    assert files(found) == files(expected)
    for span in range(len(expected["transformed_examples"])):
        for split in ("train", "eval"):
            ours, theirs = rows(found, span, split), rows(expected, span, split)
            assert ours.keys() == theirs.keys()
            for name, values in theirs.items():
                assert values.tobytes() == ours[name].tobytes() or values.dtype == object
                np.testing.assert_array_equal(ours[name], values)


def test_only_new_spans_are_read_and_the_result_is_the_same_to_the_bit(
    inputs: Artifacts,
    own: Artifacts,
    read: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(logging, "info", lambda text, *given: told.append(text % given))
    known = own["updated_analyzer_cache"]
    later = window(inputs, 1, analyzer_cache=known)
    first = run(executor.Executor, later, tmp_path / "1", OWN)
    assert read == []
    assert "the analysis of spans 1 is from the cache" in told
    assert files(first) == {k: v for k, v in files(own).items() if k.startswith("0000000001-")}
    assert len(files(first)) == 1

    known = first["updated_analyzer_cache"]
    both = run(executor.Executor, inputs | {"analyzer_cache": known}, tmp_path / "2", OWN)
    assert {Path(file).parents[1].name for file in read} == {"examples-0"}
    assert_the_same_to_the_bit(both, own)
    assert both["updated_analyzer_cache"][0].get_int_custom_property("span") == 1


def test_analyzers_that_follow_one_another_take_from_a_cache_what_does_not_depend(
    inputs: Artifacts, read: list[str], tmp_path: Path
) -> None:
    fn = f"{OTHER}.combiners"
    first = run(executor.Executor, inputs, tmp_path / "1", fn)
    passes = len(read)
    read.clear()
    known = inputs | {"analyzer_cache": first["updated_analyzer_cache"]}
    again = run(executor.Executor, known, tmp_path / "2", fn)
    assert 0 < len(read) < passes
    assert_the_same_to_the_bit(again, first)


def test_a_graph_of_the_same_preprocessing_is_taken_over(
    inputs: Artifacts, own: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "analyze", None)
    base = window(
        inputs,
        0,
        base_transform_graph=own["transform_graph"],
        analyzer_cache=own["updated_analyzer_cache"],
    )
    outputs = run(executor.Executor, base, tmp_path, OWN)
    graphs = [Path(made["transform_graph"][0].uri) for made in (outputs, own)]
    assert manifest.fingerprint(graphs[0]) == manifest.fingerprint(graphs[1])
    for name, values in rows(own, 0, "eval").items():
        np.testing.assert_array_equal(rows(outputs, 0, "eval")[name], values)
    # What is known of its span goes on to those who will analyse again.
    assert files(outputs) == {k: v for k, v in files(own).items() if k.startswith("0000000000-")}


def test_a_graph_of_other_preprocessing_is_not_taken_over(
    inputs: Artifacts, tmp_path: Path
) -> None:
    def fingerprint(inputs: Artifacts = inputs, **other: str) -> str:
        properties = {"preprocessing_fn": OWN, "code_digest": "same", "custom_config": "{}"}
        return graph.Preprocessing.of(inputs, properties | other).fingerprint

    same = fingerprint()
    assert fingerprint() == same
    assert fingerprint(code_digest="other") != same
    assert fingerprint(custom_config='{"split_by": "date"}') != same
    assert fingerprint(code_digest="") != fingerprint(code_digest="")
    (file,) = Path(inputs["schema"][0].uri).iterdir()
    other = standard_artifacts.Schema()
    other.uri = str(tmp_path)
    (tmp_path / "schema.pbtxt").write_text(file.read_text().replace("FLOAT", "INT", 1))
    assert fingerprint(inputs | {"schema": [other]}) != same

    base = standard_artifacts.TransformGraph()
    base.uri = "/before"
    given = inputs | {graph.BASE_KEY: [base]}
    preprocessing = graph.Preprocessing.of(given, {"preprocessing_fn": OWN})
    assert preprocessing.base(given) is None
    base.set_string_custom_property(graph.FINGERPRINT, preprocessing.fingerprint)
    assert preprocessing.base(given) == "/before"


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    cache.write(f"{tmp_path}/new", KEPT, "same")
    assert cache.read(f"{tmp_path}/new", [*KEPT, "0000000002-cd"], "same") == KEPT


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-9],
        lambda content: content[:20] + bytes([content[20] ^ 1]) + content[21:],
        lambda content: b"",
        lambda content: b"no archive",
        lambda content: gzip.compress(b"[]"),
        lambda content: gzip.compress(b'{"fingerprint": "same"}'),
        lambda content: gzip.compress(b'{"fingerprint": "same", "accumulators": {"a": 1}}'),
        lambda content: gzip.compress(b'{"fingerprint": "older", "accumulators": {}}'),
    ],
)
def test_what_is_damaged_or_of_other_preprocessing_is_told_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    told: list[str] = []
    monkeypatch.setattr(logging, "warning", lambda text, *given: told.append(text % given))
    cache.write(str(tmp_path), KEPT, "same")
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert cache.read(str(tmp_path), KEPT, "same") == {}
    (warning,) = told
    assert file.name in warning
    assert "analysed anew" in warning


def test_the_name_of_a_data_set_is_of_its_rows_its_split_and_its_span(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"rows")

    def name(span: int, split: str) -> str:
        return cache.name_of(str(tmp_path), span=span, split=split)

    before = name(1, "train")
    assert before == name(1, "train")
    assert before < name(2, "train") < name(10, "train")
    assert name(1, "eval") != before
    (tmp_path / "a").write_bytes(b"others")
    assert name(1, "train") != before


@given(st.dictionaries(st.binary() | st.integers() | st.floats(allow_nan=False), st.integers(1)))
def test_counters_are_the_same_from_their_bytes(counts: dict[Any, int]) -> None:
    coder = CounterCoder()
    assert coder.decode_cache(coder.encode_cache(Counter(counts))) == Counter(counts)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1), st.integers(1, 5))
def test_sketches_are_the_same_from_their_bytes(values: list[float], parts: int) -> None:
    combiner = QuantilesCombiner(4, 0.01, np.float32)
    coder = coder_of(combiner)

    def merged(*, encoded: bool) -> Any:
        total = combiner.create_accumulator()
        for start in range(0, len(values), math.ceil(len(values) / parts)):
            part = values[start : start + math.ceil(len(values) / parts)]
            sketch = combiner.add_input(combiner.create_accumulator(), [pa.array(part).to_numpy()])
            sketch = combiner.compact(sketch)
            if encoded:
                sketch = coder.decode_cache(coder.encode_cache(sketch))
            total = combiner.merge_accumulators([total, sketch])
        return combiner.extract_output(total)[0].tolist()

    assert merged(encoded=True) == merged(encoded=False)
