"""The strategies in a compiled pipeline, run by TFX's launcher against a store that lives on."""

from contextlib import nullcontext
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
from tfx.types.standard_artifacts import Examples, ExampleStatistics, Model, PushedModel

from custom_components.resolvers import LiveModel, PreviousSpan, RollingWindow, ever_made
from custom_components.selection import JUDGED_MODEL_URIS, SOURCE_MODEL_URI
from pipeline.data_config import Window

_COMPLETE = metadata_store_pb2.Execution.COMPLETE
_CACHED = metadata_store_pb2.Execution.CACHED


@component
def Ingest(
    examples: OutputArtifact[Examples], span: Parameter[int], content: Parameter[str]
) -> None:
    """Leaves the span where ExampleGen's driver does."""
    examples.set_int_custom_property("span", span)
    examples.set_string_custom_property("content", content)


@component
def Describe(
    examples: InputArtifact[Examples], statistics: OutputArtifact[ExampleStatistics]
) -> None:
    """Leaves the span where StatisticsGen does."""
    statistics.span = examples.get_int_custom_property("span")


@component
def Compare(
    statistics: InputArtifact[ExampleStatistics],
    refuses: Parameter[int],
    previous: InputArtifact[ExampleStatistics] = None,
) -> None:
    """The data gate: is content with no previous span."""
    if refuses:
        raise ValueError("refused")


@component
def Train(
    examples: InputArtifact[list[Examples]], model: OutputArtifact[Model], code: Parameter[str]
) -> None:
    """Trains on the whole window; `code` stands for what makes one model differ from another."""
    spans = [e.get_int_custom_property("span") for e in examples]
    model.set_string_custom_property("spans", str(spans))


@component
def Push(
    models: InputArtifact[list[Model]],
    pushed_model: OutputArtifact[PushedModel],
    winner: Parameter[str],
    live: InputArtifact[PushedModel] = None,
) -> None:
    """Says what the Pusher says of the trainers' models that `winner` names, if it names any."""
    sources = [model.uri for model in models if model.uri.split("/")[-3] in winner.split()]
    pushed_model.set_int_custom_property("pushed", int(bool(sources)))
    pushed_model.set_string_custom_property(SOURCE_MODEL_URI, "\n".join(sources))
    judged = "\n".join(model.uri for model in models)
    pushed_model.set_string_custom_property(JUDGED_MODEL_URIS, judged)


class Runs:
    """Runs the graph again and again, and asks the store what came of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._refused = 0
        self._connection = metadata.sqlite_metadata_connection_config(str(folder / "store.db"))

    def run(
        self,
        span: int,
        *,
        content: str = "",
        keras: str = "",
        xgboost: str = "",
        winner: str = "keras",
        window: Window = 2,
        refused: bool = False,
        unseen: bool = False,
    ) -> None:
        ingest = Ingest(span=span, content=content).with_id("ExampleGen")
        describe = Describe(examples=ingest.outputs["examples"]).with_id("StatisticsGen")
        previous = Resolver(
            strategy_class=PreviousSpan,
            config={"gate": Compare.get_class_type()},
            current=describe.outputs["statistics"],
            history=ever_made(ExampleStatistics, "StatisticsGen"),
        ).with_id("PreviousStatistics")
        compare = Compare(
            statistics=describe.outputs["statistics"],
            previous=previous.outputs["history"],
            refuses=int(refused),
        )
        spans = Resolver(
            strategy_class=RollingWindow,
            config={"window": window, "gate": compare.type, "unseen": unseen},
            current=ingest.outputs["examples"],
            examples=ever_made(Examples, "ExampleGen"),
        ).with_id("Window")
        spans.add_upstream_node(compare)
        trainers = [
            Train(examples=spans.outputs["examples"], code=code).with_id(name)
            for name, code in (("keras", keras), ("xgboost", xgboost))
        ]
        models = channel_utils.union([trainer.outputs["model"] for trainer in trainers])
        live = Resolver(
            strategy_class=LiveModel,
            candidate=models,
            live=ever_made(PushedModel, "Pusher"),
        ).with_id("LiveModel")
        push = Push(models=models, live=live.outputs["live"], winner=winner).with_id("Pusher")
        pipeline = Pipeline(
            "toy",
            str(self._folder / "root"),
            components=[ingest, describe, previous, compare, spans, *trainers, live, push],
            enable_cache=True,
            metadata_connection_config=self._connection,
        )
        with pytest.raises(ValueError, match="refused") if refused else nullcontext():
            LocalDagRunner().run(pipeline)
        self._refused += refused
        # The launcher ends quietly where inputs cannot be resolved: only the store tells.
        states = [execution.last_known_state for execution in self.store.get_executions()]
        done = [state for state in states if state in (_COMPLETE, _CACHED)]
        assert len(states) - len(done) == self._refused

    @property
    def store(self) -> mlmd.MetadataStore:
        return mlmd.MetadataStore(self._connection)

    def executions(self, node: str) -> list[metadata_store_pb2.Execution]:
        context = self.store.get_context_by_type_and_name("node", f"toy.{node}")
        return sorted(self.store.get_executions_by_context(context.id), key=lambda e: e.id)

    def latest(self, node: str, key: str) -> list[metadata_store_pb2.Artifact]:
        """What `node` put out in the newest run, in its order."""
        events = self.store.get_events_by_execution_ids([self.executions(node)[-1].id])
        put_out = [e for e in events if e.type in (e.OUTPUT, e.INTERNAL_OUTPUT)]
        ids = event_lib.reconstruct_artifact_id_multimap(put_out).get(key, ())
        return [self.store.get_artifacts_by_id([artifact_id])[0] for artifact_id in ids]

    def previous(self) -> list[int]:
        artifacts = self.latest("PreviousStatistics", "history")
        return [artifact.properties["span"].int_value for artifact in artifacts]

    def window(self) -> list[str]:
        """Span and content of each artifact, as in "2a"."""
        return [
            f"{a.custom_properties['span'].int_value}{a.custom_properties['content'].string_value}"
            for a in self.latest("Window", "examples")
        ]

    def live(self) -> list[int]:
        return [artifact.id for artifact in self.latest("LiveModel", "live")]

    def pushed(self) -> int:
        return self.latest("Pusher", "pushed_model")[0].id

    def was_cached(self, node: str) -> bool:
        return self.executions(node)[-1].last_known_state == _CACHED


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def test_a_first_span_has_none_before_it_and_is_compared_all_the_same(runs: Runs) -> None:
    runs.run(1)
    assert runs.previous() == []
    assert len(runs.executions("Compare")) == 1
    assert not runs.was_cached("Compare")


def test_spans_find_the_highest_below_and_the_window_up_to_themselves(runs: Runs) -> None:
    for span in (1, 4, 5):
        runs.run(span)
    assert runs.previous() == [4]
    assert runs.window() == ["4", "5"]
    runs.run(3)
    assert runs.previous() == [1]
    assert runs.window() == ["3"]
    runs.run(5, window=5)
    assert runs.window() == ["1", "3", "4", "5"]
    runs.run(4, window="expanding")
    assert runs.window() == ["1", "3", "4"]
    assert not runs.was_cached("keras")
    runs.run(4, window="expanding")
    assert runs.was_cached("keras")


def test_a_span_that_is_to_judge_unseen_is_left_out_unless_it_is_the_only_one(runs: Runs) -> None:
    runs.run(1, unseen=True)
    assert runs.window() == ["1"]
    runs.run(2, unseen=True)
    assert runs.window() == ["1"]
    runs.run(3, unseen=True, window=3)
    assert runs.window() == ["1", "2"]


def test_a_span_that_was_refused_is_left_out_and_those_before_it_are_not(runs: Runs) -> None:
    runs.run(1)
    runs.run(2, refused=True)
    runs.run(3, window=3)
    assert runs.window() == ["1", "3"]
    runs.run(2)
    runs.run(3, window="expanding")
    assert runs.window() == ["1", "2", "3"]
    runs.run(2, refused=True)  # The gate asks for more by now.
    runs.run(3, window="expanding")
    assert runs.window() == ["1", "3"]


def test_a_span_is_compared_with_none_that_was_refused(runs: Runs) -> None:
    runs.run(1)
    runs.run(2, refused=True)
    runs.run(3)
    assert runs.previous() == [1]
    runs.run(2)
    runs.run(3)
    assert runs.previous() == [2]


def test_what_was_refused_of_a_span_does_not_take_away_what_it_brought_before(runs: Runs) -> None:
    runs.run(1, content="a")
    runs.run(1, content="b", refused=True)
    runs.run(2)
    assert runs.window() == ["1a", "2"]


def test_an_unchanged_run_of_an_earlier_span_is_cached_whole(runs: Runs) -> None:
    for span in (1, 2, 1):
        runs.run(span)
    assert runs.previous() == []
    assert runs.window() == ["1"]
    for node in ("ExampleGen", "StatisticsGen", "Compare", "keras", "xgboost"):
        assert runs.was_cached(node), node


def test_a_span_is_what_was_ingested_last_even_if_an_older_artifact_has_it(runs: Runs) -> None:
    for content in ("a", "b"):
        runs.run(1, content=content)
    runs.run(2)
    assert runs.window() == ["1b", "2"]
    runs.run(1, content="a")
    assert runs.window() == ["1a"]
    runs.run(2)
    assert runs.window() == ["1a", "2"]


def test_deleted_spans_are_not_found(runs: Runs) -> None:
    runs.run(1)
    runs.run(2)
    for artifact in runs.store.get_artifacts():
        artifact.state = metadata_store_pb2.Artifact.DELETED
        runs.store.put_artifacts([artifact])
    runs.run(3)
    assert runs.previous() == []
    assert runs.window() == ["3"]


def test_the_live_model_is_the_last_one_pushed_and_never_a_candidate(runs: Runs) -> None:
    runs.run(1, keras="first")
    assert runs.live() == []
    assert len(runs.latest("LiveModel", "candidate")) == 2
    first = runs.pushed()

    runs.run(1, keras="first")
    assert runs.live() == []
    assert runs.was_cached("Pusher")

    runs.run(1, keras="refused", winner="none")
    runs.run(1, keras="second")
    assert runs.live() == [first]
    second = runs.pushed()

    runs.run(1, keras="second")
    assert runs.live() == [first]
    assert runs.was_cached("Pusher")

    runs.run(1, keras="first")
    assert runs.live() == [second]
    assert not runs.was_cached("Pusher")


def test_a_live_model_of_another_framework_is_a_live_model(runs: Runs) -> None:
    runs.run(1, winner="xgboost")
    first = runs.pushed()
    runs.run(1, xgboost="second")
    assert runs.live() == [first]


def test_a_live_model_stays_live_where_only_another_candidate_changed(runs: Runs) -> None:
    runs.run(1, winner="keras")
    first = runs.pushed()
    runs.run(1, winner="xgboost", xgboost="second")
    assert runs.live() == [first]


def test_an_ensemble_is_itself_where_every_member_is_a_candidate(runs: Runs) -> None:
    runs.run(1, winner="keras xgboost")
    both = runs.pushed()
    runs.run(1, winner="keras xgboost")
    assert runs.live() == []
    assert runs.was_cached("Pusher")
    runs.run(1, xgboost="second", winner="keras xgboost")
    assert runs.live() == [both]


def test_a_strategy_without_its_current_artifact_fails_the_node() -> None:
    store = mlmd.MetadataStore(
        metadata_store_pb2.ConnectionConfig(fake_database=metadata_store_pb2.FakeDatabaseConfig())
    )
    assert PreviousSpan().resolve_artifacts(store, {"current": [], "history": []}) is None
    assert (
        RollingWindow(2, "Gate").resolve_artifacts(store, {"current": [], "examples": []}) is None
    )
    assert LiveModel().resolve_artifacts(store, {"candidate": [], "live": []}) is None
