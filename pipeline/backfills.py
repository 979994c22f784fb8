"""Which earlier spans of its window a run has to ingest: not those that the store has as they are.

A backfill of such a span would find all it does in the cache, or fail as it did before. To find
that out node by node takes a second for each span, and a window may have a hundred.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.orchestration import data_types_utils
from tfx.orchestration.local import runner_utils
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.portable import cache_utils, data_types, inputs_utils, outputs_utils
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.utils import import_utils

from custom_components.resolvers import newest_by_span, passed_by_span, passed_statistics
from pipeline import metadata, node
from pipeline.files import filesystem
from pipeline.parameters import span_parameter

_EXAMPLE_GEN, _STATISTICS_GEN = "ExampleGen", "StatisticsGen"

_Artifacts = dict[str, list[Artifact]]


@dataclass(frozen=True)
class Backfills:
    """What becomes of the earlier spans of a window."""

    due: tuple[int, ...]
    """To be ingested."""
    refused: tuple[str, ...]
    """What is to be said of those that were refused as they are now, and are not tried again."""


def left_out(span: int, node_id: str, error: str) -> str:
    """What to say of an earlier span that a node refused."""
    return f"Span {span} is refused as it is now; the run goes on without it. {node_id}: {error}"


def needed(
    connection: pb.ConnectionConfig, ir: pipeline_pb2.Pipeline, spans: Sequence[int], *, gate: str
) -> Backfills:
    """Asks the store about spans, whose files, settings and code are as they are now.

    From the first on that it does not know all are due, as each is compared with the one before.

    Args:
      connection: to the store.
      ir: the pipeline, whose runtime parameters are not bound.
      spans: the earlier spans of the window, the oldest first.
      gate: the node with which a backfill ends.
    """
    if not spans or not _is_cached(ir, gate):
        return Backfills(tuple(spans), ())
    filesystem.register()
    refused: list[str] = []
    with metadata.handle(connection) as handle:
        past = _Past(handle, ir, gate)
        for place, span in enumerate(spans):
            said = past.said_of(span)
            if said is None:
                return Backfills(tuple(spans[place:]), tuple(refused))
            refused += [said] if said else []
    return Backfills((), tuple(refused))


def _is_cached(ir: pipeline_pb2.Pipeline, gate: str) -> bool:
    return bool(node.find(ir, gate).execution_options.caching_options.enable_cache)


class _Past:
    """What earlier runs have left of the nodes up to the gate."""

    def __init__(self, handle: Metadata, ir: pipeline_pb2.Pipeline, gate: str) -> None:
        self._handle, self._ir = handle, ir
        self._deployment = runner_utils.extract_local_deployment_config(ir)
        self._path = _up_to(ir, gate)
        store, kind = handle.store, node.find(ir, gate).node_info.type.name
        passed = passed_statistics(store, kind)
        statistics = [one for one in self._ever_made(_STATISTICS_GEN) if one.id in passed]
        self._statistics = newest_by_span(store, statistics)
        self._examples = passed_by_span(store, self._ever_made(_EXAMPLE_GEN), kind)

    def said_of(self, span: int) -> str | None:
        """That the span was refused; nothing where it passed, None where neither is known."""
        ir = node.bind(self._ir, "", span_parameter(span))
        made: dict[str, _Artifacts] = {}
        for node_id in self._path:
            here = node.find(ir, node_id)
            if node_id not in self._deployment.executor_specs:  # The resolver of the span before.
                earlier = [one for one in self._statistics if one < span]
                made[node_id] = {"history": [self._statistics[max(earlier)]] if earlier else []}
                continue
            inputs = {
                key: [
                    artifact
                    for channel in spec.channels
                    for artifact in made[channel.producer_node_query.id][channel.output_key]
                ]
                for key, spec in here.inputs.inputs.items()
            }
            context = self._asked(here, inputs)
            outputs = cache_utils.get_cached_outputs(self._handle, cache_context=context)
            if outputs is None:
                return self._refusal(span, node_id, context)
            made[node_id] = outputs
        # If other files came in between, the window has those until these are put out again.
        newest, ingested = self._examples.get(span), made.get(_EXAMPLE_GEN, {}).get("examples", [])
        return "" if newest and [newest.id] == [one.id for one in ingested] else None

    def _asked(self, here: pipeline_pb2.PipelineNode, inputs: _Artifacts) -> pb.Context:
        """The context of the executions of a node that were asked the same, as its launcher has it.

        Like the launcher it makes the context where there is none.
        """
        node_id = here.node_info.id
        parameters = data_types_utils.build_parsed_value_dict(
            inputs_utils.resolve_parameters_with_schema(node_parameters=here.parameters)
        )
        outputs = outputs_utils.generate_output_artifacts(
            execution_id=0, outputs=here.outputs.outputs, node_dir=""
        )
        if driver := runner_utils.extract_custom_driver_spec(self._deployment, node_id):
            information = data_types.ExecutionInfo(output_dict=outputs, exec_properties=parameters)
            driven = import_utils.import_class_by_path(driver.class_path)(self._handle).run(
                information
            )
            for key, artifacts in driven.output_artifacts.items():
                for output, artifact in zip(outputs[key], artifacts.artifacts, strict=True):
                    output.set_mlmd_artifact(artifact)
            for key, value in driven.exec_properties.items():
                parameters[key] = getattr(value, value.WhichOneof("value"))
        return cache_utils.get_cache_context(
            self._handle,
            pipeline_node=here,
            pipeline_info=self._ir.pipeline_info,
            executor_spec=runner_utils.extract_executor_spec(self._deployment, node_id),
            input_artifacts=inputs,
            output_artifacts=outputs,
            parameters=parameters,
        )

    def _refusal(self, span: int, node_id: str, context: pb.Context) -> str | None:
        executions = self._handle.store.get_executions_by_context(context.id)
        newest = max(executions, key=lambda execution: execution.id, default=None)
        if newest is None or newest.last_known_state != pb.Execution.FAILED:
            return None
        result = json.loads(newest.custom_properties[node.RESULT].string_value or "{}")
        if result.get("code") != node.REFUSED:
            return None
        return left_out(span, node_id, result.get("resultMessage", ""))

    def _ever_made(self, node_id: str) -> list[Artifact]:
        """What a node put out in any run of this pipeline, and was not deleted."""
        store = self._handle.store
        name = f"{self._ir.pipeline_info.id}.{node_id}"
        context = store.get_context_by_type_and_name("node", name)
        if context is None:
            return []
        executions = [one.id for one in store.get_executions_by_context(context.id)]
        events = store.get_events_by_execution_ids(executions)
        ids = {event.artifact_id for event in events if event.type == pb.Event.OUTPUT}
        artifacts = store.get_artifacts_by_id(list(ids))
        live = [artifact for artifact in artifacts if artifact.state == pb.Artifact.LIVE]
        kinds = store.get_artifact_types_by_id([artifact.type_id for artifact in live])
        of = {kind.id: kind for kind in kinds}
        return [artifact_utils.deserialize_artifact(of[a.type_id], a) for a in live]


def _up_to(ir: pipeline_pb2.Pipeline, gate: str) -> list[str]:
    """The nodes from which there is a way to the gate, and the gate, in the order of the graph."""
    nodes = [entry.pipeline_node for entry in ir.nodes]
    wanted = {gate}
    for one in reversed(nodes):
        if one.node_info.id in wanted:
            wanted.update(one.upstream_nodes)
    return [one.node_info.id for one in nodes if one.node_info.id in wanted]
