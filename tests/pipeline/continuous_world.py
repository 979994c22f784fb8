"""A world in which the loop can be tried and killed: data, a runner, a registry, and a clock."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pipeline.config import PipelineConfig
from pipeline.config_file import DEFAULT, load
from pipeline.continuous.loop import Loop
from pipeline.continuous.observe import Seen
from pipeline.continuous.policy import Challenger, Observation, Score
from pipeline.continuous.runs import AtWorkElsewhere, Done, RunFailed
from pipeline.continuous.spans import Watch
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.store import decisions
from pipeline.store.decisions import Record

START = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Killed(BaseException):
    """What nobody handles."""


@dataclass
class World:
    """What outlives a process: the runs, and how much time is left to the one at work."""

    now: datetime = START
    trained: dict[int, int] = field(default_factory=dict)
    """The span of the run of each decision."""
    ingested: list[int] = field(default_factory=list)
    bad: dict[int, Exception] = field(default_factory=dict)
    failing: list[str] = field(default_factory=list)
    """Why the next tries fail."""
    elsewhere: str = ""
    """Where it is said, another runner has the run."""
    told: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    live_since: datetime = START
    asks: bool = True
    """Whether the observations ask for a run."""
    shadow: bool = False
    """Whether what a run selects waits for its trial; then each span asks for a run."""
    versions: int = 0
    waiting: str = ""
    learned: int = 0
    """The newest span that the waiting version has learned from."""
    live: str = ""
    auc: dict[str, float] = field(default_factory=dict)
    """Of a version, on every span; 0.7 where it is not there."""
    promoted: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    unseen: list[Exception] = field(default_factory=list)
    """Why the next looks fail."""
    unscored: str = ""
    away: str = ""
    """Why the registry does not answer."""
    refusals: list[str] = field(default_factory=list)
    """Why the next promotions fail."""
    until_killed: float = float("inf")

    def effect(self) -> None:
        """A moment at which a process may be killed."""
        self.until_killed -= 1
        if self.until_killed < 0:
            raise Killed

    def ingest(self, span: int) -> None:
        self.effect()
        if span in self.bad:
            raise self.bad[span]
        self.ingested.append(span)
        self.effect()

    def train(self, decision: int, span: int, note: str, begun: Callable[[str], None]) -> Done:
        self.effect()
        if self.elsewhere:
            raise AtWorkElsewhere(self.elsewhere)
        begun(f"run-{decision}")
        if self.failing:
            raise RunFailed(self.failing.pop(0))
        self.effect()
        # As with the real one: what the decision has begun is gone on with, and done once.
        first_time = decision not in self.trained
        self.trained.setdefault(decision, span)
        if self.shadow and first_time:
            self.versions += 1
            self.waiting, self.learned = str(self.versions), span
        self.effect()
        return Done(f"run-{decision}", "" if self.shadow else "7")

    def observe(self, span: int) -> Seen:
        self.effect()
        if self.unseen:
            raise self.unseen.pop(0)
        if self.away:
            raise RunFailed(self.away)
        if not self.shadow:
            live_since = None if self.asks else self.live_since
            seen = Observation(self.now, span, 27_000, True, live_since, unscored=self.unscored)
            return Seen(seen)
        live_since = self.live_since if self.live else None
        challenger, scores = None, None
        if self.waiting:
            challenger = Challenger(self.waiting, 0)
        if self.waiting and self.live and span > self.learned:
            values = self.auc.get(self.live, 0.7), self.auc.get(self.waiting, 0.7)
            scores = {Metric.AUC: score(values[0])}
            challenger = Challenger(self.waiting, 0, {Metric.AUC: score(values[1])})
        seen = Observation(
            self.now, span, 27_000, True, live_since,
            unlearned=9, scores=scores, challenger=challenger,
        )  # fmt: skip
        return Seen(seen)

    def promote(self, version: str) -> str:
        self.effect()
        if self.refusals:
            raise UserError(self.refusals.pop(0))
        if self.live != version:
            self.promoted.append(version)
        self.live, self.waiting = version, ""
        self.effect()
        return f"{int(version):010}"

    def drop(self, version: str) -> None:
        self.effect()
        if self.waiting == version:
            self.dropped.append(version)
            self.waiting = ""
        self.effect()

    def unopposed(self) -> int | None:
        if self.away:
            raise RunFailed(self.away)
        return self.learned if self.shadow and self.waiting and not self.live else None

    def tell(self, event: str, facts: dict[str, str]) -> None:
        self.told.append((event, facts))
        self.effect()

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.told]


def score(value: float) -> Score:
    """A metric that is not the same in all samples, but moves alike for all models."""
    return Score(value, tuple(value + i / 1000 for i in range(-10, 11)))


class NoLease:
    def check(self) -> None:
        pass


def make_config(folder: Path) -> PipelineConfig:
    (folder / "data").mkdir(exist_ok=True)
    return load(
        DEFAULT,
        [
            f"root={json.dumps(str(folder / 'root'))}",
            f"data.path={json.dumps(str(folder / 'data'))}",
            "data.window=3",
            "continuous.marker=_SUCCESS",
        ],
    )


def deliver(
    config: PipelineConfig, span: int, content: str = "rows", *, whole: bool = True
) -> None:
    folder = Path(config.data.path) / f"span-{span:02}"
    folder.mkdir(exist_ok=True)
    (folder / "data.parquet").write_text(f"{span} {content}")
    if whole:
        (folder / "_SUCCESS").touch()


def loop_of(config: PipelineConfig, world: World) -> Loop:
    return Loop(
        config=config,
        runner=world,
        observe=world.observe,
        tell=world.tell,
        lease=NoLease(),  # type: ignore[arg-type]
        watch=Watch(config, time.monotonic),
        challengers=world,
        now=lambda: world.now,
    )


def kept(config: PipelineConfig) -> list[Record]:
    with decisions.alone(config) as store:
        return list(decisions.read(store, config.name)[::-1])


def verdicts(config: PipelineConfig) -> list[tuple[int, str]]:
    return [(one.span, one.verdict) for one in kept(config)]
