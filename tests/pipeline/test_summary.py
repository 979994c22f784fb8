"""What a run says at its end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2
from rich.console import Console

from custom_components import gate_report
from custom_components.canary import report as canary_report
from pipeline import summary
from pipeline.config_file import load
from pipeline.files.storage import Copies


@pytest.mark.parametrize(
    ("dropped", "said"),
    [
        (0, "Data  span 1, 90 rows, checked: nothing to warn of\n"),
        (7, "Data  span 1, 90 rows, 7 that do not fit left out, checked: nothing to warn of\n"),
    ],
)
def test_rows_that_were_left_out_are_told(tmp_path: Path, dropped: int, said: str) -> None:
    report = gate_report.Report(
        span=1, previous_span=None, rows={"train": 60, "eval": 30}, findings=(), drift=()
    )
    (tmp_path / gate_report.FILE).write_text(report.model_dump_json())
    examples = metadata_store_pb2.Artifact()
    examples.custom_properties["rows_dropped"].int_value = dropped
    checked = metadata_store_pb2.Artifact(uri=str(tmp_path))
    outputs = {"ExampleGen": {"examples": [examples]}, "DataGate": {"report": [checked]}}
    text = io.StringIO()
    console = Console(file=text, width=100)
    with Copies() as copies:
        summary._print_results(console, load(), outputs, copies, predict=())
    assert text.getvalue().lstrip() == said


@pytest.mark.parametrize(
    ("approval", "said"),
    [("manual", "waits for a person"), ("shadow", "waits for its trial on the next span")],
)
def test_it_says_for_what_a_chosen_model_waits(tmp_path: Path, approval: str, said: str) -> None:
    report = canary_report.CanaryReport(blessed=True, reason=None, tolerance=1e-5)
    (tmp_path / canary_report.FILE).write_text(report.model_dump_json())
    outputs = {"Canary": {"blessing": [metadata_store_pb2.Artifact(uri=str(tmp_path))]}}
    config = load(overrides=[f"register.approval={approval}"])
    text = io.StringIO()
    with Copies() as copies:
        summary._print_decision(Console(file=text, width=100), config, None, outputs, copies)
    assert said in text.getvalue()
