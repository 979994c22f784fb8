"""What TFX and the pipeline do with files, on stand-ins of both object stores."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tfx.dsl.io import fileio

from pipeline.errors import UnreachableError, UserError
from pipeline.files import filesystem, storage
from tests import object_stores
from tests.object_stores import BUCKET

_NUMBERS = itertools.count()
_SERVERS = {"s3": object_stores.s3, "gs": object_stores.gcs}


@pytest.fixture(scope="module", params=_SERVERS)
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """The scheme of an object store that answers."""
    filesystem.register()
    with object_stores.reached(_SERVERS[request.param]):
        yield request.param


@pytest.fixture
def folder(store: str) -> str:
    """A folder that no other test uses; it is not there yet."""
    return f"{store}://{BUCKET}/test-{next(_NUMBERS)}"


def write(uri: str, text: str = "text") -> None:
    with fileio.open(uri, "w") as file:
        file.write(text)


def test_text_and_bytes_come_back_as_they_were_written(folder: str):
    write(f"{folder}/text", "a line\nzwei Zeilen: ä\n")
    with fileio.open(f"{folder}/bytes", "wb") as file:
        file.write(b"\x00\xff")
    with fileio.open(f"{folder}/text") as file:
        assert list(file) == ["a line\n", "zwei Zeilen: ä\n"]
    with fileio.open(f"{folder}/bytes", "rb") as file:
        file.seek(1)
        assert file.read() == b"\xff"


def test_a_packed_file_stays_as_it_is(folder: str, tmp_path: Path):
    packed = gzip.compress(b"rows")
    storage.write(f"{folder}/a.gz", packed)
    (tmp_path / "b.gz").write_bytes(packed)
    storage.upload(tmp_path / "b.gz", f"{folder}/b.gz")
    with fileio.open(f"{folder}/c.gz", "wb") as file:
        file.write(packed)
    for name in ("a.gz", "b.gz", "c.gz"):
        with fileio.open(f"{folder}/{name}", "rb") as file:
            assert file.read() == storage.read(f"{folder}/{name}") == packed
    storage.download(f"{folder}/a.gz", tmp_path / "again.gz")
    assert (tmp_path / "again.gz").read_bytes() == packed


def test_an_object_cannot_be_appended_to(folder: str):
    with pytest.raises(ValueError, match="as a whole"):
        fileio.open(f"{folder}/text", "a")


def test_what_is_not_there_is_not_found(folder: str):
    missing = f"{folder}/missing"
    for act in (fileio.open, fileio.listdir, fileio.remove, fileio.rmtree, fileio.stat):
        with pytest.raises(fileio.NotFoundError):
            act(missing)
    with pytest.raises(fileio.NotFoundError):
        fileio.copy(missing, f"{folder}/copy")
    assert not fileio.exists(missing)
    assert not fileio.isdir(missing)
    assert fileio.glob(missing) == fileio.glob(f"{missing}/*") == []
    assert list(fileio.walk(missing)) == []


def test_a_folder_is_there_once_it_was_made_or_holds_a_file(folder: str):
    write(f"{folder}/holds/a")
    fileio.makedirs(f"{folder}/made/below")
    fileio.mkdir(f"{folder}/made/below/again")
    fileio.makedirs(f"{folder}/made/below")
    for name in ("holds", "made", "made/below", "made/below/again"):
        assert fileio.isdir(f"{folder}/{name}"), name
        assert fileio.exists(f"{folder}/{name}"), name
    assert not fileio.isdir(f"{folder}/holds/a")
    assert fileio.exists(f"{folder}/holds/a")
    assert not fileio.exists(f"{folder}/hold")
    assert fileio.listdir(folder) == ["holds", "made"]
    assert fileio.listdir(f"{folder}/made/below/again") == []


def test_glob_keeps_to_the_slashes(folder: str):
    for name in ("span-01/a.csv", "span-01/deep/b.csv", "span-02/c.csv", "other/span-03"):
        write(f"{folder}/{name}")
    assert fileio.glob(f"{folder}/span-*/*") == [
        f"{folder}/span-01/a.csv",
        f"{folder}/span-01/deep",
        f"{folder}/span-02/c.csv",
    ]
    assert fileio.glob(f"{folder}/span-0[!1]/?.csv") == [f"{folder}/span-02/c.csv"]
    assert fileio.glob(f"{folder}/*") == [f"{folder}/{n}" for n in ("other", "span-01", "span-02")]
    assert fileio.glob(f"{folder}/span-01/a.csv") == [f"{folder}/span-01/a.csv"]


def test_walk_tells_folders_from_files(folder: str):
    write(f"{folder}/a/b/file")
    write(f"{folder}/file")
    fileio.makedirs(f"{folder}/empty")
    walked = [
        (folder, ["a", "empty"], ["file"]),
        (f"{folder}/a", ["b"], []),
        (f"{folder}/a/b", [], ["file"]),
        (f"{folder}/empty", [], []),
    ]
    assert list(fileio.walk(folder)) == walked
    assert list(fileio.walk(folder, topdown=False)) == walked[::-1]


def test_copies_and_renames_take_the_place_of_others_only_when_told_to(folder: str, tmp_path: Path):
    write(f"{folder}/a", "a")
    write(f"{folder}/b", "b")
    with pytest.raises(OSError, match="there already"):
        fileio.copy(f"{folder}/a", f"{folder}/b")
    with pytest.raises(OSError, match="there already"):
        fileio.rename(f"{folder}/a", f"{folder}/b")
    fileio.copy(f"{folder}/a", f"{folder}/b", overwrite=True)
    fileio.copy(f"{folder}/b", str(tmp_path / "here"))
    fileio.copy(str(tmp_path / "here"), f"{folder}/back")
    fileio.rename(f"{folder}/back", f"{folder}/renamed")
    assert storage.read(f"{folder}/renamed") == b"a"
    assert fileio.listdir(folder) == ["a", "b", "renamed"]


def test_a_renamed_folder_brings_all_along(folder: str):
    write(f"{folder}/old/a/b")
    fileio.makedirs(f"{folder}/old/empty")
    fileio.rename(f"{folder}/old", f"{folder}/new")
    assert not fileio.exists(f"{folder}/old")
    assert fileio.exists(f"{folder}/new/a/b")
    assert fileio.isdir(f"{folder}/new/empty")


def test_remove_takes_a_file_and_rmtree_all(folder: str):
    for name in ("a/b", "a/c", "ab"):
        write(f"{folder}/{name}")
    fileio.remove(f"{folder}/a/b")
    assert fileio.listdir(f"{folder}/a") == ["c"]
    fileio.rmtree(f"{folder}/a")
    assert not fileio.exists(f"{folder}/a")
    assert fileio.listdir(folder) == ["ab"]


def test_stat_tells_size_and_time(folder: str):
    write(f"{folder}/file", "four")
    found = fileio.stat(f"{folder}/file")
    assert found.length == 4
    assert found.mtime_nsec > 1_600_000_000 * 10**9


def test_a_tree_goes_up_and_comes_down_whole(folder: str, tmp_path: Path):
    up = tmp_path / "up"
    (up / "empty-not").mkdir(parents=True)
    (up / "empty-not/file").write_bytes(b"")
    (up / "big").write_bytes(bytes(range(256)) * 20_000)
    storage.upload(up, folder)
    storage.download(folder, tmp_path / "down")
    down = {p.relative_to(tmp_path / "down").as_posix() for p in (tmp_path / "down").rglob("*")}
    assert down == {"empty-not", "empty-not/file", "big"}
    assert (tmp_path / "down/big").read_bytes() == (up / "big").read_bytes()


def test_an_uploaded_folder_takes_the_place_of_what_was_there(folder: str, tmp_path: Path):
    write(f"{folder}/left-over")
    (tmp_path / "file").touch()
    storage.upload(tmp_path, folder)
    assert fileio.listdir(folder) == ["file"]


def test_an_empty_folder_is_there_once_uploaded(folder: str, tmp_path: Path):
    storage.upload(tmp_path, folder)
    assert fileio.isdir(folder)
    storage.download(folder, tmp_path / "down")
    assert list((tmp_path / "down").iterdir()) == []


def test_what_is_gone_is_said_in_words(folder: str, tmp_path: Path):
    with pytest.raises(UserError, match="nothing is there any more"):
        storage.download(folder, tmp_path / "down")


def test_a_bucket_that_is_not_there_is_said_in_words(store: str, tmp_path: Path):
    missing = f"{store}://no-such-bucket/folder"
    (tmp_path / "file").touch()
    for act in (
        lambda: storage.upload(tmp_path, missing),
        lambda: storage.upload(tmp_path / "file", missing),
        lambda: storage.write(missing, b""),
        lambda: fileio.makedirs(missing),
    ):
        with pytest.raises(UnreachableError, match="Check that the bucket is there"):
            act()


def test_copies_are_gone_in_the_end(folder: str):
    write(f"{folder}/file", "text")
    with storage.Copies() as copies:
        copy = copies.of(folder)
        assert (copy / "file").read_text() == "text"
        assert copies.of(folder) == copy
        assert storage.original(str(copy)) == folder
    assert not copy.exists()


@given(st.sampled_from(["gs", "s3"]), st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_a_copy_leads_back_to_its_original_in_any_text(scheme: str, path: str):
    uri = f"{scheme}://{path}"
    with storage.Copies() as copies:
        text = f'["{copies.place(uri)}", "/elsewhere/s3/x"]'
        assert storage.original(text) == f'["{uri}", "/elsewhere/s3/x"]'


def test_local_places_stay_as_they_are(tmp_path: Path):
    with storage.Copies() as copies:
        assert copies.place(str(tmp_path)) == str(tmp_path)
        assert copies.of(str(tmp_path)) == tmp_path
    assert storage.original(str(tmp_path)) == str(tmp_path)
    assert not storage.is_remote(str(tmp_path))
