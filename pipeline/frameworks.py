"""Which of the configured frameworks are installed here."""

from __future__ import annotations

import importlib.util

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.train_config import Framework

_EXTRAS = {Framework.PYTORCH: "torch"}
"""Frameworks that are not installed unless asked for, with the module that tells."""


def installed(config: PipelineConfig) -> tuple[PipelineConfig, str]:
    """The configuration without the frameworks that are not installed, and a sentence about them.

    The sentence is empty if there are none.

    Raises:
        UserError: If none is left.
    """
    missing = [
        framework
        for framework in config.train.frameworks
        if framework in _EXTRAS and importlib.util.find_spec(_EXTRAS[framework]) is None
    ]
    if not missing:
        return config, ""
    names = " and ".join(missing)
    how = f"`make run EXTRAS={','.join(missing)}` installs what it takes"
    left = tuple(f for f in config.train.frameworks if f not in missing)
    if not left:
        raise UserError(f"train.frameworks names {names} alone, which is not installed: {how}")
    train = config.train.model_copy(update={"frameworks": left})
    searched = tuple(f for f in config.tune.frameworks if f not in missing)
    tune = config.tune.model_copy(update={"frameworks": searched})
    told = f"No model is trained with {names}, which is not installed: {how}."
    return config.model_copy(update={"train": train, "tune": tune}), told
