"""Compiled pipelines on their way to another machine, as one argument of a program."""

from __future__ import annotations

import base64
import gzip
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tfx.proto.orchestration import pipeline_pb2

from pipeline.cluster import packed
from pipeline.config import PROJECT
from pipeline.errors import UserError
from tests.pipeline.toy import compile_toy

texts = st.text(st.characters(exclude_categories=["Cs"]))


def pipeline_with(*values: str) -> pipeline_pb2.Pipeline:
    """Texts in every kind of place: a field, a list, a map of messages, a message within others."""
    ir = pipeline_pb2.Pipeline()
    ir.pipeline_info.id = values[0]
    node = ir.nodes.add().pipeline_node
    node.upstream_nodes.extend(values)
    for number, value in enumerate(values):
        node.parameters.parameters[f"key {number}"].field_value.string_value = value
        channel = node.inputs.inputs[f"input {number}"].channels.add()
        channel.output_key = value
    return ir


@given(st.binary())
def test_any_content_comes_back(content: bytes) -> None:
    assert packed.unpack_text(packed.pack_text(content)) == content


@given(st.lists(texts, min_size=1, max_size=4))
def test_any_pipeline_comes_back(values: list[str]) -> None:
    ir = pipeline_with(*(value.replace(packed.MARK, "") for value in values))
    assert packed.unpack(packed.pack(ir)) == ir


@given(st.lists(texts, min_size=1, max_size=4))
def test_the_projects_folder_is_never_in_a_packed_pipeline(values: list[str]) -> None:
    ir = pipeline_with(*(f"{PROJECT}/{value}" for value in values))
    inside = packed.unpack_text(packed.pack(ir))
    assert str(PROJECT).encode() not in inside
    assert inside.count(packed.MARK.encode()) >= 3 * len(values) + 1


def test_a_pipeline_unpacked_in_another_folder_is_at_home_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = packed.pack(pipeline_with(f"{PROJECT}/data", "/data", "data"))
    monkeypatch.setattr(packed, "PROJECT", "/app")
    assert packed.unpack(text) == pipeline_with("/app/data", "/data", "data")


@given(st.one_of(st.text(), st.binary().map(lambda b: base64.b64encode(b).decode())))
def test_a_text_that_is_something_else_is_a_mistake_of_the_user(text: str) -> None:
    with pytest.raises(UserError, match="compile it anew"):
        packed.unpack_text(text)


@given(st.binary(min_size=1))
def test_a_packed_text_that_is_no_pipeline_never_ends_in_a_traceback(content: bytes) -> None:
    try:
        packed.unpack(packed.pack_text(content))
    except UserError as error:
        assert "compile it anew" in str(error)


@given(st.data())
def test_a_damaged_text_is_refused(data: st.DataObject) -> None:
    text = packed.pack_text(b"a pipeline, or so")
    at = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(UserError, match="damaged"):
        packed.unpack_text(text[:at])


def test_what_an_argument_cannot_hold_is_refused() -> None:
    with pytest.raises(UserError, match="one argument of a container holds 131,071 at most"):
        packed.pack_text(os.urandom(100_000))
    packed.pack_text(bytes(10_000_000))


def test_the_same_pipeline_gives_the_same_text(tmp_path) -> None:
    ir = compile_toy(str(tmp_path))
    again = pipeline_pb2.Pipeline.FromString(ir.SerializeToString())
    assert packed.pack(ir) == packed.pack(again)
    assert gzip.decompress(base64.b64decode(packed.pack(ir)))


def test_packing_changes_nothing_of_the_pipeline_itself() -> None:
    ir = pipeline_with(f"{PROJECT}/data")
    packed.pack(ir)
    assert ir == pipeline_with(f"{PROJECT}/data")
