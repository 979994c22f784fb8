"""The command `python -m pipeline init`: a configuration for a table that nobody has seen."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import PROJECT
from pipeline.errors import UserError
from pipeline.evaluate_config import Metric
from pipeline.features_config import Problem
from pipeline.train_config import Framework

if TYPE_CHECKING:
    from pipeline.init.making import Ask, Doubt, Wishes
    from pipeline.sources import ReadOptions

_EXAMPLES = """\
examples:
  python -m pipeline init my.csv --label price
  python -m pipeline init 'exports/*.parquet' --label churned --split-by customer_id --yes
  python -m pipeline init 'data/shop/span-{SPAN}/*.csv' --label returned
  python -m pipeline init bigquery://my-project/sales.orders --label returned
"""
_COLUMNS = {
    "numeric": "numbers",
    "log": "numbers over orders of magnitude",
    "categorical": "categories",
    "target-encoded": "categories of many values, by the label's mean",
    "hashed": "categories of many values, by their hash: COLUMN[=PLACES]",
    "cyclical": "numbers that go round: COLUMN=PERIOD",
    "bucketized": "numbers in buckets: COLUMN[=BUCKETS]",
    "date": "dates: COLUMN[=FORMAT], as in day=%%d/%%m/%%Y, iso or epoch",
    "text": "texts of several words",
    "keep": "read and checked, but not predicted from",
    "drop": "not read at all",
}


def add_commands(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "init",
        help="write a configuration for your own data",
        description="Looks at a table and writes configs/NAME.toml and its schema.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "source",
        metavar="SOURCE",
        help="a CSV, TSV or Parquet file, a folder or glob of them, in which {SPAN} may stand for "
        "a span's number, gs://…, s3://…, or a database: sqlite:///FILE, postgresql://…, "
        "mysql://…, bigquery://PROJECT",
    )
    command.add_argument("--label", metavar="COLUMN", help="the column to predict")
    command.add_argument("--name", help="of the pipeline (default: the file's)")
    command.add_argument(
        "--frameworks", metavar="A,B", help=f"to train (default: {','.join(Framework)})"
    )
    command.add_argument("--yes", action="store_true", help="ask nothing")
    command.add_argument("--force", action="store_true", help="overwrite what is there")
    command.add_argument("--json", action="store_true", help="tell as JSON; asks nothing")
    command.add_argument(
        "--directory",
        type=Path,
        default=PROJECT / "configs",
        metavar="DIR",
        help="where the two files go (default: configs)",
    )
    guesses = command.add_argument_group("guesses, if they are wrong")
    guesses.add_argument("--problem", choices=[str(problem) for problem in Problem])
    guesses.add_argument("--classes", metavar="A,B,…", help="the label's values that count")
    guesses.add_argument("--positive", metavar="VALUE", help="the class to give probabilities of")
    guesses.add_argument("--metric", choices=[str(metric) for metric in Metric])
    guesses.add_argument(
        "--thresholds", metavar="METRIC=N,…", help="what a model has to reach; '' for none"
    )
    guesses.add_argument("--slices", metavar="A,B", help="columns to judge by; '' for none")
    guesses.add_argument(
        "--guards", metavar="A,B", help="slices that may not pay for the average; '' for none"
    )
    guesses.add_argument(
        "--decision-threshold", type=float, metavar="P", help="from which the second class is said"
    )
    for role, words in _COLUMNS.items():
        guesses.add_argument(f"--{role}", action="append", default=[], metavar="A,B", help=words)
    split = guesses.add_mutually_exclusive_group()
    split.add_argument("--split-by", metavar="COLUMN", help="rows of one value are on one side")
    split.add_argument("--split-time", metavar="COLUMN", help="the newest rows judge")
    split.add_argument("--split-rows", action="store_true", help="each row by itself")
    guesses.add_argument(
        "--folds", type=int, metavar="N", help="of cross-validation; 0: a part of the rows judges"
    )
    reading = command.add_argument_group("how files are read, if that is not found out")
    reading.add_argument("--format", choices=["csv", "parquet"])
    for option in ("delimiter", "quote", "encoding", "decimal", "thousands"):
        reading.add_argument(f"--{option}")
    reading.add_argument("--null-values", metavar="A,B", help="what means that there is no value")
    reading.add_argument("--query", metavar="SQL", help="the rows of a database")
    command.set_defaults(run=_init)


def _init(arguments: argparse.Namespace) -> None:
    name = _name(arguments)
    frameworks = _frameworks(arguments.frameworks)
    files = _files(arguments.directory, name, force=arguments.force)
    asks = sys.stdin.isatty() and not (arguments.yes or arguments.json)

    from pipeline.sources import open_source

    # {SPAN} stands for a number, and every span is looked at.
    every = re.sub(r"\{SPAN[^}]*\}", "*", arguments.source)
    source = open_source(every, options=_options(arguments))
    answered: list[str] = []
    if arguments.label is None:
        arguments.label = _ask_label(source.schema.names, asks=asks)
        answered += ["--label", arguments.label]

    from pipeline.init.making import understand
    from pipeline.init.words import as_data, tell
    from pipeline.init.writing import facts_of, spans_of, write

    wishes, spans = _wishes(arguments, source.schema.names), spans_of(source, arguments.source)
    found = understand(source, wishes, _asker(asks, answered), spans=spans)
    facts = facts_of(found, source, name, files, asked=arguments.source, frameworks=frameworks)
    write(facts, files, command=_again(arguments, answered))
    shown = [_shown(file) for file in files]
    described = source.describe()
    if arguments.json:
        from pipeline.lineage_tables import print_json

        print_json(as_data(found, facts, described=described, files=shown))
        return
    tell(found, facts, described=described, notes=source.notes)
    print(f"Wrote {shown[0]} and {shown[1]}: look them through, then")
    print(f"  make run CONFIG={shown[0]}")


def _name(arguments: argparse.Namespace) -> str:
    """The pipeline's name: lower case, digits and dashes."""
    if arguments.name is not None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", arguments.name):
            raise UserError(
                f"--name {arguments.name}: expected lower case letters, digits and dashes, a "
                "letter first, 63 at most"
            )
        return str(arguments.name)
    return _name_of(arguments.source)


def _name_of(source: str) -> str:
    """The name that the place of the data suggests."""
    fixed = re.split(r"[^/]*[*?{]", source)[0]
    last = re.split(r"[/\\#]", fixed.rstrip("/"))[-1] or "data"
    plain = re.sub(r"\.(csv|tsv|txt|parquet|pq|db|sqlite|gz|zst|zstd)(?=\.|$)", "", last.lower())
    plain = re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "data"
    return (plain if plain[0].isalpha() else f"data-{plain}")[:63].rstrip("-")


def _frameworks(asked: str | None) -> Sequence[str]:
    known = [str(framework) for framework in Framework]
    told = list(dict.fromkeys(asked.split(","))) if asked else known
    for name in told:
        if name not in known:
            raise UserError(
                f"--frameworks {asked}: {name!r} is none; expected some of {', '.join(known)}, "
                "with commas"
            )
    return told


def _files(directory: Path, name: str, *, force: bool) -> tuple[Path, Path]:
    files = directory / f"{name}.toml", directory / f"{name}.schema.pbtxt"
    for file in files:
        if file.exists() and not force:
            raise UserError(
                f"{_shown(file)} is there already; --force overwrites it, or take another --name"
            )
    return files


def _shown(file: Path) -> str:
    here = Path.cwd()
    file = file.absolute()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def _options(arguments: argparse.Namespace) -> ReadOptions:
    from pipeline.data_config import FileFormat
    from pipeline.sources import ReadOptions

    delimiter = arguments.delimiter
    nulls = arguments.null_values
    return ReadOptions(
        format=FileFormat(arguments.format) if arguments.format else None,
        delimiter="\t" if delimiter in ("\\t", "tab") else delimiter,
        quote=arguments.quote,
        encoding=arguments.encoding,
        decimal=arguments.decimal,
        thousands=arguments.thousands,
        null_values=("", *nulls.split(",")) if nulls is not None else None,
        query=arguments.query,
    )


def _wishes(arguments: argparse.Namespace, names: Sequence[str]) -> Wishes:
    from pipeline.init.judging import Judging, thresholds_of
    from pipeline.init.making import Wishes

    def listed(text: str | None) -> list[str] | None:
        return None if text is None else [name for name, _ in _columns(text, names) if name]

    drop = tuple(name for text in arguments.drop for name, _ in _columns(text, names))
    return Wishes(
        label=arguments.label,
        problem=Problem(arguments.problem) if arguments.problem else None,
        classes=tuple(arguments.classes.split(",")) if arguments.classes else (),
        positive=arguments.positive,
        roles=_roles(arguments, names),
        drop=drop,
        split_by=arguments.split_by,
        split_time=arguments.split_time,
        split_rows=arguments.split_rows,
        folds=arguments.folds,
        judging=Judging(
            metric=Metric(arguments.metric) if arguments.metric else None,
            thresholds=thresholds_of(arguments.thresholds),
            slices=listed(arguments.slices),
            guards=listed(arguments.guards),
            decision_threshold=arguments.decision_threshold,
        ),
    )


def _roles(arguments: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    from pipeline.init.asked import asked

    told: dict[str, Any] = {}
    for role in _COLUMNS:
        for text in getattr(arguments, role.replace("-", "_")) if role != "drop" else ():
            for name, value in _columns(text, names):
                if name in told:
                    raise UserError(f"{name!r} is asked for twice; give it one list")
                told[name] = asked(role, name, value)
    return told


def _columns(text: str, names: Sequence[str]) -> list[tuple[str, str | None]]:
    """Columns and what stands behind their "=", in a list with commas."""
    if text in names:
        return [(text, None)]
    told: list[tuple[str, str | None]] = []
    for part in text.split(","):
        name, equals, value = part.partition("=")
        told.append((part, None) if part in names else (name, value if equals else None))
    return told


def _ask_label(names: Sequence[str], *, asks: bool) -> str:
    if not asks:
        raise UserError(
            f"--label is missing: which column is to be predicted? There are: {', '.join(names)}"
        )
    print("Which column is to be predicted?")
    return names[_choose(names, proposed=False)]


def _asker(asks: bool, answered: list[str]) -> Ask:
    """Answers doubts, and notes the flags that say the same."""

    def ask(doubt: Doubt) -> int:
        if not asks:
            return 0
        print(doubt.question)
        chosen = _choose(doubt.answers)
        answered.extend(doubt.flags[chosen])
        return chosen

    return ask


def _choose(answers: Sequence[str], *, proposed: bool = True) -> int:
    """The position of the answer that is chosen by its number or its text.

    Args:
        answers: What may be answered.
        proposed: Whether the first one is taken if nothing is said.
    """
    for number, answer in enumerate(answers, start=1):
        print(f"  {number}. {answer}")
    while True:
        try:
            told = input(f"1 to {len(answers)}{' [1]' if proposed else ''}: ").strip()
        except EOFError:
            raise UserError("no answer; --yes takes what is proposed") from None
        if not told and proposed:
            return 0
        if told in answers:
            return answers.index(told)
        if told.isdecimal() and 1 <= int(told) <= len(answers):
            return int(told) - 1
        print(f"Expected a number from 1 to {len(answers)}.")


def _again(arguments: argparse.Namespace, answered: Sequence[str]) -> str:
    """The command that says the same, with what was answered as flags."""
    import shlex

    told = [word for word in sys.argv[1:] if word not in ("--force", "--json")]
    if "--name" in told and arguments.name == _name_of(arguments.source):
        at = told.index("--name")
        told[at : at + 2] = []
    return f"python -m pipeline {shlex.join([*told, *answered])}"
