import json
import subprocess
import sys
from pathlib import Path

from benchmarks.node_start import least
from benchmarks.report_node_start import node_start
from pipeline.config import PROJECT
from tests.benchmarks import figures

EXECUTOR = """
class Executor:
    def Do(self):
        print("at work")
"""
PROGRAM = """
import sys
import pipeline  # without which TFX imports TensorFlow
from tfx.utils import import_utils
import_utils.import_class_by_path(sys.argv[1])().Do()
print("behind it")
sys.exit(0)
"""


def test_a_program_ends_where_its_executor_would_begin(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EXECUTOR)
    (tmp_path / "program.py").write_text(PROGRAM)
    for class_path, printed in (("mine.Executor", ""), ("another.One", "at work\nbehind it\n")):
        file = tmp_path / f"{class_path}.json"
        words = ["-m", "benchmarks.first_line", file, class_path, "program", "mine.Executor"]
        done = subprocess.run(
            [sys.executable, *words],
            cwd=PROJECT,
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == printed
        facts = json.loads(file.read_text())
        assert facts["cpu"] > 0
        assert facts["at"] > 0


def test_the_least_of_each_figure_counts() -> None:
    runs = [
        {"seconds": 2.0, "cpu": 1.0, "tensorflow_seconds": 0.2, "imported": ["kfp"]},
        {"seconds": 1.0, "cpu": 1.5, "tensorflow_seconds": 0.4, "imported": ["kfp"]},
    ]
    assert least(runs) == runs[1] | {"cpu": 1.0}


def test_the_table_gives_both_sides_by_the_import_of_tfx() -> None:
    text = node_start(figures.node_start())
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = {
        name: rest for name, *rest in ([c.strip() for c in x.strip("|").split("|")] for x in lines)
    }
    assert rows["Trainer.keras, sklearn"] == ["4.00", "0.40", "11.0", "1.10", "75%"]
    assert rows["Window (resolver)"] == ["0.50", "0.05", "-", "-", "none"]
    assert rows["Pusher"] == ["0.80", "0.08", "-", "-", "none"]
    assert "nodes that import TensorFlow: at most 0.40 of `import tfx.v1` (target: at most" in text
    assert "nodes that do without TensorFlow: at most 0.08" in text
    assert "Pusher, TFX: no such executor" in text
