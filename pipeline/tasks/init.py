"""Begins a run on a cluster: finds that it can be run, and which spans it ingests."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import node
from pipeline.cluster import secrets
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.parameters import NEWEST, of_span

if TYPE_CHECKING:
    from ml_metadata.metadata_store import MetadataStore
    from tfx.proto.orchestration import pipeline_pb2

INIT = "init"


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the module says; 0 if the run may go on, 2 if it may not."""
    # --span may be empty here: then the configuration says which.
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.tasks.init", description=__doc__, conflict_handler="resolve"
    )
    node.add_arguments(parser)
    add = parser.add_argument
    add("--config-gzip", required=True, metavar="TEXT", help="configuration, as packed text")
    add("--span", default="", metavar="N", help="span to ingest, or newest; empty: as configured")
    add("--image", default="", help="container image of this task, to keep with the run")
    add("--runner", default="kubeflow", help="who runs this, to keep with the run")
    add("--span-output", type=Path, required=True, metavar="FILE", help="gets the span")
    add("--backfill-output", type=Path, required=True, metavar="FILE", help="gets the earlier ones")
    arguments = parser.parse_args(argv)
    sys.argv = sys.argv[:1]  # TFX hands the rest to Abseil's flags.
    try:
        secrets.load()
        spans = _begin(arguments)
    except UserError as error:
        print(f"init: {error}", file=sys.stderr)
        return 2
    for file, text in (
        (arguments.span_output, str(spans[-1])),
        (arguments.backfill_output, json.dumps(spans[:-1])),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    earlier = ", ".join(map(str, spans[:-1])) or "none"
    print(
        f"Run {arguments.run_id} ingests span {spans[-1]}; earlier spans of its window: {earlier}"
    )
    return 0


def _begin(arguments: argparse.Namespace) -> list[int]:
    """The spans of the run's window; its own is the last."""
    from pipeline.lazy import imports

    with imports():
        from pipeline import metadata
        from pipeline.store import record

    config = given_config(arguments)
    ir = node.given_pipeline(arguments)
    connection = metadata.connection(config)
    metadata.create_tables(connection)
    metadata.register_types(connection, ir)
    with metadata.handle(connection) as handle:
        facts = record.begun(
            config, note=arguments.note, runner=arguments.runner, image=arguments.image
        )
        record.write(handle.store, arguments.run_id, facts)
        try:
            spans = _checked(config, ir, handle.store)
        except UserError as error:
            facts = {"failed_node": INIT, "reason": str(error)}
            record.write(handle.store, arguments.run_id, facts)
            raise
        facts = {"span": str(spans[-1]), "backfill": json.dumps(spans[:-1])}
        record.write(handle.store, arguments.run_id, facts)
    return spans


def _checked(config: PipelineConfig, ir: pipeline_pb2.Pipeline, store: MetadataStore) -> list[int]:
    from pipeline import launch
    from pipeline.store import roots

    roots.check(config, store)
    check_code(config, ir)
    return launch.spans_of(config)


def given_config(arguments: argparse.Namespace) -> PipelineConfig:
    """The configuration that the arguments name, with the span that was asked for.

    Raises:
      UserError: this code does not understand it, or the span is no number.
    """
    from pydantic import ValidationError

    from pipeline.cluster.packed import unpack_text

    try:
        config = PipelineConfig.model_validate_json(unpack_text(arguments.config_gzip), strict=True)
    except ValidationError as error:
        raise UserError(
            "the image does not understand the configuration: its code is another than that which "
            f"compiled the package ({error.errors()[0]['msg']}); rebuild the image or compile anew"
        ) from None
    store = config.store.model_copy(update={"url": arguments.store})
    config = config.model_copy(update={"store": store})
    if not arguments.span:
        return config
    if arguments.span == NEWEST:
        return of_span(config, None)
    if not arguments.span.isdecimal():
        raise UserError(
            f"span is {arguments.span!r}; expected a whole number, as in 4, {NEWEST!r} or nothing"
        )
    return of_span(config, int(arguments.span))


def check_code(config: PipelineConfig, ir: pipeline_pb2.Pipeline) -> None:
    """Makes sure that the nodes of `ir` that run in init's image run the code they were made of.

    Raises:
      UserError: some would not; the message names them.
    """
    from pipeline.compiler import CODE_DIGEST, code_digests

    image = config.tasks.of(INIT).image
    differing = []
    for node_id, here in code_digests(ir).items():
        parameters = node.find(ir, node_id).parameters.parameters
        same_image = config.tasks.of(node_id).image == image
        if same_image and parameters[CODE_DIGEST].field_value.string_value != here:
            differing.append(node_id)
    if differing:
        raise UserError(
            f"the image has other code, or other versions of libraries, for {', '.join(differing)} "
            "than the package was compiled with: rebuild the image, or compile the package with it"
        )


if __name__ == "__main__":
    sys.exit(main())
