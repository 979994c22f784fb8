"""Prints versions for a person."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from custom_components.registrar import tags
from custom_components.registrar.record import CHAMPION, waiting
from custom_components.serving_folder import newest
from models import manifest
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.registry.versions import Registry, Version

_COLUMNS = {
    "made with": tags.FRAMEWORK,
    "metric": tags.METRIC,
    "spans": tags.SPANS,
    "run": tags.RUN,
}


def print_list(registry: Registry, config: PipelineConfig) -> None:
    """Prints a line for each version, and what is amiss."""
    console = _console()
    versions = registry.versions()
    if not versions:
        console.print(f"No version of {registry.name} is registered yet.")
    else:
        console.print(_table(versions))
    for line in _complaints(versions, config):
        console.print(f"[yellow]{line}[/]", soft_wrap=True)


def _table(versions: list[Version]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("version", justify="right")
    for name in ("alias", *_COLUMNS, "registered", "served as"):
        table.add_column(name)
    for version in versions:
        table.add_row(
            str(version.number),
            ", ".join(version.aliases),
            *(version.tags.get(tag, "") for tag in _COLUMNS.values()),
            f"{version.created.astimezone():%Y-%m-%d %H:%M}",
            version.tags.get(tags.SERVED_AS, ""),
            style="bold" if CHAMPION in version.aliases else "",
        )
    return table


def _complaints(versions: list[Version], config: PipelineConfig) -> list[str]:
    told = []
    untold = waiting(config.pipeline_root)
    if untold:
        told.append(
            f"{len(untold)} run(s) wait to be told to MLflow: python -m pipeline registry sync"
        )
    champion = next((v for v in versions if CHAMPION in v.aliases), None)
    served = _served_digest(config)
    if champion and served and served != champion.tags.get(tags.DIGEST):
        told.append(
            f"{config.serving_directory} serves another model than the champion, {champion}: "
            "python -m pipeline registry approve VERSION brings both together"
        )
    return told


def _served_digest(config: PipelineConfig) -> str | None:
    version = newest(config.serving_directory)
    if version is None:
        return None
    with storage.Copies() as copies:
        try:
            return manifest.read(copies.of(f"{version}/{manifest.FILE}").parent).digest
        except UserError:
            return None


def print_version(registry: Registry, version: Version, *, lineage: str) -> None:
    """Prints all that MLflow has of a version, and how to go on to where it comes from.

    Args:
        registry: The registry.
        version: The version.
        lineage: The command that shows an artifact's lineage, but for the artifact's id.
    """
    console = _console()
    console.print(f"[bold]{registry.name} {version}[/]  {', '.join(version.aliases)}")
    console.print(version.description, soft_wrap=True)
    console.print(_pairs(dict(sorted(version.tags.items()))))
    metrics, parameters = registry.measured(version)
    console.print("[bold]Metrics[/]")
    console.print(_pairs({name: f"{metrics[name]:.6g}" for name in sorted(metrics)}))
    console.print("[bold]Parameters[/]")
    console.print(_pairs(dict(sorted(parameters.items()))))
    console.print(f"MLflow run {version.run}, {version.source}", soft_wrap=True)
    artifact = version.tags.get(tags.PUSHED_MODEL) or version.tags.get(tags.MODEL)
    if artifact:
        console.print("Where it comes from:")
        console.print(f"  {lineage} {artifact}", soft_wrap=True, markup=False)


def _pairs(content: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 3, 0, 2))
    for name, value in content.items():
        table.add_row(name, value)
    return table


def _console() -> Console:
    # A terminal's lines are broken inside a cell; a file's or a pipe's are left whole.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 1000)
