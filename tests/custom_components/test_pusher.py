"""The executor on artifacts such as the pipeline gives it; see also test_serving_folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import json_format
from tfx.proto.pusher_pb2 import PushDestination
from tfx.types.artifact import Artifact
from tfx.types.channel import Channel
from tfx.types.standard_artifacts import InfraBlessing, Model, ModelBlessing, PushedModel

from custom_components import serving_folder
from custom_components.pusher import Executor, Pusher
from custom_components.selection import SOURCE_MODEL_URI
from models import manifest
from pipeline.files import storage
from tests import object_stores


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


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_stores.reached(object_stores.s3):
        yield f"s3://{object_stores.BUCKET}"


def test_a_remote_folder_gets_the_same_versions(
    model: Artifact, bucket: str, tmp_path: Path
) -> None:
    directory, versions = f"{bucket}/versions", []
    for bundle in ("first", "second", "second"):
        (tmp_path / "model/Format-Serving/bundle.json").write_text(bundle)
        pushed = push(model, directory)
        version = pushed.get_string_custom_property("pushed_destination")
        assert storage.read(f"{version}/bundle.json") == bundle.encode()
        assert storage.exists(f"{version}/variables/variables.index")
        assert version == serving_folder.newest(directory)
        versions.append(int(pushed.get_string_custom_property("pushed_version")))
    assert versions[0] < versions[1] == versions[2]


def test_a_remote_version_is_whole_when_its_last_file_is_there(
    model: Artifact, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model/Format-Serving/bundle.json").write_text("bundle")
    sent = []
    send = storage._send

    def record(file: Path, uri: str) -> None:
        sent.append(file.name)
        assert serving_folder.newest(f"{bucket}/whole") is None
        send(file, uri)

    monkeypatch.setattr(storage, "_send", record)
    push(model, f"{bucket}/whole")
    assert sent == ["variables.index", "saved_model.pb", manifest.FILE]
    assert serving_folder.newest(f"{bucket}/whole") is not None


def test_a_push_that_died_on_the_way_is_no_version(
    model: Artifact, bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "model/Format-Serving/bundle.json").write_text("bundle")
    storage.write(f"{bucket}/died/9999999999/saved_model.pb", b"half")
    version = push(model, f"{bucket}/died").get_string_custom_property("pushed_version")
    assert version == "10000000000"
    assert serving_folder.newest(f"{bucket}/died") == f"{bucket}/died/10000000000"


def test_a_version_that_is_withdrawn_is_gone(model: Artifact, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "model/Format-Serving/bundle.json").write_text("bundle")
    for directory in (f"{bucket}/withdrawn", str(tmp_path / "withdrawn")):
        serving_folder.withdraw(
            push(model, directory).get_string_custom_property("pushed_destination")
        )
        assert serving_folder.newest(directory) is None


def test_the_node_is_named_like_the_one_it_replaces() -> None:
    pusher = Pusher(
        Channel(type=Model),
        Channel(type=ModelBlessing),
        infra_blessing=Channel(type=InfraBlessing),
        directory="/serving",
    )
    assert pusher.id == "Pusher"
    assert pusher.outputs["pushed_model"].type is PushedModel
