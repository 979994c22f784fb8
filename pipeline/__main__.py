"""The pipeline's command line: `python -m pipeline COMMAND`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pipeline import lineage_commands
from pipeline.cloudbuild import commands as cloudbuild
from pipeline.continuous import commands as continuous
from pipeline.deploy import commands as deploy
from pipeline.errors import UserError
from pipeline.housekeeping import commands as housekeeping
from pipeline.init import commands as init
from pipeline.monitoring import commands as monitoring
from pipeline.registry.commands import add_commands
from pipeline.report import commands as report


def _predict(arguments: argparse.Namespace) -> None:
    from pipeline.config_file import DEFAULT, load
    from pipeline.predict import predict_files, predict_row

    if (arguments.row is None) == (not arguments.files):
        raise UserError("predict: expected files of raw rows, or one row: --row JSON")
    config = load(arguments.config or DEFAULT, arguments.set)
    if arguments.row is not None:
        predict_row(config, arguments.row, version=arguments.version)
    else:
        predict_files(config, arguments.files, output=arguments.output, version=arguments.version)


def _serve(arguments: argparse.Namespace) -> None:
    from pipeline.config_file import DEFAULT, load
    from pipeline.serve import elsewhere
    from pipeline.serve.server import serve

    config = load(arguments.config or DEFAULT, arguments.set)
    location = arguments.directory or config.serving_directory
    where = {"host": arguments.host, "port": arguments.port}
    if arguments.by == "mlflow":
        if arguments.directory:
            raise UserError("serve: MLflow serves what is registered; leave out --directory")
        elsewhere.mlflow(config, **where)
    if arguments.by == "tensorflow-serving":
        elsewhere.tensorflow_serving(location, config.name, **where)
    serve(location, config.name, **where)


def _check(arguments: argparse.Namespace) -> None:
    from pipeline.config_file import DEFAULT, load

    config = load(arguments.config or DEFAULT, arguments.set)
    print(config.model_dump_json(indent=2))


def _schema(arguments: argparse.Namespace) -> None:
    from pipeline.config_file import json_schema

    print(json_schema(), end="")


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    main_parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    commands = main_parser.add_subparsers(required=True, metavar="COMMAND")

    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument("--config", type=Path, metavar="FILE", help="TOML file")
    configured.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting"
    )

    init.add_commands(commands)

    command = commands.add_parser(
        "predict",
        parents=[configured],
        help="ask the live model about a row, or about all rows of files",
        description="Ask the live model about a row, or about all rows of files: these come out "
        "again, with its predictions and its version.",
    )
    command.add_argument(
        "files", nargs="*", metavar="FILE", help="CSV or Parquet file, folder or glob of raw rows"
    )
    command.add_argument(
        "--row", metavar="JSON", help='one raw row, as in \'{"carrier": "UA", …}\''
    )
    command.add_argument(
        "--output", metavar="FILE", help="CSV or Parquet to write (default: CSV to stdout)"
    )
    command.add_argument("--version", help="a version in the serving folder (default: the newest)")
    command.set_defaults(run=_predict)

    command = commands.add_parser(
        "serve",
        parents=[configured],
        help="answer over HTTP with the live model",
        description="Answer over HTTP with the live model, and with the next one once it is there. "
        "GET / is a page to try one row.",
    )
    command.add_argument(
        "--with",
        dest="by",
        choices=("mlflow", "tensorflow-serving"),
        help="another server: MLflow's for the registered champion, or TensorFlow Serving, in "
        "Docker, for a champion that is a SavedModel (default: the project's own, for any)",
    )
    command.add_argument(
        "--directory", metavar="DIR", help="serving folder (default: the pipeline's)"
    )
    command.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    command.add_argument("--port", type=int, default=8080, help="port (default: %(default)s)")
    command.set_defaults(run=_serve)

    lineage_commands.add_commands(commands, configured)
    report.add_commands(commands, configured)
    add_commands(commands, configured)
    housekeeping.add_commands(commands, configured)
    cloudbuild.add_commands(commands)
    deploy.add_commands(commands, configured)
    continuous.add_commands(commands, configured)
    monitoring.add_commands(commands, configured)

    command = commands.add_parser(
        "config", parents=[configured], help="check a configuration and print it, defaults and all"
    )
    command.set_defaults(run=_check)

    command = commands.add_parser(
        "config-schema", help="print the JSON schema of a configuration (configs/schema.json)"
    )
    command.set_defaults(run=_schema)
    return main_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; its exit code."""
    arguments = parser().parse_args(argv)
    try:
        code = int(arguments.run(arguments) or 0)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"python -m pipeline: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # The reader, such as head, has seen enough.
        return 0


if __name__ == "__main__":
    exit_code = main()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)  # An Arrow thread that still reads ahead would abort an orderly exit.
