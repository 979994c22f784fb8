"""Nodes whose artifacts lie on an object store."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler.compiler import Compiler
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto.orchestration import pipeline_pb2
from tfx.types.standard_artifacts import ExternalArtifact

from pipeline import node
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.node import NodeResult, State
from tests import object_stores
from tests.object_stores import BUCKET

ROOT = f"s3://{BUCKET}/toy"


class Words(TypedDict):
    words: str


@component
def Writer(out: OutputArtifact[ExternalArtifact], behaviour: Parameter[str] = "work") -> Words:
    """Writes local files, and may then fail."""
    folder = Path(out.uri)
    (folder / "deep").mkdir()
    (folder / "deep/file").write_text("written")
    out.set_string_custom_property("file", f"{out.uri}/deep/file")
    out.set_string_custom_property("files", json.dumps([f"{out.uri}/deep/file"]))
    if behaviour == "fail":
        raise UserError("row 3 is bad; mend it")
    return {"words": "said"}


@component
def Reader(given: InputArtifact[ExternalArtifact], out: OutputArtifact[ExternalArtifact]) -> None:
    """Reads local files, and names where they came from."""
    (Path(out.uri) / "copy").write_text((Path(given.uri) / "deep/file").read_text() + " and read")
    out.set_string_custom_property("source", given.uri)


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    with object_stores.reached(object_stores.s3):
        yield


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[metadata_store_pb2.ConnectionConfig]:
    yield sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    if storage.exists(ROOT):
        storage.remove_tree(ROOT)


def compiled(behaviour: str = "work", run_id: str = "one") -> pipeline_pb2.Pipeline:
    writer = Writer(behaviour=behaviour)
    reader = Reader(given=writer.outputs["out"])
    made = Compiler().compile(Pipeline("toy", ROOT, components=[writer, reader], enable_cache=True))
    return node.bind(made, run_id, {})


def run(
    connection: metadata_store_pb2.ConnectionConfig, *node_ids: str, ir: pipeline_pb2.Pipeline
) -> list[NodeResult]:
    return [node.run_node(ir, node_id, connection=connection) for node_id in node_ids]


def files() -> list[str]:
    """What lies below the root, TFX's own folders left out."""
    return sorted(
        entry.name
        for entry in storage.entries(ROOT)
        if not entry.is_folder and ".system" not in entry.name
    )


def artifacts(connection: metadata_store_pb2.ConnectionConfig) -> list[metadata_store_pb2.Artifact]:
    found = MetadataStore(connection).get_artifacts()
    return [a for a in found if a.state == metadata_store_pb2.Artifact.LIVE]


def test_executors_read_and_write_local_files_and_the_store_names_remote_ones(
    connection: metadata_store_pb2.ConnectionConfig,
):
    results = run(connection, "Writer", "Reader", ir=compiled())
    assert [r.state for r in results] == [State.COMPLETE, State.COMPLETE], results
    assert files() == ["Reader/out/2/copy", "Writer/out/1/deep/file", "Writer/words/1/value"]
    assert storage.read(f"{ROOT}/Reader/out/2/copy") == b"written and read"
    assert storage.read(f"{ROOT}/Writer/words/1/value") == b"said"
    uris = {artifact.uri for artifact in artifacts(connection)}
    assert uris == {f"{ROOT}/{n}" for n in ("Reader/out/2", "Writer/out/1", "Writer/words/1/value")}


def test_locations_in_properties_are_the_remote_ones(
    connection: metadata_store_pb2.ConnectionConfig,
):
    run(connection, "Writer", "Reader", ir=compiled())
    told = {
        key: value.string_value
        for artifact in artifacts(connection)
        for key, value in artifact.custom_properties.items()
    }
    assert told["source"] == f"{ROOT}/Writer/out/1"
    assert told["file"] == f"{ROOT}/Writer/out/1/deep/file"
    assert json.loads(told["files"]) == [f"{ROOT}/Writer/out/1/deep/file"]


def test_a_failed_node_leaves_no_file_and_its_error_is_what_is_told(
    connection: metadata_store_pb2.ConnectionConfig,
):
    (result,) = run(connection, "Writer", ir=compiled("fail"))
    assert (result.state, result.error) == (State.FAILED, "row 3 is bad; mend it")
    assert files() == []
    assert artifacts(connection) == []


def test_a_node_that_failed_is_done_by_another_try(
    connection: metadata_store_pb2.ConnectionConfig,
):
    run(connection, "Writer", ir=compiled("fail"))
    results = run(connection, "Writer", "Reader", ir=compiled())
    assert [r.state for r in results] == [State.COMPLETE, State.COMPLETE]
    assert "Writer/out/1/deep/file" in files()


def test_the_next_run_takes_them_from_the_cache(connection: metadata_store_pb2.ConnectionConfig):
    run(connection, "Writer", "Reader", ir=compiled())
    before = files()
    results = run(connection, "Writer", "Reader", ir=compiled(run_id="two"))
    assert [r.state for r in results] == [State.CACHED, State.CACHED]
    assert files() == before


def test_an_input_that_is_gone_is_said_in_words(connection: metadata_store_pb2.ConnectionConfig):
    ir = compiled()
    run(connection, "Writer", ir=ir)
    storage.remove_tree(f"{ROOT}/Writer/out/1")
    (result,) = run(connection, "Reader", ir=ir)
    assert result.state is State.FAILED
    assert not result.defect
    assert f"{ROOT}/Writer/out/1" in result.error


def test_no_copy_is_left_on_this_machine(
    connection: metadata_store_pb2.ConnectionConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    run(connection, "Writer", "Reader", ir=compiled())
    run(connection, "Writer", ir=compiled("fail", run_id="two"))
    assert list((tmp_path / "temporary").iterdir()) == []
