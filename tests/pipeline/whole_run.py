"""A run that has made everything that its page can show, in small."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tensorflow_metadata.proto.v0 import anomalies_pb2

from custom_components import gate_report, selection
from custom_components.canary import report as canary_report
from custom_components.evaluator import curves, verdict
from custom_components.evaluator.verdict import Check, Cost, Rule, Slice, Verdict
from custom_components.gate_report import Drift, Finding, Kind, Measure
from custom_components.selection import Candidate, Interval, Selection
from models import history
from pipeline.config import PipelineConfig, Severity
from pipeline.config_file import load
from pipeline.evaluate_config import Metric
from tests.pipeline.payloads import statistics, write
from tests.pipeline.written_store import Writer

RUN = "run-2"
MODELS = {"keras": 0.71234567891, "xgboost": 0.69876543219, "live": 0.70135791113}
"""The area under the curve."""
INTERVALS = {name: (value - 0.0123456789, value + 0.0198765432) for name, value in MODELS.items()}
SLICE = 0.65432109876
CALIBRATION = 1.29876543211
LATENCY = canary_report.Latency(p50_ms=1.23456789, p95_ms=2.3456789, rows_per_second=98765.4321)
DRIFT = (
    Drift(
        feature="temp",
        measure=Measure.JENSEN_SHANNON,
        value=0.34567890123,
        threshold=0.3,
        change="mean from 39.97 to 52.58",
    ),
    Drift(
        feature="carrier",
        measure=Measure.L_INFINITY,
        value=0.01234567891,
        threshold=0.1,
        change="UA from 20% to 21%",
    ),
)
TOLD_OF_DRIFT = "temp moved since span 1: Jensen-Shannon divergence 0.346, above 0.3"
NO_ONE_MAY = (
    "the live sklearn stays: no candidate may go live (keras: calibration 1.2988 is above 1.25; "
    "xgboost: the same)"
)


@dataclass(frozen=True)
class WholeRun:
    """A root with a store, where one run has everything, after another that put a model live."""

    root: Path
    winner: str | None = "keras"
    reason: str = "keras: auc 0.7123, better than the live sklearn (0.7014) by 0.0110"
    is_live: bool = True
    """Whether the candidates have a live model to be compared with."""
    blessed: bool = True
    """What the canary says of the winner."""
    pushed: bool | None = True
    """None where no node was to push."""
    outcome: str = "succeeded"
    """Empty where the run has not ended."""
    note: str = "March"
    settings: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def metric(self) -> Metric:
        """What models are chosen by."""
        return Metric.AUC

    @property
    def config(self) -> PipelineConfig:
        """Its configuration."""
        card = 'card.intended_use="To be looked at."'
        return load(overrides=[f"root={json.dumps(str(self.root))}", card, *self.settings])

    def write(self) -> Writer:
        """Writes it all."""
        writer = Writer(self.root)
        live = self._before(writer)
        writer.facts(
            RUN,
            pipeline="flights",
            commit="0123456789abcdef+",
            note=self.note,
            runner="local",
            span="2",
            config=self.config.model_dump_json(),
            **self.facts,
        )
        examples = self._made(writer, "Examples", span=2, rows_train=900, rows_eval=100)
        self._data(writer, examples)
        models = [self._trained(writer, name, examples) for name in ("keras", "xgboost")]
        evaluation = self._made(writer, "ModelEvaluation")
        folder = self.root / "ModelEvaluation"
        write(folder / verdict.FILE, self.verdict.model_dump_json())
        counts = {name: self._counts(seed) for seed, name in enumerate(self.verdict.models)}
        pq.write_table(curves.table(counts), folder / curves.FILE)
        judged = [examples, *models, *([live] if self.is_live else [])]
        writer.execution("Evaluator", judged, [evaluation], run=RUN)
        champion = self._chosen(writer, evaluation, models)
        if self.pushed is not None:
            told = {"framework": self.winner or "", "pushed_version": "102"}
            of = told if self.pushed else {}
            pushed = self._made(writer, "PushedModel", pushed=int(self.pushed), **of)
            writer.execution("Pusher", [champion], [pushed], run=RUN)
        registration = self._made(
            writer, "Registration", registered=1, model_name="flights", model_version="2"
        )
        writer.execution("Registrar", [champion, evaluation], [registration], run=RUN)
        if self.outcome:
            writer.facts(RUN, outcome=self.outcome)
        return writer

    @property
    def verdict(self) -> Verdict:
        """What the evaluator found."""
        names = [name for name in MODELS if name != "live" or self.is_live]
        metrics: dict[str, verdict.Metrics] = {
            name: {Metric.AUC: MODELS[name], Metric.CALIBRATION: CALIBRATION} for name in names
        }
        return Verdict(
            candidates=("keras", "xgboost"),
            blessed={"keras": False, "xgboost": False},
            live="live" if self.is_live else None,
            live_framework="sklearn" if self.is_live else None,
            rows=100,
            label_mean=0.23456789,
            models=metrics,
            intervals={name: {Metric.AUC: INTERVALS[name]} for name in names},
            replicates=1000,
            groups="date",
            costs={
                name: Cost(latency_ms=1.5, rows_per_second=1e5, size_bytes=654_321)
                for name in names
            },
            slices=[
                Slice(
                    columns={"carrier": "9E"},
                    rows=77,
                    label_mean=0.5,
                    models={name: {Metric.AUC: SLICE} for name in names},
                )
            ],
            checks=[check for name in ("keras", "xgboost") for check in self._checks(name)],
        )

    def _checks(self, name: str) -> list[Check]:
        told: dict[str, Any] = {"model": name, "judged": True}
        found = [
            Check(
                metric=Metric.CALIBRATION,
                rule=Rule.MAX,
                slice={},
                rows=100,
                value=CALIBRATION,
                bound=1.25,
                passed=False,
                reason="calibration 1.2988 is above 1.25",
                **told,
            )
        ]
        if self.is_live:
            guard = Check(
                metric=Metric.AUC,
                rule=Rule.GUARD,
                slice={"carrier": "9E"},
                rows=77,
                value=SLICE,
                live=SLICE + 0.06,
                bound=0.05,
                passed=False,
                reason="carrier 9E: auc is 0.0600 worse than the live model's",
                **told,
            )
            found.append(guard)
        return found

    @staticmethod
    def _counts(seed: int) -> curves.Counts:
        random = np.random.default_rng(seed)
        predicted = random.uniform(0.1, 0.7, 500)
        keys = curves.keys(random.uniform(0, 1, 500) < predicted, predicted)
        return curves.counts(np.bincount(keys, minlength=2 * curves.BINS))

    def _before(self, writer: Writer) -> int:
        """An earlier run, whose model is live; the id of its PushedModel."""
        writer.facts("run-1", pipeline="flights", outcome="succeeded", span="1")
        live = writer.artifact("PushedModel", pushed=1, framework="sklearn", pushed_version="101")
        writer.execution("Pusher", [], [live], run="run-1")
        return live

    def _made(self, writer: Writer, kind: str, **properties: int | str) -> int:
        return writer.artifact(kind, uri=str(self.root / kind), **properties)

    def _data(self, writer: Writer, examples: int) -> None:
        writer.execution("ExampleGen", [], [examples], run=RUN)
        splits = '["train", "eval"]'
        stats = self._made(writer, "ExampleStatistics", span=2, split_names=splits)
        content = statistics(
            numbers={"temp": (52.58123456789, 9.975)}, texts={"carrier": {"UA": 70, "9E": 30}}
        )
        write(self.root / "ExampleStatistics/Split-train/FeatureStats.pb", content)
        writer.execution("StatisticsGen", [examples], [stats], run=RUN)
        anomalies = self._made(writer, "ExampleAnomalies", span=2, split_names=splits)
        for split in ("train", "eval"):
            file = self.root / f"ExampleAnomalies/Split-{split}/SchemaDiff.pb"
            write(file, anomalies_pb2.Anomalies())
        writer.execution("ExampleValidator", [stats], [anomalies], run=RUN)
        gate = self._made(writer, "GateReport", span=2)
        finding = Finding(
            severity=Severity.WARN, kind=Kind.DRIFT, feature="temp", message=TOLD_OF_DRIFT
        )
        report = gate_report.Report(
            span=2,
            previous_span=1,
            rows={"train": 900, "eval": 100},
            findings=(finding,),
            drift=DRIFT,
        )
        write(self.root / "GateReport" / gate_report.FILE, report.model_dump_json())
        writer.execution("DataGate", [stats], [gate], run=RUN)

    def _trained(self, writer: Writer, name: str, examples: int) -> int:
        model = writer.artifact("Model", uri=str(self.root / name))
        model_run = writer.artifact("ModelRun", uri=str(self.root / name / "run"))
        found = history.History(
            framework=name,
            step="epoch",
            steps=2,
            search=history.Curve(learned=(0.6, 0.5, 0.4), held_out=(0.6, 0.55, 0.56)),
            training=history.Curve(learned=(0.6, 0.5)),
            seconds=12.3456789,
        )
        write(self.root / name / "run" / history.FILE, found.model_dump_json())
        provenance = {"versions": {"numpy": "2.4.6"}}
        bundle = json.dumps({"framework": name, "provenance": provenance})
        write(self.root / name / "Format-Serving/bundle.json", bundle)
        writer.execution(f"Trainer.{name}", [examples], [model, model_run], run=RUN)
        return model

    def _chosen(self, writer: Writer, evaluation: int, models: list[int]) -> int:
        """The selector and the canary; the id of the champion."""
        candidates = tuple(
            Candidate(
                name=name,
                value=MODELS[name],
                better_than_live=Interval(
                    value=MODELS[name] - MODELS["live"],
                    low=-0.0345678912,
                    high=0.0456789123,
                    confidence=0.95,
                    certainty=0.87654321,
                )
                if self.is_live
                else None,
                latency_ms=1.5,
                rows_per_second=1e5,
                size_mb=0.654321,
                eligible=self.winner is not None,
                reason=f"what is said of {name}",
            )
            for name in ("keras", "xgboost")
        )
        decided = Selection(
            metric=self.metric,
            margin=0.0,
            confidence=0.95,
            replicates=1000,
            groups="date",
            winner=self.winner,
            reason=self.reason,
            live="sklearn" if self.is_live else None,
            live_value=MODELS["live"] if self.is_live else None,
            candidates=candidates,
        )
        write(self.root / "ModelSelection" / selection.FILE, decided.model_dump_json())
        told = {"winner": self.winner or "", "reason": self.reason}
        made = self._made(writer, "ModelSelection", **told)
        of = {"framework": self.winner, "digest": "d"} if self.winner else {}
        champion = writer.artifact("Model", uri=str(self.root / "champion"), **of)
        writer.execution("ModelSelector", [evaluation, *models], [champion, made], run=RUN)
        why = None if self.blessed else "the answers differ by 0.5"
        tried = canary_report.CanaryReport(
            blessed=self.blessed,
            reason=why,
            rows=200,
            tolerance=1e-5,
            max_difference=3.21e-7,
            load_seconds=0.987654321,
            latency=LATENCY,
        )
        write(self.root / "InfraBlessing" / canary_report.FILE, tried.model_dump_json())
        blessing = self._made(writer, "InfraBlessing", blessed=int(self.blessed), reason=why or "")
        writer.execution("Canary", [champion], [blessing], run=RUN)
        return champion
