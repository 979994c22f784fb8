"""Carries out one run: which spans it ingests first, which nodes it runs, where it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.portable import partial_run_utils
from tfx.proto.orchestration import pipeline_pb2

from custom_components.example_gen.spans import available_spans
from pipeline import backfills, metadata, node, runs
from pipeline.compiler import compile_pipeline
from pipeline.config import PipelineConfig
from pipeline.data_config import ONLY_SPAN, DataConfig
from pipeline.errors import UserError
from pipeline.node import NodeResult, State
from pipeline.parameters import of_span, span_parameter
from pipeline.store import record, roots

GATE = "DataGate"
"""A backfill ends here: the span is in the store, checked, for later runs to learn from."""


Run = Callable[[pipeline_pb2.Pipeline, Callable[[str], Path]], list[NodeResult]]
"""Runs the nodes of a compiled pipeline that are not marked to be skipped; gives their results.

The second argument gives each node's log file.
"""


@dataclass(frozen=True)
class Part:
    """One pass over the graph: a backfill of an earlier span, or the run itself.

    Attributes:
      run_id: its id in the metadata store.
      span: the span that it ingests.
      results: what came of its nodes; empty before it ran.
    """

    run_id: str
    span: int
    results: tuple[NodeResult, ...] = ()

    @property
    def failed(self) -> NodeResult | None:
        """The node that failed, if one did."""
        return next((r for r in self.results if r.state is State.FAILED), None)


class Launch:
    """One run of a pipeline, with the backfills that it needs.

    A run ingests one span and trains on a window of them. The spans of the window that come before
    are ingested first, each in a run of its own that ends at the data gate, but for those that the
    store has as they are: `parts` are the others and the run itself. What is refused the window
    leaves out; `refused` says so of what was refused before.
    """

    def __init__(
        self,
        config: PipelineConfig,
        *,
        run: runs.Run,
        connection: metadata_store_pb2.ConnectionConfig,
        from_nodes: Sequence[str] = (),
        to_nodes: Sequence[str] = (),
    ) -> None:
        """Compiles the pipeline of `config` and finds the spans.

        With `from_nodes` or `to_nodes` only the nodes between them run; what comes before is taken
        from the newest run that has it.

        Raises:
          UserError: a node or a span is not there, or `run` was begun with another definition of
            what it has completed, or on another span.
        """
        self._run = run
        self._connection = connection
        self._config = config = self._on_its_span(config)
        self._ir = compile_pipeline(config)
        for node_id in (*from_nodes, *to_nodes):
            node.find(self._ir, node_id)
        self._from_nodes, self._to_nodes = from_nodes, to_nodes
        metadata.register_types(connection, self._ir)
        with metadata.handle(connection) as store:
            roots.check(config, store.store)
        window = spans_of(config)
        self._earlier = [] if from_nodes else window[:-1]
        found = backfills.needed(connection, self._ir, self._earlier, gate=GATE)
        self.refused = found.refused
        self.parts = [Part(backfill_id(run.id, span), span) for span in found.due]
        self.parts.append(Part(run.id, window[-1]))
        self._check_unchanged()

    def _on_its_span(self, config: PipelineConfig) -> PipelineConfig:
        """A run that goes on stays on the span that it began with, though newer ones may be there.

        Raises:
          UserError: the configuration asks for another one.
        """
        with metadata.handle(self._connection) as handle:
            begun = record.read(handle.store, self._run.id).get("span")
        if not begun or not config.data.has_spans:
            return config
        if config.data.span not in (None, int(begun)):
            raise UserError(
                f"run {self._run.id} began on span {begun}, and cannot go on with span "
                f"{config.data.span} (--span, or data.span); leave the span out, or start a new "
                "run without --resume"
            )
        return of_span(config, int(begun))

    def begin(self, *, note: str) -> None:
        """Keeps in the store what is known of the run: span, commit, configuration and so on."""
        facts = record.begun(self._config, note=note, runner="local")
        facts["span"] = str(self.parts[-1].span)
        facts["backfill"] = json.dumps(self._earlier)
        self._record(facts)

    def end(self, failed: NodeResult | None = None) -> None:
        """Keeps how it went: no node failed, or this one."""
        if failed is None:
            self._record(record.ended(record.SUCCEEDED))
        else:
            facts = record.ended(
                record.FAILED,
                failed_node=failed.node_id,
                reason=failed.error,
                refused=failed.refused,
            )
            self._record(facts)

    def _record(self, facts: dict[str, str]) -> None:
        with metadata.handle(self._connection) as handle:
            record.write(handle.store, self._run.id, facts)

    def execute(self, part: Part, run: Run) -> Part:
        """Runs the nodes of `part` by `run`; the same part, with results."""
        ir = node.bind(self._ir, part.run_id, span_parameter(part.span))
        is_backfill = part.run_id != self._run.id
        from_nodes = () if is_backfill else self._from_nodes
        to_nodes = (GATE,) if is_backfill else self._to_nodes
        if from_nodes or to_nodes:
            partial_run_utils.mark_pipeline(ir, from_nodes or None, to_nodes or None)
            self._reuse(ir)
        results = run(ir, lambda node_id: self._run.log_file(part.run_id, node_id))
        return Part(part.run_id, part.span, tuple(results))

    def _reuse(self, ir: pipeline_pb2.Pipeline) -> None:
        """Takes what the skipped nodes made from the newest run that has all of it."""
        needed = [
            entry.pipeline_node.node_info.id
            for entry in ir.nodes
            if entry.pipeline_node.execution_options.skip.reuse_artifacts_mode
            == pipeline_pb2.NodeExecutionOptions.Skip.REQUIRED
        ]
        if not needed:
            return
        for earlier in runs.newest_first(self._run.folder.parents[1]):
            if earlier.id != self._run.id and self._completed(earlier.id).issuperset(needed):
                partial_run_utils.set_base_pipeline_run_strategy(
                    ir.runtime_spec.snapshot_settings, earlier.id
                )
                return
        raise UserError(
            f"no earlier run has completed {', '.join(needed)}, whose outputs are needed; "
            "run the whole pipeline once, or start --from an earlier node"
        )

    def _completed(self, run_id: str) -> set[str]:
        bound = node.bind(self._ir, run_id, span_parameter(0))
        states = {
            entry.pipeline_node.node_info.id: node.recorded_state(
                self._connection, entry.pipeline_node
            )
            for entry in bound.nodes
        }
        return {n for n, state in states.items() if state in (State.COMPLETE, State.CACHED)}

    def _check_unchanged(self) -> None:
        """Keeps one run from mixing two definitions of what it has completed already."""
        file = self._run.folder / "pipeline.pb"
        if file.exists():
            before = _definitions(pipeline_pb2.Pipeline.FromString(file.read_bytes()))
            now = _definitions(self._ir)
            completed = {n for part in self.parts for n in self._completed(part.run_id)}
            changed = [n for n in completed if before.get(n) != now[n]]
            if changed:
                raise UserError(
                    f"run {self._run.id} cannot go on: the code or the settings of "
                    f"{', '.join(sorted(changed))} changed since it completed them; start a new "
                    "run without --resume: what did not change is taken from the cache"
                )
        file.write_bytes(self._ir.SerializeToString(deterministic=True))


def backfill_id(run_id: str, span: int) -> str:
    """The id of the run that ingests an earlier `span` of the window of run `run_id`."""
    return f"{run_id}-span-{span}"


def refusal(span: int, failed: NodeResult) -> str | None:
    """What to say where an earlier span is no data to go on with; None where more is wrong."""
    if not failed.refused:
        return None
    return backfills.left_out(span, failed.node_id, failed.error)


def _definitions(ir: pipeline_pb2.Pipeline) -> dict[str, pipeline_pb2.PipelineNode]:
    """The nodes of `ir` by id, without whether they may be cached: what each one does."""
    copy = pipeline_pb2.Pipeline()
    copy.CopyFrom(ir)
    for entry in copy.nodes:
        entry.pipeline_node.ClearField("execution_options")
    return {e.pipeline_node.node_info.id: e.pipeline_node for e in copy.nodes}


def spans_of(config: PipelineConfig) -> list[int]:
    """The spans to train on that are there, oldest first; the last one is the run's own.

    Raises:
      UserError: the span of the run is not there.
    """
    folder, data = config.data_folder, config.data
    spans = _asked_for(data) if data.query else available_spans(folder, data.pattern)
    newest = data.span if data.span is not None else max(spans, default=None)
    if newest is None or newest not in spans:
        wanted = "any span" if newest is None else f"span {newest} (data.span)"
        there = f"the spans there: {', '.join(map(str, spans))}" if spans else "there is none"
        raise UserError(
            f"{folder}: no file of {wanted} matches {data.pattern} (data.pattern); {there}"
        )
    return [span for span in spans if newest - config.data.window_at(newest) < span <= newest]


def _asked_for(data: DataConfig) -> list[int]:
    """The spans for which a database is asked, up to the newest that the window may hold."""
    if not data.has_spans:
        if data.span in (None, ONLY_SPAN):
            return [ONLY_SPAN]
        raise UserError(f"span {data.span}: without {{SPAN}} in data.query there is span 1 alone")
    if data.span is None:
        raise UserError(
            "data.query holds {SPAN}, and nobody can look which spans a database has; set "
            "data.span, or --span N"
        )
    return list(range(min(ONLY_SPAN, data.span), data.span + 1))
