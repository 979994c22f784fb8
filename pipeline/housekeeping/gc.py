"""Removes the output folders that nothing live depends on, and says so in the metadata store."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.housekeeping import history
from pipeline.housekeeping.alone import alone
from pipeline.housekeeping.history import History, Run
from pipeline.store import connect

LIVE, MARKED, DELETED = pb.Artifact.LIVE, pb.Artifact.MARKED_FOR_DELETION, pb.Artifact.DELETED


@dataclass(frozen=True)
class Removal:
    """An artifact whose folder goes."""

    artifact: pb.Artifact
    size: int
    """In bytes; what an interrupted removal has left of it."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, with its logs, which goes."""

    run_id: str
    folder: Path
    size: int
    """In bytes."""


@dataclass(frozen=True)
class Plan:
    """What goes, and why the rest stays."""

    removals: tuple[Removal, ...]
    folders: tuple[RunFolder, ...]
    kept: dict[str, int]
    """The number of artifacts that stay, by the reason."""

    @property
    def size(self) -> int:
        """The bytes that become free."""
        return sum(r.size for r in self.removals) + sum(f.size for f in self.folders)


def plan(config: PipelineConfig, *, keep: int = 5, ended: Collection[str] = ()) -> Plan:
    """What `collect` would do.

    Args:
      config: of the pipeline.
      keep: how many of the newest runs stay whole.
      ended: runs at an end that the store knows nothing of, since they were killed.

    Raises:
      UserError: there is no store, or it knows no run.
    """
    store = connect.existing(config)
    return _plan(config, history.read(store, config.name), keep, ended)


def collect(config: PipelineConfig, *, keep: int = 5, ended: Collection[str] = ()) -> Plan:
    """Removes what `plan` says.

    An artifact is first marked, so that no run takes it from the cache any more, then its folder is
    deleted, then the store says so. One that was interrupted is made whole by the next.

    Args:
      config: of the pipeline.
      keep: how many of the newest runs stay whole.
      ended: runs at an end that the store knows nothing of, since they were killed.

    Raises:
      UserError: a run is at work, there is no store, or a folder cannot be removed.
    """
    store = connect.existing(config, mode=connect.READ_WRITE)
    with alone(config.local_root):
        known = history.read(store, config.name)
        _refuse_at_work(config, known, ended)
        todo = _plan(config, known, keep, ended)
        doomed = [removal.artifact for removal in todo.removals]
        _put(store, doomed, MARKED)
        try:  # A run elsewhere may have begun, and taken one of them from the cache.
            _refuse_at_work(config, history.read(store, config.name), ended)
        except UserError:
            _put(store, [a for a in doomed if a.id not in _marked(known)], LIVE)
            raise
        _remove(store, config, doomed)
        for gone in todo.folders:
            shutil.rmtree(gone.folder)
    return todo


def _plan(config: PipelineConfig, known: History, keep: int, ended: Collection[str]) -> Plan:
    marked = _marked(known)
    present = {i for i, a in known.artifacts.items() if a.state == LIVE} | marked
    reasons: dict[int, str] = {}
    for artifacts, reason in _needed(config, known, keep, ended):
        for artifact in (artifacts & present) - marked:
            reasons.setdefault(artifact, reason)
    kept = {known.artifacts[i].uri for i in reasons}
    above = {folder for uri in kept for folder in _with_parents(uri)}
    removals = []
    for i in sorted(present - reasons.keys()):
        artifact = known.artifacts[i]
        shared = artifact.uri in above or any(p in kept for p in _with_parents(artifact.uri))
        if shared or not _has_own_folder(config, artifact, known.makers.get(i, ())):
            reasons[i] = "no folder of their own below the root"
        else:
            removals.append(Removal(artifact, _size(artifact.uri)))
    makers = {e for i in reasons for e in known.makers.get(i, ())}
    needed = {run.id for run in _kept_runs(config, known, keep, ended)}
    gone = [r for r in known.runs if r.id not in needed and not makers & r.executions]
    return Plan(tuple(removals), tuple(_folders(config, gone)), dict(Counter(reasons.values())))


def _needed(
    config: PipelineConfig, known: History, keep: int, ended: Collection[str]
) -> Iterator[tuple[set[int], str]]:
    """Artifacts that stay, with the reason; the first reason is the one that is told."""
    texts = "the live model, and what it was made from", "the model before it, for a rollback"
    for model, reason in zip(known.live_models(), texts, strict=False):
        yield known.with_checks(known.origin(model)), reason
    newest = {run.id for run in known.runs[:keep]}
    for run in _kept_runs(config, known, keep, ended):
        if run.id in newest:
            reason = f"used by one of the newest {keep} runs"
        else:
            reason = f"used by run {run.id}, which is {'pinned' if run.pinned else 'at work'}"
        yield known.with_checks(known.used_by(run)), reason
    yield set(known.foreign), "used by another pipeline"


def _kept_runs(
    config: PipelineConfig, known: History, keep: int, ended: Collection[str]
) -> list[Run]:
    at_work = {run.id for run in _at_work(config, known, ended)}
    return [
        run
        for place, run in enumerate(known.runs)
        if place < keep or run.pinned or run.id in at_work
    ]


def _at_work(config: PipelineConfig, known: History, ended: Collection[str]) -> list[Run]:
    if config.store_url.startswith("sqlite:"):
        return []  # Runs on such a store hold the root's lock; the newest, to be resumed, is kept.
    return [run for run in known.runs if run.running and run.id not in ended]


def _refuse_at_work(config: PipelineConfig, known: History, ended: Collection[str]) -> None:
    if at_work := _at_work(config, known, ended):
        run_id = at_work[0].id
        raise UserError(
            f"run {run_id} is at work, by what {config.store_url} says: wait for its end; if it "
            f"was killed and will not go on, add --ended {run_id}"
        )


def _marked(known: History) -> set[int]:
    """What an interrupted removal has left: perhaps half a folder."""
    return {i for i, artifact in known.artifacts.items() if artifact.state == MARKED}


def _put(store: MetadataStore, artifacts: Iterable[pb.Artifact], state: int) -> None:
    fresh = []
    for artifact in artifacts:
        changed = pb.Artifact()
        changed.CopyFrom(artifact)
        changed.state = state
        fresh.append(changed)
    if fresh:
        store.put_artifacts(fresh)


def _remove(store: MetadataStore, config: PipelineConfig, doomed: Iterable[pb.Artifact]) -> None:
    done = []
    try:
        for artifact in doomed:
            _remove_folder(artifact.uri)
            done.append(artifact)
    except OSError as error:
        raise UserError(
            f"{error.filename or artifact.uri}: cannot be removed ({error.strerror}); run gc again "
            f"as a user who may delete below {config.pipeline_root}"
        ) from error
    finally:
        _put(store, done, DELETED)


def _remove_folder(uri: str) -> None:
    if storage.is_remote(uri):
        storage.remove_tree(uri)
        return
    folder = Path(uri)
    if folder.is_dir():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)
    if folder.parent.name.isdecimal():  # An execution's, whose output has a folder per artifact.
        with suppress(OSError):
            folder.parent.rmdir()


def _has_own_folder(config: PipelineConfig, artifact: pb.Artifact, makers: Iterable[int]) -> bool:
    """Whether it lies where TFX puts an output: ROOT/NODE/KEY/EXECUTION, by no symbolic link."""
    root = config.pipeline_root.rstrip("/")
    below = artifact.uri.removeprefix(f"{root}/")
    parts = below.split("/")
    if below == artifact.uri or len(parts) < 3 or {"", ".", ".."} & set(parts):
        return False
    if parts[2] not in map(str, makers):
        return False
    if storage.is_remote(root):
        return True
    folders = (Path(root, *parts[: depth + 1]) for depth in range(len(parts)))
    return not any(folder.is_symlink() for folder in folders)


def _folders(config: PipelineConfig, gone: Iterable[Run]) -> Iterator[RunFolder]:
    parent = config.local_root / "runs"
    there = {f.name: f for f in parent.iterdir()} if parent.is_dir() else {}
    for run in gone:
        folder = there.get(run.id)
        if folder and folder.is_dir() and not folder.is_symlink() and not parent.is_symlink():
            yield RunFolder(run.id, folder, _size(str(folder)))


def _with_parents(uri: str) -> list[str]:
    parts = uri.split("/")
    return ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]


def _size(uri: str) -> int:
    if storage.is_remote(uri):
        return sum(entry.length for entry in storage.entries(uri))
    if Path(uri).is_file():
        return Path(uri).stat().st_size
    return sum(
        Path(folder, name).lstat().st_size for folder, _, names in os.walk(uri) for name in names
    )
