"""What stands before the Registrar, made small."""

import json
from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.types.standard_artifacts import InfraBlessing, Model, ModelEvaluation, ModelRun

from custom_components.canary import report
from custom_components.evaluator.verdict import FILE, Cost, Verdict
from models import history
from models.history import PARAMETERS_FILE, Curve, History
from models.manifest import FILE as BUNDLE_FILE
from pipeline.evaluate_config import Metric
from tests.models.tiny import save_model

BASE = "f" * 64
"""The digest of the model that XGBoost's went on from."""
CURVE = Curve(learned=(0.6, 0.5, 0.45), held_out=(0.62, 0.55, 0.56))


@component
def Train(
    model: OutputArtifact[Model],
    model_run: OutputArtifact[ModelRun],
    framework: Parameter[str],
    bias: Parameter[float],
) -> None:
    """Leaves what a trainer leaves."""
    bundle = Path(model.uri) / "Format-Serving"
    base = BASE if framework == "xgboost" else ""
    save_model(bundle, framework=framework, bias=bias, spans=(1, 2), base=base)
    folder = Path(model_run.uri)
    told = History(
        framework=framework,
        step="tree",
        steps=2,
        search=CURVE,
        training=Curve(learned=(0.6, 0.5)),
        seconds=1.5,
    )
    history.write(folder, told)
    (folder / PARAMETERS_FILE).write_text(json.dumps({"learning_rate": 0.125}))


@component
def Schema(schema: OutputArtifact[standard_artifacts.Schema]) -> None:
    """Leaves a schema."""
    (Path(schema.uri) / "schema.pbtxt").write_text('feature { name: "temp" type: FLOAT }')


@component
def Judge(
    models: InputArtifact[list[Model]],
    evaluation: OutputArtifact[ModelEvaluation],
    auc: Parameter[str],
) -> None:
    """Leaves the verdict that it was given."""
    values = json.loads(auc)
    names = tuple(sorted(values, key=lambda name: (name == "ensemble", name)))
    verdict = Verdict(
        candidates=names,
        blessed=dict.fromkeys(names, True),
        members=names[:2] if "ensemble" in names else (),
        live=None,
        rows=100,
        label_mean=0.25,
        models={name: {Metric.AUC: value} for name, value in values.items()},
        intervals={
            name: {Metric.AUC: (value - 0.01, value + 0.01)} for name, value in values.items()
        },
        costs={
            name: Cost(latency_ms=1.0, rows_per_second=1000.0, size_bytes=5000) for name in names
        },
        slices=[],
        checks=[],
    )
    (Path(evaluation.uri) / FILE).write_text(verdict.model_dump_json())


@component
def Probe(
    model: InputArtifact[Model], blessing: OutputArtifact[InfraBlessing], reason: Parameter[str]
) -> None:
    """Says what the canary says."""
    tried = bool(list(Path(model.uri).rglob(BUNDLE_FILE)))
    blessed = tried and not reason
    found = report.CanaryReport(blessed=blessed, reason=reason or None, tolerance=1e-5)
    (Path(blessing.uri) / report.FILE).write_text(found.model_dump_json())
    blessing.set_int_custom_property("blessed", int(blessed))
