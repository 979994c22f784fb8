import re
import sys
from pathlib import Path

import pytest

from benchmarks.measure import CommandFailed, Cost, best, measure

IN_A_GRANDCHILD = """
import subprocess, sys
work = sys.argv[1]
child = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
subprocess.run([sys.executable, "-c", child, work], check=True)
"""
BUSY = "import time\nwhile time.process_time() < 1.0: pass"
LARGE = "import time\nheld = b'x' * (200 << 20)\ntime.sleep(1.2)"


def in_a_grandchild(work: str) -> list[str]:
    return [sys.executable, "-c", IN_A_GRANDCHILD, work]


def test_processor_time_of_a_childs_child_counts(tmp_path: Path) -> None:
    cost = measure(in_a_grandchild(BUSY), log=tmp_path / "log")
    assert cost.code == 0
    assert cost.cpu >= 1.0
    assert cost.wall >= 0.5


def test_memory_of_a_childs_child_counts(tmp_path: Path) -> None:
    cost = measure(in_a_grandchild(LARGE), log=tmp_path / "log")
    assert 200 <= cost.peak_mb < 400
    assert cost.wall >= 1.2


def test_what_a_command_says_is_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "log"
    command = [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr)"]
    measure(command, log=log)
    assert sorted(log.read_text().split()) == ["err", "out"]


def test_a_failing_command_is_named_with_its_log_and_the_logs_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", "for i in range(99): print('line', i)\nraise SystemExit(3)"]
    with pytest.raises(CommandFailed, match=re.escape(str(log))) as failure:
        measure(command, log=log)
    assert "ended with code 3" in str(failure.value)
    assert "line 98" in str(failure.value)
    assert "line 9\n" not in str(failure.value)


def test_a_command_works_in_the_folder_and_with_the_variables_given(tmp_path: Path) -> None:
    show = "import os; print(os.getcwd(), os.environ['A'], 'PYTHONPATH' in os.environ)"
    log = tmp_path / "log"
    measure([sys.executable, "-c", show], log=log, cwd=tmp_path, env={"A": "1", "PYTHONPATH": "x"})
    assert log.read_text().split() == [str(tmp_path), "1", "False"]


def test_the_best_of_several_runs_is_the_least_of_each_figure() -> None:
    assert best([Cost(2.0, 5.0, 7), Cost(3.0, 4.0, 9)]) == Cost(2.0, 4.0, 7)
