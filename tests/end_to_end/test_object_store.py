"""The whole pipeline with its data, its artifacts and its models on an object store."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.files import storage
from tests import object_stores
from tests.end_to_end.project import SmallProject
from tests.object_stores import BUCKET

pytestmark = pytest.mark.e2e


@dataclasses.dataclass(frozen=True)
class OnStore:
    """A project whose one run is done, with its root and its data in a bucket."""

    project: SmallProject
    root: str

    def run(self) -> str:
        """Runs it; what was printed."""
        data = self.root.replace("/flights", "/data")
        done = self.project.run(
            "--plain",
            root=self.root,
            data__path=data,
            data__window="1",
            train__frameworks='["sklearn"]',
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def contents(self) -> dict[str, bytes]:
        """What lies below the root, TFX's own folders left out."""
        return {
            entry.name: storage.read(f"{self.root}/{entry.name}")
            for entry in storage.entries(self.root)
            if not entry.is_folder and ".system" not in entry.name
        }


@pytest.fixture(scope="module", params=["s3", "gs"])
def on_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OnStore]:
    server = {"s3": object_stores.s3, "gs": object_stores.gcs}[request.param]
    with object_stores.reached(server):
        made = SmallProject.make(tmp_path_factory.mktemp("remote"))
        bucket = f"{request.param}://{BUCKET}"
        storage.upload(made.folder / "data/small", f"{bucket}/data")
        on_store = OnStore(
            dataclasses.replace(made, local_root="output/flights"), f"{bucket}/flights"
        )
        assert "pushed" in on_store.run()
        yield on_store


def test_every_artifact_lies_in_the_bucket_and_the_store_says_where(on_store: OnStore) -> None:
    (run_id,) = on_store.project.run_ids()
    executions = on_store.project.executions(run_id)
    assert {e.state for e in executions.values()} == {"COMPLETE"}
    store = on_store.project.store()
    made = {i for e in executions.values() for ids in e.outputs.values() for i in ids}
    uris = {artifact.uri for artifact in store.get_artifacts_by_id(sorted(made))}
    assert all(uri.startswith(f"{on_store.root}/") for uri in uris), uris
    assert all(storage.is_folder(uri) for uri in uris)


def test_nothing_names_a_copy_of_this_machine(on_store: OnStore) -> None:
    copies = b"copies-of-"
    assert [name for name, content in on_store.contents().items() if copies in content] == []
    told = [
        value.string_value
        for artifact in on_store.project.store().get_artifacts()
        for value in (*artifact.properties.values(), *artifact.custom_properties.values())
    ]
    assert [text for text in told if copies.decode() in text] == []


def test_the_served_version_is_whole(on_store: OnStore) -> None:
    served = {name.partition("/")[2] for name in on_store.contents() if name.startswith("serving/")}
    files = {name.partition("/")[2] for name in served}
    assert len({name.partition("/")[0] for name in served}) == 1
    assert "bundle.json" in files


def test_the_live_model_answers(on_store: OnStore) -> None:
    rows = on_store.project.folder / "rows.parquet"
    pq.write_table(on_store.project.flights(1).slice(0, 3), rows)
    done = on_store.project.pipeline_cli("predict", "--set", f"root={on_store.root}", str(rows))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4


def test_another_run_takes_all_from_the_cache(on_store: OnStore) -> None:
    before = on_store.contents()
    on_store.run()
    newest = on_store.project.run_ids()[-1]
    states = {n: e.state for n, e in on_store.project.executions(newest).items()}
    never = {"PreviousStatistics", "Window", "AnalyzerCache", "LiveModel", "Report"}
    assert {s for n, s in states.items() if n not in never} == {"CACHED"}, states
    new = on_store.contents().keys() - before.keys()
    assert {name.partition("/")[0] for name in new} == {"Report"}
    (page,) = (
        content
        for name, content in on_store.contents().items()
        if name in new and name.endswith("/index.html")
    )
    assert newest.encode() in page
    assert not list(Path(on_store.project.folder).glob("*:*"))
