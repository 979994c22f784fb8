"""The search for hyper-parameters, on losses that are known, and on each framework's own."""

from __future__ import annotations

import fcntl
import importlib
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.dataset import Rows
from models.tuning import SPACES, result
from models.tuning.result import Result
from models.tuning.search import tune
from pipeline import progress
from pipeline.config import PROJECT
from pipeline.errors import UserError
from pipeline.train_config import Framework, Range, TrainConfig, TuneConfig
from tests.models import searches

SETTINGS = TrainConfig.model_validate(
    {"seed": 7, "validation_share": 0.3, "xgboost": {"max_trees": searches.STEPS, "max_depth": 6}}
)
SPACE = {
    "learning_rate": Range(low=0.001, high=1, log=True),
    "max_depth": Range(low=2, high=12),
}
WORKER = "models.tuning.worker"


def make_rows(rows: int = 60) -> Rows:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(rows, 3)).astype(np.float32)
    return Rows(
        numbers,
        rng.integers(0, 4, (rows, 2)).astype(np.int32),
        (numbers[:, 0] + rng.normal(size=rows) > 0).astype(np.float32),
        rng.integers(0, 1000, rows).astype(np.int32),
        np.ones(rows, np.float32),
    )


def config(trials: int = 12, **settings: Any) -> TuneConfig:
    return TuneConfig(**{"trials": trials, "space": {"xgboost": SPACE}} | settings)


def run(
    folder: Path, tuning: TuneConfig, search: str = "search", settings: TrainConfig = SETTINGS
) -> Result:
    return tune(
        Framework.XGBOOST,
        make_rows(),
        (4, 4),
        settings,
        tuning,
        folder,
        search=f"tests.models.searches.{search}",
    )


def without_seconds(found: Result) -> Result:
    trials = tuple(trial.model_copy(update={"seconds": None}) for trial in found.trials)
    return found.model_copy(update={"trials": trials})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module")
def found(folder: Path) -> Result:
    return run(folder, config(25))


def test_the_search_nears_the_best_hyperparameters_and_keeps_count(found: Result) -> None:
    assert found.framework == "xgboost"
    assert [trial.number for trial in found.trials] == [*range(25)]
    assert found.count("complete") + found.count("pruned") == 25
    assert found.value == pytest.approx(searches.lowest(**found.params))
    assert found.value < 0.55
    assert abs(math.log10(found.params["learning_rate"] / searches.BEST_RATE)) < 0.5


def test_the_first_trial_has_the_settings_as_they_are(found: Result) -> None:
    first = found.trials[0]
    assert first.as_configured
    assert first.params == {"learning_rate": 0.05, "max_depth": 6}
    assert first.value == found.baseline == pytest.approx(searches.lowest(0.05, 6))
    assert not any(trial.as_configured for trial in found.trials[1:])


def test_a_trial_that_falls_behind_is_given_up(found: Result, tmp_path: Path) -> None:
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned
    assert min(searches.lowest(**trial.params) for trial in pruned) > found.value
    unpruned = run(tmp_path, config(12, prune=False))
    assert unpruned.count("complete") == 12


def test_the_hyperparameter_that_decides_is_the_most_important(found: Result) -> None:
    assert [*found.importance] == ["learning_rate", "max_depth"]
    assert sum(found.importance.values()) == pytest.approx(1)


def test_the_same_search_finds_the_same(found: Result, tmp_path: Path) -> None:
    assert without_seconds(run(tmp_path, config(25))) == without_seconds(found)


def test_another_seed_makes_other_trials(found: Result, tmp_path: Path) -> None:
    other = run(tmp_path, config(3), settings=SETTINGS.model_copy(update={"seed": 8}))
    assert other.trials[0].params == found.trials[0].params
    assert other.trials[1].params != found.trials[1].params


def test_a_search_that_is_done_makes_no_more_trials_and_one_for_more_goes_on(
    found: Result, tmp_path: Path
) -> None:
    half = run(tmp_path, config(10))
    assert run(tmp_path, config(10)) == half
    whole = run(tmp_path, config(25))
    assert whole.trials[:10] == half.trials
    assert without_seconds(whole) == without_seconds(found)
    assert len([*tmp_path.glob("*.sqlite")]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"validation_share": 0.2},
        {"class_weight": "balanced"},
        {"xgboost": {"subsample": 0.7}},
    ],
)
def test_changed_settings_are_another_search(tmp_path: Path, change: dict[str, Any]) -> None:
    run(tmp_path, config(1))
    run(tmp_path, config(1), settings=TrainConfig.model_validate(SETTINGS.model_dump() | change))
    assert len([*tmp_path.glob("*.sqlite")]) == 2


def test_other_frameworks_settings_do_not_matter_to_a_search(tmp_path: Path) -> None:
    run(tmp_path, config(1))
    changed = TrainConfig.model_validate(SETTINGS.model_dump() | {"keras": {"dropout": 0.1}})
    run(tmp_path, config(1), settings=changed)
    assert len([*tmp_path.glob("*.sqlite")]) == 1


def test_other_rows_or_another_space_are_another_search(tmp_path: Path) -> None:
    search = "tests.models.searches.search"
    for rows in (make_rows(), make_rows(61)):
        tune(Framework.XGBOOST, rows, (4, 4), SETTINGS, config(1), tmp_path, search=search)
    run(tmp_path, config(1, space={"xgboost": {"max_depth": Range(low=2, high=12)}}))
    assert len([*tmp_path.glob("*.sqlite")]) == 3


@pytest.mark.parametrize("killed_at", [1, 8])
def test_a_search_that_was_killed_finds_what_it_would_have_found(
    tmp_path: Path, found: Result, killed_at: int
) -> None:
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from tests.models.test_tuning import config, run
        run(Path(sys.argv[1]), config(25))
        """
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env=os.environ | {searches.KILL_AT: str(killed_at)},
        cwd=PROJECT,
        timeout=300,
    )
    assert killed.returncode == -9
    resumed = run(tmp_path, config(25))
    interrupted, *again = [trial for trial in resumed.trials if trial.number >= killed_at - 1][:2]
    assert interrupted.state == "failed"
    assert again[0].params == interrupted.params
    assert again[0].as_configured == interrupted.as_configured == (killed_at == 1)
    assert resumed.count("complete") == found.count("complete")
    assert resumed.count("pruned") == found.count("pruned")
    assert (resumed.params, resumed.value) == (found.params, found.value)
    assert resumed.importance == pytest.approx(found.importance)


def test_trials_run_at_once_in_processes_of_their_own(tmp_path: Path) -> None:
    found = run(tmp_path, config(6, jobs=2), search="together")
    workers = {trial.value for trial in found.trials}
    assert len(workers) == 2
    assert os.getpid() not in workers
    assert found.count("complete") == 6


def test_processes_prune_and_know_the_rows(tmp_path: Path, found: Result) -> None:
    many = run(tmp_path, config(25, jobs=2))
    assert many.count("complete") + many.count("pruned") == 25
    assert many.count("pruned") > 0
    assert many.baseline == found.baseline
    assert many.value == pytest.approx(searches.lowest(**many.params))
    alone = run(tmp_path, config(1), search="of_rows")
    together = run(tmp_path / "together", config(2, jobs=2), search="of_rows")
    assert together.value == alone.value


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_users_mistake_in_a_trial_ends_the_search_in_its_words(tmp_path: Path, jobs: int) -> None:
    with pytest.raises(UserError, match=r"^There are too few rows\.$"):
        run(tmp_path, config(4, jobs=jobs), search="refused")


def test_a_process_that_is_killed_ends_the_search_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(searches.KILL_AT, "3")
    with pytest.raises(UserError, match=r"short of memory: set tune\.jobs lower"):
        run(tmp_path, config(12, jobs=2))
    monkeypatch.delenv(searches.KILL_AT)
    resumed = run(tmp_path, config(12, jobs=2))
    assert resumed.count("complete") + resumed.count("pruned") == 12
    assert resumed.count("failed") in (1, 2)


def test_a_defect_in_a_process_is_an_error_whose_traceback_is_in_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError, match="ended with code 1"):
        run(tmp_path, config(4, jobs=2), search="broken")
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_trial_without_a_loss_has_failed_and_the_search_goes_on(tmp_path: Path) -> None:
    found = run(tmp_path, config(4), search="diverged")
    assert [trial.state for trial in found.trials] == ["complete", "failed", "failed", "failed"]
    assert found.value == found.baseline == 0.7
    assert found.importance == {}


def test_a_search_without_any_loss_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of 3 trials of xgboost came to a loss"):
        run(tmp_path, config(3), search="hopeless")


def test_settings_outside_of_the_space_are_tried_first_all_the_same(tmp_path: Path) -> None:
    narrow = {"learning_rate": Range(low=0.5, high=0.9), "max_depth": Range(choices=(2, 3))}
    found = run(tmp_path, config(8, space={"xgboost": narrow}))
    first = found.trials[0]
    assert first.as_configured
    assert first.params == {}
    assert found.baseline == pytest.approx(searches.lowest(0.05, 6))
    assert found.params == {}, "nothing in the space is as good"
    assert all(0.5 <= trial.params["learning_rate"] <= 0.9 for trial in found.trials[1:])
    assert all(trial.params["max_depth"] in (2, 3) for trial in found.trials[1:])


def test_no_trial_starts_when_the_time_is_over(tmp_path: Path) -> None:
    found = run(tmp_path, config(1000, minutes=1e-3), search="search")
    assert 1 <= len(found.trials) < 1000
    assert found.baseline is not None


def test_two_processes_do_not_share_a_search(tmp_path: Path) -> None:
    run(tmp_path, config(1))
    (lock,) = tmp_path.glob("*.lock")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is at work on the same search"):
            run(tmp_path, config(2))
    assert len(run(tmp_path, config(2)).trials) == 2


def test_the_runner_is_told_of_trials_and_not_of_their_steps(tmp_path: Path) -> None:
    file = tmp_path / "progress"
    progress.write_to(file)
    try:
        run(tmp_path, config(3))
    finally:
        progress.write_to(None)
    assert progress.latest(file) == (3, 3, "trials")


def test_a_result_is_read_as_it_was_written(found: Result, tmp_path: Path) -> None:
    result.write(tmp_path, found)
    assert result.read(tmp_path) == found
    table = pq.read_table(tmp_path / result.TRIALS_FILE).to_pandas()
    assert list(table.number) == [*range(25)]
    assert list(table["params.max_depth"]) == [t.params["max_depth"] for t in found.trials]
    assert set(table.state) == {"complete", "pruned"}
    for name in (result.HISTORY_FILE, result.IMPORTANCE_FILE):
        assert "learning_rate" in (tmp_path / name).read_text() or name == result.HISTORY_FILE


def test_lists_are_in_the_table_as_json(tmp_path: Path) -> None:
    trial = result.Trial(
        number=0, state="complete", value=0.5, params={"hidden_units": [64, 32]}, seconds=1.0
    )
    found = Result(
        framework="keras", params={}, value=0.5, baseline=0.6, importance={}, trials=(trial,)
    )
    result.write(tmp_path, found)
    table = pq.read_table(tmp_path / result.TRIALS_FILE)
    assert table.column("params.hidden_units").to_pylist() == ["[64, 32]"]
    assert not (tmp_path / result.IMPORTANCE_FILE).exists()
    assert found.sentence() == (
        "keras: log loss 0.5000 on held-out rows after 1 trials, 0.6000 as configured"
    )
    squared = {"loss": "mean squared error", "value": 16181.8, "baseline": 20.25}
    assert found.model_copy(update=squared).sentence() == (
        "keras: mean squared error 16,182 on held-out rows after 1 trials, 20.25 as configured"
    )


def test_a_result_needs_neither_optuna_nor_tensorflow() -> None:
    program = (
        "import sys; import models.tuning.result, models.tuning; "
        "print({'optuna', 'tensorflow', 'tfx', 'matplotlib', 'numpy'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert printed.stdout == "set()\n", printed.stderr


@pytest.mark.parametrize("framework", Framework)
def test_each_frameworks_own_search_is_tuned(framework: Framework, tmp_path: Path) -> None:
    if framework is Framework.PYTORCH:
        pytest.importorskip("torch")
    importlib.import_module(f"models.{framework}_model")
    settings = TrainConfig.model_validate(
        {
            "seed": 7,
            "validation_share": 0.3,
            "keras": {"max_epochs": 2},
            "pytorch": {"max_epochs": 2},
            "sklearn": {"max_trees": 10},
            "xgboost": {"max_trees": 10},
        }
    )
    found = tune(framework, make_rows(400), (4, 4), settings, TuneConfig(trials=3), tmp_path)
    assert found.count("complete") + found.count("pruned") == 3
    assert 0 < found.value < 0.75
    assert found.value <= found.baseline
    assert set(found.params) == set(SPACES[framework])
    settings.with_parameters(framework, found.params)
