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

_Artifacts = dict[str, list[Artifact]]


def ever_made(artifact_type: type[Artifact], producer_id: str) -> Channel:
    """All artifacts of a type that a node put out, in any run of this pipeline, for a resolver.

    A channel that names its producer, and is not the output of this run's node, is compiled to a
    query of that sort. It must not name the output's key as well: TFX's compiler would take it for
    the same input as the node's own output, where a resolver has both, and lose one of them.
    """
    return Channel(type=artifact_type, producer_component_id=producer_id)


class PreviousSpan(ResolverStrategy):
    """The span before the current one.

    Inputs: `current`, the span of this run; `history`, those of every run. Outputs: `current` as it
    is; `history`, the highest span below the current one, or nothing if that is the first.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: _Artifacts
    ) -> _Artifacts | None:
        """See the class; None if there is no current span."""
        if not input_dict["current"]:
            return None
        (current,) = input_dict["current"]
        spans = _newest_by_span(store, input_dict["history"])
        earlier = max((span for span in spans if span < span_of(current)), default=None)
        return {"current": [current], "history": [] if earlier is None else [spans[earlier]]}


class RollingWindow(ResolverStrategy):
    """The last spans, up to and including the current one.

    Inputs: `current`, the span of this run; `examples`, those of every run. Outputs: `current` as
    it is; `examples`, one artifact for each span of the window that is there. They are recorded
    from the oldest span to the newest; a node downstream gets them in the store's order, and takes
    them by `oldest_first`.
    """

    def __init__(self, window: int) -> None:
        """Takes the number of spans, the current one included."""
        self._window = window

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: _Artifacts
    ) -> _Artifacts | None:
        """See the class; None if there is no current span."""
        if not input_dict["current"]:
            return None
        (current,) = input_dict["current"]
        newest = span_of(current)
        spans = _newest_by_span(store, input_dict["examples"]) | {newest: current}
        window = [spans[s] for s in sorted(spans) if newest - self._window < s <= newest]
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


def _newest_by_span(
    store: mlmd.MetadataStore, artifacts: Iterable[Artifact]
) -> dict[int, Artifact]:
    """The artifact of each span that its producer put out last.

    That is not always the one that was made last: where changed data was changed back, the newest
    run took the older artifact from the cache, and so put it out again.
    """
    by_id = {artifact.id: artifact for artifact in artifacts}
    events = [
        event
        for event in store.get_events_by_artifact_ids(list(by_id))
        if event.type == metadata_store_pb2.Event.OUTPUT
    ]
    events.sort(key=lambda event: (event.milliseconds_since_epoch, event.execution_id))
    return {span_of(by_id[event.artifact_id]): by_id[event.artifact_id] for event in events}
