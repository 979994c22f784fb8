"""Which artifacts of earlier runs a node works on: strategies for TFX's Resolver node.

A Resolver is a node without an executor: its strategy is asked for artifacts, and these are its
outputs. What it chooses from reaches across runs (`ever_made`); what is not live, because it was
deleted, say, is dropped before a strategy sees it. Two things to know when writing one: it returns
a list for each of its input keys, and an empty list is an answer, with which an optional input
downstream is content. None is not an answer: the node fails.
"""

from __future__ import annotations

from collections.abc import Iterable

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.types.artifact import Artifact
from tfx.types.channel import Channel

from custom_components.selection import JUDGED_MODEL_URIS, SOURCE_MODEL_URI
from pipeline.data_config import Window, reach

_Artifacts = dict[str, list[Artifact]]

_DONE = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)
_INPUT = metadata_store_pb2.Event.INPUT


def ever_made(artifact_type: type[Artifact], producer_id: str) -> Channel:
    """All artifacts of a type that a node put out, in any run of this pipeline, for a resolver.

    A channel that names its producer, and is not the output of this run's node, is compiled to a
    query of that sort. It must not name the output's key as well: TFX's compiler would take it for
    the same input as the node's own output, where a resolver has both, and lose one of them.
    """
    return Channel(type=artifact_type, producer_component_id=producer_id)


class PreviousSpan(ResolverStrategy):
    """The span before the current one.

    Inputs: `current`, the span of this run, or a window of which the newest counts; `history`,
    those of every run. Outputs: `current` as it is; `history`, the highest span below the current
    one, or nothing if that is the first.
    """

    def __init__(self, gate: str | None = None) -> None:
        """Takes the type of the data gate's node, if statistics that it refused do not count."""
        self._gate = gate

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: _Artifacts
    ) -> _Artifacts | None:
        """See the class; None if there is no current span."""
        current = input_dict["current"]
        if not current:
            return None
        newest = max(map(span_of, current))
        history = input_dict["history"]
        if self._gate:
            passed = passed_statistics(store, self._gate)
            history = [artifact for artifact in history if artifact.id in passed]
        spans = newest_by_span(store, history)
        earlier = max((span for span in spans if span < newest), default=None)
        return {"current": current, "history": [] if earlier is None else [spans[earlier]]}


class RollingWindow(ResolverStrategy):
    """The last spans, up to and including the current one, as far as the data gate let them pass.

    Inputs: `current`, the span of this run; `examples`, those of every run. Outputs: `current` as
    it is; `examples`, one artifact for each span of the window that is there. What the gate refused
    is as if it had not come: of a span that came again, it is the last delivery that passed. They
    are recorded from the oldest span to the newest; a node downstream gets them in the store's
    order, and takes them by `oldest_first`.
    """

    def __init__(self, window: Window, gate: str, unseen: bool = False) -> None:
        """Takes how many spans, the current one included, and the type of the data gate's node.

        If the current span is to judge `unseen`, it is left out, unless it is the only one.
        """
        self._window = window
        self._gate = gate
        self._unseen = unseen

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: _Artifacts
    ) -> _Artifacts | None:
        """See the class; None if there is no current span."""
        if not input_dict["current"]:
            return None
        (current,) = input_dict["current"]
        newest = span_of(current)
        spans = passed_by_span(store, input_dict["examples"], self._gate) | {newest: current}
        oldest = newest - reach(self._window, newest) + 1
        window = [spans[s] for s in sorted(spans) if oldest <= s <= newest]
        if self._unseen:
            window = window[:-1] or window
        return {"current": [current], "examples": window}


class LiveModel(ResolverStrategy):
    """The model that was pushed last, other than what this run's models are themselves.

    Inputs: `candidate`, the models of this run's trainers; `live`, what every run pushed. Outputs:
    `candidate` as it is; `live`, the newest pushed model, or nothing before the first push.

    A pushed model that was chosen from these very candidates is what this run decides anew: they
    are compared with the model that it replaced. So a run in which nothing changed asks the same
    question again, and is cached. Where one candidate changed, the live model is among the others,
    and stays unless the new one is better.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: _Artifacts
    ) -> _Artifacts | None:
        """See the class; None if there is no candidate."""
        candidates = input_dict["candidate"]
        if not candidates:
            return None
        uris = {candidate.uri for candidate in candidates}
        pushed = [
            model
            for model in input_dict["live"]
            if model.get_int_custom_property("pushed") == 1 and _chosen_from(model) != uris
        ]
        newest = max(pushed, key=lambda model: model.id, default=None)
        return {"candidate": candidates, "live": [] if newest is None else [newest]}


class BaseModel(ResolverStrategy):
    """The models to go on from: those that went live last before the newest rows came.

    Inputs: `examples`, the spans to learn from; `pushed`, what every run pushed; `transform_graph`,
    those of every run; and by the name of each framework what its trainer made in every run.
    Outputs: `examples` as they are; `pushed`, the newest model that has learned from no span as new
    as the newest one; by framework the trained model that it is a copy of, or that is its member;
    `transform_graph`, what these learned from. Where it was made with none of the frameworks, or
    the graph is gone, that is nothing.

    A model that was pushed for these very spans, or for later ones, is passed over: so a run of the
    same spans again has the same inputs, and is cached.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: _Artifacts
    ) -> _Artifacts | None:
        """See the class; None if there are no spans."""
        examples = input_dict["examples"]
        if not examples:
            return None
        uris, read = _newest_before(store, input_dict["pushed"], max(map(span_of, examples)))
        found = {key: [a for a in input_dict[key] if a.uri in uris] for key in input_dict}
        graph = [a for a in input_dict["transform_graph"] if a.id in read]
        models = [key for key in found if key not in ("examples", "pushed", "transform_graph")]
        if not (graph and any(found[key] for key in models)):
            found = {key: [] for key in found}
            graph = []
        return found | {"examples": examples, "transform_graph": graph}


def _newest_before(
    store: mlmd.MetadataStore, pushed: Iterable[Artifact], span: int
) -> tuple[set[str], set[int]]:
    """The newest model that knows neither a span nor later ones; both are empty without one.

    Returns:
        Its uri with those of the trained models in it, and the ids of what these were made of.
    """
    live = (model for model in pushed if model.get_int_custom_property("pushed") == 1)
    for model in sorted(live, key=lambda model: model.id, reverse=True):
        sources = set(model.get_string_custom_property(SOURCE_MODEL_URI).split("\n"))
        trained = [artifact.id for uri in sources for artifact in store.get_artifacts_by_uri(uri)]
        made = _events(store.get_events_by_artifact_ids(trained), metadata_store_pb2.Event.OUTPUT)
        makers = list({event.execution_id for event in made})
        read = {e.artifact_id for e in _events(store.get_events_by_execution_ids(makers), _INPUT)}
        spans = [
            artifact.custom_properties["span"].int_value
            for artifact in store.get_artifacts_by_id(list(read))
            if "span" in artifact.custom_properties
        ]
        if spans and max(spans) < span:
            return {model.uri, *sources}, read
    return set(), set()


def _chosen_from(pushed: Artifact) -> set[str]:
    """The uris of the trained models that a pushed one was chosen from."""
    for name in (JUDGED_MODEL_URIS, SOURCE_MODEL_URI):
        if pushed.has_custom_property(name):
            return set(pushed.get_string_custom_property(name).split("\n"))
    return set()


def span_of(artifact: Artifact) -> int:
    """The span of `artifact`: ExampleGen's driver sets a custom property, others the property."""
    if artifact.has_custom_property("span"):
        return int(artifact.get_int_custom_property("span"))
    return int(artifact.span)


def oldest_first(examples: Iterable[Artifact]) -> list[Artifact]:
    """`examples` by span: the store gives a window in an order of its own, and training sees it."""
    return sorted(examples, key=lambda artifact: (span_of(artifact), artifact.id))


def passed_by_span(
    store: mlmd.MetadataStore, examples: Iterable[Artifact], gate: str
) -> dict[int, Artifact]:
    """Of each span that the gate let pass, the examples that were put out last."""
    let_pass = list(passed_statistics(store, gate))
    made = _events(store.get_events_by_artifact_ids(let_pass), metadata_store_pb2.Event.OUTPUT)
    makers = list({event.execution_id for event in made})
    passed = {e.artifact_id for e in _events(store.get_events_by_execution_ids(makers), _INPUT)}
    return newest_by_span(store, [artifact for artifact in examples if artifact.id in passed])


def passed_statistics(store: mlmd.MetadataStore, gate: str) -> set[int]:
    """The ids of the statistics that the gate, as it was asked last, let pass."""
    passed = {
        execution.id: execution.last_known_state in _DONE
        for execution in store.get_executions_by_type(gate)
        if execution.last_known_state in (*_DONE, metadata_store_pb2.Execution.FAILED)
    }
    asked = _events(store.get_events_by_execution_ids(list(passed)), _INPUT)
    verdicts = {
        event.artifact_id: passed[event.execution_id]
        for event in sorted(asked, key=lambda event: event.execution_id)
        if event.path.steps[0].key == "statistics"
    }
    return {statistics for statistics, verdict in verdicts.items() if verdict}


def _events(
    events: Iterable[metadata_store_pb2.Event], kind: metadata_store_pb2.Event.Type
) -> list[metadata_store_pb2.Event]:
    return [event for event in events if event.type == kind]


def newest_by_span(store: mlmd.MetadataStore, artifacts: Iterable[Artifact]) -> dict[int, Artifact]:
    """The artifact of each span that its producer put out last.

    That is not always the one that was made last: where changed data was changed back, the newest
    run took the older artifact from the cache, and so put it out again.
    """
    by_id = {artifact.id: artifact for artifact in artifacts}
    put_out = store.get_events_by_artifact_ids(list(by_id))
    events = _events(put_out, metadata_store_pb2.Event.OUTPUT)
    events.sort(key=lambda event: (event.milliseconds_since_epoch, event.execution_id))
    return {span_of(by_id[event.artifact_id]): by_id[event.artifact_id] for event in events}
