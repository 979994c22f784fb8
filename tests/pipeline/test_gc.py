"""What house-keeping removes, what it keeps, and what a removal that was interrupted leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline import runs
from pipeline.__main__ import main
from pipeline.config import PROJECT, PipelineConfig
from pipeline.config_file import load
from pipeline.errors import UserError
from pipeline.housekeeping import gc
from pipeline.store import connect, record
from tests import object_stores, services
from tests.object_stores import BUCKET
from tests.pipeline.history_writer import COMPLETE, RUNNING, Writer

CONFIG = PROJECT / "configs/flights.toml"


def configured(root: str | Path, *settings: str) -> PipelineConfig:
    return load(CONFIG, [f"root={root}", *settings])


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(configured(tmp_path / "root"))


def removed(plan: gc.Plan) -> set[int]:
    return {removal.artifact.id for removal in plan.removals}


def two_runs(writer: Writer) -> tuple[int, int]:
    return writer.node("run-1", "Trainer", "Model"), writer.node("run-2", "Trainer", "Model")


def test_keeps_the_newest_runs_and_says_what_goes_and_why_the_rest_stays(writer: Writer):
    old, new = two_runs(writer)
    plan = gc.plan(writer.config, keep=1)
    assert removed(plan) == {old}
    assert plan.kept == {"used by one of the newest 1 runs": 1}
    assert [folder.run_id for folder in plan.folders] == ["run-1"]
    assert plan.size == 1000 + len('{"finished": true}')
    assert writer.folder(old).is_dir()
    assert set(writer.states().values()) == {"LIVE"}
    assert not removed(gc.plan(writer.config, keep=2))
    assert new not in removed(plan)


def test_deletes_folders_and_marks_artifacts(writer: Writer):
    old, new = two_runs(writer)
    gc.collect(writer.config, keep=1)
    assert writer.states() == {old: "DELETED", new: "LIVE"}
    assert not writer.folder(old).exists()
    assert (writer.folder(new) / "data").is_file()
    assert [run.id for run in runs.newest_first(writer.config.local_root)] == ["run-2"]
    again = gc.plan(writer.config, keep=1)
    assert (again.removals, again.folders) == ((), ())


def test_keeps_the_live_model_and_the_one_before_with_what_they_were_made_from(writer: Writer):
    kept, gone = set(), set()
    for number in range(4):
        run = f"run-{number}"
        examples = writer.node(run, "ExampleGen", "Examples")
        model = writer.node(run, "Trainer", "Model", [examples])
        loser = writer.node(run, "Other", "Model", [examples])
        pushed = writer.push(run, model)
        (kept if number > 1 else gone).update({examples, model, pushed})
        gone.add(loser)
    gone.add(writer.node("run-5", "ExampleGen", "Examples"))
    last = writer.node("run-6", "ExampleGen", "Examples")
    plan = gc.plan(writer.config, keep=1)
    assert removed(plan) == gone
    assert plan.kept == {
        "the live model, and what it was made from": 3,
        "the model before it, for a rollback": 3,
        "used by one of the newest 1 runs": 1,
    }
    assert last not in removed(plan)
    assert {folder.run_id for folder in plan.folders} == {"run-0", "run-1", "run-5"}


def test_ancestry_ends_at_a_model_that_was_only_compared_with(writer: Writer):
    examples = writer.node("run-1", "ExampleGen", "Examples")
    first = writer.push("run-1", writer.node("run-1", "Trainer", "Model", [examples]))
    for number in (2, 3):
        model = writer.node(f"run-{number}", "Trainer", "Model")
        blessing = writer.node(f"run-{number}", "Evaluator", "ModelBlessing", [model, first])
        chosen = writer.node(f"run-{number}", "ModelSelector", "Model", [model, blessing])
        first = writer.push(f"run-{number}", chosen)
    assert examples in removed(gc.plan(writer.config, keep=1))


def test_ancestry_leaves_out_what_only_saved_an_analysis(writer: Writer):
    earlier = writer.node("run-1", "ExampleGen", "Examples")
    analyzed = writer.node("run-1", "Transform", "TransformCache", [earlier])
    examples = writer.node("run-2", "ExampleGen", "Examples")
    graph = writer.node("run-2", "Transform", "TransformGraph", [examples, analyzed])
    writer.push("run-2", writer.node("run-2", "Trainer", "Model", [examples, graph]))
    writer.node("run-3", "ExampleGen", "Examples")
    assert removed(gc.plan(writer.config, keep=1)) == {earlier, analyzed}


def test_ancestry_ends_at_a_model_that_was_gone_on_from_and_its_transform_graph(writer: Writer):
    earlier = writer.node("run-1", "ExampleGen", "Examples")
    graph = writer.node("run-1", "Transform", "TransformGraph", [earlier])
    base = writer.node("run-1", "Trainer", "Model", [earlier, graph])
    examples = writer.node("run-2", "ExampleGen", "Examples")
    same = writer.node("run-2", "Transform", "TransformGraph", [examples])
    writer.goes_on_from(same, "base_transform_graph", graph)
    model = writer.node("run-2", "Trainer", "Model", [examples, same])
    writer.goes_on_from(model, "base_model", base)
    writer.push("run-2", model)
    writer.node("run-3", "ExampleGen", "Examples")
    assert removed(gc.plan(writer.config, keep=1)) == {earlier}


def test_keeps_what_a_kept_run_took_from_the_cache(writer: Writer):
    old = writer.node("run-1", "Transform", "TransformGraph")
    unused = writer.node("run-1", "Trainer", "Model")
    writer.execution("run-2", "Transform", [], [old])
    assert removed(gc.plan(writer.config, keep=1)) == {unused}


def test_keeps_what_the_gate_found_out_about_a_span_that_a_kept_run_took_as_it_was(
    writer: Writer,
):
    examples = writer.node("run-1", "ExampleGen", "Examples")
    statistics = writer.node("run-1", "StatisticsGen", "ExampleStatistics", [examples])
    report = writer.node("run-1", "DataGate", "GateReport", [statistics])
    model = writer.node("run-1", "Trainer", "Model", [examples])
    writer.execution("run-2", "Window", [], [examples])
    assert removed(gc.plan(writer.config, keep=1)) == {model}
    assert {examples, statistics, report} <= set(writer.states())


def test_the_folder_of_a_run_stays_as_long_as_something_that_it_made(writer: Writer):
    old = writer.node("run-1", "Transform", "TransformGraph")
    for run in ("run-2", "run-3"):
        writer.execution(run, "Transform", [], [old])
    plan = gc.plan(writer.config, keep=1)
    assert not plan.removals
    assert [folder.run_id for folder in plan.folders] == ["run-2"]


def test_a_run_and_its_backfills_are_one(writer: Writer):
    first = writer.node("run-1-span-1", "ExampleGen", "Examples")
    writer.node("run-1", "ExampleGen", "Examples")
    second = writer.node("run-2-span-2", "ExampleGen", "Examples")
    writer.node("run-2", "ExampleGen", "Examples")
    gone = removed(gc.plan(writer.config, keep=1))
    assert first in gone
    assert second not in gone


def test_making_a_version_live_is_no_run(writer: Writer):
    old, new = two_runs(writer)
    pushed = writer.push("registry-20260101-000000-000000", old)
    assert not {new, old, pushed} & removed(gc.plan(writer.config, keep=1))


def test_a_pinned_run_stays_until_it_is_pinned_no_longer(
    writer: Writer, capsys: pytest.CaptureFixture[str]
):
    old, _ = two_runs(writer)
    options = ["--config", str(CONFIG), "--set", f"root={writer.config.root}"]
    assert main(["pin", "run-1", *options]) == 0
    plan = gc.plan(writer.config, keep=1)
    assert not plan.removals
    assert plan.kept["used by run run-1, which is pinned"] == 1
    assert main(["pin", "run-1", "--off", *options]) == 0
    assert removed(gc.plan(writer.config, keep=1)) == {old}
    assert main(["pin", "run-7", *options]) == 2
    assert "flights has no run run-7; the newest ones are: run-2, run-1" in capsys.readouterr().err


def test_a_removal_that_was_interrupted_is_never_taken_for_whole(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
):
    old, new = two_runs(writer)
    remove = shutil.rmtree

    def killed(folder: Path) -> None:
        (folder / "data").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        gc.collect(writer.config, keep=1)
    assert writer.states() == {old: "MARKED_FOR_DELETION", new: "LIVE"}
    monkeypatch.setattr(shutil, "rmtree", remove)
    # What is half gone goes, even where it would be kept by now.
    gc.collect(writer.config, keep=2)
    assert writer.states() == {old: "DELETED", new: "LIVE"}
    assert not writer.folder(old).exists()


def test_a_folder_that_cannot_be_removed_is_named_and_the_others_are_done(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
):
    first = writer.node("run-1", "ExampleGen", "Examples")
    second = writer.node("run-1", "Trainer", "Model")
    writer.node("run-2", "Trainer", "Model")
    remove = shutil.rmtree

    def refused(folder: Path) -> None:
        if "Trainer" in folder.parts:
            raise PermissionError(13, "Permission denied", str(folder))
        remove(folder)

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(UserError, match=r"Trainer/output/\d+: cannot be removed"):
        gc.collect(writer.config, keep=1)
    states = writer.states()
    assert (states[first], states[second]) == ("DELETED", "MARKED_FOR_DELETION")


def test_refuses_while_a_run_holds_the_root(writer: Writer):
    two_runs(writer)
    with runs.only_one(writer.config.local_root), pytest.raises(UserError, match="is at work in"):
        gc.collect(writer.config, keep=1)
    assert set(writer.states().values()) == {"LIVE"}


def _elsewhere(writer: Writer, old: int, folder: Path) -> None:
    _renamed(writer, old, str(folder / "Trainer/output/1"))


def _upwards(writer: Writer, old: int, folder: Path) -> None:
    execution = writer.folder(old).name
    _renamed(writer, old, f"{writer.config.root}/Trainer/../{execution}/../../elsewhere")


def _another_output(writer: Writer, old: int, folder: Path) -> None:
    _renamed(writer, old, f"{writer.config.root}/serving/output/999")


def _the_root(writer: Writer, old: int, folder: Path) -> None:
    _renamed(writer, old, str(writer.config.root))


def _linked(writer: Writer, old: int, folder: Path) -> None:
    node = writer.folder(old).parent.parent
    shutil.move(node, folder)
    node.symlink_to(folder / "Trainer", target_is_directory=True)


def _renamed(writer: Writer, artifact: int, uri: str) -> None:
    (known,) = writer.store.get_artifacts_by_id([artifact])
    known.uri = uri
    writer.store.put_artifacts([known])


@pytest.mark.parametrize("place", [_elsewhere, _upwards, _another_output, _the_root, _linked])
def test_nothing_goes_that_is_no_folder_of_an_output_below_the_root(
    writer: Writer, tmp_path: Path, place: Callable[[Writer, int, Path], None]
):
    old = writer.node("run-1", "Trainer", "Model")
    writer.node("run-2", "Evaluator", "ModelEvaluation")
    outside = tmp_path / "elsewhere"
    (outside / "Trainer/output/1").mkdir(parents=True)
    if place is _linked:
        shutil.rmtree(outside / "Trainer")
    place(writer, old, outside)
    before = sorted(tmp_path.rglob("*"))
    plan = gc.collect(writer.config, keep=1)
    assert not plan.removals
    assert plan.kept["no folder of their own below the root"] == 1
    assert sorted(p for p in tmp_path.rglob("*") if p.name != ".lock") == before


def test_what_another_pipeline_used_stays(writer: Writer):
    old, _ = two_runs(writer)
    other = Writer(writer.config.model_copy(update={"name": "other"}))
    other.execution("other-1", "Importer", [old], [], state=COMPLETE)
    plan = gc.plan(writer.config, keep=1)
    assert not plan.removals
    assert plan.kept["used by another pipeline"] == 1


def test_json_tells_the_same(writer: Writer, capsys: pytest.CaptureFixture[str]):
    old, _ = two_runs(writer)
    options = ["--keep", "1", "--config", str(CONFIG), "--set", f"root={writer.config.root}"]
    assert main(["gc", *options]) == 0
    assert "Nothing is removed yet: add --apply" in capsys.readouterr().out
    assert main(["gc", "--apply", "--json", *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["applied"]
    assert [artifact["id"] for artifact in told["artifacts"]] == [old]
    assert [run["id"] for run in told["runs"]] == ["run-1"]


def test_on_a_server_refuses_while_a_run_is_at_work(server: services.Server, tmp_path: Path):
    writer = Writer(configured(tmp_path / "root", f"store.url={server.database()}"))
    old = writer.node("run-1", "Trainer", "Model")
    writer.node("run-2", "Trainer", "Model", state=RUNNING)
    new = writer.node("run-3", "Trainer", "Model")
    plan = gc.plan(writer.config, keep=1)
    assert removed(plan) == {old}
    assert plan.kept["used by run run-2, which is at work"] == 1
    with pytest.raises(UserError, match="add --ended run-2"):
        gc.collect(writer.config, keep=1)
    record.write(writer.store, "run-2", {"started": "2026-01-01T00:00:00"})
    with pytest.raises(UserError, match="run-2 is at work"):
        gc.collect(writer.config, keep=1)
    record.write(writer.store, "run-2", {"finished": "2026-01-01T01:00:00"})
    gc.collect(writer.config, keep=1)
    assert {i for i, state in writer.states().items() if state == "LIVE"} == {new}


def test_a_run_that_begins_meanwhile_finds_all_as_it_was(
    server: services.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    writer = Writer(configured(tmp_path / "root", f"store.url={server.database()}"))
    two_runs(writer)
    put = gc._put

    def put_and_begin(store: connect.MetadataStore, artifacts: list[pb.Artifact], state: int):
        put(store, artifacts, state)
        # As a run on a cluster begins: before any of its nodes.
        record.write(store, "run-3", {"pipeline": "flights", "started": record.now()})

    monkeypatch.setattr(gc, "_put", put_and_begin)
    with pytest.raises(UserError, match="run-3 is at work"):
        gc.collect(writer.config, keep=1)
    assert set(writer.states().values()) == {"LIVE"}


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_roots_on_object_stores(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = {"s3": object_stores.s3, "gs": object_stores.gcs}[scheme]
    with object_stores.reached(server):
        monkeypatch.setattr("pipeline.config.PROJECT", tmp_path)
        url = f"store.url=sqlite:///{tmp_path}/metadata.sqlite"
        writer = Writer(configured(f"{scheme}://{BUCKET}/root", url))
        old, new = two_runs(writer)
        plan = gc.collect(writer.config, keep=1)
        assert removed(plan) == {old}
        assert plan.removals[0].size == 1000
        from pipeline.files import storage

        uris = {a.id: a.uri for a in writer.store.get_artifacts()}
        assert not storage.exists(uris[old])
        assert storage.exists(uris[new])
