"""The executor on artifacts such as the pipeline gives it; see also test_serving_folder."""

import itertools
from pathlib import Path

import pytest
import tensorflow as tf
from google.protobuf import json_format
from tfx.dsl.io import fileio
from tfx.proto.pusher_pb2 import PushDestination
from tfx.types.artifact import Artifact
from tfx.types.channel import Channel
from tfx.types.standard_artifacts import InfraBlessing, Model, ModelBlessing, PushedModel

from custom_components.pusher import Executor, Pusher
from custom_components.selection import SOURCE_MODEL_URI

_RAM_FOLDERS = itertools.count()


@pytest.fixture
def model(tmp_path: Path) -> Artifact:
    artifact = Model()
    artifact.uri = str(tmp_path / "model")
    for name in ("saved_model.pb", "variables/variables.index"):
        file = tmp_path / "model" / "Format-Serving" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return artifact


def push(model: Artifact, directory: str, *, blessed: int = 1, infra_blessed: int = 1) -> Artifact:
    """What the executor says of a push."""
    pushed, blessing, infra_blessing = PushedModel(), ModelBlessing(), InfraBlessing()
    pushed.uri = str(Path(model.uri).parent / "pushed")
    blessing.set_int_custom_property("blessed", blessed)
    infra_blessing.set_int_custom_property("blessed", infra_blessed)
    destination = PushDestination(filesystem=PushDestination.Filesystem(base_directory=directory))
    Executor().Do(
        {"model": [model], "model_blessing": [blessing], "infra_blessing": [infra_blessing]},
        {"pushed_model": [pushed]},
        {"push_destination": json_format.MessageToJson(destination)},
    )
    return pushed


def test_a_blessed_model_is_pushed_with_where_and_from_where(
    model: Artifact, tmp_path: Path
) -> None:
    pushed = push(model, str(tmp_path / "serving"))
    (version,) = (tmp_path / "serving").iterdir()
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_destination") == str(version)
    assert pushed.get_string_custom_property("pushed_version") == version.name
    assert pushed.get_string_custom_property(SOURCE_MODEL_URI) == model.uri
    assert (version / "saved_model.pb").read_text() == "saved_model.pb"
    assert (version / "variables" / "variables.index").is_file()


def test_what_the_selector_says_of_a_champion_is_kept(model: Artifact, tmp_path: Path) -> None:
    said = {SOURCE_MODEL_URI: "/keras/1\n/xgboost/2", "framework": "ensemble", "digest": "abc"}
    for name, value in said.items():
        model.set_string_custom_property(name, value)
    pushed = push(model, str(tmp_path / "serving"))
    assert {name: pushed.get_string_custom_property(name) for name in said} == said


def test_the_artifact_keeps_the_model_when_its_version_is_deleted(
    model: Artifact, tmp_path: Path
) -> None:
    assert (Path(push(model, str(tmp_path / "serving")).uri) / "saved_model.pb").is_file()


@pytest.mark.parametrize(("blessed", "infra_blessed"), [(0, 1), (1, 0), (0, 0)])
def test_a_model_that_is_not_blessed_goes_nowhere(
    model: Artifact, tmp_path: Path, blessed: int, infra_blessed: int
) -> None:
    directory = tmp_path / "serving"
    pushed = push(model, str(directory), blessed=blessed, infra_blessed=infra_blessed)
    assert pushed.get_int_custom_property("pushed") == 0
    assert not pushed.has_custom_property(SOURCE_MODEL_URI)
    assert not directory.exists()


def test_a_remote_folder_gets_the_same_versions(model: Artifact) -> None:
    directory = f"ram://serving-{next(_RAM_FOLDERS)}"
    versions = [
        push(model, directory).get_string_custom_property("pushed_version") for _ in range(2)
    ]
    assert int(versions[0]) < int(versions[1])
    for version in versions:
        assert tf.io.gfile.exists(f"{directory}/{version}/saved_model.pb")
        assert tf.io.gfile.exists(f"{directory}/{version}/variables/variables.index")


@pytest.mark.parametrize(
    ("names", "last"),
    [
        (["saved_model.pb", "bundle.json", "assets/saved_model.pb"], "saved_model.pb"),
        (["bundle.json", "transform/saved_model.pb", "model.ubj"], "bundle.json"),
    ],
)
def test_a_remote_version_is_complete_when_the_file_that_makes_it_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], last: str
) -> None:
    for name in names:
        file = tmp_path / "model" / "Format-Serving" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    artifact = Model()
    artifact.uri = str(tmp_path / "model")
    copied = []
    copy = fileio.copy

    def record(source: str, target: str, overwrite: bool = False) -> None:
        copied.append(target)
        copy(source, target, overwrite)

    monkeypatch.setattr(fileio, "copy", record)
    version = push(artifact, f"ram://serving-{next(_RAM_FOLDERS)}").get_string_custom_property(
        "pushed_destination"
    )
    remote = [target for target in copied if target.startswith(version)]
    assert {target.removeprefix(f"{version}/") for target in remote} == set(names)
    assert remote[-1] == f"{version}/{last}"


def test_the_node_is_named_like_the_one_it_replaces() -> None:
    pusher = Pusher(
        Channel(type=Model),
        Channel(type=ModelBlessing),
        infra_blessing=Channel(type=InfraBlessing),
        directory="/serving",
    )
    assert pusher.id == "Pusher"
    assert pusher.outputs["pushed_model"].type is PushedModel
