"""Charts: images that stand in a page, follow its colours, and say in words what they show."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from custom_components.evaluator.curves import CalibrationPoint, ThresholdPoint
from custom_components.evaluator.points import Points
from custom_components.gate_report import Drift, Measure
from pipeline.evaluate_config import Metric
from pipeline.report import charts, prediction_charts, theme
from pipeline.report.drawing import Chart

HOSTILE = "<b onload='x'>$\\frac{1}{2}$ & \"so\" -->"
LINEAR = [CalibrationPoint(k / 10, k / 12, 5) for k in range(10)]
POINTS = [
    ThresholdPoint(
        threshold=k / 100,
        precision=None if k > 80 else k / 100,
        recall=1 - k / 100,
        accuracy=0.5,
        flagged=1 - k / 100,
    )
    for k in range(100)
]
DRIFT = [
    Drift(
        feature=HOSTILE,
        measure=Measure.JENSEN_SHANNON,
        value=0.4567,
        threshold=0.3,
        change="much",
    )
]
OFF = Points(np.linspace(0, 9e5, 50), {"it": np.linspace(1e5, 8e5, 50)})


def history(losses: list[float], *, search: bool = True) -> pd.DataFrame:
    lost = losses if search else [float("nan")] * len(losses)
    frame = pd.DataFrame({"learned": losses, "search_learned": lost, "search_held_out": lost})
    frame.attrs = {
        "framework": HOSTILE,
        "step": "epoch",
        "steps": 1,
        "loss": "log loss",
        "seconds": 1.0,
    }
    return frame


def all_charts() -> dict[str, Chart]:
    begun = datetime(2013, 4, 1, tzinfo=UTC)
    days = [begun + timedelta(days=k) for k in range(9)]
    return {
        "intervals": charts.intervals(Metric.AUC, [charts.Estimate(HOSTILE, 0.7, 0.6, 0.8)], [0.6]),
        "calibration": prediction_charts.calibration({HOSTILE: LINEAR, "live": LINEAR}),
        "thresholds": prediction_charts.thresholds(HOSTILE, POINTS, 0.3),
        "roc": prediction_charts.roc({HOSTILE: [(0.0, 0.0), (0.2, 0.7), (1.0, 1.0)]}),
        "recall": prediction_charts.precision_recall({HOSTILE: [(0.5, 0.9), (1.0, None)]}, 0.2),
        "errors": prediction_charts.errors({HOSTILE: OFF.predictions("it") - OFF.labels}),
        "predicted": prediction_charts.predicted_and_true(HOSTILE, OFF, "it"),
        "drift": charts.drift("distance", DRIFT),
        "training": charts.training(history([0.6, 0.5])),
        "timeline": charts.timeline([charts.Bar(HOSTILE, 0.0, 1.5, "failed")]),
        "trend": charts.trend(Metric.AUC, days, {HOSTILE: [None, *[0.7] * 8]}, [0.6]),
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, Chart]:
    return all_charts()


@pytest.mark.parametrize("name", all_charts())
def test_a_chart_is_one_image_with_its_words_in_it(drawn: dict[str, Chart], name: str) -> None:
    root = ElementTree.fromstring(drawn[name])
    assert root.tag.endswith("}svg")
    assert root.get("role") == "img"
    assert HOSTILE in (root.get("aria-label") or "") or name == "trend"
    shown = ["".join(text.itertext()).strip() for text in root.iter(f"{_ns(root)}text")]
    assert any(HOSTILE in one for one in shown)
    assert not {child.tag for child in root.iter()} & {f"{_ns(root)}b", f"{_ns(root)}style"}


@pytest.mark.parametrize("name", all_charts())
def test_every_colour_is_the_pages(drawn: dict[str, Chart], name: str) -> None:
    without = re.sub(r"var\(--[a-z0-9]+, #[0-9a-f]{6}\)", "", drawn[name])
    assert not re.findall(r"(?:fill|stroke|color): #[0-9a-f]{3,6}", without)
    used = set(re.findall(r"var\(--([a-z0-9]+)", drawn[name]))
    assert used
    assert used <= set(theme.LIGHT)


def test_charts_do_not_share_ids(drawn: dict[str, Chart]) -> None:
    ids = [one for chart in drawn.values() for one in re.findall(r' id="([^"]+)"', chart)]
    assert len(ids) == len(set(ids))
    for chart in drawn.values():
        used = re.findall(r'(?:url\(|href=")#([^)"]+)', chart)
        assert set(used) <= set(re.findall(r' id="([^"]+)"', chart))


def test_the_same_data_give_the_same_chart(drawn: dict[str, Chart]) -> None:
    assert all_charts() == drawn


def test_a_chart_tells_its_values_to_those_who_do_not_see_it() -> None:
    estimate = charts.Estimate("keras", 0.71234, 0.61, 0.81, passed=True)
    assert "keras 0.7123 (0.6100 to 0.8100)" in charts.intervals(Metric.AUC, [estimate])
    assert "at 0.3 30%, 70% and 70%" in prediction_charts.thresholds("keras", POINTS, 0.3)
    assert "at 0.9 undefined, 10% and 10%" in prediction_charts.thresholds("keras", POINTS, 0.9)
    assert "0.457 of 0.3" in charts.drift("distance", DRIFT)
    bars = [charts.Bar("Trainer.keras", 2.0, 10.0, "complete")]
    assert "Trainer.keras at 2.0 s for 10.0 s, complete" in charts.timeline(bars)


def test_what_fails_is_told_by_its_shape_and_in_words_too() -> None:
    def shapes(passed: bool | None) -> str:
        drawn = charts.intervals(Metric.AUC, [charts.Estimate("keras", 0.7, 0.6, 0.8, passed)])
        return re.sub(r"var\([^)]*\)|[0-9a-f]{8}-\w+", "", drawn)

    assert len({shapes(True), shapes(False), shapes(None)}) == 3
    assert "too far" in charts.drift("distance", DRIFT)
    assert ">failed<" in charts.timeline([charts.Bar("Canary", 0, 1, "failed")])
    assert ">cached<" in charts.timeline([charts.Bar("Canary", 0, 1, "cached")])


def test_charts_without_data_are_empty_images() -> None:
    for chart in (
        charts.intervals(Metric.AUC, []),
        prediction_charts.calibration({}),
        prediction_charts.thresholds("keras", [], 0.5),
        prediction_charts.errors({}),
        prediction_charts.predicted_and_true(
            "keras", Points(np.zeros(0), {"it": np.zeros(0)}), "it"
        ),
        charts.drift("distance", []),
        charts.timeline([]),
        charts.trend(Metric.AUC, [], {"champion": []}),
    ):
        assert ElementTree.fromstring(chart) is not None


def test_a_training_of_one_step_without_a_search_is_a_point() -> None:
    chart = charts.training(history([0.5], search=False))
    assert "all rows from 0.5 to 0.5" in chart
    assert "held out" not in chart


def test_outside_of_a_page_a_chart_brings_its_colours() -> None:
    alone = charts.timeline([charts.Bar("Canary", 0, 1, "complete")])._repr_svg_()
    assert ElementTree.fromstring(alone) is not None
    assert f"--ink: {theme.LIGHT['ink']}" in alone
    assert f"--ink: {theme.DARK['ink']}" in alone


def test_both_themes_have_the_same_colours_all_different() -> None:
    assert list(theme.LIGHT) == list(theme.DARK)
    assert len(set(theme.LIGHT.values())) == len(theme.LIGHT)


@pytest.mark.parametrize("colors", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "panel"])
def test_words_stand_out_from_what_is_behind_them(colors: dict[str, str], ground: str) -> None:
    for key in ("ink", "muted", "accent", "good", "warn", "bad"):
        assert contrast(colors[key], colors[ground]) >= 4.5, key
    for key in theme.SERIES:
        assert contrast(colors[key], colors[ground]) >= 3, key


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 defines it."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _ns(root: ElementTree.Element) -> str:
    return root.tag.removesuffix("svg")
