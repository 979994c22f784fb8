"""The component: TFX's own, with another executor."""

from __future__ import annotations

from tfx.components.transform import component
from tfx.dsl.components.base import executor_spec

from custom_components.transform.executor import Executor


class Transform(component.Transform):
    """TFX's Transform: the same inputs, outputs and parameters, and the same results."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
