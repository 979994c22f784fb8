"""What is known of a span, from a store as runs leave it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from custom_components.registrar import tags
from pipeline import lineage
from pipeline.config import PipelineConfig
from pipeline.config_file import DEFAULT, load
from pipeline.continuous import live_scores
from pipeline.continuous.observe import observe, observed_json
from pipeline.continuous.policy import Challenger, Policy, Score
from pipeline.continuous.runs import RunFailed
from pipeline.continuous_config import ContinuousConfig, DriftRule
from pipeline.errors import UnreachableError, UserError
from pipeline.evaluate_config import Metric
from pipeline.lineage.observed import Observed
from pipeline.registry.versions import Version
from pipeline.store import decisions
from pipeline.store.decisions import RETRAIN, WAIT, Facts
from tests.pipeline.written_store import CACHED, COMPLETE, FAILED, Writer

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SPLITS = '["train", "eval"]'


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    return load(DEFAULT, [f"root={json.dumps(str(tmp_path / 'root'))}"])


@pytest.fixture
def writer(config: PipelineConfig) -> Writer:
    return Writer(config.local_root)


def ingested(w: Writer, folder: Path, span: int, *, temp: float, gate: int = COMPLETE) -> int:
    """The examples of a span, whose temperature is as given, and their statistics, at the gate."""
    import tensorflow_data_validation as tfdv

    rows = pd.DataFrame({"temp": temp + np.arange(50.0) / 100, "late": [0, 1] * 25})
    uri = folder / f"statistics-{span}-{temp}"
    for split in json.loads(SPLITS):
        (uri / f"Split-{split}").mkdir(parents=True)
        proto = tfdv.generate_statistics_from_dataframe(rows)
        (uri / f"Split-{split}" / "FeatureStats.pb").write_bytes(proto.SerializeToString())
    run = f"run-{span}-{temp}"
    examples = w.artifact("Examples", span=span, split_names=SPLITS)
    w.execution("ExampleGen", [], [examples], run=run)
    statistics = w.artifact("ExampleStatistics", uri=str(uri), span=span, split_names=SPLITS)
    w.execution("StatisticsGen", [examples], [statistics], run=run)
    w.execution("DataGate", [statistics], [], run=run, state=gate)
    return examples


def trained(w: Writer, examples: list[int], *, pushed: bool = True) -> int:
    transformed = w.artifact("Examples", split_names=SPLITS)
    w.execution("Transform", examples, [transformed])
    model = w.artifact("Model", digest="ab")
    w.execution("Trainer.keras", [transformed], [model])
    live = w.artifact("PushedModel", pushed=int(pushed))
    w.execution("Pusher", [model], [live])
    return live


def test_a_span_before_any_model_is_counted_and_no_more(
    config: PipelineConfig, writer: Writer, tmp_path: Path
) -> None:
    ingested(writer, tmp_path, 1, temp=0)
    asked: list[int] = []
    seen = observe(config, 1, ingest=asked.append, now=NOW)
    found = seen.observation
    assert (found.now, found.span, found.rows, found.is_new) == (NOW, 1, 100, True)
    assert (found.live_since, found.scores, found.drift) == (None, None, ())
    assert set(seen.inputs) == {"examples", "statistics"}
    assert asked == [1]


def test_a_span_that_is_not_there_or_was_stopped_is_a_sentence(
    config: PipelineConfig, writer: Writer, tmp_path: Path
) -> None:
    ingested(writer, tmp_path, 1, temp=0)
    with pytest.raises(UserError, match="span 7 was not ingested"):
        observe(config, 7)
    writer.execution("ExampleGen", [], [writer.artifact("Examples", span=2)])
    with pytest.raises(UserError, match="span 2 has no statistics: its data gate"):
        observe(config, 2)


def test_a_new_span_is_compared_with_the_nearest_that_the_live_model_knows(
    config: PipelineConfig, writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned = [ingested(writer, tmp_path, span, temp=10 * span) for span in (1, 2)]
    live = trained(writer, learned)
    ingested(writer, tmp_path, 3, temp=99)
    newest = ingested(writer, tmp_path, 4, temp=20)
    scores = {Metric.AUC: Score(0.7)}

    def scored(
        _: PipelineConfig, models: dict[str, lineage.Artifact], examples: lineage.Artifact
    ) -> Any:
        assert ({name: one.id for name, one in models.items()}, examples.id) == (
            {"live": live},
            newest,
        )
        return {"live": scores}

    monkeypatch.setattr(live_scores, "score", scored)
    seen = observe(config, 4)
    found = seen.observation
    assert (found.learned, found.unlearned, found.scores) == ((1, 2), 2, scores)
    assert found.live_since is not None
    far, near = found.drift
    assert (far.span, near.span) == (3, 4)
    assert next(c.distance for c in far.columns if c.column == "temp") > 0.9
    assert next(c.distance for c in near.columns if c.column == "temp") < 0.01
    assert seen.inputs["live_model"] == live


def test_a_live_model_that_cannot_be_read_has_no_scores_and_it_is_said_why(
    config: PipelineConfig, writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(writer, [ingested(writer, tmp_path, 1, temp=10)])
    ingested(writer, tmp_path, 2, temp=20)
    why: list[UserError] = [UserError("its bundle is damaged"), UnreachableError("away for now")]

    def damaged(*_: Any) -> Any:
        raise why.pop(0)

    monkeypatch.setattr(live_scores, "score", damaged)
    found = observe(config, 2).observation
    assert (found.scores, found.unscored) == (None, "its bundle is damaged")
    rule = ContinuousConfig.model_validate({"performance": {"auc": {"min": 0.6}}})
    words = [one.words for one in Policy(rule).decide(found).findings]
    said = "the live model's auc is not known on this span, because its bundle is damaged"
    assert said in words
    with pytest.raises(UnreachableError, match="away for now"):
        observe(config, 2)


def test_spans_count_from_the_last_training_even_where_its_model_was_no_better(
    config: PipelineConfig, writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_scores, "score", lambda *_: {})
    learned = [ingested(writer, tmp_path, 1, temp=0)]
    trained(writer, learned)
    learned.append(ingested(writer, tmp_path, 2, temp=0))
    assert observe(config, 2).observation.unlearned == 1
    trained(writer, learned, pushed=False)
    ingested(writer, tmp_path, 3, temp=0)
    found = observe(config, 3).observation
    assert (found.learned, found.unlearned) == ((1,), 1)


def test_the_live_model_is_not_scored_on_what_it_has_learned(
    config: PipelineConfig, writer: Writer, tmp_path: Path
) -> None:
    trained(writer, [ingested(writer, tmp_path, 1, temp=0)])
    found = observe(config, 1).observation
    assert (found.is_new, found.scores, found.unlearned) == (False, None, 0)


def test_a_span_is_new_until_a_trainer_has_read_it_even_in_vain_and_again_when_it_changes(
    config: PipelineConfig, writer: Writer, tmp_path: Path
) -> None:
    first = ingested(writer, tmp_path, 1, temp=0)
    assert observe(config, 1).observation.is_new
    trained(writer, [first], pushed=False)
    assert not observe(config, 1).observation.is_new
    ingested(writer, tmp_path, 1, temp=5)
    assert observe(config, 1).observation.is_new


def test_what_the_gate_refused_is_as_if_it_had_not_come(
    config: PipelineConfig, writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_scores, "score", lambda *_: {})
    trained(writer, [ingested(writer, tmp_path, 1, temp=0)])
    ingested(writer, tmp_path, 2, temp=0)
    ingested(writer, tmp_path, 2, temp=99, gate=FAILED)
    ingested(writer, tmp_path, 3, temp=99, gate=FAILED)
    ingested(writer, tmp_path, 4, temp=0)
    found = observe(config, 4).observation
    assert (found.unlearned, [one.span for one in found.drift]) == (2, [2, 4])
    assert all(column.distance < 0.01 for one in found.drift for column in one.columns)


def test_a_span_is_as_it_came_last_even_if_it_came_so_before(
    config: PipelineConfig, writer: Writer, tmp_path: Path
) -> None:
    first = ingested(writer, tmp_path, 1, temp=0)
    ingested(writer, tmp_path, 1, temp=5)
    writer.execution("ExampleGen", [], [first], state=CACHED)
    assert observe(config, 1).inputs["examples"] == first


def test_neither_model_is_scored_on_another_delivery_of_what_it_knows(
    config: PipelineConfig,
    writer: Writer,
    tmp_path: Path,
    waiting: tuple[PipelineConfig, int],
) -> None:
    ingested(writer, tmp_path, 1, temp=5)
    assert observe(config, 1).observation.scores is None
    # The challenger was judged on span 3, which it did not learn from.
    judged = ingested(writer, tmp_path, 3, temp=0)
    evaluation = writer.artifact("ModelEvaluation")
    writer.execution("Evaluator", [judged, waiting[1]], [evaluation])
    ingested(writer, tmp_path, 3, temp=5)
    found = observe(waiting[0], 3).observation
    assert found.scores is not None
    assert found.challenger is not None
    assert found.challenger.scores is None


def test_only_runs_that_decisions_of_this_pipeline_started_count(
    config: PipelineConfig, writer: Writer, tmp_path: Path
) -> None:
    ingested(writer, tmp_path, 1, temp=0)
    facts = Facts("flights", 1, "", "", RETRAIN, "", "[]", "{}")
    made = decisions.write(writer.store, facts, {})
    decisions.write(writer.store, Facts("flights", 1, "", "", WAIT, "", "[]", "{}"), {})
    decisions.write(writer.store, Facts("taxi", 1, "", "", RETRAIN, "", "[]", "{}"), {})
    (when,) = observe(config, 1).observation.runs
    assert when == next(one.when for one in decisions.read(writer.store) if one.id == made)


@pytest.fixture
def waiting(
    config: PipelineConfig, writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[PipelineConfig, int]:
    """With a live model that knows span 1, and a challenger, whose id is given, that knows 2."""
    first, second = (ingested(writer, tmp_path, span, temp=0) for span in (1, 2))
    trained(writer, [first])
    challenger = writer.artifact("Model", digest="cd")
    writer.execution("Trainer.sklearn", [first, second], [challenger])
    version = Version(
        3, ("challenger",), {tags.MODEL: str(challenger)}, "", NOW, "mlflow-run", "models:/m-1"
    )
    monkeypatch.setattr("pipeline.registry.live.challenger", lambda _: version)
    monkeypatch.setattr(
        live_scores, "score", lambda _, models, __: {n: {Metric.AUC: Score(0.7)} for n in models}
    )
    shadow = config.registration.model_copy(update={"approval": "shadow"})
    return config.model_copy(update={"registration": shadow}), challenger


def test_a_challenger_is_scored_on_a_span_that_is_newer_than_all_that_either_model_knows(
    config: PipelineConfig, writer: Writer, tmp_path: Path, waiting: tuple[PipelineConfig, int]
) -> None:
    shadow, challenger = waiting
    assert observe(shadow, 2).observation.challenger == Challenger("3", challenger)
    ingested(writer, tmp_path, 3, temp=0)
    seen = observe(shadow, 3)
    scores = {Metric.AUC: Score(0.7)}
    assert seen.observation.challenger == Challenger("3", challenger, scores)
    assert seen.observation.scores == scores
    assert seen.inputs["challenger"] == challenger
    assert observe(config, 3).observation.challenger is None  # nobody is asked for one


def test_that_mlflow_is_away_is_worth_another_try(
    waiting: tuple[PipelineConfig, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: PipelineConfig) -> None:
        raise UserError("MLflow at http://away does not answer")

    monkeypatch.setattr("pipeline.registry.live.challenger", fail)
    with pytest.raises(RunFailed, match="the challenger is not known: MLflow at http://away"):
        observe(waiting[0], 2)


def test_what_was_seen_is_kept_as_the_lineage_reads_it(
    writer: Writer, tmp_path: Path, waiting: tuple[PipelineConfig, int]
) -> None:
    ingested(writer, tmp_path, 3, temp=50)
    seen = observe(waiting[0], 3)
    found = seen.observation
    samples = (*np.linspace(0.6, 0.8, 101).tolist(), float("nan"))
    score = Score(0.7, samples, before=0.75, before_samples=samples)
    assert found.challenger is not None
    seen = replace(seen, observation=replace(found, scores={Metric.AUC: score}))
    kept = Observed.model_validate_json(observed_json(seen, DriftRule()))
    assert (kept.span, kept.rows, kept.is_new, kept.learned) == (3, 100, True, (1,))
    assert (kept.live, kept.live_since) == (seen.inputs["live_model"], found.live_since)
    assert [(one.column, one.moved) for one in kept.moved] == [("temp", True)]
    assert kept.scores is not None
    auc = kept.scores["auc"]
    assert (auc.value, auc.before) == (0.7, 0.75)
    assert (auc.low, auc.high) == (auc.before_low, auc.before_high) == pytest.approx((0.61, 0.79))
    assert kept.challenger is not None
    assert (kept.challenger.version, kept.challenger.artifact) == ("3", waiting[1])
    assert kept.challenger.scores is not None
    assert kept.challenger.scores["auc"].low == 0.7
