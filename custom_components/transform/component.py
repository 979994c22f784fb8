"""The component: TFX's own, with another executor and one more input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.proto.transform_pb2 import SplitsConfig
from tfx.types import component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from custom_components.transform.executor import Executor
from custom_components.transform.graph import BASE_KEY


class TransformSpec(standard_component_specs.TransformSpec):
    """That of TFX's Transform, and the graph that may be taken over."""

    INPUTS: ClassVar = {
        **standard_component_specs.TransformSpec.INPUTS,
        BASE_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.TransformGraph, optional=True
        ),
    }


class Transform(base_beam_component.BaseBeamComponent):
    """TFX's Transform without statistics: the same inputs and outputs, and the same results.

    Outputs: `transform_graph`; `transformed_examples`, an artifact for each of the examples; and
    `updated_analyzer_cache`, what was learned from each of them.
    """

    SPEC_CLASS = TransformSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        *,
        preprocessing_fn: str,
        custom_config: Mapping[str, Any],
        analyzer_cache: types.BaseChannel | None = None,
        base_transform_graph: types.BaseChannel | None = None,
        analyze: Sequence[str] = (),
    ) -> None:
        """Defines a transformation.

        Args:
            examples: Examples, one artifact for each span.
            schema: What they look like.
            preprocessing_fn: The dotted name of the function.
            custom_config: What it is given beside the columns.
            analyzer_cache: The `updated_analyzer_cache` of an earlier run; it may hold no artifact.
            base_transform_graph: A TransformGraph to take over instead of analysing the examples,
                if the same preprocessing made it; it may hold no artifact.
            analyze: The splits to learn from; by default, the train split.
        """
        splits = SplitsConfig(analyze=analyze, transform=analyze) if analyze else None
        transformed_examples = types.Channel(type=standard_artifacts.Examples)
        transformed_examples.matching_channel_name = "examples"
        super().__init__(
            TransformSpec(
                examples=examples,
                schema=schema,
                preprocessing_fn=preprocessing_fn,
                custom_config=json_utils.dumps(dict(custom_config)),
                force_tf_compat_v1=0,
                disable_statistics=1,
                splits_config=splits,
                analyzer_cache=analyzer_cache,
                base_transform_graph=base_transform_graph,
                transform_graph=types.Channel(type=standard_artifacts.TransformGraph),
                transformed_examples=transformed_examples,
                updated_analyzer_cache=types.Channel(type=standard_artifacts.TransformCache),
            )
        )
