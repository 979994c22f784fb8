"""Makes a registered version the live model: the alias and the served folder move together."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from custom_components.registrar import tags
from custom_components.registrar.record import CHALLENGER, CHAMPION, Push
from custom_components.registrar.tracking import Destination
from models import manifest
from models.mlflow_flavor import BUNDLE
from pipeline import runs
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.lineage.payload import SERVED_FORM
from pipeline.registry import store, waiting
from pipeline.registry.versions import Registry, Version


@dataclass(frozen=True)
class Move:
    """What went live."""

    version: Version
    """The champion from now on."""
    before: Version | None
    """The champion until now."""
    push: Push
    """Where it is live."""


def approve(config: PipelineConfig, number: str | None = None, *, again: bool = False) -> Move:
    """Makes a version the live model: by default the challenger.

    Args:
        config: The pipeline's.
        number: Which version.
        again: What a process that died has done of this already is no mistake, and not done twice.

    Raises:
        UserError: If there is no such version, the canary refused it, it is live already, its
            bundle was changed, or MLflow does not answer; then all is as before.
    """
    with _alone(config) as registry:
        version = registry.version(number) if number else registry.with_alias(CHALLENGER)
        if version is None:
            raise UserError(
                f"{registry.name} has no challenger: no version waits for approval. Name one: "
                "python -m pipeline registry approve VERSION"
            )
        return _make_live(config, registry, version, again=again)


def reject(config: PipelineConfig, number: str | None = None) -> Version:
    """Takes its alias from the challenger: it waits no longer, and stays registered.

    Raises:
        UserError: If there is no challenger, or it is another version than `number`, or MLflow does
            not answer.
    """
    with _alone(config) as registry:
        version = registry.with_alias(CHALLENGER)
        if version is None or number not in (None, str(version.number)):
            raise UserError(
                f"{registry.name} has no challenger{f' {number}' if number else ''}: nothing waits"
            )
        registry.set_alias(CHALLENGER, None)
        return version


def challenger(config: PipelineConfig) -> Version | None:
    """The version that waits, those of runs that MLflow is told of only now among them.

    Raises:
        UserError: If MLflow does not answer, or a run or another command is at work.
    """
    database = Destination.of(config).database
    if database is not None and not database.is_file():
        return None  # Nothing was ever registered.
    with _alone(config) as registry:
        return registry.with_alias(CHALLENGER)


def rollback(config: PipelineConfig, number: str | None = None) -> Move:
    """Makes an earlier version the live model: by default the newest that was live before this one.

    Raises:
        UserError: As `approve`.
    """
    with _alone(config) as registry:
        if number is not None:
            return _make_live(config, registry, registry.version(number))
        champion = registry.with_alias(CHAMPION)
        if champion is None:
            raise UserError(f"{registry.name} has no champion: there is nothing to roll back")
        for version in registry.versions():
            if version.number < champion.number and version.was_live:
                return _make_live(config, registry, version)
        raise UserError(
            f"no version of {registry.name} was live before {champion}: there is nothing to roll "
            "back to. Name a version: python -m pipeline registry rollback VERSION"
        )


@contextmanager
def _alone(config: PipelineConfig) -> Iterator[Registry]:
    """The registry, up to date, while no run and no other command changes what is live."""
    with exclusive(config):
        registry = Registry.open(config)
        waiting.sync(config)
        yield registry


@contextmanager
def exclusive(config: PipelineConfig) -> Iterator[None]:
    """Holds the pipeline's root for this process; that keeps out no other machine's.

    Raises:
        UserError: If a run or another command holds it.
    """
    root = config.local_root
    with ExitStack() as held:
        try:
            held.enter_context(runs.only_one(root))
        except UserError:
            raise UserError(
                f"a run, or another registry command, is at work in {root}; wait for its end and "
                "try again"
            ) from None
        yield


def _make_live(
    config: PipelineConfig, registry: Registry, version: Version, *, again: bool = False
) -> Move:
    if CHAMPION in version.aliases and not again:
        raise UserError(f"{version} of {registry.name} is the champion already")
    if tags.CANARY in version.tags:
        raise UserError(
            f"{version} of {registry.name} may not go live: {version.tags[tags.CANARY]}"
        )
    metadata = store.open(config)
    model = _model(metadata, config, version)
    before, challenger = registry.with_alias(CHAMPION), registry.with_alias(CHALLENGER)
    facts = {"model_name": registry.name, "model_version": str(version.number)}
    run_id = f"registry-{datetime.now():%Y%m%d-%H%M%S-%f}"
    done = store.is_live(metadata, facts) if again else None
    with (
        _bundle(registry, version) as bundle,
        ExitStack() as undo,
        nullcontext(done)
        if done
        else store.gone_live(
            metadata, config, bundle=bundle, model=model, run_id=run_id, facts=facts
        ) as push,
    ):
        undo.callback(_put_back, registry, CHAMPION, before)
        registry.set_alias(CHAMPION, version)
        if challenger == version:
            undo.callback(_put_back, registry, CHALLENGER, version)
            registry.set_alias(CHALLENGER, None)
        registry.note_push(version, push)
        undo.pop_all()
    return Move(version, before, push)


def _put_back(registry: Registry, alias: str, version: Version | None) -> None:
    try:
        registry.set_alias(alias, version)
    except UserError as error:
        raise UserError(
            f"{error}. What is served is as before, but the alias {alias} of {registry.name} "
            f"could not be given back to {version or 'none'}: do that on MLflow's page"
        ) from None


def _model(metadata: MetadataStore, config: PipelineConfig, version: Version) -> pb.Artifact:
    """The Model artifact that a version is."""
    number, uri = version.tags.get(tags.MODEL, ""), version.tags.get(tags.MODEL_URI)
    found = metadata.get_artifacts_by_id([int(number)]) if number.isdecimal() else []
    if not found or found[0].uri != uri:
        raise UserError(
            f"{version} does not come from the metadata store {config.store_url}: give the "
            "configuration (--config, --set root=…) of the pipeline that made it"
        )
    return found[0]


@contextmanager
def _bundle(registry: Registry, version: Version) -> Iterator[Path]:
    """The folder of a version's bundle, verified: the store's, or where that is gone MLflow's."""
    kept = f"{version.tags[tags.MODEL_URI]}/{SERVED_FORM}"
    with tempfile.TemporaryDirectory() as temporary, storage.Copies() as copies:
        if storage.is_folder(kept) if storage.is_remote(kept) else Path(kept).is_dir():
            folder = copies.of(kept)
        else:
            folder = registry.download(version, Path(temporary)) / "data" / BUNDLE
        found = manifest.read(folder)
        manifest.verify(folder, found)
        if found.digest != version.tags.get(tags.DIGEST):
            raise UserError(
                f"{folder} is not the model that was registered as {version}: its digest is "
                f"{found.digest[:12]}…, expected {version.tags.get(tags.DIGEST, '')[:12]}…"
            )
        yield folder
