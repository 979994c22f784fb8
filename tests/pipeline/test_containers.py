"""Container components in a run: where they are run, what they get, and when they are cached."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from kubernetes import client
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler.compiler import Compiler
from tfx.dsl.component.experimental.annotations import OutputDict
from tfx.dsl.component.experimental.container_component import create_container_component
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.component.experimental.placeholders import InputValuePlaceholder
from tfx.orchestration.pipeline import Pipeline
from tfx.proto.orchestration import pipeline_pb2
from tfx.types.standard_artifacts import String

from pipeline import metadata, node
from pipeline.cluster import containers, pods
from pipeline.cluster.pods import Cluster
from pipeline.node import NodeResult, State
from pipeline.store import connect
from tests import object_stores
from tests.pipeline.kubernetes_server import NAMESPACE, NODE_POD, KubernetesServer

HELLO = "import sys; print('hello', sys.argv[1])"


@component
def Word() -> OutputDict(word=str):
    """Says a word."""
    return {"word": "world"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a cluster nor a container engine."""
    monkeypatch.setattr(containers, "_has_docker", lambda: False)
    monkeypatch.setattr(pods, "own_cluster", lambda: None)


def compile_with(
    root: Path | str, command: Sequence[str], image: str = "python:3.12-slim"
) -> pipeline_pb2.Pipeline:
    """Word → a container, which gets the word as its last argument."""
    word = Word()
    make = create_container_component(
        name="Print",
        image=image,
        command=[*command, InputValuePlaceholder("word")],
        inputs={"word": String},
    )
    nodes = [word, make(word=word.outputs["word"])]
    return Compiler().compile(Pipeline("words", str(root), components=nodes, enable_cache=True))


def run(folder: Path, ir: pipeline_pb2.Pipeline, run_id: str = "run-1") -> NodeResult:
    """Runs both nodes; how the container's ended."""
    store: metadata_store_pb2.ConnectionConfig = connect.connection_to(f"sqlite:///{folder}/m.db")
    metadata.create_tables(store)
    bound = node.bind(ir, run_id, {})
    assert node.run_node(bound, "Word", connection=store).state is not State.FAILED
    return node.run_node(bound, "Print", connection=store)


def test_without_an_engine_it_is_a_process_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert run(tmp_path, compile_with(tmp_path, ["python", "-c", HELLO])).state is State.COMPLETE
    assert "hello world" in caplog.messages
    expected = f"no container engine here: {sys.executable} runs in place of python:3.12-slim"
    assert expected in caplog.messages


def test_it_gets_its_token_and_no_other_secret_of_the_node(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("EXPORT_TOKEN", "t0ken")
    monkeypatch.setenv("PIPELINE_STORE_PASSWORD", "s3cret")
    program = "import os; print('names:', *sorted(os.environ))"
    assert run(tmp_path, compile_with(tmp_path, ["python", "-c", program])).state is State.COMPLETE
    (names,) = [message for message in caplog.messages if message.startswith("names:")]
    assert "EXPORT_TOKEN" in names
    assert "PIPELINE_STORE_PASSWORD" not in names


def test_with_a_root_in_a_bucket_it_gets_values_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with object_stores.reached(object_stores.s3):
        ir = compile_with(f"s3://{object_stores.BUCKET}/words", ["python", "-c", HELLO])
        assert run(tmp_path, ir).state is State.COMPLETE
    assert "hello world" in caplog.messages


def test_a_failure_is_told_in_its_own_words_and_is_no_defect(tmp_path: Path) -> None:
    program = "import sys; print('reading'); sys.exit('row 3 is bad')"
    result = run(tmp_path, compile_with(tmp_path, ["python", "-c", program]))
    assert (result.state, result.defect) == (State.FAILED, False)
    expected = "the container of python:3.12-slim ended with exit code 1: row 3 is bad"
    assert result.error == expected


def test_a_program_that_is_not_here_takes_a_container_engine(tmp_path: Path) -> None:
    result = run(tmp_path, compile_with(tmp_path, ["no-such-program"], image="busybox"))
    assert "busybox cannot be run: there is no container engine here" in result.error


def test_it_is_cached_until_the_program_or_the_image_changes(tmp_path: Path) -> None:
    command = ["python", "-c", HELLO]
    assert run(tmp_path, compile_with(tmp_path, command), "run-1").state is State.COMPLETE
    assert run(tmp_path, compile_with(tmp_path, command), "run-2").state is State.CACHED
    other = compile_with(tmp_path, command, image="python:3.13-slim")
    assert run(tmp_path, other, "run-3").state is State.COMPLETE
    changed = compile_with(tmp_path, ["python", "-c", f"{HELLO}; print(1)"])
    assert run(tmp_path, changed, "run-4").state is State.COMPLETE


def test_docker_gets_the_token_by_name_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    engine = tmp_path / "bin/docker"
    engine.parent.mkdir()
    engine.write_text('#!/bin/sh\necho "docker $*"\n')
    engine.chmod(0o755)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(engine.parent), prepend=":")
    monkeypatch.setenv("EXPORT_TOKEN", "t0ken")
    monkeypatch.setattr(pods, "own_cluster", lambda: None)
    assert run(tmp_path, compile_with(tmp_path, ["/bin/echo", "a"])).state is State.COMPLETE
    (line,) = [message for message in caplog.messages if message.startswith("docker run")]
    assert line.endswith("--env EXPORT_TOKEN --entrypoint /bin/echo python:3.12-slim a world")
    assert "t0ken" not in caplog.text


def test_in_a_cluster_it_is_a_pod_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(pods, "SECONDS_BETWEEN_LOOKS", 0.01)
    with KubernetesServer() as server:
        api = client.CoreV1Api(client.ApiClient(client.Configuration(host=server.url)))
        monkeypatch.setattr(pods, "own_cluster", lambda: Cluster(api, NAMESPACE, NODE_POD))
        result = run(tmp_path, compile_with(tmp_path, ["python", "-c", HELLO]))
    assert result.state is State.COMPLETE
    (pod,) = server.created
    assert pod["metadata"]["name"].startswith("words-print-")
    assert pod["spec"]["containers"][0]["command"] == ["python", "-c", HELLO, "world"]
    assert "hello" in caplog.messages
