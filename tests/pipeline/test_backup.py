"""A root and its store in one file, and back: whole, checked, and in one step."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from pipeline import metadata, node, runs
from pipeline.__main__ import main
from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import load
from pipeline.errors import UserError
from pipeline.housekeeping.backup import backup, restore
from pipeline.node import State
from pipeline.store import connect
from tests.pipeline.toy import compile_toy

CONFIG = PROJECT / "configs/flights.toml"


def configured(root: Path, *settings: str) -> PipelineConfig:
    return load(CONFIG, [f"root={root}", *settings])


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """A root with a store of one artifact, an MLflow-like database, files and an empty folder."""
    root = tmp_path / "root"
    model = root / "Trainer/model/1"
    (model / "empty").mkdir(parents=True)
    (model / "weights").write_bytes(bytes(range(256)) * 1000)
    config = configured(root)
    store = connect.opened(connect.connection_to(config.store_url))
    kind = store.put_artifact_type(connect.pb.ArtifactType(name="Model"))
    artifact = connect.pb.Artifact(type_id=kind, uri=str(model))
    texts = {
        "places": f"{root}/a{root}/b\n{root}",
        "elsewhere": f"{root}-other/c",
        "address": f"file://{root}/d",
    }
    for key, text in texts.items():
        artifact.custom_properties[key].string_value = text
    store.put_artifacts([artifact])
    with closing(sqlite3.connect(root / "mlflow.db")) as database, database:
        database.execute("CREATE TABLE 'a table' (number INTEGER, 'a place' VARCHAR(256))")
        database.execute("INSERT INTO 'a table' VALUES (1, ?), (2, NULL)", [f"{root}/mlflow/1"])
    return config


def files(root: Path) -> dict[str, bytes | list[str] | None]:
    """What files hold, and databases; None for a folder."""
    return {
        path.relative_to(root).as_posix(): contents(path) if path.is_file() else None
        for path in root.rglob("*")
        if path.name != ".lock"
    }


def contents(file: Path) -> bytes | list[str]:
    if file.suffix not in (".db", ".sqlite"):
        return file.read_bytes()
    with closing(sqlite3.connect(file)) as database:
        return list(database.iterdump())


@pytest.mark.parametrize("ending", ["tar.zst", "tar.gz"])
def test_comes_back_as_it_was(config: PipelineConfig, tmp_path: Path, ending: str):
    root, file = config.local_root, tmp_path / f"backup.{ending}"
    before = files(root)
    backup(config, file)
    shutil.rmtree(root)
    restored = restore(file, root)
    assert files(root) == before
    assert (restored.root, restored.before) == (root, str(root))
    assert restored.files == sum(content is not None for content in before.values())


def test_elsewhere_the_databases_name_the_new_places(config: PipelineConfig, tmp_path: Path):
    backup(config, tmp_path / "backup.tar.gz")
    new = tmp_path / "new/root"
    restore(tmp_path / "backup.tar.gz", new)
    store = connect.existing(configured(new))
    (artifact,) = store.get_artifacts()
    assert artifact.uri == f"{new}/Trainer/model/1"
    texts = {key: value.string_value for key, value in artifact.custom_properties.items()}
    assert texts == {
        "places": f"{new}/a{config.local_root}/b\n{new}",
        "elsewhere": f"{config.local_root}-other/c",
        "address": f"file://{new}/d",
    }
    with closing(sqlite3.connect(new / "mlflow.db")) as database:
        rows = database.execute("SELECT * FROM 'a table'").fetchall()
    assert rows == [(1, f"{new}/mlflow/1"), (2, None)]


def run_source_and_left(config: PipelineConfig, run_id: str) -> list[State]:
    connection = metadata.connection(config)
    ir = node.bind(compile_toy(config.pipeline_root), run_id, {})
    return [node.run_node(ir, n, connection=connection).state for n in ("Source", "Left")]


def test_the_cache_works_in_the_same_place_and_elsewhere(tmp_path: Path):
    config, moved = configured(tmp_path / "root"), configured(tmp_path / "moved")
    file = tmp_path / "backup.tar.zst"
    done, cached = State.COMPLETE, State.CACHED
    assert run_source_and_left(config, "one") == [done, done]
    backup(config, file)
    shutil.rmtree(config.local_root)
    restore(file, moved.local_root)
    # Left read an artifact, whose place is part of its key.
    assert run_source_and_left(moved, "two") == [cached, done]
    assert run_source_and_left(moved, "three") == [cached, cached]
    restore(file, config.local_root)
    assert run_source_and_left(config, "two") == [cached, cached]


def test_a_database_in_use_is_kept_as_of_one_moment(config: PipelineConfig, tmp_path: Path):
    database = config.local_root / "mlflow.db"
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("INSERT INTO 'a table' VALUES (3, 'written')")
        writer.commit()
        writer.execute("INSERT INTO 'a table' VALUES (4, 'not yet')")
        backup(config, tmp_path / "backup.tar.gz")
    with tarfile.open(tmp_path / "backup.tar.gz") as archive:
        assert not [name for name in archive.getnames() if name.endswith(("-wal", "-shm"))]
    restore(tmp_path / "backup.tar.gz", tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "new/mlflow.db")) as restored:
        numbers = restored.execute("SELECT number FROM 'a table'").fetchall()
    assert numbers == [(1,), (2,), (3,)]


def refused(file: Path, root: Path, why: str) -> None:
    """The file is not restored, and nothing is left of the attempt."""
    there = sorted(root.parent.iterdir())
    with pytest.raises(UserError, match=why):
        restore(file, root)
    assert sorted(root.parent.iterdir()) == there


@pytest.mark.parametrize("ending", ["tar.zst", "tar.gz"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_short_leaves_nothing(
    config: PipelineConfig, tmp_path: Path, ending: str, part: float
):
    file = tmp_path / f"backup.{ending}"
    backup(config, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    refused(file, tmp_path / "new", "is damaged, or no backup|no backup that this version")


def rewritten(file: Path, changes: dict[str, bytes | tarfile.TarInfo | None]) -> None:
    """Writes the archive anew, with members added, changed or left out (None)."""
    with tarfile.open(file) as archive:
        members = {m.name: (m, archive.extractfile(m)) for m in archive if m.name not in changes}
        contents = {name: (m, f.read() if f else b"") for name, (m, f) in members.items()}
    with tarfile.open(file, "w:gz") as archive:
        for member, content in contents.values():
            archive.addfile(member, io.BytesIO(content))
        for name, change in changes.items():
            if isinstance(change, tarfile.TarInfo):
                archive.addfile(change)
            elif change is not None:
                added = tarfile.TarInfo(name)
                added.size = len(change)
                archive.addfile(added, io.BytesIO(change))


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"root/Trainer/model/1/weights": b"others"}, "1 files differ .*Trainer/model/1/weights"),
        ({"root/Trainer/model/1/weights": None}, "1 files differ .*Trainer/model/1/weights"),
        ({"root/added": b"more"}, "1 files differ .*added"),
        ({"../outside": b"x"}, "would write outside"),
        ({"root/../../outside": b"x"}, "would write outside"),
        ({"root/link": link("root/link", tarfile.SYMTYPE, "/etc")}, "neither a file nor a folder"),
        ({"root/link": link("root/link", tarfile.LNKTYPE, "manifest.json")}, "neither a file nor"),
        ({"root/pipe": link("root/pipe", tarfile.FIFOTYPE, "")}, "neither a file nor a folder"),
        ({"manifest.json": None}, "is damaged, or no backup"),
        ({"manifest.json": b"{}"}, "no backup that this version"),
        ({"manifest.json": b"not JSON"}, "no backup that this version"),
        (
            {
                "manifest.json": json.dumps(
                    {"version": 1, "root": "/r", "databases": ["../../other.sqlite"], "files": {}}
                ).encode()
            },
            "another version",
        ),
    ],
)
def test_a_file_that_is_not_as_it_was_written_leaves_nothing(
    config: PipelineConfig,
    tmp_path: Path,
    changes: dict[str, bytes | tarfile.TarInfo | None],
    why: str,
):
    file = tmp_path / "backup.tar.gz"
    backup(config, file)
    rewritten(file, changes)
    refused(file, tmp_path / "new", why)


def test_a_folder_that_holds_something_is_left_alone(config: PipelineConfig, tmp_path: Path):
    backup(config, tmp_path / "backup.tar.gz")
    refused(tmp_path / "backup.tar.gz", config.local_root, "holds something already")
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "backup.tar.gz", tmp_path / "empty")
    assert (tmp_path / "empty/metadata.sqlite").is_file()


def test_a_backup_waits_for_no_run_and_leaves_no_half_file(config: PipelineConfig, tmp_path: Path):
    file = tmp_path / "backup.tar.gz"
    with runs.only_one(config.local_root), pytest.raises(UserError, match="is at work in"):
        backup(config, file)
    (config.local_root / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="link: is a symbolic link"):
        backup(config, file)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_what_cannot_be_backed_up_is_said(config: PipelineConfig, tmp_path: Path):
    root = config.local_root
    file = tmp_path / "backup.tar.gz"
    file.touch()
    for given, name, why in (
        (config, file, "there already"),
        (config, root / "backup.tar.gz", "lies in the root"),
        (config, tmp_path / "backup.zip", "ends in .tar.zst or .tar.gz"),
        (configured(tmp_path / "none"), tmp_path / "b.tar.gz", "there is no metadata store yet"),
        (configured(root, "store.url=postgresql://u@h/d"), tmp_path / "b.tar.gz", "pg_dump"),
        (configured(root, "store.url=sqlite:////elsewhere"), tmp_path / "b.tar.gz", "only an"),
        (load(CONFIG, ["root=s3://bucket/root"]), tmp_path / "b.tar.gz", "only a folder"),
    ):
        with pytest.raises(UserError, match=why):
            backup(given, name)


def test_a_folder_that_is_not_there_is_said_by_the_names_that_were_given(
    config: PipelineConfig, tmp_path: Path
):
    file = tmp_path / "none/backup.tar.gz"
    with pytest.raises(UserError) as told:
        backup(config, file)
    assert str(told.value) == f"{file}: No such file or directory; no backup was written"
    whole = tmp_path / "backup.tar.gz"
    backup(config, whole)
    (tmp_path / "a file").touch()
    with pytest.raises(UserError) as told:
        restore(whole, tmp_path / "a file/root")
    assert str(told.value) == f"{tmp_path}/a file: File exists; nothing was restored"


def test_on_the_command_line(
    config: PipelineConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    options = ["--config", str(CONFIG), "--set", f"root={config.local_root}"]
    file, new = tmp_path / "backup.tar.zst", tmp_path / "new"
    assert main(["backup", str(file), *options]) == 0
    assert zstandard.get_frame_parameters(file.read_bytes())
    assert main(["restore", str(file), "--root", str(new)]) == 0
    assert f"--set root={new}" in capsys.readouterr().out
    assert main(["restore", str(file), *options]) == 2
    assert "holds something already" in capsys.readouterr().err
    shutil.rmtree(config.local_root)
    assert main(["restore", str(file), *options]) == 0
    assert "--set" not in capsys.readouterr().out
