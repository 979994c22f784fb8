"""Makes Markdown of the figures that benchmarks measure: for the terminal, and for RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Figures = dict[str, Any]

SCENARIOS = {
    "first": "first run, to a pushed model",
    "second": "run again, all of it, against the live model",
    "unchanged": "nothing changed, cache on",
    "edit": "one edit, cache on",
}
TFX_HELP = "tfx --help"
COMPLETED_NODE = "python -m pipeline.node …"
WALL_TARGET, PEAK_TARGET = 30, 2
SPEED_TARGETS = {"StatisticsGen": 5, "Evaluator": 2}
"""How many times as fast as TFX's own a component should be at least; others have no target."""
TRAINING_TARGET = 3
_COUNTERPARTS = {
    "CsvExampleGen": "ExampleGen",
    "Trainer": "Trainer.keras",
    "latest_blessed_model_resolver": "LiveModel",
}
_NONE = "-"
_BUSY_TARGET = 0.7
_WHY_IDLE = (
    "It falls short here because with one framework the graph is a chain: Transform, Trainer, "
    "Evaluator, Canary. On so few rows each of them is one thread of Python that traces graphs for "
    "TensorFlow (by cProfile: 1.2 of Transform's 2.2 s, 1.3 of the Trainer's 2.6 s, and its export "
    "another 0.9 s), and what can go on beside them, the imports of the canary's process and of "
    "TFMA, does. It would take a wider graph, several frameworks trained at once, or more rows."
)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, aligned so that it can be read as it is; figures stand to the right."""
    cells = [list(headers), *([_text(value) for value in row] for row in rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(headers))]
    lines = [
        "| " + " | ".join(_pad(text, widths[i], i) for i, text in enumerate(row)) + " |"
        for row in cells
    ]
    rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def ingest(figures: Figures) -> str:
    """The section on reading rows."""
    ours, theirs = figures["TabularExampleGen"], figures["CsvExampleGen"]
    keys = ("seconds", "cpu_seconds", "rows_per_second", "peak_mb")
    rows = [
        [name, *(side[key] for key in keys)] for name, side in figures.items() if name != "rows"
    ]
    ratio = ours["rows_per_second"] / theirs["rows_per_second"]
    return "\n\n".join(
        [
            f"This project's ExampleGen and TFX's CsvExampleGen each read {figures['rows']:,} "
            "flights from one CSV file and write them, split in two, as compressed TFRecords. "
            "Both run in one process, one after the other, after a small untimed run each; "
            "CsvExampleGen with Beam's runner in memory. Peak memory is the whole process's "
            "until then.",
            table(["component", "seconds", "cpu s", "rows/s", "peak MB"], rows),
            f"TabularExampleGen reads {ratio:.1f} times as many rows a second.",
        ]
    )


def components(figures: Figures) -> str:
    """The section on single components beside TFX's own."""
    rows, targets = [], []
    for measured in figures["measured"]:
        name, size = measured["component"], measured["rows"]
        theirs, ours = measured["tfx"], measured["ours"]
        row: list[object] = [name, size]
        for key in ("wall", "cpu"):
            row += [theirs[key], ours[key], f"{theirs[key] / ours[key]:.1f}"]
        rows.append(row)
        if target := SPEED_TARGETS.get(name):
            ratio = theirs["wall"] / ours["wall"]
            targets.append(
                f"- {name}, {size:,} rows: {ratio:.1f} times as fast as TFX's (target: at least "
                f"{target} times)"
            )
    headers = ["component", "rows", "wall s: TFX", "ours", "TFX/ours"]
    return "\n\n".join(
        [
            "TFX's executors and this project's, on the same flights, read once. Both run in one "
            f"process, in turn, after an untimed run each on {figures['warm_up_rows']:,} rows; "
            f"each figure is the least of {figures['rounds']}. TFX's use Beam's runner in memory. "
            "Ratios above 1 are in this project's favour. Transform computes no statistics on "
            "either side. Evaluator judges one small Keras model by the metrics and slices of "
            "`configs/flights.toml` on the eval split; as TensorFlow Model Analysis takes long, "
            "on the smallest number of rows alone.",
            table([*headers, "cpu s: TFX", "ours", "TFX/ours"], rows),
            "\n".join(targets),
            "That both give the same, within the tolerances stated there, is what "
            "`tests/custom_components/test_{statistics_gen,transform,evaluator}.py` hold.",
        ]
    )


def analyzer_cache(figures: Figures) -> str:
    """The section on windows of which Transform has analysed all spans but one before."""
    rows = []
    for measured in figures["measured"]:
        without, known = measured["without"], measured["with"]
        row: list[object] = [f"{measured['window']} months"]
        for key in ("analysis", "node"):
            row += [without[key], known[key], f"{known[key] / without[key]:.2f}"]
        rows.append(row)
    headers = ["window", "analysis cpu s: without", "with", "with/without"]
    return "\n\n".join(
        [
            "Transform on the flights of the months up to December, about 27,000 a month, as it "
            "would run after November's run with the same window: without that run's "
            "`updated_analyzer_cache`, and with it, which holds every month but December. Both in "
            "one process, in turn, after a warm-up; each figure is the least of "
            f"{figures['rounds']}, in seconds of the processor. The analysis is tracing the "
            "preprocessing, reading and accumulating what is not known, and writing the graph; the "
            "rest of the node transforms every month anyway, as the means have moved.",
            table([*headers, "node cpu s: without", "with", "with/without"], rows),
            "That the graph and every transformed row are the same to the bit is what "
            "`tests/custom_components/test_transform_cache.py` holds.",
        ]
    )


def training(figures: Figures) -> str:
    """The section on steps per second of training."""
    sides = {"TFX's template": figures["template"], "this project": figures["ours"]}
    rates = {name: side["steps"] / side["seconds"] for name, side in sides.items()}
    rows, feeding = [], []
    for name, side in sides.items():
        rows.append([name, side["steps"], side["seconds"], round(rates[name])])
        trained = 1000 / rates[name]
        drawn = 1000 * side["draw_seconds"] / side["drawn"]
        feeding.append([name, drawn, trained, f"{drawn / trained:.0%}"])
    ratio = rates["this project"] / rates["TFX's template"]
    return "\n\n".join(
        [
            "The model and the input pipeline of TFX's taxi template, as TFX installs them "
            "(`MirroredStrategy` included), and this project's Keras model with the settings of "
            "`configs/taxi.toml`, each on the taxi rows that its own preprocessing has "
            f"transformed: batches of {figures['batch_size']}, two layers of 16 and 8. This "
            f"project hands Keras {figures['steps_per_execution']} steps at once. Each side is a "
            "process of its own, the other one idle meanwhile; an untimed fit comes first, so that "
            "tracing is not in the figures. No validation, no callbacks, no progress bar. The "
            f"least seconds of {figures['rounds']}, in turn.",
            table(["", "steps", "seconds", "steps/s"], rows),
            f"- steps a second: {ratio:.1f} times the template's (target: at least "
            f"{TRAINING_TARGET} times)",
            "Is it the rows that training waits for? Seconds to draw 1,000 batches from each input "
            "pipeline alone, without a model, beside those of 1,000 training steps:",
            table(["", "drawing, s", "training, s", "drawing/training"], feeding),
        ]
    )


def taxi(figures: Figures) -> str:
    """The section on the two pipelines side by side."""
    runs, cores = figures["runs"], figures["cores"]
    scenarios = figures["scenarios"]
    first = scenarios["first"]["template"]["wall"]
    rows = []
    for name, title in SCENARIOS.items():
        theirs, ours = scenarios[name]["template"], scenarios[name]["ours"]
        of_first = ours["wall"] / first if name in ("unchanged", "edit") else None
        rows.append(
            [title]
            + [side[key] for key in ("wall", "cpu", "peak_mb") for side in (theirs, ours)]
            + [_ratio(ours["wall"], theirs["wall"]), _ratio(ours["cpu"], theirs["cpu"])]
            + [None if of_first is None else f"{of_first:.2f}"]
        )
    headers = ["", "wall s: TFX", "ours", "cpu s: TFX", "ours", "peak MB: TFX", "ours"]
    headers += ["wall, ours/TFX", "cpu, ours/TFX", "wall, ours/TFX's first run"]
    parts = [
        f"TFX's taxi template and this project's `configs/taxi.toml`, on the same "
        f"{figures['rows']:,} rows (TFX's own taxi data and the label as a column), in turn on "
        f"one machine. Each figure is the least of {runs}; ratios below 1 are in this project's "
        "favour. The template is the one that TFX installs, with all its stages switched on and "
        "its packages renamed, else as shipped: 1,000 training steps, no cache. It is spared the "
        "wait for Google's metadata server (`NO_GCE_CHECK`). Both evaluate against a live model "
        "and push if it is no worse; this project also validates the examples against the "
        "schema, gates on drift and tries the model as a server would. Before anything is timed, "
        "all modules are compiled, and each side runs to its end in a folder of its own.",
        table(headers, rows),
        "Targets: at most 0.35 of the template's wall time and 0.5 of its processor time for a "
        "first run and for the second; 0.10 where nothing changed, 0.30 after an edit, of its "
        "whole run. Nearly half of an edit's time is the import of TensorFlow and TFX: to go "
        "below, a process would have to stay loaded between runs.",
        "Where the cache is on, the template's is switched on in a second copy of it, which has "
        "run twice before. The edit: for this project a line added to `models/keras_model.py`; "
        "for the template one training step more, since it does not notice an edited model "
        "(tfx#2247): it trains, evaluates and pushes again.",
        _quality(figures),
    ]
    share = figures.get("utilisation")
    if share is not None:
        parts.append(
            f"From its first node's start to its last one's end, this project's nodes keep the "
            f"{cores} cores busy {share:.0%} of the time (target: 70%)."
        )
        if share < _BUSY_TARGET:
            parts.append(_WHY_IDLE)
    parts.append(_components(figures["components"]))
    return "\n\n".join(parts)


def _quality(figures: Figures) -> str:
    steps, seconds = figures["steps"], figures["components"]
    trainers = {"template": "Trainer", "ours": "Trainer.keras"}
    rows = []
    for side, title in (("template", "TFX's template"), ("ours", "this project")):
        took = seconds.get(side, {}).get(trainers[side])
        rate = round(steps[side] / took) if took else None
        accuracy = f"{figures['accuracy'][side]:.4f}"
        rows.append([title, figures["pushed"][side], accuracy, steps[side], took, rate])
    headers = ["", "models pushed by a first run", "accuracy", "training steps"]
    text = table([*headers, "Trainer, s", "steps/s"], rows)
    printed = figures.get("template_steps_per_second")
    text += "\n\nAccuracy is on each side's own eval split, a third of the rows. Steps a second "
    text += "are those of the whole Trainer node, its start and the model's export included."
    if printed:
        text += f" Keras itself prints {printed} steps/s for the template, its validation included."
    return text


def _components(components: Figures) -> str:
    theirs, ours = dict(components["template"]), dict(components.get("ours", {}))
    rest_theirs, rest_ours = theirs.pop("rest", None), ours.pop("rest", None)
    rows: list[list[object]] = [
        ["imports and all else (ours: until the first node)", rest_theirs, rest_ours]
    ]
    for name, seconds in theirs.items():
        counterpart = _COUNTERPARTS.get(name, name)
        title = name if counterpart == name else f"{name} / {counterpart}"
        rows.append([title, seconds, ours.pop(counterpart, None)])
    rows += [[name, None, seconds] for name, seconds in ours.items()]
    return (
        "Seconds of each component in the fastest first run. The template's are by its metadata "
        "store, one after the other; this project's by its run's record, several at once where "
        "the graph allows, so that they add up to more than the run.\n\n"
    ) + table(["component", "TFX", "ours"], rows)


def startup(figures: Figures) -> str:
    """The section on how soon commands answer."""
    commands = figures["commands"]
    reference = commands.get(TFX_HELP, {}).get("wall")
    rows = []
    for name, cost in commands.items():
        if "error" in cost:
            rows.append([f"`{name}`", "failed", None, None])
            continue
        ratio = _ratio(cost["wall"], reference) if reference else None
        rows.append([f"`{name}`", cost["wall"], cost["cpu"], ratio])
    failed = [f"`{name}`: {cost['error']}" for name, cost in commands.items() if "error" in cost]
    return "\n\n".join(
        [
            f"From the start of the process to its end; the least of {figures['rounds']}, the "
            "commands in turn, after one untimed round. `pipeline.node` is given a node that a "
            "taxi run has completed: what is left is to start, to look it up and to say so.",
            table(["command", "wall s", "cpu s", "wall / `tfx --help`"], rows),
            *failed,
        ]
    )


def growth(figures: Figures) -> str:
    """The section on how cost grows with the rows."""
    sizes = {int(rows): cost for rows, cost in figures["sizes"].items()}
    rows = []
    for size, cost in sizes.items():
        wall = cost.get("wall")
        rate = round(size / wall) if wall else None
        rows.append([f"{size:,}", wall or "failed", cost.get("cpu"), cost.get("peak_mb"), rate])
    parts = [
        "This project's flights pipeline, from an empty folder to its end, on a year of flights "
        "cut to fewer rows or repeated to more, with a little noise, in Parquet files of at most "
        "500,000 rows. Peak memory is that of all its processes together.",
        table(["rows", "wall s", "cpu s", "peak MB", "rows/s"], rows),
    ]
    if figures.get("settings"):
        parts.append(f"Settings changed: {', '.join(f'`{s}`' for s in figures['settings'])}.")
    for key, unit, large, small, target in (
        ("wall", "time", 1_500_000, 15_000, WALL_TARGET),
        ("peak_mb", "peak memory", 5_000_000, 150_000, PEAK_TARGET),
    ):
        if large not in sizes or small not in sizes:
            continue
        ratio = "unknown: a size failed"
        if key in sizes[large] and key in sizes[small]:
            ratio = f"{sizes[large][key] / sizes[small][key]:.2f}"
        parts.append(f"- {unit} of {large:,} rows to {small:,}: {ratio} (target: {target} at most)")
    parts += [f"{size:,} rows failed: {c['error']}" for size, c in sizes.items() if "error" in c]
    names = list(dict.fromkeys(name for cost in sizes.values() for name in cost.get("nodes", {})))
    if names:
        cells = [
            [name] + [_node(cost.get("nodes", {}).get(name)) for cost in sizes.values()]
            for name in names
        ]
        parts.append("Each node's seconds, and the peak of its process in MB:")
        parts.append(table(["node", *(f"{size:,}" for size in sizes)], cells))
    return "\n\n".join(parts)


def _node(cost: Figures | None) -> str | None:
    if cost is None:
        return None
    memory = cost.get("peak_mb")
    return f"{cost['seconds']:.1f} s, {_NONE if memory is None else f'{memory:.0f}'} MB"


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}"


def _text(value: object) -> str:
    match value:
        case None:
            return _NONE
        case float():
            return f"{value:,.1f}" if value >= 10 else f"{value:.2f}"
        case int():
            return f"{value:,}"
    return str(value)


def _pad(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)
