import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from custom_components.serving_folder import newest_version, next_version, publish

FILES = ("saved_model.pb", "fingerprint.pb", "variables/variables.index", "assets/carrier")
SIZE = 200_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "serving"


def make_model(folder: Path, content: str) -> Path:
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content * SIZE)
    return folder


def is_whole(version: Path) -> bool:
    """All the files are there, complete, and of one model."""
    contents = {(version / name).read_text() for name in FILES}
    return len(contents) == 1 and len(contents.pop()) == SIZE


def versions(folder: Path) -> list[int]:
    return sorted(int(f.name) for f in folder.iterdir() if f.name.isdecimal())


def test_a_version_is_the_unix_time_and_holds_the_model(tmp_path: Path, folder: Path) -> None:
    before = int(time.time())
    version = publish(make_model(tmp_path / "model", "a"), folder)
    assert before <= int(version.name) <= time.time()
    assert is_whole(version)
    assert newest_version(folder) == version


def test_versions_grow_faster_than_the_clock(tmp_path: Path, folder: Path) -> None:
    numbers = [
        int(publish(make_model(tmp_path / content, content), folder).name) for content in "abc"
    ]
    assert numbers == sorted(set(numbers))


def test_a_version_from_the_future_is_not_hidden_by_the_next_one() -> None:
    assert next_version(["99999999999", "7", "notes.txt", ".pushing-999999999999"]) == 100000000000


def test_a_folder_that_is_not_there_has_no_version(folder: Path) -> None:
    assert newest_version(folder) is None


def test_a_push_that_is_repeated_gives_the_same_version(tmp_path: Path, folder: Path) -> None:
    model = make_model(tmp_path / "model", "a")
    first = publish(model, folder)
    assert publish(model, folder) == first
    (model / FILES[-1]).write_text("b" * SIZE)
    second = publish(model, folder)
    assert versions(folder) == [int(first.name), int(second.name)]
    # Back to the first is a new version: servers take the highest number.
    assert publish(make_model(tmp_path / "again", "a"), folder) not in (first, second)


def test_a_reader_sees_whole_versions_only(tmp_path: Path, folder: Path) -> None:
    models = [make_model(tmp_path / f"model-{c}", c) for c in "ab"]
    folder.mkdir()
    seen: set[str] = set()
    broken: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            for version in versions(folder)[-1:]:
                seen.add(str(version))
                try:
                    if not is_whole(folder / str(version)):
                        broken.append(f"{version} is torn")
                except FileNotFoundError as error:
                    broken.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    for push in range(20):
        publish(models[push % 2], folder)
    done.set()
    reader.join()
    assert broken == []
    assert len(seen) > 1
    assert len(versions(folder)) == 20


def test_two_pushes_at_once_wait_for_each_other(tmp_path: Path, folder: Path) -> None:
    models = [make_model(tmp_path / f"model-{c}", c) for c in "abcd"]
    pushes = [threading.Thread(target=publish, args=(model, folder)) for model in models]
    for push in pushes:
        push.start()
    for push in pushes:
        push.join()
    assert len(versions(folder)) == 4
    assert all(is_whole(folder / str(version)) for version in versions(folder))


def test_a_push_killed_on_the_way_leaves_no_version_and_does_not_hinder_the_next(
    tmp_path: Path, folder: Path
) -> None:
    model = make_model(tmp_path / "model", "a")
    stalls = (
        "import sys, time, pathlib\n"
        "from custom_components import serving_folder\n"
        "def stall(path):\n"
        "    print('copied', flush=True)\n"
        "    time.sleep(60)\n"
        "serving_folder._write_through = stall\n"
        "serving_folder.publish(*map(pathlib.Path, sys.argv[1:]))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", stalls, model, folder],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    ) as push:
        assert push.stdout is not None
        assert push.stdout.readline() == "copied\n"
        push.kill()
    assert [f.name.startswith(".pushing-") for f in folder.iterdir()] == [True]
    assert newest_version(folder) is None

    version = publish(model, folder)
    assert list(folder.iterdir()) == [version]
    assert is_whole(version)
