"""What a run came to, on one screen: metrics, decisions, and where the model is."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from custom_components import gate_report
from custom_components import selection as selections
from custom_components.canary import report as canary_report
from custom_components.evaluator import verdict as verdicts
from custom_components.evaluator.verdict import Check, Rule, Verdict
from custom_components.selection import Selection
from models.tuning import result
from pipeline import lineage, metadata, runs, timeline
from pipeline.config import PipelineConfig, Severity
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.files.storage import Copies, exists, is_remote
from pipeline.node import NodeResult
from pipeline.report import pages, predicted

if TYPE_CHECKING:
    from ml_metadata.proto import metadata_store_pb2

Outputs: TypeAlias = "dict[str, dict[str, list[metadata_store_pb2.Artifact]]]"

_SLICES_SHOWN = 5


def print_failure(
    console: Console, failed: NodeResult, *, log: Path, page: str, again: str, resume: str
) -> None:
    """The node that failed, why, where its log and the run's page are, and how to go on."""
    console.print(f"\n[bold red]{failed.node_id} failed:[/] {escape(failed.error)}", soft_wrap=True)
    console.print(f"Log: {log}", soft_wrap=True, markup=False)
    console.print(page, soft_wrap=True, markup=False)
    if failed.defect:
        console.print(f"Go on from there with:\n  {resume}", soft_wrap=True, markup=False)
    else:  # What is mended may lie before the failed node, and a resumed run keeps what it has.
        console.print(
            "When that is mended, run it again; what did not change comes from the cache:\n"
            f"  {again}",
            soft_wrap=True,
            markup=False,
        )


def written_page(config: PipelineConfig, run_id: str) -> str:
    """Where the page is that it writes for a run without a Report, in a line; or why it is not."""
    try:
        run = lineage.open(config).run(run_id)
        return f"Report: {pages.write(run, config.local_root)}"
    except UserError as error:
        return f"There is no report: {error}"


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
    with Copies() as copies:
        _print_results(console, config, outputs, copies, predict=predict)
    cores = os.cpu_count() or 1
    share = timeline.busy(bars, cores)
    console.print(f"\n[bold]Time[/]  {seconds:.0f} s; {cores} cores busy to {share:.0%}")
    console.print(timeline.table(bars))
    console.print(f"[dim]As a picture: {run.timeline_file}[/]", soft_wrap=True)
    console.print(f"[dim]Run {run.id}, in {config.local_root}[/]", soft_wrap=True)
    if "Report" in outputs:
        page = f"Report: {outputs['Report']['report'][0].uri}/{pages.REPORT_FILE}"
    else:
        page = written_page(config, run.id)
    console.print(page, soft_wrap=True, markup=False)
    return text.getvalue()


def _print_results(
    console: Console,
    config: PipelineConfig,
    outputs: Outputs,
    copies: Copies,
    *,
    predict: Sequence[str],
) -> None:
    console.print()
    if "DataGate" in outputs:
        _print_gate(console, copies.of(outputs["DataGate"]["report"][0].uri), _left_out(outputs))
    _print_searches(console, outputs, copies)
    if "Evaluator" in outputs:
        folder = copies.of(outputs["Evaluator"]["evaluation"][0].uri)
        verdict = Verdict.model_validate_json((folder / verdicts.FILE).read_text())
        _print_metrics(console, config, verdict)
        selection = _selection(outputs, copies)
        _print_slices(console, verdict, selection)
        _print_choice(console, verdict, selection)
        _print_decision(console, config, selection, outputs, copies)
        _print_registration(console, outputs)
        _print_predictions(console, outputs)
        _print_how_to_ask(console, config, folder, predict)


def _left_out(outputs: Outputs) -> int:
    """How many rows of the span do not fit, and are not learned from (`data.on_bad_row`)."""
    if "ExampleGen" not in outputs:
        return 0
    facts = outputs["ExampleGen"]["examples"][0].custom_properties
    return int(facts["rows_dropped"].int_value)


def _print_gate(console: Console, folder: Path, left_out: int) -> None:
    report = gate_report.Report.model_validate_json((folder / gate_report.FILE).read_text())
    compared = f" against span {report.previous_span}" if report.previous_span is not None else ""
    warnings = [f for f in report.findings if f.severity is Severity.WARN]
    counted = f"{len(warnings)} warning{'s' if len(warnings) > 1 else ''}"
    what = counted if warnings else "nothing to warn of"
    less = f"{left_out:,} that do not fit left out, " if left_out else ""
    console.print(
        f"[bold]Data[/]  span {report.span}, {sum(report.rows.values()):,} rows, {less}"
        f"checked{compared}: {what}"
    )
    for finding in warnings:
        console.print(f"  [yellow]{escape(finding.message)}[/]", soft_wrap=True)


def _print_searches(console: Console, outputs: Outputs, copies: Copies) -> None:
    """What the tuners have found."""
    folders = [made["tuner_results"][0].uri for made in outputs.values() if "tuner_results" in made]
    for folder in sorted(folders):
        found = result.read(copies.of(folder))
        console.print(f"[bold]Tuned[/]  {found.sentence()}", soft_wrap=True)
        console.print(
            f"[dim]Its trials and what mattered, as pictures: {folder}[/]", soft_wrap=True
        )


def _print_metrics(console: Console, config: PipelineConfig, verdict: Verdict) -> None:
    """A column for each model; what fails a check is red."""
    names = [*verdict.candidates, *([verdict.live] if verdict.live else [])]
    said = predicted.labels(verdict, config.features.label)
    console.print(
        f"[bold]Judged[/]  by {verdict.judged_on or 'the eval split'}; {escape(said)}",
        soft_wrap=True,
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(f"{verdict.rows:,} rows", min_width=max(map(len, config.evaluate.metrics)))
    for name in names:
        live = name == verdict.live
        table.add_column(f"live {verdict.live_framework}" if live else name, justify="right")
    table.add_column("bound")
    for metric in config.evaluate.metrics:
        overall = [c for c in verdict.checks if c.metric is metric and c.rule is not Rule.GUARD]
        failed = {check.model for check in overall if not check.passed}
        values = [metric.words(verdict.models[name][metric]) for name in names]
        colored = [f"[red]{v}[/]" if n in failed else v for n, v in zip(names, values, strict=True)]
        table.add_row(metric, *colored, _bounds(overall))
        if metric is config.select.metric:
            ends = (verdict.intervals.get(name, {}).get(metric) for name in names)
            widths = [_half_width(metric, interval) for interval in ends]
            table.add_row(f"[dim]{verdict.confidence:.0%} within", *widths, style="dim")
    costs = [verdict.costs.get(name) for name in names]
    table.add_row("one row, ms", *(f"{c.latency_ms:.1f}" if c else "-" for c in costs))
    table.add_row("size, MB", *(f"{c.size_bytes / 1e6:.1f}" if c else "-" for c in costs))
    console.print("\n[bold]Models[/]")
    console.print(table)
    if verdict.members:
        console.print(f"[dim]ensemble: the mean of {', '.join(verdict.members)}[/]")


def _half_width(metric: Metric, interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"±{metric.words((interval[1] - interval[0]) / 2)}"


def _bounds(checks: Sequence[Check]) -> str:
    words = {Rule.MIN: "at least", Rule.MAX: "at most", Rule.MAX_REGRESSION: "worse by at most"}
    return ", ".join({f"{words[check.rule]} {check.bound_words}": None for check in checks})


def _selection(outputs: Outputs, copies: Copies) -> Selection | None:
    if "ModelSelector" not in outputs:
        return None
    folder = copies.of(outputs["ModelSelector"]["selection"][0].uri)
    return Selection.model_validate_json((folder / selections.FILE).read_text())


def _print_slices(console: Console, verdict: Verdict, selection: Selection | None) -> None:
    """The guarded slices of the best candidate: those that fail, else those that lost most."""
    best = selection.winner or selection.candidates[0].name if selection else verdict.candidates[0]
    guarded = [c for c in verdict.checks if c.rule is Rule.GUARD and c.judged and c.model == best]
    if not guarded:
        return
    guarded.sort(key=lambda c: (c.passed, _gain(c)))
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("guarded slices")
    for name in ("rows", best, "live", "better by"):
        table.add_column(name, justify="right")
    for check in guarded[:_SLICES_SHOWN]:
        name = ", ".join(f"{column} {value}" for column, value in check.slice.items())
        style = "" if check.passed else "bold red"
        table.add_row(
            f"{name} ({check.metric})",
            f"{check.rows:,}",
            check.metric.words(check.value),
            check.metric.words(check.live),
            check.metric.words(_gain(check), "+"),
            style=style,
        )
    console.print(table)
    rest = len(guarded) - _SLICES_SHOWN
    if rest > 0:
        console.print(f"[dim]and {rest} more, all better than these[/]")


def _gain(check: Check) -> float:
    """How much better than the live model's the metric is; negative if it is worse."""
    if check.value is None or check.live is None:
        return 0.0
    return check.metric.goodness(check.value) - check.metric.goodness(check.live)


def _print_choice(console: Console, verdict: Verdict, selection: Selection | None) -> None:
    """The best candidate, and why not the others; of few rows, how sure that is."""
    if selection is None:
        return
    console.print(f"\n[bold]Choice[/]  {escape(selection.reason)}", soft_wrap=True)
    for candidate in selection.candidates:
        if candidate.name != selection.winner:
            console.print(f"  [dim]{candidate.name}: {escape(candidate.reason)}[/]", soft_wrap=True)
    best = selection.winner or selection.candidates[0].name
    if verdict.cross_validation:
        sure = predicted.certainty(verdict, best, selection.metric)
        console.print(f"[bold]How sure[/]  {sure}", soft_wrap=True)


def _print_decision(
    console: Console,
    config: PipelineConfig,
    selection: Selection | None,
    outputs: Outputs,
    copies: Copies,
) -> None:
    if "Canary" not in outputs:
        console.print("[bold]Decision[/]  none: the nodes that push were not part of this run")
        return
    folder = copies.of(outputs["Canary"]["blessing"][0].uri)
    canary = canary_report.CanaryReport.model_validate_json(
        (folder / canary_report.FILE).read_text()
    )
    if canary.latency is not None and canary.blessed:
        console.print(
            f"[bold]Canary[/]  {canary.rows} rows answered as evaluated (largest difference "
            f"{canary.max_difference:.1g}), one row in {canary.latency.p50_ms:.1f} ms, in a batch "
            f"{canary.latency.rows_per_second:,.0f} rows a second"
        )
    pushed = outputs["Pusher"]["pushed_model"][0] if "Pusher" in outputs else None
    if pushed is not None and pushed.custom_properties["pushed"].int_value:
        destination = pushed.custom_properties["pushed_destination"].string_value
        console.print("[bold green]Decision[/]  pushed")
        console.print(f"Model: {destination}", soft_wrap=True)
        return
    console.print("[bold yellow]Decision[/]  not pushed; the live model, if any, stays:")
    if canary.blessed and config.registration.approval == "shadow":
        reason = "it waits for its trial on the next span: python -m pipeline continuous"
    elif canary.blessed:
        reason = "it waits for a person: python -m pipeline registry approve"
    elif selection is not None and selection.winner is None:
        reason = "no candidate was chosen"
    else:
        reason = canary.reason or ""
    console.print(f"  {escape(reason)}", soft_wrap=True)


def _print_registration(console: Console, outputs: Outputs) -> None:
    if "Registrar" not in outputs:
        return
    facts = outputs["Registrar"]["registration"][0].custom_properties
    if not facts["registered"].int_value:
        console.print(
            f"[bold yellow]MLflow[/]  not yet told: {escape(facts['reason'].string_value)}\n"
            "  It will be by the next run, or by python -m pipeline registry sync",
            soft_wrap=True,
        )
    elif version := facts["model_version"].string_value:
        name = facts["model_name"].string_value
        console.print(f"[bold]MLflow[/]  {name} version {version}; make ui shows it")
    else:
        console.print("[bold]MLflow[/]  the trainings are there; no model is registered; make ui")


def _print_predictions(console: Console, outputs: Outputs) -> None:
    if "BatchPredict" not in outputs:
        return
    predictions = outputs["BatchPredict"]["predictions"][0]
    facts = predictions.custom_properties
    if reason := facts["reason"].string_value:
        console.print(f"[bold yellow]Predictions[/]  none: {escape(reason)}")
        return
    console.print(
        f"[bold]Predictions[/]  {facts['rows'].int_value:,} rows, by version "
        f"{facts['model_version'].string_value}: {predictions.uri}",
        soft_wrap=True,
    )


def _print_how_to_ask(
    console: Console, config: PipelineConfig, evaluation: Path, predict: Sequence[str]
) -> None:
    """The command that asks the live model for a prediction, with a row of the eval split."""
    location = config.serving_directory
    if not (exists(location) if is_remote(location) else Path(location).exists()):
        return
    row = _raw_row(evaluation / verdicts.CANARY_FILE, config.features.inputs)
    console.print("Ask it, about a row or a file of rows, CSV or Parquet:")
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
        row[column] = float(f"{value:.7g}") if isinstance(value, float) else value
    return json.dumps(row, ensure_ascii=False)
