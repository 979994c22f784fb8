"""Whether a run would only repeat the one before it: told without loading TensorFlow or TFX."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from custom_components.batch_predict.stamps import stamps
from pipeline import runs
from pipeline.code import library_versions, project_files
from pipeline.config import PipelineConfig, absolute
from pipeline.errors import UserError


def inputs(config: PipelineConfig) -> str | None:
    """SHA-256 of all that a run of `config` depends on; to be taken before it begins.

    Code and settings count by their contents, the data by each file's name, size and time of
    change. None where the data or the results do not lie on this machine, or where the data are
    those of a database.

    Raises:
      UserError: the schema, or a file to predict, is not there.
    """
    data = config.data_folder
    predicted = [absolute(file) for file in config.predict.files]
    schema = config.data.schema_file or ""
    locations = data, config.pipeline_root, config.serving_directory, schema, *predicted
    if config.data.query or any("://" in location for location in locations):
        return None
    sha = hashlib.sha256()
    sha.update(config.model_dump_json().encode())
    sha.update(f"{library_versions()} {sys.version}".encode())
    code = project_files()
    if config.data.schema_file:
        code.append(schema_file := Path(absolute(config.data.schema_file)))
        if not schema_file.is_file():
            raise UserError(
                f"data.schema_file: {schema_file}: no such file; expected a TFDV schema (.pbtxt): "
                "`python -m pipeline init` writes one"
            )
    for file in code:
        sha.update(f"{file}\0".encode() + file.read_bytes())
    sha.update(_listing(Path(data), "**/*" if config.data.has_spans else config.data.pattern))
    if predicted:
        sha.update(stamps(predicted, config.data.format).encode())
    return sha.hexdigest()


def outcome(config: PipelineConfig) -> str:
    """SHA-256 of what a run leaves in the serving folder, by name, size and time of change.

    Nothing where that does not lie on this machine: there a run is never taken for a repetition.
    """
    if "://" in config.serving_directory:
        return ""
    return hashlib.sha256(_listing(Path(config.serving_directory))).hexdigest()


def _listing(folder: Path, pattern: str = "**/*") -> bytes:
    files = sorted(file for file in folder.glob(pattern) if not file.is_dir())
    stats = [(file, file.stat()) for file in files]
    return "".join(f"{file}\0{s.st_size}\0{s.st_mtime_ns}\0" for file, s in stats).encode()


def _store_is_there(config: PipelineConfig) -> bool:
    """A server is taken to be: a run that found it made the folder that is compared."""
    scheme, _, file = config.store_url.partition("://")
    return scheme != "sqlite" or Path(file).is_file()


def repeated(config: PipelineConfig) -> runs.Run | None:
    """The newest run, if it came to its end and one more would find everything as it left it."""
    newest = next(iter(runs.newest_first(config.local_root)), None)
    if newest is None or not newest.finished:
        return None
    if not (config.run.cache and _store_is_there(config)):
        return None
    facts = json.loads((newest.folder / "run.json").read_text())
    before = facts.get("inputs"), facts.get("outcome")
    if None in before or before != (inputs(config), outcome(config)):
        return None
    return newest
