"""Which earlier spans a run ingests, by what real nodes up to the gate have left in the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.proto.orchestration import pipeline_pb2

from pipeline import lineage, metadata, node, runs
from pipeline.cluster import packed
from pipeline.compiler import compile_pipeline
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.launch import GATE, Launch
from pipeline.node import NodeResult, State
from pipeline.parameters import of_span
from pipeline.store import connect
from pipeline.tasks import backfill


def deliver(config: PipelineConfig, span: int, *, rows: int = 40, text: str = "") -> None:
    folder = Path(config.data.path) / f"span-{span:02}"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{i % 7}.5,{i % 2}" for i in range(rows)]
    (folder / "rows.csv").write_text("\n".join(["temp,late", *lines, text]))


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    config = PipelineConfig.model_validate(
        {
            "name": "small",
            "root": str(tmp_path / "root"),
            "data": {"path": str(tmp_path / "data"), "pattern": "span-{SPAN:2}/*.csv"},
            "features": {"label": "late", "numeric": ["temp"]},
            "gate": {"min_rows": 20},
        }
    )
    deliver(config, 1)
    deliver(config, 2)
    return config


def run_nodes(
    connection: pb.ConnectionConfig, ir: pipeline_pb2.Pipeline, _: Callable[[str], Path]
) -> list[NodeResult]:
    done: list[NodeResult] = []
    for entry in ir.nodes:
        options = entry.pipeline_node.execution_options
        if not options.HasField("skip"):
            done.append(node.run_node(ir, entry.pipeline_node.node_info.id, connection=connection))
        if done and done[-1].state is State.FAILED:
            break
    return done


def launched(config: PipelineConfig) -> Launch:
    """What would run now; then it is run, as far as the gate."""
    connection = metadata.connection(config)
    metadata.create_tables(connection)
    launch = Launch(config, run=runs.new(config.local_root), connection=connection, to_nodes=[GATE])
    launch.begin(note="")
    for part in launch.parts:
        launch.execute(part, lambda ir, log: run_nodes(connection, ir, log))
    return launch


def spans(launch: Launch) -> list[int]:
    return [part.span for part in launch.parts]


def test_what_the_store_has_as_it_is_is_not_ingested_again(config: PipelineConfig) -> None:
    assert spans(launched(config)) == [1, 2]
    assert spans(launched(config)) == [2]
    deliver(config, 3)
    assert spans(launched(config)) == [3]
    newest = lineage.open(config).runs(1)[0]
    assert (newest.spans, [one.span for one in newest.backfills]) == ((1, 2, 3), [])
    # The store has what can no longer be read.
    (Path(config.data.path) / "span-01" / "rows.csv").chmod(0)
    assert spans(launched(config)) == [3]


def test_a_run_that_goes_on_stays_on_its_span(config: PipelineConfig) -> None:
    begun = launched(config)
    deliver(config, 3)
    run, connection = runs.unfinished(config.local_root), metadata.connection(config)
    resumed = Launch(config, run=run, connection=connection, to_nodes=[GATE])
    assert resumed.parts[-1] == begun.parts[-1]
    with pytest.raises(UserError, match="began on span 2, and cannot go on with span 3"):
        Launch(of_span(config, 3), run=run, connection=connection, to_nodes=[GATE])


def test_from_a_span_that_changed_on_all_are_due_also_if_it_was_so_before(
    config: PipelineConfig,
) -> None:
    deliver(config, 3)
    deliver(config, 4)
    launched(config)
    file = Path(config.data.path) / "span-02" / "rows.csv"
    before, times = file.read_text(), file.stat()
    deliver(config, 2, rows=50)
    assert spans(launched(config)) == [2, 3, 4]
    file.write_text(before)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert spans(launched(config)) == [2, 3, 4]
    assert spans(launched(config)) == [4]


@pytest.mark.parametrize(
    ("rows", "text", "words"), [(3, "", "DataGate: "), (40, "warm,1", "ExampleGen: ")]
)
def test_what_was_refused_is_not_read_again_and_said(
    config: PipelineConfig, rows: int, text: str, words: str
) -> None:
    deliver(config, 1, rows=rows, text=text)
    deliver(config, 3)
    assert launched(config).refused == ()
    again = launched(config)
    assert spans(again) == [3]
    (said,) = again.refused
    assert said.startswith(f"Span 1 is refused as it is now; the run goes on without it. {words}")
    deliver(config, 1)
    assert spans(launched(config)) == [1, 2, 3]


def test_what_failed_for_another_reason_than_its_data_is_tried_again(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("custom_components.data_gate.load_statistics", fail)
        launched(config)
    assert spans(launched(config)) == [1, 2]


def test_other_settings_and_what_was_removed_and_a_run_without_cache_begin_anew(
    config: PipelineConfig,
) -> None:
    launched(config)
    gate = config.gate.model_copy(update={"min_rows": 21})
    stricter = config.model_copy(update={"gate": gate})
    assert spans(launched(stricter)) == [1, 2]
    assert spans(launched(stricter)) == [2]
    store = connect.opened(metadata.connection(config))
    removed = store.get_artifacts_by_type("ExampleStatistics")
    for artifact in removed:
        artifact.state = pb.Artifact.DELETED
    store.put_artifacts(removed)
    assert spans(launched(stricter)) == [1, 2]
    no_cache = stricter.model_copy(update={"run": stricter.run.model_copy(update={"cache": False})})
    assert spans(launched(no_cache)) == [1, 2]


def test_a_clusters_backfill_ingests_no_more_either(
    config: PipelineConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_NOTE", "")
    deliver(config, 1, rows=3)
    launched(config)
    before = lineage.open(config).runs()
    arguments = ["--ir-gzip", packed.pack(compile_pipeline(config)), "--run-id", "run-2"]
    assert backfill.main([*arguments, "--store", config.store_url, "--spans", "[1, 2]"]) == 0
    said = capsys.readouterr().out
    assert "Span 1 is refused as it is now; the run goes on without it. DataGate: " in said
    assert "Nothing is left to ingest: the store has the earlier spans as they are." in said
    assert lineage.open(config).runs() == before
