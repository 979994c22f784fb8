"""The whole pipeline with its data, its artifacts and its models on an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.files import storage
from tests import object_stores
from tests.end_to_end.project import SmallProject
from tests.object_stores import BUCKET

pytestmark = pytest.mark.e2e

ROOT = f"s3://{BUCKET}/flights"
SETTINGS = {
    "root": ROOT,
    "data__path": f"s3://{BUCKET}/data",
    "data__window": "1",
    "train__frameworks": '["sklearn"]',
}


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    with object_stores.reached(object_stores.s3):
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """The project, whose one run is done."""
    made = SmallProject.make(tmp_path_factory.mktemp("remote"))
    storage.upload(made.folder / "data/small", SETTINGS["data__path"])
    done = made.run("--plain", **SETTINGS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pushed" in done.stdout
    return SmallProject(made.folder, local_root="output/flights")


def contents() -> dict[str, bytes]:
    """What lies below the root, TFX's own folders left out."""
    return {
        entry.name: storage.read(f"{ROOT}/{entry.name}")
        for entry in storage.entries(ROOT)
        if not entry.is_folder and ".system" not in entry.name
    }


def test_every_artifact_lies_in_the_bucket_and_the_store_says_where(project: SmallProject):
    (run_id,) = project.run_ids()
    executions = project.executions(run_id)
    assert {e.state for e in executions.values()} == {"COMPLETE"}
    store = project.store()
    made = {i for e in executions.values() for ids in e.outputs.values() for i in ids}
    uris = {artifact.uri for artifact in store.get_artifacts_by_id(sorted(made))}
    assert all(uri.startswith(f"{ROOT}/") for uri in uris), uris
    assert all(storage.is_folder(uri) for uri in uris)


def test_nothing_names_a_copy_of_this_machine(project: SmallProject):
    copies = b"copies-of-"
    assert [name for name, content in contents().items() if copies in content] == []
    told = [
        value.string_value
        for artifact in project.store().get_artifacts()
        for value in (*artifact.properties.values(), *artifact.custom_properties.values())
    ]
    assert [text for text in told if copies.decode() in text] == []


def test_the_served_version_is_whole(project: SmallProject):
    served = {name.partition("/")[2] for name in contents() if name.startswith("serving/")}
    files = {name.partition("/")[2] for name in served}
    assert len({name.partition("/")[0] for name in served}) == 1
    assert "bundle.json" in files


def test_the_live_model_answers(project: SmallProject):
    rows = project.folder / "rows.parquet"
    pq.write_table(project.flights(1).slice(0, 3), rows)
    done = project.pipeline_cli("predict", "--set", f"root={ROOT}", str(rows))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4


def test_another_run_takes_all_from_the_cache(project: SmallProject):
    before = contents()
    done = project.run("--plain", **SETTINGS)
    assert done.returncode == 0, done.stdout + done.stderr
    newest = project.run_ids()[-1]
    states = {n: e.state for n, e in project.executions(newest).items()}
    resolvers = {"PreviousStatistics", "Window", "LiveModel"}
    assert {s for n, s in states.items() if n not in resolvers} == {"CACHED"}, states
    assert contents().keys() == before.keys()
    assert not list(Path(project.folder).glob("s3:*"))
