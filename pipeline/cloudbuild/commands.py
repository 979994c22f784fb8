"""Cloud Build's files on the command line: check, and run here."""

from __future__ import annotations

import argparse
import threading
import uuid
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.cloudbuild.executor import Outcome

_RUN = """\
Run the steps of a Cloud Build file on this machine: in a fresh clone of the last commit, each a
process in the place of a container, with the same substitutions, order, environment and limits.
Secrets are read from environment variables of the same name.

Exit code: 0 done, 1 a step failed, 2 the file or the command is wrong, 130 interrupted."""


def add_commands(commands: Any) -> None:
    """Adds the command.

    Args:
      commands: what `add_subparsers` of the main parser gave.
    """
    own = commands.add_parser("cloudbuild", help="check Cloud Build's files, or run one here")
    verbs = own.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser("check", help="find what Cloud Build would refuse, and what is unused")
    verb.add_argument("files", nargs="+", type=Path, metavar="FILE")
    verb.set_defaults(run=_check)

    verb = verbs.add_parser(
        "run",
        help="run the steps on this machine",
        description=_RUN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = verb.add_argument
    add("file", type=Path, metavar="FILE")
    add(
        "--substitutions",
        action="append",
        default=[],
        metavar="_A=VALUE,_B=VALUE",
        help="in place of the file's defaults; may be repeated",
    )
    add(
        "--map",
        action="append",
        default=[],
        metavar="IMAGE=COMMAND",
        help="what stands here for an image: the words before args, none, or skip",
    )
    add("--skip", action="append", default=[], metavar="ID", help="pass over a step; repeatable")
    add("--workspace", type=Path, metavar="DIR", help="run in this checkout, which stays")
    verb.set_defaults(run=_run)


def _check(arguments: argparse.Namespace) -> int:
    from pipeline.cloudbuild.file import read

    mistakes = []
    for file in arguments.files:
        try:
            build = read(file)
        except UserError as error:
            mistakes.append(str(error))
        else:
            print(f"{file}: {len(build.steps)} steps, nothing wrong")
    if mistakes:
        raise UserError("\n".join(mistakes))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from pipeline.cloudbuild import builders, executor, file, substitutions
    from pipeline.cloudbuild.workspace import clone, known
    from pipeline.config import PROJECT

    build_id = f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    folder = Path("build") / "cloudbuild" / build_id
    given = substitutions.parse(arguments.substitutions)
    images = builders.parse(arguments.map)
    printing = threading.Lock()

    def say(line: str) -> None:
        with printing:
            print(line, flush=True)

    own = arguments.workspace
    with nullcontext(own) if own else clone(PROJECT) as workspace:
        values = known(workspace, build_id) | given
        build = file.read(arguments.file, given, values)
        executor.check(build, images, skip=arguments.skip)
        print(f"Build {build_id} of {arguments.file}, commit {values['COMMIT_SHA'][:7]}")
        outcome = executor.run(
            build, images, workspace=workspace, folder=folder, skip=arguments.skip, say=say
        )
    _print(outcome)
    print(f"Build {build_id} {'failed: ' + outcome.error if outcome.error else 'succeeded'}")
    print(f"Its logs: {folder}")
    return 130 if outcome.interrupted else int(bool(outcome.error))


def _print(outcome: Outcome) -> None:
    width = max(len(result.step.name) for result in outcome.results)
    print(f"\n{'STEP':{width}}  {'STATE':15}  SECONDS")
    for result in outcome.results:
        line = (
            f"{result.step.name:{width}}  {result.state:15}  {result.seconds:7.1f}  {result.note}"
        )
        print(line.rstrip())
