"""Reads what lies behind an artifact: the files that a node wrote, as objects.

`Artifact` has a method for each. What a reader takes to import, it imports when it is called.
"""

from __future__ import annotations

import json
import weakref
from itertools import chain
from typing import TYPE_CHECKING, Any

from custom_components.selection import SOURCE_MODEL_URI
from pipeline.errors import UserError
from pipeline.features_config import Problem
from pipeline.files import storage
from pipeline.lineage import files

if TYPE_CHECKING:
    import pandas as pd
    from tensorflow_model_analysis.view import EvalResult
    from tensorflow_transform import TFTransformOutput

    from custom_components.canary.report import CanaryReport
    from custom_components.evaluator.confusion import Confusion
    from custom_components.evaluator.curves import Curves
    from custom_components.evaluator.points import Points
    from custom_components.evaluator.verdict import Verdict
    from custom_components.gate_report import Report
    from custom_components.selection import Selection
    from models.bundle import Bundle
    from models.history import History
    from pipeline.lineage.artifact import Artifact
    from pipeline.lineage.described import Anomalies, Schema, Statistics

STATISTICS_FILE, ANOMALIES_FILE = "FeatureStats.pb", "SchemaDiff.pb"
SCHEMA_FILE = "schema.pbtxt"
PAGE_FILE = "index.html"
_TFMA_FILE = "eval_config.json"
_GRAPH_FILE = "transform_fn/saved_model.pb"
SERVED_FORM = "Format-Serving"
"""The folder of a trained model that is to be served; of a pushed one it is its folder itself."""

BY_TYPE = {
    "ExampleAnomalies": "anomalies",
    "ExampleStatistics": "statistics",
    "Examples": "rows",
    "GateReport": "gate",
    "InfraBlessing": "canary",
    "Model": "bundle",
    "ModelEvaluation": "verdict",
    "ModelRun": "history",
    "ModelSelection": "selection",
    "PushedModel": "bundle",
    "Report": "page",
    "Schema": "schema",
    "TransformGraph": "transform_output",
}
"""The method of `Artifact` that suits a type best."""


def load(artifact: Artifact) -> Any:
    """What suits the artifact's type, by `BY_TYPE`."""
    if artifact.type not in BY_TYPE:
        raise UserError(
            f"{artifact.type} {artifact.id} holds nothing that can be loaded: expected one of "
            f"{', '.join(BY_TYPE)}. Its files, if any, are at {artifact.uri}"
        )
    return getattr(artifact, BY_TYPE[artifact.type])()


def verdict(artifact: Artifact) -> Verdict:
    """What an evaluation found and decided."""
    from custom_components.evaluator.verdict import FILE, Verdict  # brings NumPy

    _check(artifact, "verdict", "ModelEvaluation")
    return files.record(artifact, FILE, Verdict)


def selection(artifact: Artifact) -> Selection:
    """Which model was chosen, and why."""
    from custom_components.selection import FILE, Selection

    _check(artifact, "selection", "ModelSelection")
    return files.record(artifact, FILE, Selection)


def canary(artifact: Artifact) -> CanaryReport:
    """How the pushed form of a model answered."""
    from custom_components.canary.report import FILE, CanaryReport

    _check(artifact, "canary's report", "InfraBlessing")
    return files.record(artifact, FILE, CanaryReport)


def gate(artifact: Artifact) -> Report:
    """What the data gate found in a span."""
    from custom_components.gate_report import FILE, Report

    _check(artifact, "gate's report", "GateReport")
    return files.record(artifact, FILE, Report)


def history(artifact: Artifact) -> pd.DataFrame:
    """How the loss went, step by step."""
    import pandas as pd

    from models.history import FILE, History

    _check(artifact, "history", "ModelRun", "Model", "PushedModel")
    found: History = files.record(_model_run(artifact), FILE, History)
    search = found.search
    curves = {
        "learned": found.training.learned,
        "search_learned": search.learned if search else (),
        "search_held_out": search.held_out if search else (),
    }
    frame = pd.DataFrame({name: pd.Series(losses, dtype=float) for name, losses in curves.items()})
    frame.insert(0, "step", range(1, len(frame) + 1))
    told = {"framework", "step", "steps", "loss", "begun", "seconds"}
    frame.attrs = found.model_dump(include=told)
    return frame


def _model_run(artifact: Artifact) -> Artifact:
    """The history beside a model, or beside the one that it is a copy of."""
    if artifact.type == "ModelRun":
        return artifact
    _check_holds_a_model(artifact)
    trained = _sources(artifact) or (artifact,)
    if len(trained) > 1:
        members = ", ".join(f"{model.type} {model.id}" for model in trained)
        raise UserError(
            f"{artifact.type} {artifact.id} is an ensemble, each member of which has a history of "
            f"its own: ask {members}"
        )
    outputs = trained[0].producer.outputs.values() if trained[0].producer else ()
    for found in (artifact for named in outputs for artifact in named):
        if found.type == "ModelRun":
            return found
    raise UserError(
        f"{artifact.type} {artifact.id} has no history: its producer, "
        f"{artifact.producer.name if artifact.producer else 'nobody'}, trained no model"
    )


def _sources(artifact: Artifact) -> tuple[Artifact, ...]:
    """The trained models that a champion or a pushed model is a copy of."""
    uris = str(artifact.properties.get(SOURCE_MODEL_URI, "")).splitlines()
    parents = artifact.parents() if uris else ()
    near = dict.fromkeys((*parents, *(a for parent in parents for a in parent.parents())))
    return tuple(a for a in near if a.type == "Model" and a.uri in uris)


def statistics(artifact: Artifact, split: str | None) -> Statistics:
    """The statistics of a split."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    from pipeline.lineage.described import Statistics

    _check(artifact, "statistics", "ExampleStatistics")
    split = _split(artifact, split)
    name = f"Split-{split}/{STATISTICS_FILE}"
    found = files.proto(artifact, name, statistics_pb2.DatasetFeatureStatisticsList())
    if not found.datasets:
        raise UserError(f"{artifact.uri}/{name}: there are no statistics in it; {files.DAMAGED}")
    return Statistics(f"{split} of {_span(artifact)}", split, _splits(artifact), found)


def schema(artifact: Artifact) -> Schema:
    """What data must look like."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    from pipeline.lineage.described import Schema

    _check(artifact, "schema", "Schema")
    try:
        return Schema(text_format.Parse(files.text(artifact, SCHEMA_FILE), schema_pb2.Schema()))
    except text_format.ParseError as error:
        raise UserError(
            f"{artifact.uri}/{SCHEMA_FILE}: not a schema: {error}; {files.DAMAGED}"
        ) from None


def anomalies(artifact: Artifact, split: str | None) -> Anomalies:
    """Where a split, or any of them, breaks the schema."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    from pipeline.lineage.described import Anomalies

    _check(artifact, "anomalies", "ExampleAnomalies")
    found = {
        name: files.proto(artifact, f"Split-{name}/{ANOMALIES_FILE}", anomalies_pb2.Anomalies())
        for name in (_splits(artifact) if split is None else [_split(artifact, split)])
    }
    return Anomalies(_span(artifact), found)


def curves(artifact: Artifact) -> Curves:
    """How probabilities and labels went together in an evaluation."""
    from custom_components.evaluator.curves import FILE, Curves

    _check_problem(artifact, "curves", Problem.BINARY, Problem.MULTICLASS)
    with files.folder(artifact) as folder:
        if not (folder / FILE).exists():
            raise UserError(
                f"{artifact.uri} has no {FILE}: {artifact.type} {artifact.id} was made before "
                "evaluations kept their curves; a new run's evaluation has them"
            )
        return Curves.read(folder)


def confusion(artifact: Artifact) -> Confusion:
    """Which classes the models of an evaluation take for which."""
    from custom_components.evaluator.confusion import Confusion

    _check_problem(artifact, "confusion matrices", Problem.MULTICLASS)
    with files.folder(artifact) as folder:
        return Confusion.read(folder)


def points(artifact: Artifact) -> Points:
    """What the models of an evaluation predict beside what came true."""
    from custom_components.evaluator.points import Points

    _check_problem(artifact, "points", Problem.REGRESSION)
    with files.folder(artifact) as folder:
        return Points.read(folder)


def bundle(artifact: Artifact) -> Bundle:
    """A model, loaded."""
    _check(artifact, "bundle", "Model", "PushedModel")
    _check_holds_a_model(artifact)
    from models.bundle import Bundle

    with files.folder(artifact) as folder:
        return Bundle.load(folder / SERVED_FORM if artifact.type == "Model" else folder)


def rows(artifact: Artifact, split: str | None, limit: int | None) -> pd.DataFrame:
    """The rows of a split."""
    _check(artifact, "rows", "Examples")
    name = f"Split-{_split(artifact, split)}"
    import pyarrow as pa
    import tensorflow as tf

    from custom_components.evaluator.candidates import Models
    from custom_components.evaluator.rows import Predict

    reader = Predict(Models({}))  # The evaluator's way to read, with no model to ask.
    reader.setup()
    read: list[pa.Table] = []
    with files.folder(artifact, name) as folder:
        shards = sorted(str(file) for file in folder.iterdir() if file.is_file())
        try:
            for batch in chain.from_iterable(map(reader.process, shards)):
                columns = batch.columns.schema.names
                read.append(pa.table({column: _texts(batch.values(column)) for column in columns}))
                if limit is not None and sum(map(len, read)) >= limit:
                    break
        except (tf.errors.OpError, ValueError, RuntimeError):  # a record, or the Example in it
            raise UserError(f"{artifact.uri}/{name}: not tf.Examples; {files.DAMAGED}") from None
    # A batch without a value of a column does not know its type.
    found = pa.concat_tables(read, promote_options="permissive") if read else pa.table({})
    return found.slice(0, limit).to_pandas()


def transform_output(artifact: Artifact) -> TFTransformOutput:
    """The graph that makes of raw columns what models learn from."""
    _check(artifact, "transform graph", "TransformGraph")
    from tensorflow_transform import TFTransformOutput

    copies = storage.Copies()
    folder = copies.of(artifact.uri)
    if not (folder / _GRAPH_FILE).is_file():
        raise files.gone(artifact, _GRAPH_FILE, "it is not there")
    found = TFTransformOutput(str(folder))
    # It reads its files when it is asked.
    weakref.finalize(found, copies.__exit__)
    return found


def tfma_result(artifact: Artifact, model: str | None) -> EvalResult:
    """One model's evaluation as TensorFlow Model Analysis has it."""
    _check(artifact, "evaluation", "ModelEvaluation")
    models = list(verdict(artifact).models)
    if model is not None and model not in models:
        raise UserError(
            f"{artifact.type} {artifact.id} is of no model {model!r}; there are: "
            f"{', '.join(models)}"
        )
    import tensorflow as tf
    import tensorflow_model_analysis as tfma

    with files.folder(artifact) as folder:
        if not (folder / _TFMA_FILE).is_file():
            raise files.gone(artifact, _TFMA_FILE, "it is not there")
        try:
            return tfma.load_eval_result(str(folder), model_name=model or models[0])
        except tf.errors.OpError:
            raise UserError(f"{artifact.uri}: not TFMA's files; {files.DAMAGED}") from None


def page(artifact: Artifact) -> str:
    """The report of a run, as HTML."""
    _check(artifact, "page", "Report")
    return files.text(artifact, PAGE_FILE)


def _check(artifact: Artifact, what: str, *types: str) -> None:
    if artifact.type not in types:
        raise UserError(
            f"{artifact.type} {artifact.id} has no {what}: expected an artifact of type "
            f"{' or '.join(types)}"
        )


def _check_problem(artifact: Artifact, what: str, *problems: Problem) -> None:
    """That it is the evaluation of such a problem."""
    _check(artifact, what, "ModelEvaluation")
    found = verdict(artifact).problem
    if found not in problems:
        raise UserError(
            f"{artifact.type} {artifact.id} has no {what}: its problem is {found}; expected "
            f"{' or '.join(problems)}"
        )


def _check_holds_a_model(artifact: Artifact) -> None:
    if not artifact._is_a_model:
        raise UserError(
            f"{artifact.type} {artifact.id} holds no model: its run has chosen none to go live"
        )


def _splits(artifact: Artifact) -> tuple[str, ...]:
    """The names of the artifact's splits, which TFX keeps as JSON."""
    return tuple(json.loads(artifact.properties.get("split_names") or "[]"))


def _split(artifact: Artifact, name: str | None) -> str:
    """The split of that name, or the first one."""
    splits = _splits(artifact)
    if not splits:
        raise UserError(f"{artifact.type} {artifact.id} has no splits")
    if name is not None and name not in splits:
        raise UserError(
            f"{artifact.type} {artifact.id} has no split {name!r}; there are: {', '.join(splits)}"
        )
    return splits[0] if name is None else name


def _span(artifact: Artifact) -> str:
    return f"span {artifact.properties.get('span', '?')}"


def _texts(values: Any) -> Any:
    """Bytes as text, where they are text."""
    import pyarrow as pa

    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        try:
            return values.cast(pa.string())
        except pa.ArrowInvalid:
            pass
    return values
