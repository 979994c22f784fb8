"""What the policy would decide now, of spans that are in the store already; nothing is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from pipeline import lineage
from pipeline.config import PipelineConfig
from pipeline.continuous import trial
from pipeline.continuous.observe import Seen
from pipeline.continuous.policy import Policy
from pipeline.continuous.records import newest_of, newest_with, no_run, waits
from pipeline.continuous.spans import Arrival, Watch
from pipeline.errors import UserError
from pipeline.lineage.decision import Decisions
from pipeline.lineage.store import Store
from pipeline.store import connect
from pipeline.store.decisions import KEEP, PROMOTE, RUNNING, Record


def simulate(config: PipelineConfig, observe: Callable[[int], Seen]) -> Iterator[str]:
    """What the loop would say, a line at a time.

    Args:
      config: the pipeline's.
      observe: looks at a span that is in the store.

    Raises:
      UserError: no span is there, or the data or the store cannot be read.
    """
    watch = Watch(config, time.monotonic)
    arrivals = watch.look()
    if not arrivals:
        raise UserError(nothing_there(config))
    store = _store(config)
    decisions = store.decisions().of(config.name) if store else Decisions()
    for one in decisions:
        if one.state == RUNNING:
            yield f"Decision {one.id} is at work, and is ended first: {one.reason}"
    about = [one for one in decisions if one.verdict not in (PROMOTE, KEEP)]
    known = newest_of(about)
    new = [one for one in arrivals if not _is_decided(watch, one, known.get(one.span))]
    asked = [n.span for n in new if n.span not in known and _is_ingested(store, n.span)]
    later = [one.span for one in new if one.span not in asked]
    if not new:
        yield f"Nothing new: it was decided about all {len(arrivals)} spans that are there."
        newest = known[newest_with(max(known), about)]
        asked += [newest.span] if waits(newest) else []
    for span in asked:
        try:
            seen = observe(span)
        except UserError:  # Its ingestion did not come to its end.
            later.append(span)
            continue
        yield from _said(config, seen, newest_with(span, about))
    if later:
        spans = ", ".join(map(str, sorted(later)))
        yield f"To be ingested and looked at first: span {spans}."


def nothing_there(config: PipelineConfig) -> str:
    """That no span is where the data should be."""
    return f"{config.data_folder}: no file of any span matches {config.data.pattern} (data.pattern)"


def _store(config: PipelineConfig) -> Store | None:
    connect.share_password_file(config)
    if not connect.exists(connect.connection_to(config.store_url)):
        return None
    return lineage.open(config)


def _is_ingested(store: Store | None, span: int) -> bool:
    try:
        return store is not None and bool(store.span(span))
    except UserError:
        return False


def _is_decided(watch: Watch, arrival: Arrival, before: Record | None) -> bool:
    if before is None:
        return False
    return before.listing == arrival.digest or before.content == watch.content(arrival)


def _said(config: PipelineConfig, seen: Seen, newest: int) -> Iterator[str]:
    found = trial.outcome(seen.observation, config.select, config.evaluate)
    if found is not None:
        yield found.reason
    decision = Policy(config.continuous).decide(seen.observation)
    yield no_run(config, seen.observation, newest) or decision.reason
    for one in decision.findings:
        yield f"  {'*' if one.holds else ' '} {one.rule}: {one.words}"
