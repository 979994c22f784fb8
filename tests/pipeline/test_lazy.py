"""Modules that are imported when something of them is asked for, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_the_launcher_comes_without_tensorflow_and_beam_and_tensorflow_is_there_for_others():
    code = """
from tfx.orchestration.portable import launcher
print([m for m in ("tensorflow", "apache_beam") if m in sys.modules])
import tensorflow as tf
from tensorflow.tools.docs import doc_controls
print(type(tf).__name__, tf.constant([2, 3]).numpy().sum(), doc_controls.__name__)
"""
    assert python(code) == "[]\nmodule 5 tensorflow.tools.docs.doc_controls"


def test_files_elsewhere_still_go_by_tensorflow_which_is_then_imported():
    code = """
from tfx.dsl.io import fileio
print("tensorflow" in sys.modules)
with fileio.open("ram://folder/file", "w") as file: file.write("here")
print(fileio.open("ram://folder/file").read(), fileio.exists("ram://nothing"))
print("tensorflow" in sys.modules)
"""
    assert python(code) == "False\nhere False\nTrue"


def test_beam_runs_executors_when_their_base_is_asked_for():
    code = """
from tfx.orchestration.portable import beam_executor_operator
print("apache_beam" in sys.modules)
print(beam_executor_operator.base_beam_executor.BaseBeamExecutor.__mro__[1].__name__)
print("apache_beam" in sys.modules)
"""
    assert python(code) == "False\nBaseExecutor\nTrue"


DEFER_MINE = """
from pathlib import Path
from pipeline import lazy
sys.path.insert(0, FOLDER)
lazy.MODULES["mine"] = None
import mine
"""


def test_threads_that_ask_at_once_get_the_same_whole_module(tmp_path: Path):
    (tmp_path / "mine.py").write_text("import time\ntime.sleep(0.2)\nthing = object()\n")
    code = f"""
FOLDER = {str(tmp_path)!r}
{DEFER_MINE}
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    found = list(pool.map(lambda _: mine.thing, range(8)))
print(len(set(found)), found[0] is mine.thing, type(mine).__name__)
"""
    assert python(code) == "1 True module"


def test_a_module_whose_code_failed_runs_again_when_it_is_asked_again(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text("from pathlib import Path\nthing = Path(__file__).with_name('x').read_text()\n")
    code = f"""
FOLDER = {str(tmp_path)!r}
{DEFER_MINE}
for _ in range(2):
    try: print(mine.thing)
    except FileNotFoundError as error: print(error.strerror)
    Path(FOLDER, "x").write_text("here")
"""
    assert python(code) == "No such file or directory\nhere"


def test_a_deferred_module_may_ask_for_what_it_lacks_while_its_code_runs(tmp_path: Path):
    (tmp_path / "mine.py").write_text("import mine\nthing = hasattr(mine, 'other'), 'whole'\n")
    code = f"FOLDER = {str(tmp_path)!r}\n{DEFER_MINE}\nprint(mine.thing, hasattr(mine, 'other'))"
    assert python(code) == "(False, 'whole') False"


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
