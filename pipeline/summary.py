"""What a run came to, on one screen: metrics, decisions, and where the model is."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from custom_components import gate_report
from custom_components.canary import report as canary_report
from custom_components.evaluator import verdict as verdicts
from custom_components.evaluator.judge import how_much_worse
from custom_components.evaluator.verdict import Check, Rule, Verdict
from pipeline import metadata, runs, timeline
from pipeline.config import PipelineConfig, Severity
from pipeline.node import NodeResult

if TYPE_CHECKING:
    from ml_metadata.proto import metadata_store_pb2

_SLICES_SHOWN = 5


def print_failure(
    console: Console, failed: NodeResult, *, log: Path, again: str, resume: str
) -> None:
    """The node that failed, why, where its log is, and the command that goes on from there."""
    console.print(f"\n[bold red]{failed.node_id} failed:[/] {escape(failed.error)}", soft_wrap=True)
    console.print(f"Log: {log}", soft_wrap=True, markup=False)
    if failed.defect:
        console.print(f"Go on from there with:\n  {resume}", soft_wrap=True, markup=False)
    else:  # What is mended may lie before the failed node, and a resumed run keeps what it has.
        console.print(
            "When that is mended, run it again; what did not change comes from the cache:\n"
            f"  {again}",
            soft_wrap=True,
            markup=False,
        )


def summary(
    config: PipelineConfig,
    connection: metadata_store_pb2.ConnectionConfig,
    *,
    run: runs.Run,
    bars: Sequence[timeline.Bar],
    seconds: float,
    predict: Sequence[str],
    width: int,
) -> str:
    """What a run measured and decided, as its artifacts in the store say, in ANSI's colours.

    `bars` are the nodes that it ran, `predict` the words of the command that asks the live model,
    but for the rows.
    """
    outputs = metadata.run_outputs(connection, run.id)
    text = StringIO()
    console = Console(
        file=text, force_terminal=True, color_system="standard", width=width, highlight=False
    )
    console.print()
    if "DataGate" in outputs:
        _print_gate(console, Path(outputs["DataGate"]["report"][0].uri))
    if "Evaluator" in outputs:
        folder = Path(outputs["Evaluator"]["evaluation"][0].uri)
        verdict = Verdict.model_validate_json((folder / verdicts.FILE).read_text())
        _print_metrics(console, config, verdict)
        _print_slices(console, verdict)
        _print_decision(console, verdict, outputs)
        _print_how_to_ask(console, config, folder, predict)
    cores = os.cpu_count() or 1
    share = timeline.busy(bars, cores)
    console.print(f"\n[bold]Time[/]  {seconds:.0f} s; {cores} cores busy to {share:.0%}")
    console.print(timeline.table(bars))
    console.print(f"[dim]As a picture: {run.timeline_file}[/]", soft_wrap=True)
    console.print(f"[dim]Run {run.id}, in {config.pipeline_root}[/]", soft_wrap=True)
    return text.getvalue()


def _print_gate(console: Console, folder: Path) -> None:
    report = gate_report.Report.model_validate_json((folder / gate_report.FILE).read_text())
    compared = f" against span {report.previous_span}" if report.previous_span is not None else ""
    warnings = [f for f in report.findings if f.severity is Severity.WARN]
    what = f"{len(warnings)} warnings" if warnings else "nothing to warn of"
    console.print(
        f"[bold]Data[/]  span {report.span}, {sum(report.rows.values()):,} rows, "
        f"checked{compared}: {what}"
    )
    for finding in warnings:
        console.print(f"  [yellow]{escape(finding.message)}[/]", soft_wrap=True)


def _print_metrics(console: Console, config: PipelineConfig, verdict: Verdict) -> None:
    table = Table(box=None, padding=(0, 3, 0, 0), title_justify="left")
    table.add_column(f"{verdict.rows:,} rows")
    table.add_column("candidate", justify="right")
    table.add_column("live", justify="right")
    table.add_column("bound")
    candidate = verdict.models[verdict.candidate]
    live = verdict.models[verdict.live] if verdict.live else {}
    for metric in config.evaluate.metrics:
        overall = [c for c in verdict.checks if c.metric is metric and c.rule is not Rule.GUARD]
        table.add_row(
            metric, _number(candidate[metric]), _number(live.get(metric)), _bounds(overall)
        )
    console.print(f"\n[bold]Model[/]  {verdict.candidate}")
    console.print(table)


def _bounds(checks: list[Check]) -> str:
    words = {Rule.MIN: "at least", Rule.MAX: "at most", Rule.MAX_REGRESSION: "worse by at most"}
    told = []
    for check in checks:
        sign = "" if not check.judged else " [green]✓[/]" if check.passed else " [bold red]✗[/]"
        told.append(f"{words[check.rule]} {check.bound:g}{sign}")
    return ", ".join(told)


def _print_slices(console: Console, verdict: Verdict) -> None:
    """The guarded slices: those that fail, else those that lost most to the live model."""
    guarded = [c for c in verdict.checks if c.rule is Rule.GUARD and c.judged]
    if not guarded:
        return
    guarded.sort(key=lambda c: (c.passed, -_regression(c)))
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("guarded slices")
    for name in ("rows", "candidate", "live", "change"):
        table.add_column(name, justify="right")
    for check in guarded[:_SLICES_SHOWN]:
        name = ", ".join(f"{column} {value}" for column, value in check.slice.items())
        style = "" if check.passed else "bold red"
        table.add_row(
            f"{name} ({check.metric})",
            f"{check.rows:,}",
            _number(check.value),
            _number(check.live),
            f"{-_regression(check):+.4f}",
            style=style,
        )
    console.print(table)
    rest = len(guarded) - _SLICES_SHOWN
    if rest > 0:
        console.print(f"[dim]and {rest} more, all better than these[/]")


def _regression(check: Check) -> float:
    """How much worse than the live model's the metric is; negative if it is better."""
    if check.value is None or check.live is None:
        return 0.0
    return how_much_worse(check.metric, check.value, check.live)


def _print_decision(
    console: Console,
    verdict: Verdict,
    outputs: dict[str, dict[str, list[metadata_store_pb2.Artifact]]],
) -> None:
    console.print()
    if "Pusher" not in outputs:
        word = "blessed" if verdict.blessed else "not blessed"
        console.print(f"[bold]Decision[/]  {word}; the nodes that push were not part of this run")
        return
    folder = Path(outputs["Canary"]["blessing"][0].uri)
    canary = canary_report.CanaryReport.model_validate_json(
        (folder / canary_report.FILE).read_text()
    )
    pushed = outputs["Pusher"]["pushed_model"][0].custom_properties
    if canary.latency is not None and canary.blessed:
        console.print(
            f"[bold]Canary[/]  {canary.rows} rows answered as evaluated (largest difference "
            f"{canary.max_difference:.1g}), one row in {canary.latency.p50_ms:.1f} ms, in a batch "
            f"{canary.latency.rows_per_second:,.0f} rows a second"
        )
    if pushed["pushed"].int_value:
        console.print("[bold green]Decision[/]  pushed: every check passed")
        console.print(f"Model: {pushed['pushed_destination'].string_value}", soft_wrap=True)
    else:
        console.print("[bold yellow]Decision[/]  not pushed; the live model, if any, stays:")
        for reason in [c.reason for c in verdict.failures] or [canary.reason or ""]:
            console.print(f"  {escape(reason)}", soft_wrap=True)


def _print_how_to_ask(
    console: Console, config: PipelineConfig, evaluation: Path, predict: Sequence[str]
) -> None:
    """The command that asks the live model for a prediction, with a row of the eval split."""
    if not Path(config.serving_directory).exists():
        return
    row = _raw_row(evaluation / verdicts.CANARY_FILE, config.features.inputs)
    console.print("Ask it, for a row or for a CSV file of rows:")
    console.print(f"  {shlex.join([*predict, '--row', row])}", soft_wrap=True, markup=False)
    console.print(f"  {shlex.join([*predict, 'rows.csv'])}", soft_wrap=True, markup=False)


def _raw_row(file: Path, columns: Sequence[str]) -> str:
    """The raw columns of the first row in `file`, as JSON."""
    import pyarrow.parquet as pq
    from tensorflow.core.example import example_pb2

    example = example_pb2.Example.FromString(pq.read_table(file)["example"][0].as_py())
    row: dict[str, object] = {}
    for column in columns:
        feature = example.features.feature[column]
        kind = feature.WhichOneof("kind")
        value = getattr(feature, kind).value[0] if kind and getattr(feature, kind).value else None
        if isinstance(value, bytes):
            value = value.decode()
        row[column] = round(value, 4) if isinstance(value, float) else value
    return json.dumps(row, ensure_ascii=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
