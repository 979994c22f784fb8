"""Modules that are imported when something of them is asked for, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.config import PROJECT

LOADED = "[m for m in ('sklearn', 'nltk', 'tfx.components.tuner.component') if m in sys.modules]"


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, pipeline\n{code}"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_component_is_imported_without_all_the_others():
    code = f"from tfx.components.trainer.component import Trainer\nprint({LOADED})"
    assert python(code) == "[]"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("from tfx.components import Tuner; print(Tuner.__name__)", "Tuner"),
        (
            "import tensorflow_model_analysis as tfma\n"
            "from tensorflow_model_analysis import metrics, sdk\n"
            "known = tfma.EvalConfig\n"
            "print(tfma.metrics is metrics, callable(tfma.run_model_analysis), sdk.ANALYSIS_KEY)\n"
            "print(known is tfma.EvalConfig is sdk.EvalConfig)",
            "True True analysis\nTrue",
        ),
        (
            "import keras; print(keras.wrappers.SKLearnClassifier.__name__)",
            "SKLearnClassifier",
        ),
        ("from tfx import v1 as tfx; print(tfx.components.Evaluator.__name__)", "Evaluator"),
    ],
    ids=["tfx.components", "tfma", "keras", "tfx.v1"],
)
def test_what_is_asked_for_is_there(code: str, kind: str):
    assert python(code) == kind


def test_what_is_not_there_is_named():
    code = (
        "import tfx.components\ntry: tfx.components.Nonsense\nexcept AttributeError as e: print(e)"
    )
    assert python(code) == "module 'tfx.components' has no attribute 'Nonsense'"


def test_the_collector_is_back_after_imports():
    code = """
import gc
from pipeline.lazy import imports
try:
    with imports():
        assert not gc.isenabled()
        raise ImportError
except ImportError:
    print(gc.isenabled(), gc.get_freeze_count() > 0)
"""
    assert python(code) == "True True"
