"""Which operators run a node's executor, in place of TFX's own: by the kind of its spec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2


def of(ir: pipeline_pb2.Pipeline) -> dict[Any, Any] | None:
    """Operator classes by the kind of executor that they run; TFX's own where nothing is said.

    `ir` has its runtime parameters bound: with a root on an object store, executors run on copies.
    """
    from tfx.proto.orchestration.executable_spec_pb2 import ContainerExecutableSpec

    from pipeline.cluster.containers import ContainerOperator
    from pipeline.files import filesystem, storage

    filesystem.register()
    operators: dict[Any, Any] = {ContainerExecutableSpec: ContainerOperator}
    if storage.is_remote(ir.runtime_spec.pipeline_root.field_value.string_value):
        from pipeline.files.staging import OPERATORS

        operators |= OPERATORS
    return operators
