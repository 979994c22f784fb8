"""The run of `whole_run`, had it been of several classes or a regression, cross-validated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow.parquet as pq

from custom_components.evaluator import confusion, curves, points
from custom_components.evaluator.verdict import Errors, Verdict
from pipeline.config import PipelineConfig
from pipeline.config_file import load
from pipeline.evaluate_config import CrossValidation, Metric
from pipeline.features_config import Problem
from tests.pipeline.payloads import write
from tests.pipeline.whole_run import WholeRun
from tests.pipeline.written_store import Writer

CLASSES = ("setosa", "<i>versicolor</i>", "virginica")
MISTAKES = 23
"""How often each model takes the last class for the one before it."""
_TOML = """
name = "flights"
[data]
path = "data"
pattern = "rows.csv"
[features]
label = "kind"
numeric = ["width"]
"""
_SIGNED = (0.05, 0.25, 0.5, 0.75, 0.95)
_SIZE = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class ProblemRun(WholeRun):
    """A run that has everything, of another problem."""

    problem: Problem = Problem.MULTICLASS
    size: float = 1.0
    """Of the values of a regression."""

    @property
    def metric(self) -> Metric:
        """What models are chosen by."""
        return Metric.of(self.problem)[0]

    @property
    def config(self) -> PipelineConfig:
        """Its configuration."""
        named = f"classes = {list(CLASSES)}\n" if self.problem is Problem.MULTICLASS else ""
        toml = f'{_TOML}problem = "{self.problem}"\n{named}'
        return load(write(self.root / "problem.toml", toml), [f"root={str(self.root)!r}"])

    def write(self) -> Writer:
        """Writes it all."""
        writer = super().write()
        folder = self.root / "ModelEvaluation"
        if self.problem is Problem.MULTICLASS:
            pq.write_table(self._confusion.table(), folder / confusion.FILE)
        else:
            (folder / curves.FILE).unlink()
            pq.write_table(self._points.table(), folder / points.FILE)
        return writer

    @property
    def verdict(self) -> Verdict:
        """What the evaluator found."""
        binary = super().verdict
        models = tuple(binary.models)
        several = self.problem is Problem.MULTICLASS
        scale = 1.0 if several else self.size
        values = {name: found[Metric.AUC] or 0 for name, found in binary.models.items()}
        measured = {n: dict.fromkeys(Metric.of(self.problem), v * scale) for n, v in values.items()}
        ends = {n: {self.metric: (v * scale * 0.9, v * scale * 1.1)} for n, v in values.items()}
        errors = {} if several else {name: self._errors(name) for name in models}
        guards = [
            check.model_copy(update={"metric": self.metric})
            for check in binary.checks
            if check.slice
        ]
        slices = [
            one.model_copy(
                update={"models": {n: {self.metric: 0.5 * scale} for n in models}, "errors": errors}
            )
            for one in binary.slices
        ]
        changed = {
            "problem": self.problem,
            "classes": CLASSES if several else (),
            "cross_validation": CrossValidation(folds=5, repeats=4),
            "models": measured,
            "intervals": ends,
            "spread": {name: {self.metric: 0.0123 * scale} for name in models},
            "by_class": {n: self._confusion.by_class(n, repeats=4) for n in models if several},
            "errors": errors,
            "slices": slices,
            "checks": guards,
        }
        return binary.model_copy(update=changed)

    def _errors(self, name: str) -> Errors:
        off = self._points.predictions(name) - self._points.labels
        return Errors(
            signed={share: float(np.quantile(off, share)) for share in _SIGNED},
            size={share: float(np.quantile(abs(off), share)) for share in _SIZE},
        )

    @cached_property
    def _points(self) -> points.Points:
        random = np.random.default_rng(1)
        labels = random.normal(150, 50, 300) * self.size
        noise = {name: random.normal(0, 30 * self.size, 300) for name in super().verdict.models}
        return points.Points(labels, {name: labels * 0.8 + off for name, off in noise.items()})

    @cached_property
    def _confusion(self) -> confusion.Confusion:
        matrix = np.array([[200, 0, 0], [4, 180, 16], [0, MISTAKES, 177]])
        return confusion.Confusion(CLASSES, dict.fromkeys(super().verdict.models, matrix))
