from pathlib import Path

import pytest

from benchmarks import frameworks, report_frameworks
from models.bundle import Bundle
from tests.benchmarks import figures
from tests.models import tiny


def test_the_ratio_of_three_frameworks_to_one_stands_beside_its_target() -> None:
    text = report_frameworks.frameworks(figures.frameworks())
    assert "three frameworks take 1.50 times as long as Keras alone (target: 1.6 at most)" in text
    assert "150,000" in text


def test_four_frameworks_are_run_only_where_pytorch_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert list(frameworks.scenarios()) == ["keras", "three"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert list(frameworks.scenarios()) == ["keras", "three", "four"]


def test_every_call_is_timed_and_those_that_warm_up_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frameworks, "_SECONDS", 0.0)
    calls: list[int] = []
    seconds = frameworks._times(calls.append)
    assert len(seconds) == frameworks._WARM_UP_CALLS
    assert calls == [*range(frameworks._WARM_UP_CALLS)] * 2


def test_the_bundles_of_a_run_are_found_and_averaged(tmp_path: Path) -> None:
    for name in ("keras", "xgboost"):
        tiny.save_model(tmp_path / f"Trainer.{name}" / "model" / "7" / "Format-Serving")
    found = frameworks.bundles(tmp_path, ["keras", "xgboost"])
    assert list(found) == ["keras", "xgboost", "ensemble"]
    assert Bundle.load(found["ensemble"]).predict(tiny.RAW) == pytest.approx(tiny.expected())
