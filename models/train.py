r"""The trainer as a program of its own, as containers and jobs call it.

    python -m models.train xgboost --config configs/flights.toml --train-data 'train/*' \
        --eval-data 'eval/*' --transform-graph transform_graph --model-dir model --param max_depth=4

It trains on what Transform has written, and writes what the pipeline's trainer does: a bundle to
--model-dir, the history and the hyper-parameters to --model-run-dir, and there, as metrics.json,
what the model says of the eval data. TensorFlow is imported after the arguments have been checked.
A cross-validation of few rows takes the raw rows of both splits, and is the pipeline's alone.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from models import threads
from pipeline import config_file, progress, provenance
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.features_config import FeaturesConfig, Problem
from pipeline.lazy import imports
from pipeline.train_config import GOES_ON, Framework, TrainConfig

if TYPE_CHECKING:
    from models.bundle import Predict
    from models.features import ModelInputs

METRICS_FILE = "metrics.json"
"""What the model says of the eval data, in the folder of the history."""
JUDGED_BY = {
    Problem.BINARY: (Metric.AUC, Metric.LOG_LOSS),
    Problem.MULTICLASS: (Metric.MACRO_F1, Metric.ACCURACY, Metric.LOG_LOSS),
    Problem.REGRESSION: (Metric.RMSE, Metric.MAE),
}
"""The metrics in it by which models may be compared."""
PACKAGES = {
    Framework.KERAS: "keras",
    Framework.PYTORCH: "torch",
    Framework.SKLEARN: "sklearn",
    Framework.XGBOOST: "xgboost",
}
"""What each framework is imported as."""

_ROWS_AT_ONCE = 8192
_SECONDS_BETWEEN_LINES = 5.0


def parser() -> argparse.ArgumentParser:
    """The command line: a command for each framework, with its hyper-parameters in its help."""
    top = argparse.ArgumentParser(
        prog="python -m models.train",
        description="Train one model on what Transform has written, and write its bundle.",
        epilog="Exit code: 0 trained, 2 a mistake in the arguments or the data, 1 a defect.",
    )
    commands = top.add_subparsers(dest="framework", required=True, metavar="FRAMEWORK")
    for framework in Framework:
        command = commands.add_parser(
            framework.value,
            help=f"train the {framework.value} model",
            description=f"Train the {framework.value} model.",
            epilog=_parameters_help(framework),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add_arguments(command)
        if framework in GOES_ON:
            command.add_argument(
                "--base",
                type=Path,
                metavar="DIR",
                help="bundle to go on from, of the same transform graph; of rows that it has "
                "learned from none should be in --train-data, as the training's length is chosen "
                "by some of these",
            )
    return top


def _add_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    patterns: dict[str, Any] = {"nargs": "+", "required": True, "metavar": "PATTERN"}
    add("--train-data", help="files of transformed examples to learn from", **patterns)
    add(
        "--train-weights",
        nargs="+",
        type=float,
        default=(),
        metavar="WEIGHT",
        help="what a row of each pattern of --train-data weighs (default: 1)",
    )
    add("--eval-data", help="files of transformed examples to judge the model by", **patterns)
    add(
        "--transform-graph",
        required=True,
        metavar="DIR",
        help="the transform graph that made them; the model carries it along",
    )
    add("--model-dir", required=True, type=Path, metavar="DIR", help="where the bundle goes")
    add(
        "--model-run-dir",
        type=Path,
        metavar="DIR",
        help="where history and metrics go (default: MODEL_DIR-run)",
    )
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file with [features] and [train] (default: configs/flights.toml)",
    )
    add("--features", metavar="JSON", help="the section [features], in place of the file's")
    add(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a hyper-parameter, in place of the file's; a list is written [64,32]",
    )
    add("--seed", type=int, metavar="N", help="of every random choice, in place of the file's")
    add("--class-weight", metavar="HOW", help="none or balanced, in place of the file's")
    add(
        "--validation-share",
        type=float,
        metavar="SHARE",
        help="of the training rows, held out to choose its length; in place of the file's",
    )


def _parameters_help(framework: Framework) -> str:
    section = TrainConfig().of(framework)
    lines = ["hyper-parameters (--param NAME=VALUE) and their defaults:"]
    for name, field in type(section).model_fields.items():
        default = json.dumps(section.model_dump(mode="json")[name])
        lines += [f"  {name}={default}", f"      {' '.join((field.description or '').split())}"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains a model; the exit code."""
    arguments = parser().parse_args(argv)
    try:
        metrics = run(arguments)
    except UserError as error:
        print(f"models.train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    told = ", ".join(f"{n} {Metric(n).words(v)}" for n, v in metrics.items() if n != "rows")
    print(f"{arguments.framework}: {told} on {metrics['rows']} rows of the eval data")
    print(f"bundle: {arguments.model_dir}")
    return 0


def run(arguments: argparse.Namespace) -> dict[str, float]:
    """Trains, writes and judges a model; the metrics on the eval data.

    Raises:
        UserError: If an argument or the data is not as it should be; then nothing is left behind.
    """
    framework = Framework(arguments.framework)
    _check_installed(framework)
    features, settings = configured(arguments)
    weights = arguments.train_weights
    if weights and not (len(weights) == len(arguments.train_data) and min(weights) > 0):
        raise UserError(
            "--train-weights: expected a number above 0 for each pattern of --train-data, of which "
            f"there are {len(arguments.train_data)}"
        )
    model_folder = arguments.model_dir
    run_folder = arguments.model_run_dir or model_folder.with_name(f"{model_folder.name}-run")
    for option, folder in (("--model-dir", model_folder), ("--model-run-dir", run_folder)):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{option} {folder}: expected a new or an empty folder; it is neither")

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    threads.yielding()
    with imports():
        from models import history, training

    _check_graph(arguments.transform_graph)
    metrics: dict[str, float] = {}

    def judge(predict: Predict, inputs: ModelInputs) -> None:
        classes = len(features.class_names)
        metrics.update(evaluate(predict, inputs, arguments.eval_data, classes=classes))

    task = training.Task(
        train_files=arguments.train_data,
        train_weights=weights,
        transform_graph=arguments.transform_graph,
        features=features,
        settings=settings.only(framework),
        model_folder=model_folder,
        run_folder=run_folder,
        provenance=provenance.of_node(),
        base=getattr(arguments, "base", None),
    )
    with _whole_or_gone(model_folder, run_folder), _told_on_terminal():
        training.run(framework, task, judge=judge)
        if begun := history.read(run_folder).begun:
            print(f"{framework}: {begun}", file=sys.stderr)
        (run_folder / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def evaluate(
    predict: Predict, inputs: ModelInputs, patterns: Sequence[str], *, classes: int = 2
) -> dict[str, float]:
    """The metrics of `JUDGED_BY`, and number of the rows in some files.

    Raises:
        UserError: If there are none, or all are of one class.
    """
    import numpy as np

    from models.dataset import read
    from models.scores import scores

    rows = read(patterns, inputs, classes=classes)
    if classes and rows.labels.min() == rows.labels.max():
        raise UserError("--eval-data: all rows have the same label: nothing to judge a model by")
    batches = rows.batches(_ROWS_AT_ONCE, among=np.arange(len(rows)))
    said = np.concatenate([predict(some.numbers, some.categories) for some in batches])
    return {**scores(said, rows.labels, classes), "rows": len(rows)}


def configured(arguments: argparse.Namespace) -> tuple[FeaturesConfig, TrainConfig]:
    """The columns, and the settings of the training, as file and arguments say.

    Raises:
        UserError: If one of them is not valid.
    """
    if arguments.features and not arguments.config:
        features, settings = _features(arguments.features), TrainConfig()
    else:
        config = config_file.load(arguments.config or config_file.DEFAULT)
        features, settings = config.features, config.train
        features = _features(arguments.features) if arguments.features else features
    settings = with_parameters(settings, Framework(arguments.framework), arguments.param)
    return features, _with_general_settings(settings, arguments)


def _with_general_settings(settings: TrainConfig, arguments: argparse.Namespace) -> TrainConfig:
    """With what the arguments say that holds for every framework."""
    names = ("seed", "class_weight", "validation_share")
    given = {name: getattr(arguments, name) for name in names}
    values = settings.model_dump() | {n: value for n, value in given.items() if value is not None}
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise UserError(f"{option} {first['input']}: {_lower(first['msg'])}") from None


def _features(text: str) -> FeaturesConfig:
    try:
        return FeaturesConfig.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise UserError(f"--features: {where}: {first['msg']}") from None


def with_parameters(
    settings: TrainConfig, framework: Framework, parameters: Sequence[str]
) -> TrainConfig:
    """`settings` with some hyper-parameters of a framework, each written NAME=VALUE.

    Raises:
        UserError: If one is unknown, or its value does not fit.
    """
    section = settings.of(framework)
    given: dict[str, Any] = {}
    for text in parameters:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"--param {text}: expected NAME=VALUE, as in --param learning_rate=0.1")
        if name not in type(section).model_fields:
            raise UserError(f"--param {text}: {_unknown(name, framework, settings)}")
        given[name] = _value(value)
    try:
        values = json.dumps({**section.model_dump(mode="json"), **given})
        changed = type(section).model_validate_json(values, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "the values"
        shown = json.dumps(given.get(name))
        raise UserError(f"--param {name}={shown}: {_lower(first['msg'])}") from None
    return settings.model_copy(update={framework.value: changed})


def _value(text: str) -> Any:
    """`text` as JSON, or as a string where it is none, so that quotes may be left out."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _unknown(name: str, framework: Framework, settings: TrainConfig) -> str:
    known = list(type(settings.of(framework)).model_fields)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
    return f"{framework} has no hyper-parameter {name}; {hint}"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _check_installed(framework: Framework) -> None:
    package = PACKAGES[framework]
    if importlib.util.find_spec(package) is None:
        how = "make setup EXTRAS=pytorch" if framework is Framework.PYTORCH else "make setup"
        raise UserError(f"{framework} takes the package {package!r}, which is not here: {how}")


def _check_graph(folder: str) -> None:
    import tensorflow as tf

    if not tf.io.gfile.exists(f"{folder}/transform_fn/saved_model.pb"):
        raise UserError(
            f"--transform-graph {folder}: holds no transform graph; expected a folder with "
            "transform_fn in it, as Transform writes"
        )


@contextmanager
def _whole_or_gone(*folders: Path) -> Iterator[None]:
    """Folders that were new or empty are so again if what fills them fails."""
    there = [folder for folder in folders if folder.exists()]
    try:
        yield
    except BaseException:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        for folder in there:
            folder.mkdir(exist_ok=True)
        raise


@contextmanager
def _told_on_terminal() -> Iterator[None]:
    """Says every few seconds how far the training is."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "progress"
        progress.write_to(file)
        ended = threading.Event()
        teller = threading.Thread(target=_tell, args=(file, ended), daemon=True)
        teller.start()
        try:
            yield
        finally:
            ended.set()
            teller.join()
            progress.write_to(None)


def _tell(file: Path, ended: threading.Event) -> None:
    told = None
    while not ended.wait(_SECONDS_BETWEEN_LINES):
        newest = progress.latest(file)
        if newest is not None and newest != told:
            done, total, unit = told = newest
            print(
                f"{done:,} of {'?' if total is None else format(total, ',')} {unit}",
                file=sys.stderr,
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
