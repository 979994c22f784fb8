"""One metadata store for one root: two would write over one another's files.

TFX names the folder of an output by the number of its execution in the store.
"""

from __future__ import annotations

import uuid

from ml_metadata.metadata_store import MetadataStore
from tfx.dsl.io import fileio

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.files import filesystem
from pipeline.files.storage import is_remote
from pipeline.store import record

FILE = "store-id"
"""The file below a root that says which store belongs to it."""


def check(config: PipelineConfig, store: MetadataStore) -> None:
    """Makes sure that the root can be used, and that it and the store belong together.

    A store that lies in the root needs no check: the two are moved and deleted as one.

    Raises:
      UserError: they do not, or nothing can be written or read there.
    """
    root = config.pipeline_root
    if config.store.url is None and not is_remote(root):
        return
    filesystem.register()
    _check_usable(root)
    known = record.named(store, record.ROOT, config.name)
    before = record.texts(known).get("root", root)
    if before != root:
        raise UserError(
            f"root is {root}, but what the store {config.store_url} knows of {config.name} lies in "
            f"{before}: name that root again, or an empty database as store.url"
        )
    mine = _id(store)
    theirs = _read(f"{root}/{FILE}")
    if theirs is None:
        _write(f"{root}/{FILE}", mine)
    elif theirs != mine:
        raise UserError(
            f"{root} belongs to another store than {config.store_url} ({FILE} there says {theirs}, "
            f"the store {mine}): name that store as store.url, or a new, empty root"
        )
    known.custom_properties["root"].string_value = root
    store.put_contexts([known])


def _id(store: MetadataStore) -> str:
    """The store's own id: the first that was given to it."""
    there = store.get_contexts_by_type(record.STORE)
    if not there:
        record.named(store, record.STORE, str(uuid.uuid4()))
        there = store.get_contexts_by_type(record.STORE)
    return str(min(there, key=lambda context: context.id).name)


def _check_usable(root: str) -> None:
    probe = f"{root}/.probe-{uuid.uuid4()}"
    try:
        fileio.makedirs(root)
        _write(probe, probe)
        same = _read(probe) == probe
        fileio.remove(probe)
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        raise UserError(
            f"root is {root}: nothing can be written there ({first_line}); give the task's user "
            "or service account the right to read, write and delete, or name another root"
        ) from None
    if not same:
        raise UserError(f"root is {root}: what is written there is not what is read")


def _read(file: str) -> str | None:
    if not fileio.exists(file):
        return None
    with fileio.open(file) as content:
        return str(content.read())


def _write(file: str, text: str) -> None:
    fresh = f"{file}.{uuid.uuid4()}"  # Another run may read at this moment: the whole, or nothing.
    with fileio.open(fresh, "w") as content:
        content.write(text)
    fileio.rename(fresh, file, overwrite=True)
