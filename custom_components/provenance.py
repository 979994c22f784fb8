"""What an executor knows of the run that it belongs to."""

from __future__ import annotations

from collections.abc import Iterable

from tfx.dsl.components.base.base_executor import BaseExecutor

from pipeline import provenance


def of_executor(
    context: BaseExecutor.Context | None, *, spans: Iterable[int] = ()
) -> provenance.Provenance:
    """The provenance of what an executor makes from `spans`; `context` is its `_context`."""
    if context is None:
        return provenance.of_node(spans=spans)
    node, info = context.pipeline_node, context.pipeline_info
    return provenance.of_node(
        pipeline=info.id if info else None,
        run=context.pipeline_run_id,
        node=node.node_info.id if node else None,
        execution=int(context._unique_id) if context._unique_id else None,
        spans=spans,
    )
