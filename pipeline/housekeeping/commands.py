"""The house-keeping on the command line: gc, pin, backup and restore."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.housekeeping.gc import Plan

_GC = """\
Remove the folders of artifacts that nothing live depends on.

What stays: all that the newest runs and the pinned ones used, be it from the cache; the live model
and the one before it, with all that they were made from; what a run at work uses; what lies outside
the root. The store goes on knowing of the artifacts, as deleted ones."""
_RESTORE = """\
Put a backup in the place of a root that is not there, or empty.

In another folder than before, the places of artifacts are changed in the store. There lineage and
the live model are as they were; nodes that read an artifact run once more, as its place is part of
their key in the cache. In the same folder all is found in the cache."""


def add_commands(commands: Any, configured: argparse.ArgumentParser) -> None:
    """Adds the commands.

    Args:
      commands: what `add_subparsers` of the main parser gave.
      configured: a parser with the options --config and --set.
    """

    def add(name: str, about: str, description: str | None = None) -> Any:
        return commands.add_parser(
            name,
            parents=[configured],
            help=about,
            description=description or f"{about[0].upper()}{about[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    command = add("gc", "remove what nothing live depends on", _GC)
    command.add_argument(
        "--keep", type=_count, default=5, metavar="N", help="newest runs to keep (default: 5)"
    )
    command.add_argument(
        "--ended",
        action="append",
        default=[],
        metavar="RUN",
        help="a run that was killed, and is at work by what the store says",
    )
    command.add_argument("--apply", action="store_true", help="do it, in place of saying it")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_gc)

    command = add("pin", "have gc keep what a run used")
    command.add_argument("run_id", metavar="RUN", help="its id, as in 20260301-120000")
    command.add_argument("--off", action="store_true", help="keep it no longer")
    command.set_defaults(run=_pin)

    command = add("backup", "write the root and the sqlite store within it to one file")
    command.add_argument("file", type=Path, metavar="FILE", help="*.tar.zst or *.tar.gz")
    command.set_defaults(run=_backup)

    command = add("restore", "put a backup back", _RESTORE)
    command.add_argument("file", type=Path, metavar="FILE", help="what backup wrote")
    command.add_argument(
        "--root", type=Path, metavar="DIR", help="where to (default: the configuration's root)"
    )
    command.set_defaults(run=_restore)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs, 1 or more")
    return int(text)


def _config(arguments: argparse.Namespace) -> PipelineConfig:
    from pipeline.config_file import DEFAULT, load

    return load(arguments.config or DEFAULT, arguments.set)


def _gc(arguments: argparse.Namespace) -> None:
    from pipeline.housekeeping import gc

    do = gc.collect if arguments.apply else gc.plan
    plan = do(_config(arguments), keep=arguments.keep, ended=arguments.ended)
    if arguments.json:
        print(json.dumps(_as_json(plan, applied=arguments.apply), indent=2))
    else:
        _print(plan, applied=arguments.apply)


def _as_json(plan: Plan, *, applied: bool) -> dict[str, Any]:
    artifacts = [
        {"id": r.artifact.id, "type": r.artifact.type, "uri": r.artifact.uri, "bytes": r.size}
        for r in plan.removals
    ]
    runs = [{"id": r.run_id, "folder": str(r.folder), "bytes": r.size} for r in plan.folders]
    return {
        "applied": applied,
        "bytes": plan.size,
        "artifacts": artifacts,
        "runs": runs,
        "kept": plan.kept,
    }


def _print(plan: Plan, *, applied: bool) -> None:
    for removal in plan.removals:
        artifact = removal.artifact
        print(f"{_megabytes(removal.size)}  {artifact.type} {artifact.id}  {artifact.uri}")
    for run in plan.folders:
        print(f"{_megabytes(run.size)}  run {run.run_id}  {run.folder}")
    total = f"{len(plan.removals)} artifacts and {len(plan.folders)} folders of runs"
    verb = "Removed" if applied else "Would remove"
    print(f"{verb} {total}: {_megabytes(plan.size).strip()}")
    for reason, number in plan.kept.items():
        print(f"Kept {number}: {reason}")
    if not applied and (plan.removals or plan.folders):
        print("Nothing is removed yet: add --apply")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:10,.2f} MB"


def _pin(arguments: argparse.Namespace) -> None:
    from pipeline.housekeeping import history
    from pipeline.store import connect

    config = _config(arguments)
    store = connect.existing(config, mode=connect.READ_WRITE)
    history.pin(store, config.name, arguments.run_id, off=arguments.off)
    print(f"Run {arguments.run_id} is {'no longer ' if arguments.off else ''}pinned")


def _backup(arguments: argparse.Namespace) -> None:
    from pipeline.housekeeping.backup import backup

    config = _config(arguments)
    count = backup(config, arguments.file)
    size = _megabytes(arguments.file.stat().st_size).strip()
    print(f"{arguments.file}: {count:,} files of {config.pipeline_root}, {size}")


def _restore(arguments: argparse.Namespace) -> None:
    from pipeline.errors import UserError
    from pipeline.files.storage import is_remote
    from pipeline.housekeeping.backup import restore

    root = arguments.root
    if root is None:
        configured = _config(arguments).pipeline_root
        if is_remote(configured):
            raise UserError(f"root is {configured}: a backup goes to a folder: --root DIR")
        root = Path(configured)
    restored = restore(arguments.file, root)
    print(f"{restored.root}: {restored.files:,} files, each as it was")
    if str(restored.root) != restored.before:
        print(f"Places below {restored.before} lie there in the store now: use it by")
        print(f"  --set root={restored.root}")
        print("Nodes that read an artifact run once more: its place is part of their cache key")
