"""Writes a metadata store as years of runs would have left it, without running anything.

A run is 16 nodes. It trains two models on a new span and the two before it, and compares them with
the model that is live. Each third run pushes one; each fifth is on the span of the run before, so
that what reads the data comes from the cache.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as pb

from custom_components.evaluator import verdict
from pipeline.config import PipelineConfig
from pipeline.evaluate_config import Metric
from pipeline.store import connect, database, record

NODES = 16
"""Executions in a run."""
WITH_FILES = 2
"""How many of the newest runs have the files that questions read: one of them pushed."""
_PUSHES, _AGAIN, _WINDOW = 3, 5, 3
_FRAMEWORKS = ("sklearn", "xgboost")
_DIGEST = "8d976f5d0c1f7c4e7c283c49a07af56c96cfc9d60ab2cb24015d34409a753eb6"
_SCHEMA = "".join(f'feature {{ name: "column_{i}" type: FLOAT }}\n' for i in range(20))
_RESOLVER = "tfx.dsl.components.common.resolver.Resolver"

Artifacts = Sequence[pb.Artifact]


def write(config: PipelineConfig, url: str, executions: int) -> None:
    """Fills the empty store at `url` with at least so many executions, in whole runs.

    The artifacts' folders lie below the root of `config`; the newest runs' alone are there.
    """
    writer = _Writer(config, url)
    runs = -(-executions // NODES)
    # The last one of all pushes, so that the newest model is live.
    first = (_PUSHES - runs) % _PUSHES
    for number in range(runs):
        writer.run(number, pushes=(first + number) % _PUSHES == _PUSHES - 1)
    for evaluation, models, schema in writer.newest[-WITH_FILES:]:
        _write_files(evaluation, models, schema)


class _Writer:
    def __init__(self, config: PipelineConfig, url: str) -> None:
        self.newest: list[tuple[pb.Artifact, Artifacts, pb.Artifact]] = []
        """The evaluation, the models and the schema of each run."""
        self._config = config
        config.local_root.mkdir(parents=True, exist_ok=True)
        connection = connect.connection_to(url)
        self._store = connect.opened(connection)
        database.allow_long_texts(connection)
        self._pipeline = record.named(self._store, record.PIPELINE, config.name)
        self._types: dict[tuple[str, str], int] = {}
        self._node_contexts: dict[str, int] = {}
        self._executions: list[pb.Execution] = []
        self._nodes: list[str] = []
        self._made: list[pb.Artifact] = []
        self._edges: list[tuple[int, int | None, pb.Event]] = []
        self._schema: Artifacts = ()
        self._live: Artifacts = ()
        self._data: list[dict[str, Artifacts]] = []
        """What was made of each span's data, by the outputs' names."""

    def run(self, number: int, *, pushes: bool) -> None:
        """Writes one run."""
        again = number % _AGAIN == _AGAIN - 1
        if not again:
            self._data.append({})
        span, data = len(self._data), self._data[-1]
        run_id = f"20130101-{number:06}"

        def of_data(node: str, kind: str, reads: Mapping[str, Artifacts], **gives: str) -> None:
            """A node that does the same again on the same span."""
            if not again:
                data.update(
                    {key: (self._artifact(node, key, gives[key], span=span),) for key in gives}
                )
            self._node(node, kind, reads, {key: data[key] for key in gives}, cached=again)

        made_here = not self._schema
        if made_here:
            self._schema = (self._artifact("SchemaGen", "schema", "Schema"),)
        of_data(
            "ExampleGen",
            "custom_components.example_gen.component.TabularExampleGen",
            {},
            examples="Examples",
        )
        self._node(
            "SchemaGen",
            "tfx.components.schema_gen.import_schema_gen.component.ImportSchemaGen",
            {},
            {"schema": self._schema},
            cached=not made_here,
        )
        of_data(
            "StatisticsGen",
            "custom_components.statistics_gen.StatisticsGen",
            {"examples": data["examples"]},
            statistics="ExampleStatistics",
        )
        checked = {"schema": self._schema, "statistics": data["statistics"]}
        of_data(
            "ExampleValidator",
            "tfx.components.example_validator.component.ExampleValidator",
            checked,
            anomalies="ExampleAnomalies",
        )
        of_data("Preflight", "custom_components.preflight.Preflight", checked)
        before = self._data[-2]["statistics"] if span > 1 else ()
        self._node("PreviousStatistics", _RESOLVER, {}, {"history": before}, resolver=True)
        of_data(
            "DataGate",
            "custom_components.data_gate.DataGate",
            {
                "statistics": data["statistics"],
                "anomalies": data["anomalies"],
                "previous_statistics": before,
            },
            report="GateReport",
        )
        window = [a for old in self._data[-_WINDOW:] for a in old["examples"]]
        self._node("Window", _RESOLVER, {}, {"examples": window}, resolver=True)
        of_data(
            "Transform",
            "custom_components.transform.component.Transform",
            {"examples": window, "schema": self._schema},
            transformed_examples="Examples",
            transform_graph="TransformGraph",
        )
        models = []
        for framework in _FRAMEWORKS:
            node = f"Trainer.{framework}"
            model = self._artifact(node, "model", "Model")
            models.append(model)
            self._node(
                node,
                "custom_components.trainer.Trainer",
                {
                    "examples": data["transformed_examples"],
                    "transform_graph": data["transform_graph"],
                    "schema": self._schema,
                },
                {"model": (model,), "model_run": (self._artifact(node, "model_run", "ModelRun"),)},
            )
        self._node("LiveModel", _RESOLVER, {}, {"live": self._live}, resolver=True)
        self._judge(window, models, framework=_FRAMEWORKS[number % 2] if pushes else "")
        self._put(run_id, span)

    def _judge(self, window: Artifacts, models: Artifacts, *, framework: str) -> None:
        """From the evaluator to the pusher; pushes the model of `framework`, or none."""
        evaluation = (self._artifact("Evaluator", "evaluation", "ModelEvaluation"),)
        self.newest.append((evaluation[0], models, self._schema[0]))
        self._node(
            "Evaluator",
            "custom_components.evaluator.component.Evaluator",
            {"examples": window, "model": models, "baseline_model": self._live},
            {
                "evaluation": evaluation,
                "blessing": [self._artifact("Evaluator", "blessing", "ModelBlessing")],
            },
        )
        source: dict[str, str] = {
            "source_model_uri": models[_FRAMEWORKS.index(framework)].uri if framework else "",
            "framework": framework,
            **({"digest": _DIGEST} if framework else {}),
        }
        champion = (self._artifact("ModelSelector", "model", "Model", **source),)
        blessing = (
            self._artifact("ModelSelector", "blessing", "ModelBlessing", blessed=bool(framework)),
        )
        told = {"winner": framework, "reason": f"{framework or 'none'} is the best of two models"}
        selection = self._artifact("ModelSelector", "selection", "ModelSelection", **told)
        self._node(
            "ModelSelector",
            "custom_components.model_selector.ModelSelector",
            {"models": models, "evaluation": evaluation, "baseline_model": self._live},
            {"selection": (selection,), "model": champion, "blessing": blessing},
        )
        judged = {"model": champion, "model_blessing": blessing}
        healthy = (self._artifact("Canary", "blessing", "InfraBlessing", blessed=bool(framework)),)
        self._node(
            "Canary",
            "custom_components.canary.component.Canary",
            judged | {"evaluation": evaluation},
            {"blessing": healthy},
        )
        pushed = (
            self._artifact(
                "Pusher", "pushed_model", "PushedModel", pushed=bool(framework), **source
            ),
        )
        self._node(
            "Pusher",
            "custom_components.pusher.Pusher",
            judged | {"infra_blessing": healthy},
            {"pushed_model": pushed},
        )
        if framework:
            self._live = pushed

    def _artifact(self, node: str, key: str, kind: str, **properties: str | int) -> pb.Artifact:
        """An artifact that is still to be stored."""
        made = pb.Artifact(type_id=self._type("artifact", kind), state=pb.Artifact.LIVE)
        number = len(self._made)
        made.uri = f"{self._config.pipeline_root}/{node}/{key}/{len(self.newest)}-{number}"
        facts = {"tfx_version": "1.21.0", "is_external": 0, **properties}
        if kind == "Examples":
            facts |= {"rows_train": 9000, "rows_eval": 3000, "rows_dropped": 0}
            facts |= {"input_fingerprint": _DIGEST, "file_format": "tfrecords_gzip"}
        _set(made.custom_properties, facts)
        self._made.append(made)
        return made

    def _node(
        self,
        node: str,
        kind: str,
        reads: Mapping[str, Artifacts],
        gives: Mapping[str, Artifacts],
        *,
        cached: bool = False,
        resolver: bool = False,
    ) -> None:
        state = pb.Execution.CACHED if cached else pb.Execution.COMPLETE
        execution = pb.Execution(type_id=self._type("execution", kind), last_known_state=state)
        if not resolver:
            settings = {f"setting_{i}": i for i in range(20)}
            _set(
                execution.custom_properties,
                {"code_digest": _DIGEST, "custom_config": json.dumps(settings)},
            )
        number = len(self._executions)
        self._executions.append(execution)
        self._nodes.append(node)
        stored = {id(artifact): i for i, artifact in enumerate(self._made)}
        out = pb.Event.INTERNAL_OUTPUT if resolver else pb.Event.OUTPUT
        for event_type, ends in ((pb.Event.INPUT, reads), (out, gives)):
            for key, artifacts in ends.items():
                for place, artifact in enumerate(artifacts):
                    event = pb.Event(type=event_type)
                    event.path.steps.add().key = key
                    event.path.steps.add().index = place
                    if artifact.HasField("id"):
                        event.artifact_id = artifact.id
                    self._edges.append((number, stored.get(id(artifact)), event))

    def _put(self, run_id: str, span: int) -> None:
        """Stores what the run consists of."""
        facts = record.begun(self._config, note="", runner="local")
        record.write(self._store, run_id, facts | {"span": str(span), "backfill": "[]"})
        contexts = [self._pipeline, record.named(self._store, record.RUN, run_id)]
        executions, artifacts, _ = self._store.put_lineage_subgraph(
            self._executions, self._made, contexts, self._edges
        )
        for artifact, stored in zip(self._made, artifacts, strict=True):
            artifact.id = stored
        links = [
            pb.Association(execution_id=execution, context_id=self._context_of(node))
            for execution, node in zip(executions, self._nodes, strict=True)
        ]
        self._store.put_attributions_and_associations([], links)
        record.write(self._store, run_id, record.ended(record.SUCCEEDED))
        for batch in (self._executions, self._nodes, self._made, self._edges):
            batch.clear()

    def _context_of(self, node: str) -> int:
        if node not in self._node_contexts:
            context = record.named(self._store, "node", f"{self._config.name}.{node}")
            self._node_contexts[node] = context.id
        return self._node_contexts[node]

    def _type(self, of: str, name: str) -> int:
        if (of, name) not in self._types:
            if of == "artifact":
                made = self._store.put_artifact_type(pb.ArtifactType(name=name))
            else:
                made = self._store.put_execution_type(pb.ExecutionType(name=name))
            self._types[of, name] = made
        return self._types[of, name]


def _set(properties: Mapping[str, pb.Value], facts: Mapping[str, str | int]) -> None:
    for key, value in facts.items():
        kind = "string_value" if isinstance(value, str) else "int_value"
        setattr(properties[key], kind, value)


def _write_files(evaluation: pb.Artifact, models: Artifacts, schema: pb.Artifact) -> None:
    """Writes what `live` and `diff` read of a run."""
    names = (*_FRAMEWORKS, verdict.LIVE)
    found = verdict.Verdict(
        candidates=_FRAMEWORKS,
        blessed=dict.fromkeys(_FRAMEWORKS, True),
        live=verdict.LIVE,
        rows=3000,
        label_mean=0.2,
        models={name: {Metric.AUC: 0.7, Metric.ACCURACY: 0.8} for name in names},
        slices=[],
        checks=[],
    )
    versions = {"tfx": "1.21.0", "scikit-learn": "1.5.2"}
    bundle = json.dumps({"provenance": {"versions": versions}})
    texts = {f"{evaluation.uri}/{verdict.FILE}": found.model_dump_json()}
    texts[f"{schema.uri}/schema.pbtxt"] = _SCHEMA
    texts |= {f"{model.uri}/Format-Serving/bundle.json": bundle for model in models}
    for name, text in texts.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
