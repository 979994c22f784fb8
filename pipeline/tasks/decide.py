"""Looks for new spans and decides about them by the policy; a run that follows is handed over.

For an orchestrator that runs the nodes itself: it asks again and again until something was decided,
and then starts a run under the id that it is given, or not. It does not ask while a run is at work:
one that was handed over and is not known to have succeeded has failed, and is counted, as
`python -m pipeline continuous` counts tries. What went well was closed by `pipeline.tasks.finish`.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline import lineage, node
from pipeline.cluster import secrets
from pipeline.config import PipelineConfig
from pipeline.continuous.challengers import Registered
from pipeline.continuous.commands import observe_apart, telling
from pipeline.continuous.lease import Lease, LeaseLost
from pipeline.continuous.loop import Loop
from pipeline.continuous.runs import (
    Done,
    RefusedSpan,
    RunFailed,
    done,
    mark_of,
    refuse_second,
    runs_with,
)
from pipeline.continuous.spans import Watch
from pipeline.errors import UserError
from pipeline.lazy import imports
from pipeline.lineage.run import FAILED, Node
from pipeline.store import decisions, record
from pipeline.tasks import init

_LOST = "it ended without keeping how; see the log of its tasks"


class HandedOver(Exception):
    """There is a run to be carried out: no failure, which the loop would count."""

    def __init__(self, decision: int, span: int, note: str, run_id: str) -> None:
        super().__init__(decision, span, note, run_id)
        self.decision, self.span, self.note, self.run_id = decision, span, note, run_id


class ElsewhereRuns:
    """Runs whose nodes are carried out by others."""

    def __init__(self, config: PipelineConfig, arguments: argparse.Namespace) -> None:
        """`arguments` are those of `node.add_arguments`, of the run that asks."""
        self._config, self._arguments = config, arguments

    def ingest(self, span: int) -> None:
        """See `Runner`: as the backfill of a run of its own, in a process of its own."""
        # Never the id of a try before: what that one had completed would count as done.
        run_id = f"{self._arguments.run_id}-look-{time.time_ns() // 1_000_000}"
        note = f"Span {span}, {decisions.TO_DECIDE}"
        self._begin(run_id, span, note)
        words = ["--ir-gzip", self._arguments.ir_gzip, "--store", self._arguments.store]
        words += ["--run-id", run_id, "--spans", json.dumps([span]), "--note", note]
        code = subprocess.run([sys.executable, "-m", "pipeline.tasks.backfill", *words]).returncode
        failed = next((n for n in self._nodes(run_id) if n.state == FAILED), None)
        if code == 0 and failed is None:
            self._write(run_id, record.ended(record.SUCCEEDED))
            return
        reason = f"{failed.name}: {failed.error}" if failed else "see the words above"
        name = failed.name if failed else ""
        self._write(run_id, record.ended(record.FAILED, failed_node=name, reason=reason))
        # A backfill goes on past a span that is refused: no other failure ends with 0.
        raise (RunFailed if code else RefusedSpan)(f"span {span} cannot be ingested: {reason}")

    def train(self, decision: int, span: int, note: str, begun: Callable[[str], None]) -> Done:
        """See `Runner`; a run that was handed over by an earlier look is told of.

        Raises:
          HandedOver: the run is to be carried out now, however often the same look says so.
          RunFailed: it was, and failed, and that was not counted yet.
          AtWorkElsewhere: another runner has begun it, and may still be at it.
        """
        run_id = f"decision-{decision}-{self._arguments.run_id}"
        known = {one.id: one for one in lineage.open(self._config).decisions()}[decision]
        tried = list(runs_with(self._config, mark_of(decision)))
        for run in tried:
            if run.facts.get("outcome") == record.SUCCEEDED:
                return done(run)
        refuse_second(next(iter(tried), None), "airflow")
        failed = {r.id: r.reason for r in tried if r.facts.get("outcome") == record.FAILED}
        if known.run_id not in ("", run_id, *failed):
            self._write(known.run_id, record.ended(record.FAILED, reason=_LOST))
            failed = {known.run_id: _LOST, **failed}
        if len(failed) > known.tries:
            last, reason = next(iter(failed.items()))
            raise RunFailed(f"run {last}: {reason or 'see the log of its tasks'}")
        note = f"{mark_of(decision)}{note}"
        if not any(run.id == run_id for run in tried):
            self._write(run_id, record.begun(self._config, note=note, runner="airflow"))
        begun(run_id)
        raise HandedOver(decision, span, note, run_id)

    def _begin(self, run_id: str, span: int, note: str) -> None:
        with imports():
            from pipeline import metadata
            from pipeline.store import roots

        ir = node.given_pipeline(self._arguments)
        init.check_code(self._config, ir)
        connection = metadata.connection(self._config)
        metadata.register_types(connection, ir)
        facts = record.begun(self._config, note=note, runner="airflow")
        facts |= {"span": str(span), "backfill": json.dumps([span])}
        with metadata.handle(connection) as handle:
            roots.check(self._config, handle.store)
            record.write(handle.store, run_id, facts)

    def _write(self, run_id: str, facts: Mapping[str, str]) -> None:
        with decisions.alone(self._config) as store:
            record.write(store, run_id, facts)

    def _nodes(self, run_id: str) -> Iterator[Node]:
        for backfill in lineage.open(self._config).run(run_id).backfills:
            yield from backfill.nodes


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the module says; 0 if it could look, 2 if it could not."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.tasks.decide", description=__doc__)
    node.add_arguments(parser)
    add = parser.add_argument
    add("--config-gzip", required=True, metavar="TEXT", help="configuration, as packed text")
    add(
        "--decision-output",
        type=Path,
        required=True,
        metavar="FILE",
        help="gets the decision as JSON; null where there is nothing to decide",
    )
    arguments = parser.parse_args(argv)
    sys.argv = sys.argv[:1]  # TFX hands the rest to Abseil's flags.
    try:
        secrets.load()
        found = decide(init.given_config(arguments), arguments)
    except UserError as error:
        print(f"decide: {error}", file=sys.stderr)
        return 2
    arguments.decision_output.parent.mkdir(parents=True, exist_ok=True)
    arguments.decision_output.write_text(json.dumps(found), encoding="utf-8")
    print(found["reason"] if found else "Nothing to decide: no new span is there, whole.")
    return 0


def decide(config: PipelineConfig, arguments: argparse.Namespace) -> dict[str, object] | None:
    """Decides about what has come.

    Args:
      config: the pipeline's.
      arguments: those of `node.add_arguments`, of the run that asks, whose id makes that of the run
        which carries a decision out.

    Returns:
      None where nothing is to be decided now; else what was: decision (its number in the store),
      span, retrain, reason, note, the words to keep with the run, and run_id, which it has to have.

    Raises:
      UserError: the store or the data cannot be read.
    """
    told: list[Mapping[str, str]] = []
    say = telling(config)

    def tell(event: str, facts: Mapping[str, str]) -> None:
        told.extend([facts] if event in ("decided", "refused") else [])
        say(event, facts)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # What stops it gives the lease back.
    try:
        with Lease(config) as lease:
            loop = Loop(
                config=config,
                runner=ElsewhereRuns(config, arguments),
                observe=lambda span: observe_apart(config, span),
                tell=tell,
                lease=lease,
                watch=Watch(config, time.monotonic),
                challengers=Registered(config),
            )
            loop.step()
            if loop.arriving and not config.continuous.marker:
                time.sleep(config.continuous.rest_seconds)  # What rests meanwhile is complete.
                loop.step()
    except LeaseLost as lost:
        print(f"{lost}: nothing is decided now.")
        return None
    except HandedOver as run:
        found = next(one for one in lineage.open(config).decisions() if one.id == run.decision)
        return {
            "decision": run.decision,
            "span": run.span,
            "retrain": True,
            "reason": found.reason,
            "note": run.note,
            "run_id": run.run_id,
        }
    if not told:
        return None
    last = told[-1]
    return {
        "decision": int(last["decision"]),
        "span": int(last["span"]),
        "retrain": False,
        "reason": " ".join(facts["reason"] for facts in told),
        "note": "",
        "run_id": "",
    }


if __name__ == "__main__":
    sys.exit(main())
