"""Whether a run would only repeat the one before it: told without loading TensorFlow or TFX."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from pipeline import runs
from pipeline.code import library_versions, project_files
from pipeline.config import PipelineConfig, absolute


def fingerprint(config: PipelineConfig) -> str | None:
    """SHA-256 of all that a run of `config` depends on, and of what it leaves behind.

    Code and settings count by their contents; the data by each file's name, size and time of
    change. None where the data does not lie on this machine.
    """
    data = absolute(config.data.path)
    if "://" in data or "://" in config.pipeline_root:
        return None
    sha = hashlib.sha256()
    sha.update(config.model_dump_json().encode())
    sha.update(f"{library_versions()} {sys.version}".encode())
    code = project_files()
    if config.data.schema_file:
        code.append(Path(absolute(config.data.schema_file)))
    for file in code:
        sha.update(f"{file}\0".encode() + file.read_bytes())
    serving = Path(config.serving_directory)
    for file in sorted([*Path(data).rglob("*"), *serving.rglob("*")]):
        facts = file.stat()
        if not file.is_dir():
            sha.update(f"{file}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode())
    return sha.hexdigest()


def repeated(config: PipelineConfig) -> runs.Run | None:
    """The newest run, if it came to its end and one more would find everything as it left it."""
    root = Path(config.pipeline_root)
    newest = next(iter(runs.newest_first(root)), None)
    if newest is None or not newest.finished or not config.store_file.is_file():
        return None
    if not config.run.cache:
        return None
    before = json.loads((newest.folder / "run.json").read_text()).get("fingerprint")
    return newest if before is not None and before == fingerprint(config) else None
