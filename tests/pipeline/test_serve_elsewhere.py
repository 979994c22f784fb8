"""The commands by which others' servers serve the champion; stand-ins take their places."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.registry.versions import Registry
from tests.models import tiny


class Became(BaseException):
    """What took the place of this process."""

    def __init__(self, program: str, command: list[str], environment: dict[str, str]) -> None:
        self.program, self.command, self.environment = program, command, environment


@pytest.fixture
def became(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing does, and there is a program `docker`."""

    def become(*words: Any) -> None:
        raise Became(*words)

    monkeypatch.setattr("os.execvpe", become)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def serve(tmp_path: Path, *words: str) -> int:
    root = f"root={json.dumps(str(tmp_path))}"
    return main(["serve", "--set", root, "--port", "9000", *words])


def test_docker_gets_the_serving_folder_and_the_log_says_how_to_ask(
    tmp_path: Path, became: None, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.save_model(tmp_path / "serving" / "7")
    with pytest.raises(Became) as caught:
        serve(tmp_path, "--with", "tensorflow-serving")
    command = caught.value.command
    assert command[:3] == ["docker", "run", "--rm"]
    assert command[command.index("--publish") + 1] == "127.0.0.1:9000:8501"
    mount = f"type=bind,source={tmp_path}/serving,target=/models/flights,readonly"
    assert command[command.index("--mount") + 1] == mount
    assert command[-3:-1] == ["--env", "MODEL_NAME=flights"]
    shown, _, question = capsys.readouterr().err.partition("\nAsk it for rows so:\n")
    assert shlex.split(shown) == command
    body = json.loads(shlex.split(question)[2])
    assert body == {
        "signature_name": "serving_raw",
        "instances": [{"temp": 0.5, "carrier": "AA"}],
    }
    assert shlex.split(question)[3] == "http://127.0.0.1:9000/v1/models/flights:predict"


def test_without_docker_it_says_what_to_run_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.save_model(tmp_path / "serving" / "7")
    monkeypatch.setenv("PATH", "")
    assert serve(tmp_path, "--with", "tensorflow-serving") == 2
    assert "where there is: docker run --rm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("framework", "location", "words"),
    [
        ("xgboost", "serving", "is made with xgboost, and is no SavedModel"),
        (None, "serving", "no model has been pushed there yet"),
        (None, "s3://bucket/serving", "is not on this machine"),
    ],
)
def test_what_tensorflow_serving_cannot_take_is_said(
    tmp_path: Path,
    became: None,
    capsys: pytest.CaptureFixture[str],
    framework: str | None,
    location: str,
    words: str,
) -> None:
    if framework:
        tiny.seal(tmp_path / "serving" / "7", framework=framework)
    where = location if "://" in location else str(tmp_path / location)
    assert serve(tmp_path, "--with", "tensorflow-serving", "--directory", where) == 2
    assert words in capsys.readouterr().err


def registered(monkeypatch: pytest.MonkeyPatch, champion: object) -> None:
    registry = SimpleNamespace(name="flights", with_alias=lambda alias: champion)
    monkeypatch.setattr(Registry, "open", classmethod(lambda cls, config: registry))


def test_mlflow_serves_the_champion_and_finds_what_it_starts(
    tmp_path: Path, became: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(monkeypatch, "version 3 (xgboost)")
    with pytest.raises(Became) as caught:
        serve(tmp_path, "--with", "mlflow", "--host", "0.0.0.0")
    program = Path(caught.value.program)
    assert program.name == "mlflow" and program.is_file()
    command = caught.value.command[1:]
    assert command[:2] == ["models", "serve"]
    assert command[command.index("--model-uri") + 1] == "models:/flights@champion"
    assert command[-4:] == ["--host", "0.0.0.0", "--port", "9000"]
    environment = caught.value.environment
    assert environment["PATH"].split(":") == [str(program.parent), str(tmp_path / "bin")]
    assert environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "nothing is registered yet"),
        (["--directory", "serving"], "leave out --directory"),
        (["--set", "register.enabled=false"], "register.enabled is false"),
    ],
)
def test_what_mlflow_cannot_serve_is_said(
    tmp_path: Path,
    became: None,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    expected: str,
) -> None:
    assert serve(tmp_path, "--with", "mlflow", *words) == 2
    assert expected in capsys.readouterr().err


def test_without_a_champion_mlflow_has_nothing_to_serve(
    tmp_path: Path,
    became: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    registered(monkeypatch, None)
    assert serve(tmp_path, "--with", "mlflow") == 2
    assert "flights has no champion" in capsys.readouterr().err
