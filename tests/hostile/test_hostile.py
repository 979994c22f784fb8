"""Every hostile file gets its sentence: no traceback, and nothing is written."""

from pathlib import Path

import pytest

from pipeline.__main__ import main
from tests.hostile.files import Hostile
from tests.hostile.others import OTHERS
from tests.hostile.texts import TEXTS

HOSTILE = (*TEXTS, *OTHERS)


@pytest.mark.parametrize("hostile", HOSTILE, ids=[hostile.name for hostile in HOSTILE])
def test_a_hostile_file_gets_its_sentence(
    hostile: Hostile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, configs = tmp_path / "in", tmp_path / "configs"
    folder.mkdir()
    configs.mkdir()
    words = hostile.build(folder)
    assert main(["init", *words, "--yes", "--directory", str(configs)]) == 2
    expected = hostile.message.format(folder=folder)
    assert capsys.readouterr().err == f"python -m pipeline: {expected}\n"
    assert not list(configs.iterdir())
