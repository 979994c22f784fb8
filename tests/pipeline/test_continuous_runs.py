"""Runs that decisions start: begun once, gone on with, and told apart by why they failed."""

from __future__ import annotations

import fcntl
import json
import sys
import textwrap
import threading
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline import lineage
from pipeline.config import PipelineConfig
from pipeline.config_file import DEFAULT, load
from pipeline.continuous import runs as continuous_runs
from pipeline.continuous.runs import AtWorkElsewhere, LocalRuns, RefusedSpan, RunFailed
from pipeline.runs import only_one
from pipeline.store import record
from tests.pipeline.written_store import Writer

PROGRAM = """
    import json, subprocess, sys
    from pathlib import Path
    from pipeline import runs
    from pipeline.store import connect, record

    root = Path(sys.argv[1])
    words = sys.argv[2:]
    with (root / "calls").open("a") as calls:
        calls.write(json.dumps(words) + "\\n")
    plan = json.loads((root / "plan").read_text())
    then = plan.pop(0)
    (root / "plan").write_text(json.dumps(plan))
    if then.get("code") == 2 or then.get("crashes"):
        sys.exit(then["code"])
    # Nobody comes between the one that started this and this.
    took = subprocess.run(["flock", "--nonblock", root / ".lock", "true"]).returncode == 0
    with runs.only_one(root):
        (root / "taken").write_text(json.dumps(took))
    run = runs.newest_first(root)[0] if "--resume" in words else runs.new(root)
    store = connect.opened(connect.connection_to(f"sqlite:///{root}/metadata.sqlite"))
    facts = {"pipeline": "flights", "note": words[words.index("--note") + 1]}
    record.write(store, run.id, facts | record.ended(
        "failed" if then.get("code") else "succeeded",
        reason=then.get("reason", ""),
        refused=then.get("refused", False),
    ))
    run.write(finished=not then.get("code"))
    sys.exit(then.get("code", 0))
"""


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    (tmp_path / "root").mkdir()
    return load(DEFAULT, [f"root={json.dumps(str(tmp_path / 'root'))}"])


def runs_of(config: PipelineConfig, *plan: dict[str, object]) -> LocalRuns:
    """What the runner does when it is called, one after the other."""
    (config.local_root / "plan").write_text(json.dumps(plan))
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(config.local_root)]
    return LocalRuns(config, ["--set", "name=flights"], program=program)


def calls(config: PipelineConfig) -> list[list[str]]:
    file = config.local_root / "calls"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def train(runs: LocalRuns, begun: list[str], decision: int = 7) -> str:
    return runs.train(decision, 4, "Span 4: retrain.", begun.append).run_id


def test_a_run_has_its_decision_in_its_note(config: PipelineConfig) -> None:
    begun: list[str] = []
    run_id = train(runs_of(config, {}), begun)
    assert begun == [run_id]
    assert lineage.open(config).run(run_id).note == "Decision 7: Span 4: retrain."
    (words,) = calls(config)
    assert words[:3] == ["--set", "name=flights", "--plain"]
    assert words[3:5] == ["--span", "4"]


def test_a_span_is_ingested_alone_also_where_it_is_to_judge_unseen(config: PipelineConfig) -> None:
    runs_of(config, {}).ingest(4)
    (words,) = calls(config)
    settings = [word for option, word in pairwise(words) if option == "--set"]
    assert load(overrides=["evaluate.on=unseen", *settings]).data.window == 1


def test_a_run_that_has_ended_is_not_started_again(config: PipelineConfig) -> None:
    runs = runs_of(config, {})
    begun: list[str] = []
    assert train(runs, begun) == train(runs, begun)
    assert len(calls(config)) == 1


def test_another_decision_is_another_run(config: PipelineConfig) -> None:
    runs = runs_of(config, {}, {})
    assert train(runs, [], 7) != train(runs, [], 70)


def test_a_run_that_failed_is_gone_on_with(config: PipelineConfig) -> None:
    runs = runs_of(config, {"code": 1, "reason": "Trainer.keras: no memory"}, {})
    with pytest.raises(RunFailed, match=r"run \S+: Trainer.keras: no memory"):
        train(runs, [])
    run_id = train(runs, [])
    assert calls(config)[1][-1] == "--resume"
    assert [run.id for run in lineage.open(config).runs()] == [run_id]


def test_a_run_that_cannot_be_gone_on_with_is_started_anew(config: PipelineConfig) -> None:
    runs = runs_of(config, {"code": 1, "reason": "Trainer.keras: no memory"}, {"code": 2}, {})
    with pytest.raises(RunFailed):
        train(runs, [])
    assert train(runs, [])
    assert [words[-1] == "--resume" for words in calls(config)] == [False, True, False]


def test_a_run_that_is_not_the_newest_is_not_resumed(config: PipelineConfig) -> None:
    runs = runs_of(config, {"code": 1, "reason": "no memory"}, {}, {})
    with pytest.raises(RunFailed):
        train(runs, [])
    train(runs, [], 8)
    train(runs, [])
    assert "--resume" not in calls(config)[2]


def elsewhere(config: PipelineConfig, run: str, **facts: str) -> None:
    """A run of decision 7 that Airflow carries out."""
    note = "Decision 7: Span 4: retrain."
    Writer(config.local_root).facts(run, pipeline="flights", note=note, runner="airflow", **facts)


def test_a_run_that_another_runner_is_at_is_not_begun_beside_it_until_it_has_ended(
    config: PipelineConfig,
) -> None:
    runs = runs_of(config, {})
    elsewhere(config, "scheduled-1")
    with pytest.raises(AtWorkElsewhere, match="run scheduled-1 of it is carried out by airflow"):
        train(runs, [])
    assert calls(config) == []
    elsewhere(config, "scheduled-1", **record.ended(record.FAILED, reason="no memory"))
    assert train(runs, []) != "scheduled-1"


def test_a_run_of_another_runner_that_nobody_heard_of_for_a_day_is_dead(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = runs_of(config, {})
    elsewhere(config, "scheduled-1")
    monkeypatch.setattr(continuous_runs, "_SILENCE", timedelta(0))
    assert train(runs, []) != "scheduled-1"


def test_a_refusal_of_the_runner_is_a_failure(config: PipelineConfig) -> None:
    with pytest.raises(RunFailed, match="did not begin: the runner refused it"):
        train(runs_of(config, {"code": 2}), [])


@pytest.mark.parametrize(
    ("then", "kind"),
    [
        ({"code": 1, "reason": "rows.parquet cannot be read", "refused": True}, RefusedSpan),
        ({"code": 1, "reason": "its process was ended by signal SIGKILL"}, RunFailed),
        ({"code": 1, "reason": "NotADirectoryError: 'StatisticsGen'"}, RunFailed),
        ({"code": 2}, RunFailed),
    ],
)
def test_what_is_wrong_with_a_span_is_told_from_what_is_wrong_with_the_machine(
    config: PipelineConfig, then: dict[str, object], kind: type[Exception]
) -> None:
    with pytest.raises(kind, match="span 5 cannot be ingested"):
        runs_of(config, then).ingest(5)
    (words,) = calls(config)
    assert words[words.index("--to") + 1] == "DataGate"


def test_a_crash_is_not_taken_for_the_refusal_of_an_earlier_run(config: PipelineConfig) -> None:
    refused = {"code": 1, "reason": "rows.parquet cannot be read", "refused": True}
    runs = runs_of(config, refused, {"code": 1, "crashes": True})
    with pytest.raises(RefusedSpan):
        runs.ingest(5)
    with pytest.raises(RunFailed, match="span 5 cannot be ingested: it died without a word"):
        runs.ingest(5)


def test_a_run_takes_over_the_lock_of_the_one_that_starts_it(config: PipelineConfig) -> None:
    runs_of(config, {}).ingest(5)
    assert json.loads((config.local_root / "taken").read_text()) is False
    with only_one(config.local_root):
        pass  # It was given back.


def test_a_run_that_somebody_left_at_work_is_waited_for(config: PipelineConfig) -> None:
    runs = runs_of(config, {})
    Writer(config.local_root)
    with (config.local_root / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=runs.ingest, args=(5,))
        thread.start()
        time.sleep(0.3)
        assert calls(config) == []
        fcntl.flock(lock, fcntl.LOCK_UN)
    thread.join(30)
    assert len(calls(config)) == 1


@pytest.mark.parametrize(
    ("pushed", "blessed", "version", "words"),
    [
        (1, 1, "3", "version 1796073461 is live"),
        (0, 1, "3", "version 3 waits as challenger, the live model stays meanwhile"),
        (0, 0, "3", "the live model stays"),
        (0, 1, "", "the live model stays"),
    ],
    ids=["pushed", "registered", "refused by the canary", "nothing chosen"],
)
def test_what_came_of_a_run_is_told_as_it_is(
    pushed: int, blessed: int, version: str, words: str, tmp_path: Path
) -> None:
    writer = Writer(tmp_path)
    writer.facts("run-1", pipeline="flights", outcome=record.SUCCEEDED)
    made = {
        "Canary": writer.artifact("InfraBlessing", blessed=blessed),
        "Pusher": writer.artifact("PushedModel", pushed=pushed, pushed_version="1796073461"),
        "Registrar": writer.artifact("Registration", registered=1, model_version=version),
    }
    for node, artifact in made.items():
        writer.execution(node, [], [artifact])
    run = lineage.open(tmp_path / "metadata.sqlite").run("run-1")
    assert continuous_runs.done(run).words == words
