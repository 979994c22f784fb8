"""Runs one node of a compiled pipeline against the metadata store: what every runner calls.

In a process of its own, such as a container's:
`python -m pipeline.node --ir-gzip TEXT --node-id ID --run-id RUN --store URL --span N`.
"""

from __future__ import annotations

import argparse
import enum
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models import threads
from pipeline import provenance
from pipeline.cluster import secrets
from pipeline.errors import UnreachableError, UserError
from pipeline.lazy import imports
from pipeline.parameters import span_parameter

if TYPE_CHECKING:
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2
    from tfx.proto.orchestration import pipeline_pb2


RESULT = "__execution_result__"
"""The custom property in which an execution has its cause of failure, as TFX calls it."""
_FAILED, REFUSED = 1, 3
"""Its codes, gRPC's: a refused node failed by what it was given, and would fail alike again."""
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class State(enum.StrEnum):
    """How a node ended."""

    COMPLETE = "complete"
    CACHED = "cached"
    RESUMED = "resumed"
    FAILED = "failed"


@dataclass(frozen=True)
class NodeResult:
    """What came of running a node.

    Attributes:
      node_id: the node.
      state: how it ended. RESUMED: an earlier attempt of this run had completed it.
      seconds: wall time.
      error: on failure, one or more sentences for a person; empty otherwise.
      defect: whether the failure is a defect (its traceback was printed), not a user's mistake.
      unreachable: whether it failed because a server could not be asked.
      executed: whether an executor ran in this process.
      started: when it started, in seconds since the epoch.
      cpu_seconds: processor time of the process and of the programs that it started.
      peak_bytes: the most memory that the process held at once; what it shares with the process
        that it was forked from counts as well.
    """

    node_id: str
    state: State
    seconds: float
    error: str = ""
    defect: bool = False
    unreachable: bool = False
    executed: bool = False
    started: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def refused(self) -> bool:
        """Whether it failed by what it was given, so that another try would fail alike."""
        return self.state is State.FAILED and not (self.defect or self.unreachable)


def run_node(
    ir: pipeline_pb2.Pipeline,
    node_id: str,
    *,
    connection: metadata_store_pb2.ConnectionConfig,
) -> NodeResult:
    """Drives, executes and publishes `node_id` of `ir`, whose runtime parameters are bound.

    Never raises for a node that fails: the store and the result say so. The state is the one that
    the store holds afterwards, since TFX's launcher ends quietly when inputs cannot be resolved.
    """
    from tfx.orchestration.local import runner_utils
    from tfx.orchestration.portable import launcher, partial_run_utils

    from pipeline import metadata, operators

    start, started, cpu_before = time.monotonic(), time.time(), _cpu_seconds()
    node = find(ir, node_id)
    deployment = runner_utils.extract_local_deployment_config(ir)
    error: Exception | None = None
    try:
        if node.execution_options.run.perform_snapshot:
            with metadata.handle(connection) as store:
                partial_run_utils.snapshot(store, ir)
        info = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=metadata.handle(connection),
            pipeline_info=ir.pipeline_info,
            pipeline_runtime_spec=ir.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
            custom_executor_operators=operators.of(ir),
        ).launch()
        with metadata.handle(connection) as store:
            (execution,) = store.store.get_executions_by_id([info.execution_id])
        state = _state(execution)
    except Exception as raised:
        error, state = raised, State.FAILED
        if not isinstance(raised, UserError):
            traceback.print_exc()
    message, executed = "", True
    if state is State.FAILED:
        message = _sentence(error, node)
        with suppress(UserError):  # The store may be what failed.
            refused = isinstance(error, UserError) and not isinstance(error, UnreachableError)
            _record_error(connection, node, message, REFUSED if refused else _FAILED)
    else:
        if execution.last_update_time_since_epoch < started * 1000:
            state = State.RESUMED
        executed = state is State.COMPLETE and node_id in deployment.executor_specs
    return NodeResult(
        node_id,
        state,
        time.monotonic() - start,
        error=message,
        defect=state is State.FAILED and not isinstance(error, UserError),
        unreachable=isinstance(error, UnreachableError),
        executed=executed,
        started=started,
        cpu_seconds=_cpu_seconds() - cpu_before,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT,
    )


def _cpu_seconds() -> float:
    return sum(os.times()[:4])


def preparation(ir: pipeline_pb2.Pipeline, node_id: str) -> Callable[[], None] | None:
    """What the node's executor can do before its turn, if it has a static method `prepare`."""
    prepare: Callable[[], None] | None = getattr(executor_class(ir, node_id), "prepare", None)
    return prepare


def executor_class(ir: pipeline_pb2.Pipeline, node_id: str) -> type | None:
    """The node's executor, imported; None where no Python class is one, as in a resolver."""
    from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2
    from tfx.utils import import_utils

    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    ir.deployment_config.Unpack(deployment)
    if node_id not in deployment.executor_specs:
        return None
    python, beam = (
        executable_spec_pb2.PythonClassExecutableSpec(),
        executable_spec_pb2.BeamExecutableSpec(),
    )
    spec = deployment.executor_specs[node_id]
    if spec.Unpack(beam):
        python = beam.python_executor_spec
    elif not spec.Unpack(python):
        return None
    executor: type = import_utils.import_class_by_path(python.class_path)
    return executor


def warm_up() -> None:
    """Imports what running any node takes, for a process that will fork the nodes from itself."""
    import tensorflow  # noqa: F401
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor  # noqa: F401

    _import_launcher()


def _import_launcher() -> None:
    """Imports what driving and publishing a node takes; TensorFlow is not among it."""
    from tfx.orchestration.local import runner_utils  # noqa: F401
    from tfx.orchestration.portable import launcher, partial_run_utils  # noqa: F401
    from tfx.types.standard_artifacts import Examples

    from pipeline import metadata  # noqa: F401
    from pipeline.files import filesystem, local_files

    filesystem.register()
    local_files.register()
    Examples()  # The first artifact to be made imports setuptools.


def find(ir: pipeline_pb2.Pipeline, node_id: str) -> pipeline_pb2.PipelineNode:
    """The node of `ir` with that id.

    Raises:
      UserError: there is none; the message names those there are.
    """
    nodes = {n.pipeline_node.node_info.id: n.pipeline_node for n in ir.nodes}
    if node_id not in nodes:
        raise UserError(f"there is no node {node_id!r}; the nodes are: {', '.join(nodes)}")
    return nodes[node_id]


def bind(
    ir: pipeline_pb2.Pipeline, run_id: str, parameters: Mapping[str, str]
) -> pipeline_pb2.Pipeline:
    """A copy of `ir` in which the run's id and every runtime parameter have their values."""
    from tfx.orchestration.portable import runtime_parameter_utils
    from tfx.proto.orchestration import pipeline_pb2

    bound = pipeline_pb2.Pipeline()
    bound.CopyFrom(ir)
    runtime_parameter_utils.substitute_runtime_parameter(
        bound, {"pipeline-run-id": run_id, **parameters}
    )
    return bound


def without_cache(ir: pipeline_pb2.Pipeline) -> pipeline_pb2.Pipeline:
    """A copy of `ir` of which no node is taken from the cache."""
    forced = type(ir)()
    forced.CopyFrom(ir)
    for entry in forced.nodes:
        entry.pipeline_node.execution_options.ClearField("caching_options")
    return forced


def _executions(
    store: metadata_store.MetadataStore, node: pipeline_pb2.PipelineNode
) -> list[metadata_store_pb2.Execution]:
    """The executions of `node` in its run, oldest first."""
    found: dict[int, metadata_store_pb2.Execution] | None = None
    for spec in node.contexts.contexts:
        context = store.get_context_by_type_and_name(
            spec.type.name, spec.name.field_value.string_value
        )
        if context is None:
            return []
        here = {e.id: e for e in store.get_executions_by_context(context.id)}
        found = here if found is None else {i: e for i, e in found.items() if i in here}
    return [execution for _, execution in sorted((found or {}).items())]


def recorded_state(
    connection: metadata_store_pb2.ConnectionConfig, node: pipeline_pb2.PipelineNode
) -> State | None:
    """The state that the store holds of `node`, whose run is bound; None where it never ran."""
    from pipeline import metadata

    with metadata.handle(connection) as store:
        executions = _executions(store.store, node)
    return _state(executions[-1]) if executions else None


def _state(execution: metadata_store_pb2.Execution) -> State:
    """RUNNING counts as failed: nobody is at work on it when this is asked."""
    from ml_metadata.proto import metadata_store_pb2

    return {
        metadata_store_pb2.Execution.COMPLETE: State.COMPLETE,
        metadata_store_pb2.Execution.CACHED: State.CACHED,
    }.get(execution.last_known_state, State.FAILED)


def _sentence(error: Exception | None, node: pipeline_pb2.PipelineNode) -> str:
    if error is None:
        inputs = sorted(key for key, spec in node.inputs.inputs.items() if spec.min_count)
        return (
            f"its inputs ({', '.join(inputs)}) are not in the metadata store: the nodes that make "
            "them have not completed in this run; run it with them, or --from an earlier node"
        )
    if isinstance(error, UserError):
        return str(error)
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line}"


def _record_error(
    connection: metadata_store_pb2.ConnectionConfig,
    node: pipeline_pb2.PipelineNode,
    message: str,
    code: int,
) -> None:
    """Leaves the cause where TFX's own tools look for it, for whoever asks the store later."""
    from tfx.orchestration.portable.mlmd import execution_lib
    from tfx.proto.orchestration import execution_result_pb2

    from pipeline import metadata

    with metadata.handle(connection) as store:
        executions = _executions(store.store, node)
        if executions:
            result = execution_result_pb2.ExecutionResult(code=code, result_message=message)
            execution_lib.set_execution_result(result, executions[-1])
            store.store.put_executions(executions[-1:])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every task that works on a compiled pipeline: which, in which run, where."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--ir", type=Path, metavar="FILE", help="compiled pipeline (binary proto)")
    source.add_argument("--ir-gzip", metavar="TEXT", help="compiled pipeline, as packed.pack does")
    parser.add_argument("--run-id", required=True, help="run that the task belongs to")
    parser.add_argument("--store", required=True, metavar="URL", help="the metadata store")
    parser.add_argument("--span", type=int, metavar="N", help="span that the run ingests")
    parser.add_argument("--note", default="", metavar="TEXT", help="words to keep with the run")
    parser.add_argument(
        "--force", type=_truth, default=False, metavar="BOOL", help="true: take nothing from cache"
    )


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def given_pipeline(arguments: argparse.Namespace) -> pipeline_pb2.Pipeline:
    """The compiled pipeline that the arguments name; its runtime parameters are not bound.

    Raises:
      UserError: there is none.
    """
    from tfx.proto.orchestration import pipeline_pb2

    from pipeline.cluster import packed

    if arguments.ir_gzip is not None:
        ir = packed.unpack(arguments.ir_gzip)
    else:
        try:
            ir = pipeline_pb2.Pipeline.FromString(arguments.ir.read_bytes())
        except OSError as error:
            raise UserError(f"{arguments.ir}: cannot be read: {error.strerror}") from None
    return without_cache(ir) if arguments.force else ir


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the node that the command line names; 0 if it is complete or cached, else 1."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.node", description=__doc__)
    parser.add_argument("--node-id", required=True, help="node to run")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    sys.argv = sys.argv[:1]  # TFX hands the rest to Abseil's flags.
    threads.yielding()
    provenance.share(note=arguments.note)
    try:
        secrets.load()
        with imports():
            _import_launcher()
            ir = given_pipeline(arguments)
            with suppress(Exception):  # What fails here fails again where it is recorded.
                executor_class(ir, arguments.node_id)
        from pipeline.store import connect

        parameters = {} if arguments.span is None else span_parameter(arguments.span)
        result = run_node(
            bind(ir, arguments.run_id, parameters),
            arguments.node_id,
            connection=connect.connection_to(arguments.store),
        )
    except UserError as error:
        print(f"pipeline.node: {error}", file=sys.stderr)
        return 2
    print(f"{result.node_id}: {result.state} after {result.seconds:.1f} s {result.error}".strip())
    return 0 if result.state is not State.FAILED else 1


if __name__ == "__main__":
    sys.exit(main())
