from pathlib import Path

import pytest
from tensorflow.io import gfile
from tfx.dsl.io import fileio
from tfx.dsl.io.filesystem_registry import DEFAULT_FILESYSTEM_REGISTRY, FilesystemRegistry
from tfx.dsl.io.plugins.tensorflow_gfile import TensorflowFilesystem

from pipeline.files import local_files
from pipeline.files.local_files import LocalFiles


def test_it_goes_before_tensorflows_for_files_of_this_machine_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = FilesystemRegistry()
    registry.register(TensorflowFilesystem, priority=10, use_as_fallback=True)
    monkeypatch.setattr(local_files, "DEFAULT_FILESYSTEM_REGISTRY", registry)
    local_files.register()
    assert registry.get_filesystem_for_path("/a/file") is LocalFiles
    assert registry.get_filesystem_for_path("hdfs://a/file") is TensorflowFilesystem
    assert DEFAULT_FILESYSTEM_REGISTRY is not registry


@pytest.mark.parametrize("text", ["one\ntwo\n", "one\r\ntwo\r", "Zürich ☂", ""])
def test_text_is_what_tensorflow_reads_and_writes(text: str, tmp_path: Path) -> None:
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    with LocalFiles.open(ours, "w") as file:
        file.write(text)
    with gfile.GFile(theirs, "w") as file:
        file.write(text)
    assert Path(ours).read_bytes() == Path(theirs).read_bytes()
    with LocalFiles.open(theirs.encode()) as file, gfile.GFile(theirs) as other:
        assert file.read() == other.read() == text
    with LocalFiles.open(theirs, "rb") as file:
        assert file.read() == text.encode()


def test_stat_says_what_tensorflows_does(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("four")
    for path in (file, tmp_path):
        ours, theirs = LocalFiles.stat(str(path)), gfile.stat(str(path))
        assert ours.length == theirs.length
        # In whole seconds, as TensorFlow says it and TFX takes it into its fingerprints.
        assert ours.mtime_nsec // 10**9 == theirs.mtime_nsec // 10**9
        assert ours.is_directory == theirs.is_directory


def test_what_is_not_there_is_tfxs_error(tmp_path: Path) -> None:
    nothing = str(tmp_path / "nothing")
    for ask in (LocalFiles.open, LocalFiles.stat, LocalFiles.listdir, LocalFiles.remove):
        with pytest.raises(fileio.NotFoundError):
            ask(nothing)
