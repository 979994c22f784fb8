"""How much of a store is read for an answer: no more than the answer takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline import lineage
from pipeline.__main__ import main
from tests import services
from tests.pipeline.written_store import CACHED, FAILED, RUNNING, Writer

Asked = Counter[str]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """How often the store was asked each question."""
    counts: Asked = Counter()
    call = MetadataStore._call

    def counted(store: MetadataStore, name: str, *given: object) -> None:
        counts[name] += 1
        call(store, name, *given)

    monkeypatch.setattr(MetadataStore, "_call", counted)
    return counts


def opened(tmp_path: Path, asked: Asked) -> lineage.Store:
    asked.clear()
    return lineage.open(tmp_path / "metadata.sqlite")


def put_runs(w: Writer, names: Sequence[str]) -> None:
    """Runs that begin in the same millisecond."""
    kind = w.store.put_context_type(pb.ContextType(name="pipeline_run"))
    w.store.put_contexts([pb.Context(type_id=kind, name=name) for name in names])


def test_no_more_runs_are_read_than_are_listed(tmp_path: Path, asked: Asked) -> None:
    w = Writer(tmp_path)
    names = [f"run-{i:03}" for i in range(150)]
    put_runs(w, names)
    store = opened(tmp_path, asked)
    assert [run.id for run in store.runs(20)] == names[:-21:-1]
    assert asked["GetContextsByType"] == 1
    assert [run.id for run in store.runs()] == names[::-1]
    assert store.run("run-149") is store.runs(1)[0]
    assert asked["GetContextsByType"] == 3


def test_one_run_is_asked_for_by_its_id(tmp_path: Path, asked: Asked) -> None:
    put_runs(Writer(tmp_path), [f"run-{i:03}" for i in range(150)])
    store = opened(tmp_path, asked)
    run = store.run("run-007")
    assert asked["GetContextsByType"] == 0
    assert next(known for known in store.runs() if known.id == "run-007") is run


def live_and_runs(url: str | Path) -> None:
    w = Writer(url)
    put_runs(w, [f"run-{i:03}" for i in range(150)])
    pushed = [w.artifact("PushedModel", pushed=int(i in (3, 5))) for i in range(150)]
    store = lineage.open(url if isinstance(url, str) else url / "metadata.sqlite")
    assert store.live_model().id == pushed[5]
    assert [run.id for run in store.runs()] == [f"run-{i:03}" for i in reversed(range(150))]


def test_the_live_model_is_found_behind_many_that_were_not_pushed(tmp_path: Path) -> None:
    live_and_runs(tmp_path)


def test_a_server_gives_the_newest_first_too(
    server: services.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_STORE_PASSWORD", services.PASSWORD)
    live_and_runs(server.database())


def test_the_live_model_takes_one_question_where_many_were_pushed(
    tmp_path: Path, asked: Asked
) -> None:
    w = Writer(tmp_path)
    newest = [w.artifact("PushedModel", pushed=1) for _ in range(150)][-1]
    assert opened(tmp_path, asked).live_model().id == newest
    assert asked.total() == 1


def write_trainings(w: Writer, runs: int) -> int:
    """A schema that each run's trainers read, and a backfill that begins within each run."""
    schema = w.artifact("Schema")
    for i in range(runs):
        time.sleep(0.001)  # Each begins after all of the one before: the store counts milliseconds.
        put_runs(w, [f"run-{i:03}"])
        w.execution("Trainer.keras", [schema], [], run=f"run-{i:03}")
        put_runs(w, [f"run-{i:03}-span-1"])
        w.execution("Trainer.sklearn", [schema], [], run=f"run-{i:03}", state=FAILED)
    return schema


def test_many_nodes_are_not_named_one_by_one(tmp_path: Path, asked: Asked) -> None:
    schema = write_trainings(Writer(tmp_path), 100)
    store = opened(tmp_path, asked)
    readers = store.artifact(schema).consumers
    told = [(node.name, node.run_id) for node in readers]
    assert told == [
        (name, f"run-{i:03}") for i in range(100) for name in ("Trainer.keras", "Trainer.sklearn")
    ]
    assert {node.run.pipeline for node in readers} == {"flights"}
    assert asked["GetContextsByExecution"] == 2 * 32


def test_nodes_of_runs_at_the_same_time_are_told_apart(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    put_runs(w, [f"run-{i:03}" for i in range(50)])
    schema = w.artifact("Schema")
    for i in range(50):
        w.execution("Trainer", [schema], [], run=f"run-{i:03}")
    readers = lineage.open(tmp_path / "metadata.sqlite").artifact(schema).consumers
    told = [(node.name, node.run_id) for node in readers]
    assert told == [("Trainer", f"run-{i:03}") for i in range(50)]


@pytest.mark.parametrize(
    ("states", "maker"),
    [
        ([FAILED] * 5 + [pb.Execution.COMPLETE] + [CACHED] * 20, 5),
        ([FAILED] * 20 + [pb.Execution.COMPLETE, pb.Execution.COMPLETE], 20),
        ([RUNNING, FAILED, CACHED], 0),
    ],
)
def test_the_producer_is_the_first_that_came_to_its_end(
    tmp_path: Path, states: list[int], maker: int
) -> None:
    w = Writer(tmp_path)
    made = w.artifact("Examples")
    executions = [w.execution("ExampleGen", [], [made], state=state) for state in states]
    producer = lineage.open(tmp_path / "metadata.sqlite").artifact(made).producer
    assert producer
    assert producer.id == executions[maker]


def test_a_table_has_the_last_readers_of_an_artifact_and_json_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = write_trainings(Writer(tmp_path), 15)
    arguments = ["show", str(schema), "--set", f'root="{tmp_path}"']
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "Read by (the last 20 of 30; --json has all)" in told
    assert "run-014" in told
    assert "run-004" not in told
    assert main([*arguments, "--json"]) == 0
    assert capsys.readouterr().out.count('"run": "run-0') == 30


def test_a_frame_does_not_read_what_it_does_not_tell(tmp_path: Path, asked: Asked) -> None:
    w = Writer(tmp_path)
    for i in range(3):
        model = w.artifact("Model", framework="keras", digest="d")
        w.execution("Trainer", [], [w.artifact("Examples", span=i), model], run=f"run-{i}")
        w.facts(f"run-{i}", span=str(i))
    frame = opened(tmp_path, asked).frame()
    assert list(frame["champion"]) == ["keras"] * 3
    assert asked["GetArtifactsByID"] == 0


def test_descendants_are_asked_for_a_generation_at_a_time(tmp_path: Path, asked: Asked) -> None:
    w = Writer(tmp_path)
    schema = w.artifact("Schema")
    for number in range(50):
        model = w.artifact("Model")
        w.execution("Trainer", [schema], [model], run=f"run-{number}")
    assert len(opened(tmp_path, asked).artifact(schema).descendants()) == 50
    assert asked.total() < 10, asked


def test_a_long_history_takes_fewer_questions_than_generations(
    tmp_path: Path, asked: Asked
) -> None:
    w = Writer(tmp_path)
    models = [w.artifact("Model")]
    for _ in range(80):
        models.append(w.artifact("Model"))
        w.execution("Trainer", [models[-2]], [models[-1]])
    for number, reach in ((models[-1], "ancestors"), (models[0], "descendants")):
        found = getattr(opened(tmp_path, asked).artifact(number), reach)()
        assert len({artifact.id for artifact in found}) == 80
        assert asked.total() < 200, asked
