"""Runs executors on copies of what lies on object stores, since they read and write local files.

Inputs are copied to a folder of this machine (below TMPDIR, which has to have the room), and
outputs from there once the executor is done: one that fails leaves nothing behind. The metadata
store knows the originals' places only. Beam pipelines of a remote runner are left alone: their
workers are elsewhere, and read by themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attr
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import placeholder_utils
from tfx.orchestration.portable import outputs_utils
from tfx.orchestration.portable.beam_executor_operator import BeamExecutorOperator
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.orchestration.portable.python_executor_operator import PythonExecutorOperator
from tfx.proto.orchestration.execution_result_pb2 import ExecutorOutput
from tfx.types.artifact import Artifact

from custom_components.beam import runs_here
from pipeline.files import storage

Artifacts = dict[str, list[Artifact]]


class StagedPythonOperator(PythonExecutorOperator):
    """TFX's operator of Python executors, on copies."""

    def run_executor(self, execution_info: ExecutionInfo) -> ExecutorOutput:
        """Runs the executor."""
        return staged(super().run_executor, execution_info)


class StagedBeamOperator(BeamExecutorOperator):
    """TFX's operator of Beam executors, on copies where the Beam pipeline runs in this process."""

    def run_executor(
        self,
        execution_info: ExecutionInfo,
        make_beam_pipeline_fn: Callable[[], Any] | None = None,
    ) -> ExecutorOutput:
        """Runs the executor."""

        def run(info: ExecutionInfo) -> ExecutorOutput:
            return super(StagedBeamOperator, self).run_executor(info, make_beam_pipeline_fn)

        context = placeholder_utils.ResolutionContext(
            exec_info=execution_info,
            executor_spec=self._executor_spec,
            platform_config=self._platform_config,
        )
        arguments = [
            placeholder_utils.resolve_placeholder_expression(argument, context)
            for argument in self.beam_pipeline_args
        ]
        return staged(run, execution_info) if runs_here(arguments) else run(execution_info)


OPERATORS = {
    kind: operator
    for operator in (StagedPythonOperator, StagedBeamOperator)
    for kind in operator.SUPPORTED_EXECUTOR_SPEC_TYPE
}
"""The operators by the kind of executor, as TFX's launcher takes them."""


def staged(run: Callable[[ExecutionInfo], ExecutorOutput], info: ExecutionInfo) -> ExecutorOutput:
    """What `run` gives on copies of the artifacts of `info`, told of the originals."""
    with storage.Copies() as copies:
        inputs, outputs = _placed(info.input_dict, copies), _placed(info.output_dict, copies)
        for artifact in _all(info.input_dict):
            copies.of(artifact.uri)
        outputs_utils.make_output_dirs(outputs)
        folders = {name: copies.place(getattr(info, name)) for name in _FOLDERS}
        for folder in folders.values():
            Path(folder).mkdir(parents=True, exist_ok=True)
        output_uri = copies.place(info.execution_output_uri)
        Path(output_uri).parent.mkdir(parents=True, exist_ok=True)
        result = run(
            attr.evolve(
                info,
                input_dict=inputs,
                output_dict=outputs,
                execution_output_uri=output_uri,
                **folders,
            )
        )
        told = [a for found in result.output_artifacts.values() for a in found.artifacts]
        if result.execution_result.code == 0:
            made = {*(a.uri for a in _all(outputs)), *(artifact.uri for artifact in told)}
            for uri in sorted(made):
                if (home := storage.original(uri)) != uri and Path(uri).exists():
                    storage.upload(Path(uri), home)
        for artifact in told:
            _tell_of_originals(artifact)
        return result


_FOLDERS = ("stateful_working_dir", "tmp_dir")


def _placed(artifacts: Artifacts, copies: storage.Copies) -> Artifacts:
    """The same artifacts, where their copies are."""
    placed = copy.deepcopy(artifacts)
    for artifact in _all(placed):
        artifact.uri = copies.place(artifact.uri)
    return placed


def _all(artifacts: Artifacts) -> Iterator[Artifact]:
    return (artifact for found in artifacts.values() for artifact in found)


def _tell_of_originals(artifact: metadata_store_pb2.Artifact) -> None:
    """Puts the originals' places in the place of the copies', wherever the artifact names one."""
    artifact.uri = storage.original(artifact.uri)
    values: Iterable[metadata_store_pb2.Value] = (
        *artifact.properties.values(),
        *artifact.custom_properties.values(),
    )
    for value in values:
        if value.HasField("string_value"):
            value.string_value = storage.original(value.string_value)
