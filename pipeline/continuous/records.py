"""The decisions about a pipeline as the store has them, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from ml_metadata.metadata_store import MetadataStore

from pipeline.config import PipelineConfig
from pipeline.continuous.policy import Observation
from pipeline.store import decisions
from pipeline.store.decisions import (
    FAILED,
    KEEP,
    PROMOTE,
    REFUSED,
    RETRAIN,
    WAIT,
    Postponed,
    Record,
)


class Records:
    """What the store has, read once, and again after each write."""

    def __init__(self, config: PipelineConfig) -> None:
        """Reads nothing yet."""
        self._config = config
        self._read: tuple[tuple[Record, ...], Mapping[int, Postponed]] | None = None

    def forget(self) -> None:
        """Has it read anew, as another process may have written."""
        self._read = None

    @contextmanager
    def writing(self) -> Iterator[MetadataStore]:
        """The store, to write to for a moment.

        Raises:
          UserError: it cannot be reached.
        """
        try:
            with decisions.alone(self._config) as store:
                yield store
        finally:
            self.forget()

    @property
    def every(self) -> tuple[Record, ...]:
        """All decisions, the newest first."""
        return self._known()[0]

    @property
    def about_spans(self) -> list[Record]:
        """Those about deliveries: not those about challengers."""
        return [one for one in self.every if one.verdict not in (PROMOTE, KEEP)]

    @property
    def postponed(self) -> Mapping[int, Postponed]:
        """The spans that are to be tried again."""
        return self._known()[1]

    def _known(self) -> tuple[tuple[Record, ...], Mapping[int, Postponed]]:
        if self._read is None:
            with decisions.alone(self._config) as store:
                every = decisions.read(store, self._config.name)
                self._read = every, decisions.postponed(store, self._config.name)
        return self._read


def newest_of(records: Iterable[Record]) -> dict[int, Record]:
    """The newest decision about each span, of records of which the newest come first."""
    found: dict[int, Record] = {}
    for one in records:
        found.setdefault(one.span, one)
    return found


def newest_with(span: int, records: Iterable[Record]) -> int:
    """The newest of a span and of those that were decided about, but for the refused ones.

    A run for the span learns up to it: one that came late, or again, does not take the run back in
    time.
    """
    newest = newest_of(records)
    return max([span, *(n for n, one in newest.items() if one.verdict != REFUSED)])


def waits(record: Record) -> bool:
    """Whether time alone may make a reason for a run: none was started, or it was given up."""
    return record.verdict == WAIT or (record.verdict, record.state) == (RETRAIN, FAILED)


def no_run(config: PipelineConfig, seen: Observation, newest: int) -> str | None:
    """Why no run follows, whatever the policy says; None where one may.

    Args:
      config: the pipeline's.
      seen: what is known of the span.
      newest: the newest span that a run would learn from.
    """
    first = max(0, newest - config.data.window_at(newest) + 1)
    if seen.span < first:
        return (
            f"Span {seen.span}: no run, because it came late: a run learns from spans {first} to "
            f"{newest} (data.window)."
        )
    known = max(seen.learned, default=-1)
    if known > newest:
        return (
            f"Span {seen.span}: no run, because the live model knows span {known}, and a run would "
            f"learn up to span {newest} only."
        )
    return None


def kind(span: int, known: Iterable[Record]) -> str:
    """What is unusual about a delivery, in words; empty where nothing is."""
    spans = {one.span for one in known}
    if span in spans:
        return "Delivered again, with other content. "
    return "Came late. " if spans and span < max(spans) else ""
