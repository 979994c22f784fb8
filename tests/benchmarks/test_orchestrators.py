"""What orchestrators cost: the arithmetic, and the words."""

from __future__ import annotations

import pytest

from benchmarks import orchestrators
from benchmarks.report_orchestrators import orchestrators as text_of
from tests.benchmarks import figures


def test_a_task_costs_the_time_from_the_first_to_the_last_by_their_number() -> None:
    found = orchestrators.spread(100.0, 103.0, 113.0, 20)
    assert found == {"tasks": 20, "task": 0.5, "before": 3.0, "run": 13.0}


def test_times_of_airflow_are_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    database = orchestrators.Database("3")
    monkeypatch.setattr(
        database, "ask", lambda *_: [("1970-01-01 00:00:01.5", "1970-01-01 00:01:00")]
    )
    assert database.tasks("round-0") == [(1.5, 60.0)]


def test_table_has_what_was_measured_and_says_what_was_not() -> None:
    text = text_of(figures.orchestrators())
    assert "| the local runner, which forks" in text
    assert [row.split("|")[4].strip() for row in text.splitlines() if "Airflow 3 " in row] == [
        "7.0"
    ]
    assert "Not measured: Airflow 2.11 (SequentialExecutor)" in text
