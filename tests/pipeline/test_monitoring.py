"""The history of retraining: what it tells is what the store holds, in each of its forms."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline import lineage
from pipeline.__main__ import main
from pipeline.config import PipelineConfig
from pipeline.config_file import load
from pipeline.continuous.policy import Rule
from pipeline.continuous_config import BudgetRule, ContinuousConfig
from pipeline.errors import UserError
from pipeline.files import storage
from pipeline.monitoring import history, pages, prometheus, replay
from pipeline.monitoring.history import History
from pipeline.store import decisions
from pipeline.store.decisions import FAILED, KEEP, REFUSED, RETRAIN, WAIT
from tests.pipeline import monitored_store
from tests.pipeline.monitored_store import (
    AUC,
    CHALLENGER_AUC,
    DRIFT,
    FIRST,
    MISSED,
    ROWS,
    SECOND,
)
from tests.pipeline.written_store import Writer
from tools.notebooks import NOTEBOOKS

VERDICTS = {1: RETRAIN, 2: WAIT, 3: WAIT, 4: RETRAIN, 5: RETRAIN, 6: REFUSED}
SAMPLE = re.compile(
    r'(?P<name>[a-zA-Z_:][\w:]*)\{(?P<labels>(?:\w+="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (?P<value>\S+)'
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("monitored")
    monitored_store.write(root)
    return root


@pytest.fixture(scope="module")
def found(written: Path) -> History:
    return history.read(monitored_store.config_of(written))


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """One of its own, where files may be written."""
    shutil.copy(written / "metadata.sqlite", tmp_path)
    return tmp_path


@pytest.fixture
def ask(root: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command; what it prints."""

    def run(*options: str) -> str:
        assert main(["monitor", *options, "--set", f"root={json.dumps(str(root))}"]) == 0
        return capsys.readouterr().out

    return run


def series(text: str) -> dict[str, float]:
    """What a scraper reads of the text, by name and labels; each line must be as it should."""
    read: dict[str, float] = {}
    announced: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind == ("counter" if name.endswith("_total") else "gauge")
            announced.add(name)
        elif not line.startswith("# HELP "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match["name"] in announced, f"{line}: before its TYPE"
            key = f"{match['name'].removeprefix('pipeline_')}{{{match['labels']}}}"
            assert key not in read, f"{line}: twice"
            read[key] = float(match["value"])
    assert text.endswith("\n")
    return read


def test_each_span_has_a_line_of_what_was_known_decided_and_live(found: History) -> None:
    lines = {line.span: line for line in found.lines}
    assert {span: line.newest.verdict for span, line in lines.items()} == VERDICTS
    assert {span: line.scores["auc"].value for span, line in lines.items() if line.scores} == AUC
    rows = {span: line.seen.rows for span, line in lines.items() if line.seen}
    assert rows == {span: ROWS + span for span in range(1, 6)}
    assert [line.live_after for line in found.lines] == [FIRST] * 3 + [SECOND] * 3
    moved = lines[4].seen and {one.column: one.distance for one in lines[4].seen.moved}
    assert moved == {name: far for name, far in DRIFT.items() if name != "carrier"}
    assert [one.verdict for one in lines[5].decisions] == [RETRAIN, KEEP]
    assert lines[5].challenger_scores["auc"].value == CHALLENGER_AUC
    assert lines[5].newest.state == FAILED
    assert lines[6].seen is None


def test_a_score_is_of_the_model_that_was_live_when_the_span_came(found: History) -> None:
    """Another model may be live when the same span is asked about again."""
    line = found.lines[4]
    again = replace(line.decisions[0], observed=found.lines[2].newest.observed)
    assert replace(line, decisions=(again, *line.decisions)).scores == line.scores
    other = replace(again, content="delivered anew")
    assert replace(line, decisions=(other, *line.decisions)).scores["auc"].value == AUC[3]


def test_decisions_of_before_are_read_as_far_as_they_go(root: Path) -> None:
    store = Writer(root).store
    old = decisions.Facts("flights", 7, "ab", "cd", WAIT, "Span 7: no run.", "[]", "{}")
    decisions.write(store, old, {})
    last = history.read(monitored_store.config_of(root)).lines[-1]
    assert (last.seen, last.scores, last.challenger) == (None, {}, None)
    frame = lineage.open(root / "metadata.sqlite").decisions().frame()
    assert frame.iloc[0].dropna().to_dict().keys() >= {"span", "verdict", "reason", "live_after"}
    assert "rows" not in frame.iloc[0].dropna()


def test_the_decisions_are_a_table(found: History) -> None:
    frame = found.decisions.frame().set_index("decision")
    assert list(frame["span"]) == [6, 5, 5, 4, 3, 2, 1]
    known = frame[frame["verdict"] != KEEP].set_index("span")
    assert known["live_auc"].dropna().to_dict() == AUC
    assert (known["live_auc_low"] < known["live_auc"]).sum() == len(AUC)
    assert known["drifted_columns"].dropna().to_dict() == {5: 0, 4: 3, 3: 0, 2: 0}
    assert known["run_id"].to_dict() == {6: "", 5: "", 4: "run-2", 3: "", 2: "", 1: "run-1"}
    assert frame[frame["verdict"] == KEEP]["challenger_auc"].item() == CHALLENGER_AUC
    empty = lineage.Decisions().frame()
    assert len(empty) == 0
    assert {"span", "verdict", "rows"} <= set(empty.columns)


def test_the_csv_has_each_decision_to_the_last_digit(found: History) -> None:
    rows = list(csv.DictReader(io.StringIO(pages.table(found.decisions))))
    assert [row["span"] for row in rows] == ["1", "2", "3", "4", "5", "5", "6"]
    assert float(rows[3]["live_auc"]) == AUC[4]
    assert datetime.fromisoformat(rows[3]["when"]) == found.decisions[3].when
    assert rows[-1]["reason"] == found.decisions[0].reason
    assert pages.table(lineage.Decisions()).count("\n") == 1


def test_prometheus_reads_the_newest_state(found: History) -> None:
    told = series(prometheus.render(found))
    of = 'pipeline="flights"'
    assert told[f'decisions_total{{{of},verdict="retrain"}}'] == 3
    assert told[f'decisions_total{{{of},verdict="promote"}}'] == 0
    assert told[f"decisions_failed_total{{{of}}}"] == 1
    assert told[f"span{{{of}}}"] == 5
    assert told[f"span_rows{{{of}}}"] == ROWS + 5
    assert told[f'live_score{{{of},metric="auc"}}'] == AUC[5]
    low, high = (told[f'live_score_{end}{{{of},metric="auc"}}'] for end in ("low", "high"))
    assert low < AUC[5] < high
    assert told[f'challenger_score{{{of},metric="auc"}}'] == CHALLENGER_AUC
    assert told[f'column_distance{{{of},column="temp"}}'] == 0.1
    assert told[f"drifted_columns{{{of}}}"] == 0
    assert told[f'live_model_version_info{{{of},version="{SECOND}",framework="xgboost"}}'] == 1
    last = told[f"last_decision_timestamp_seconds{{{of}}}"]
    assert last == found.decisions[0].when.timestamp()
    assert told[f"last_span_timestamp_seconds{{{of}}}"] == last


def test_what_is_not_known_is_no_0_for_prometheus(found: History) -> None:
    """Of the first span nothing could be compared with a model."""
    first = replace(found, decisions=lineage.Decisions(found.decisions[-1:]))
    told = {name.partition("{")[0] for name in series(prometheus.render(first))}
    assert {"span", "span_rows", "last_span_timestamp_seconds"} <= told
    assert not told & {"unlearned_spans", "drifted_columns", "column_distance", "live_score"}


def test_another_decision_about_a_span_is_no_new_span(found: History) -> None:
    again = replace(found.decisions[-1], when=found.decisions[0].when + timedelta(days=30))
    later = replace(found, decisions=lineage.Decisions([again, *found.decisions]))
    told, before = (series(prometheus.render(one)) for one in (later, found))
    changed = {name.partition("{")[0] for name in told if told[name] != before[name]}
    assert "last_decision_timestamp_seconds" in changed
    assert "last_span_timestamp_seconds" not in changed


def test_a_run_is_linked_to_the_page_that_there_is(root: Path) -> None:
    config = monitored_store.config_of(root)
    writer = Writer(root)
    artifact = root / "Report" / "report" / "33"
    report = writer.artifact("Report", uri=str(artifact))
    writer.execution("Report", [], [report], run="run-2")
    assert 'href="../Report' not in pages.rendered(history.read(config))
    artifact.mkdir(parents=True)
    (artifact / "index.html").touch()
    assert 'href="../Report/report/33/index.html">run-2<' in pages.rendered(history.read(config))
    asked = root / "runs" / "run-2" / "report.html"
    asked.parent.mkdir(parents=True)
    asked.touch()
    assert 'href="../runs/run-2/report.html">run-2<' in pages.rendered(history.read(config))


def test_of_a_root_in_a_bucket_the_files_lie_there_too(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PipelineConfig, "local_root", tmp_path)
    sent: dict[str, bytes] = {}
    monkeypatch.setattr(storage, "write", sent.__setitem__)
    url = f"store.url='sqlite:///{written}/metadata.sqlite'"
    pages.write(load(overrides=["root='gs://bucket/flights'", url]))
    names = (pages.PAGE_FILE, pages.TABLE_FILE, pages.METRICS_FILE)
    assert list(sent) == [f"gs://bucket/flights/monitoring/{name}" for name in names]
    assert all((tmp_path / "monitoring" / name).is_file() for name in names)


def test_prometheus_text_has_no_more_series_when_there_are_more_spans(found: History) -> None:
    fewer = replace(found, decisions=lineage.Decisions(found.decisions[:3]))
    assert series(prometheus.render(fewer)).keys() == series(prometheus.render(found)).keys()


def test_a_label_with_any_sign_in_it_is_one_label(found: History) -> None:
    config = found.config.model_copy(update={"name": 'a"b\\c\nd'})
    (name,) = {
        match["labels"].partition(",")[0]
        for match in SAMPLE.finditer(prometheus.render(replace(found, config=config)))
    }
    assert name == r'pipeline="a\"b\\c\nd"'


def test_before_any_decision_there_is_a_page_and_what_counts_is_0(tmp_path: Path) -> None:
    config = load(overrides=[f"root={str(tmp_path)!r}"])
    Writer(tmp_path).facts("run-1", pipeline="flights")
    told = series(prometheus.render(pages.write(config)))
    assert set(told.values()) == {0.0}
    page = (tmp_path / "monitoring" / pages.PAGE_FILE).read_text()
    assert "Nothing is decided yet" in page


def test_the_same_policy_says_the_same_of_what_was_kept(found: History) -> None:
    told = replay.replay(found, found.config.continuous)
    assert [one.recorded.span for one in told] == [1, 2, 3, 4, 5]
    for one in told:
        assert one.decision.retrain == (one.recorded.verdict == RETRAIN), one.decision.reason


def test_another_policy_would_have_decided_otherwise(found: History) -> None:
    every = ContinuousConfig(every_span=True, budget=BudgetRule(runs=2), min_rows=0)
    told = replay.replay(found, every)
    # Of span 2 a model had learned; from span 4 on its own budget is spent.
    spans = [one.recorded.span for one in told if one.decision.retrain]
    assert spans == [1, 3]
    assert "2 runs were started" in told[-1].decision.reason
    never = ContinuousConfig.model_validate({"performance": {}, "max_age_spans": 0})
    assert [o.recorded.span for o in replay.replay(found, never) if o.decision.retrain] == [1]


def test_the_intervals_decide_as_the_samples_did(found: History) -> None:
    """In how many samples the fall is above its bound: 41 of 441 pairs were below it."""
    config = ContinuousConfig.model_validate({"performance": {"auc": {"max_fall": 0.05}}})
    (of_four,) = (o for o in replay.replay(found, config) if o.recorded.span == 4)
    (finding,) = (f for f in of_four.decision.findings if f.rule is Rule.PERFORMANCE)
    share = float(re.findall(r"in ([\d.]+)% of samples", finding.words)[0])
    falls = [
        (0.7 + b / 1000) - (AUC[4] + s / 1000) > 0.05
        for b in range(-10, 11)
        for s in range(-10, 11)
    ]
    assert share == pytest.approx(100 * sum(falls) / len(falls), abs=3)


def test_what_comes_next_needs_no_new_span(found: History) -> None:
    now = found.decisions[0].when
    by_rule = {one.rule: one for one in replay.coming(found, now)}
    assert set(by_rule) == {Rule.SCHEDULE, Rule.AGE, Rule.BUDGET}
    assert (by_rule[Rule.BUDGET].value, by_rule[Rule.BUDGET].holds) == (3, True)
    assert by_rule[Rule.AGE].value == 1  # Span 5; 6 was refused.
    later = {one.rule: one for one in replay.coming(found, now + timedelta(days=40))}
    assert later[Rule.SCHEDULE].holds
    assert later[Rule.BUDGET].value == 0


def test_what_comes_next_counts_what_a_run_by_hand_has_learned(root: Path) -> None:
    config, writer = monitored_store.config_of(root), Writer(root)
    examples = writer.artifact("Examples", span=5)
    writer.execution("ExampleGen", [], [examples], run="by-hand")
    model = writer.artifact("Model", framework="xgboost", digest="by-hand")
    writer.execution("Trainer.xgboost", [examples], [model], run="by-hand")
    found = history.read(config)
    (age,) = (f for f in replay.coming(found, datetime.now(UTC)) if f.rule is Rule.AGE)
    assert age.value == 0


def test_without_a_decision_the_table_says_what_to_call(found: History) -> None:
    assert len(found.frame()) == len(found.decisions)
    with pytest.raises(UserError, match="python -m pipeline continuous --once"):
        replace(found, decisions=lineage.Decisions()).frame()


def test_the_command_prints_a_line_for_each_span_and_writes_the_files(
    ask: Callable[..., str], root: Path
) -> None:
    told = ask().splitlines()
    assert [line.split()[0] for line in told[1:7]] == list("123456")
    assert "3: temp 0.46, dewp 0.41, pressure 0.35" in told[4]
    assert f"{AUC[4]:.4f} (" in told[4]
    assert f"retrain (failed)  {SECOND}  {MISSED}" in told[5]
    assert "Span 6: refused, because" in told[6]
    assert told[7] == f"Page: {root}/monitoring/index.html"
    there = {file.name for file in (root / "monitoring").iterdir()}
    assert there == {pages.PAGE_FILE, pages.TABLE_FILE, pages.METRICS_FILE}


def test_the_command_gives_one_form_and_nothing_else(
    ask: Callable[..., str], root: Path, found: History
) -> None:
    lines = json.loads(ask("--json"))
    assert [line["span"] for line in lines] == list(range(1, 7))
    assert lines[3]["live_scores"]["auc"]["value"] == AUC[4]
    assert lines[3]["drifted_columns"] == ["temp", "dewp", "pressure"]
    assert lines[4]["decisions"][0]["failure"] == MISSED
    assert ask("--csv", "-") == pages.table(found.decisions)
    file = root / "flights.prom"
    assert ask("--prometheus", str(file)) == ""
    assert series(file.read_text())
    assert not (root / "monitoring").exists()


def cells(root: Path) -> list[str]:
    """The code of the notebook, about the store below `root`."""
    notebook = json.loads((NOTEBOOKS / "04_continuous_training.ipynb").read_text())
    code = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    return [f"CONFIG, SET = 'configs/flights.toml', [{f'root={str(root)!r}'!r}]", *code[1:]]


@pytest.mark.parametrize("verdict", [REFUSED, WAIT, RETRAIN])
def test_the_notebook_shows_what_there_is_where_little_is_known(
    verdict: str, tmp_path: Path
) -> None:
    facts = decisions.Facts("flights", 7, "ab", "cd", verdict, "Span 7.", "[]", "{}")
    decisions.write(Writer(tmp_path).store, facts, {})
    names: dict[str, object] = {"display": print}
    for cell in cells(tmp_path):
        exec(cell, names)


def test_the_notebook_says_where_nothing_is_decided(tmp_path: Path) -> None:
    Writer(tmp_path).facts("run-1", pipeline="flights")
    assign, imports, first, *_ = cells(tmp_path)
    with pytest.raises(UserError, match="nothing is decided yet about flights"):
        exec("\n".join([assign, imports, first]), {})


@pytest.mark.parametrize("file", ["", "none/history.csv"], ids=["folder", "no folder"])
def test_a_file_has_to_be_one_in_a_folder_that_is_there(
    file: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = set(root.iterdir())
    place = str(root / file)
    assert main(["monitor", "--csv", place, "--set", f"root={json.dumps(str(root))}"]) == 2
    assert f"{place}: expected the name of a file" in capsys.readouterr().err
    assert set(root.iterdir()) == there


def test_what_goes_wrong_with_the_page_stops_no_loop(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = monitored_store.config_of(root)
    (root / "monitoring").write_text("in the way")
    pages.refresh(config)
    told = capsys.readouterr().err
    assert told.startswith("the page of monitoring is not written: ")
    assert told.count("\n") == 1
    (root / "monitoring").unlink()
    pages.refresh(config)
    assert (root / "monitoring" / pages.PAGE_FILE).is_file()


def test_other_pipelines_of_the_store_are_left_out(root: Path) -> None:
    config: PipelineConfig = monitored_store.config_of(root)
    other = history.read(config.model_copy(update={"name": "taxi"}))
    assert (other.lines, other.decisions) == ([], ())
    assert replay.coming(other, datetime.now(UTC))
