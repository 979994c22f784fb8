"""Bundles that say what a column tells them, in memory, of every problem."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.bundle import Bundle, Predictions
from models.manifest import Manifest
from pipeline.features_config import Problem

CLASSES = ("Adelie", "Chin strap", "Gentoo")


def spoken(problem: Problem = Problem.BINARY, **known: Any) -> Bundle:
    """A model of a number `mass`, a text `island` and a whole number `year`.

    Of two classes it says 1 / (1 + mass); in a regression the mass; of the three classes it is sure
    of the one whose number the year is. `known` is more for its manifest.
    """
    classes = {Problem.BINARY: ("0", "1"), Problem.MULTICLASS: CLASSES, Problem.REGRESSION: ()}
    manifest = Manifest(
        framework="sklearn",
        **{
            "label": "species",
            "inputs": {"mass": "float32", "island": "string", "year": "int64"},
            "example": {"mass": 0.1, "island": "Torgersen", "year": 2},
            "problem": problem,
            "classes": classes[problem],
        }
        | known,
    )

    def said(signature: str, inputs: Any) -> Predictions:
        mass: Predictions = np.nan_to_num(np.asarray(inputs["mass"], np.float32))
        if problem is Problem.MULTICLASS:
            return np.eye(3, dtype=np.float32)[np.asarray(inputs["year"])]
        return mass if problem is Problem.REGRESSION else np.float32(1) / (1 + mass)

    return Bundle(manifest, said)
