"""What a run goes on from, by TFX's launcher against a store that lives on."""

from pathlib import Path

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable.mlmd import event_lib
from tfx.types import channel_utils
from tfx.types.standard_artifacts import Examples, Model, PushedModel, TransformGraph

from custom_components.resolvers import BaseModel, ever_made
from custom_components.selection import SOURCE_MODEL_URI
from pipeline import config_file
from pipeline.pipeline import create_pipeline
from pipeline.train_config import GOES_ON

_CACHED = metadata_store_pb2.Execution.CACHED


@component
def Ingest(examples: OutputArtifact[Examples], span: Parameter[int]) -> None:
    """Leaves the span where Transform does."""
    examples.set_int_custom_property("span", span)


@component
def Analyze(
    examples: InputArtifact[Examples],
    transform_graph: OutputArtifact[TransformGraph],
    base: InputArtifact[TransformGraph] = None,
) -> None:
    """Is content with no graph before it."""


@component
def Train(
    examples: InputArtifact[Examples],
    transform_graph: InputArtifact[TransformGraph],
    model: OutputArtifact[Model],
    base_model: InputArtifact[Model] = None,
) -> None:
    """Is content with no model before it."""


@component
def Push(
    models: InputArtifact[list[Model]],
    pushed_model: OutputArtifact[PushedModel],
    winner: Parameter[str],
) -> None:
    """Says what the Pusher says of the trainers' models that `winner` names, if it names any."""
    sources = [model.uri for model in models if model.uri.split("/")[-3] in winner.split()]
    pushed_model.set_int_custom_property("pushed", int(bool(sources)))
    pushed_model.set_string_custom_property(SOURCE_MODEL_URI, "\n".join(sources))


class Runs:
    """Runs the graph again and again, and asks the store what came of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection = metadata.sqlite_metadata_connection_config(str(folder / "store.db"))

    def run(self, span: int, winner: str = "keras") -> None:
        ingest = Ingest(span=span).with_id("ExampleGen")
        base = Resolver(
            strategy_class=BaseModel,
            examples=ingest.outputs["examples"],
            pushed=ever_made(PushedModel, "Pusher"),
            transform_graph=ever_made(TransformGraph, "Transform"),
            keras=ever_made(Model, "keras"),
            xgboost=ever_made(Model, "xgboost"),
        ).with_id("BaseModel")
        transform = Analyze(
            examples=ingest.outputs["examples"], base=base.outputs["transform_graph"]
        ).with_id("Transform")
        trainers = [
            Train(
                examples=ingest.outputs["examples"],
                transform_graph=transform.outputs["transform_graph"],
                base_model=base.outputs.get(name),
            ).with_id(name)
            for name in ("keras", "sklearn", "xgboost")
        ]
        models = channel_utils.union([trainer.outputs["model"] for trainer in trainers])
        push = Push(models=models, winner=winner).with_id("Pusher")
        LocalDagRunner().run(
            Pipeline(
                "toy",
                str(self._folder / "root"),
                components=[ingest, base, transform, *trainers, push],
                enable_cache=True,
                metadata_connection_config=self._connection,
            )
        )
        assert self.executions("Pusher"), "its inputs could not be resolved"

    @property
    def store(self) -> mlmd.MetadataStore:
        return mlmd.MetadataStore(self._connection)

    def executions(self, node: str) -> list[metadata_store_pb2.Execution]:
        context = self.store.get_context_by_type_and_name("node", f"toy.{node}")
        return sorted(self.store.get_executions_by_context(context.id), key=lambda e: e.id)

    def latest(self, node: str) -> dict[str, list[int]]:
        """The ids of what `node` put out in the newest run, by name; empty lists left out."""
        events = self.store.get_events_by_execution_ids([self.executions(node)[-1].id])
        put_out = [e for e in events if e.type in (e.OUTPUT, e.INTERNAL_OUTPUT)]
        found = event_lib.reconstruct_artifact_id_multimap(put_out)
        return {key: list(ids) for key, ids in found.items() if ids and key != "examples"}

    def base(self) -> dict[str, list[int]]:
        return self.latest("BaseModel")

    def outputs(self, *frameworks: str) -> dict[str, list[int]]:
        """What the next run should go on from, if nothing of it is taken away."""
        return {
            "pushed": self.latest("Pusher")["pushed_model"],
            "transform_graph": self.latest("Transform")["transform_graph"],
            **{name: self.latest(name)["model"] for name in frameworks},
        }

    def was_cached(self, *nodes: str) -> bool:
        return all(self.executions(node)[-1].last_known_state == _CACHED for node in nodes)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def test_a_run_goes_on_from_the_newest_model_that_knows_no_span_as_new_as_its_own(runs: Runs):
    runs.run(1)
    assert runs.base() == {}
    first = runs.outputs("keras")

    runs.run(2, winner="keras xgboost")
    assert runs.base() == first
    second = runs.outputs("keras", "xgboost")

    runs.run(2, winner="keras xgboost")
    assert runs.base() == first
    assert runs.was_cached("Transform", "keras", "xgboost", "sklearn", "Pusher")

    runs.run(3, winner="none")
    assert runs.base() == second
    runs.run(4)
    assert runs.base() == second

    runs.run(1)
    assert runs.base() == {}
    assert runs.was_cached("Transform", "keras", "xgboost", "sklearn", "Pusher")


def test_a_live_model_that_cannot_be_gone_on_from_is_not_passed_over(runs: Runs):
    runs.run(1)
    runs.run(2, winner="sklearn")
    runs.run(3)
    assert runs.base() == {}


@pytest.mark.parametrize("gone", ["keras", "transform_graph"])
def test_without_the_model_or_its_graph_there_is_nothing_to_go_on_from(runs: Runs, gone: str):
    runs.run(1)
    (artifact,) = runs.store.get_artifacts_by_id(runs.outputs("keras")[gone])
    artifact.state = metadata_store_pb2.Artifact.DELETED
    runs.store.put_artifacts([artifact])
    runs.run(2)
    assert runs.base() == {}


def test_the_pipeline_goes_on_from_a_model_only_where_it_is_asked_to() -> None:
    for asked in ("false", "true"):
        config = config_file.load(config_file.DEFAULT, [f"train.warm_start={asked}"])
        nodes = {node.id: node for node in create_pipeline(config).components}
        going_on = [name for name, node in nodes.items() if "base_model" in node.inputs]
        taking_over = "base_transform_graph" in nodes["Transform"].inputs
        if asked == "true":
            frameworks = set(config.train.frameworks) & set(GOES_ON)
            assert set(going_on) == {f"Trainer.{name}" for name in frameworks}
            assert "BaseModel" in nodes and taking_over
        else:
            assert "BaseModel" not in nodes and not (going_on or taking_over)
