"""Compares metrics with what the configuration allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from custom_components.evaluator.verdict import Check, Rule, Slice
from pipeline.evaluate_config import EvaluateConfig, Metric, SliceGuard, Threshold

_DUST = 1e-9
"""Differences below are rounding."""
_RELATIONS = {
    (Rule.MIN, True): "at least",
    (Rule.MIN, False): "below",
    (Rule.MAX, True): "at most",
    (Rule.MAX, False): "above",
}


def judge(
    config: EvaluateConfig, slices: Sequence[Slice], candidate: str, live: str | None
) -> list[Check]:
    """Makes every comparison that `config` asks for.

    Args:
        config: Thresholds over all rows, and guards of slices.
        slices: All rows first, then every slice.
        candidate: The name of the model to judge.
        live: The name of the model to compare it with, if there is one.

    Returns:
        The checks, those over all rows first. One that cannot be made is there too, not judged.
    """
    overall, *parts = slices
    checks: list[Check] = []
    for metric, threshold in config.thresholds.items():
        checks += _bounds(overall, candidate, live, metric, threshold)
    for guard in config.guards:
        checks += _guarded(overall, parts, candidate, live, guard)
    return checks


def _bounds(
    overall: Slice, candidate: str, live: str | None, metric: Metric, threshold: Threshold
) -> Iterator[Check]:
    """Checks of the metric over all rows."""
    value = overall.models[candidate][metric]
    for rule, bound in ((Rule.MIN, threshold.min), (Rule.MAX, threshold.max)):
        if bound is None:
            continue
        if value is None:
            passed = False
            reason = f"{metric} is undefined on these rows"
        else:
            passed = value >= bound - _DUST if rule is Rule.MIN else value <= bound + _DUST
            relation = _RELATIONS[rule, passed]
            reason = f"{metric} {metric.words(value)} is {relation} {metric.bound_words(bound)}"
        yield Check(
            model=candidate,
            metric=metric,
            rule=rule,
            slice={},
            rows=overall.rows,
            value=value,
            bound=bound,
            judged=True,
            passed=passed,
            reason=reason,
        )
    if threshold.max_regression is not None:
        yield _compared(
            overall, candidate, live, metric, Rule.MAX_REGRESSION, threshold.max_regression
        )


def _guarded(
    overall: Slice, parts: Iterable[Slice], candidate: str, live: str | None, guard: SliceGuard
) -> Iterator[Check]:
    """Checks of each slice that the guard watches."""
    if live is None:
        check = _compared(overall, candidate, live, guard.metric, Rule.GUARD, guard.max_regression)
        columns = " and ".join(guard.columns)
        yield check.model_copy(
            update={"reason": f"no live model to compare slices by {columns} with"}
        )
        return
    for part in parts:
        if tuple(part.columns) == guard.columns:
            yield _compared(
                part,
                candidate,
                live,
                guard.metric,
                Rule.GUARD,
                guard.max_regression,
                min_rows=guard.min_rows,
            )


def _compared(
    rows: Slice,
    candidate: str,
    live: str | None,
    metric: Metric,
    rule: Rule,
    bound: float,
    *,
    min_rows: int = 0,
) -> Check:
    """The check whether a metric is at most `bound` worse than the live model's."""
    value = rows.models[candidate][metric]
    reference = rows.models[live][metric] if live else None
    judged, passed = False, True
    where = f"{rows.name}: " if rows.columns else ""
    if live is None:
        reason = f"no live model to compare {metric} with"
    elif rows.rows < min_rows:
        reason = f"{where}{rows.rows} rows are fewer than the {min_rows} that it takes to judge"
    elif reference is None:
        reason = f"{where}{metric} is undefined for the live model"
    elif value is None:
        judged, passed = True, False
        reason = f"{where}{metric} is undefined, {metric.words(reference)} for the live model"
    else:
        worse = metric.goodness(reference) - metric.goodness(value)
        judged, passed = True, worse <= metric.allowance(bound, reference) + _DUST
        change = f"{metric.words(worse)} worse than" if worse > 0 else "not worse than"
        allowed = "" if worse <= 0 else f"; {metric.setting_words(bound)} is allowed"
        reason = (
            f"{where}{metric} {metric.words(value)} is {change} the live model's "
            f"{metric.words(reference)}{allowed}"
        )
    return Check(
        model=candidate,
        metric=metric,
        rule=rule,
        slice=rows.columns,
        rows=rows.rows,
        value=value,
        live=reference,
        bound=bound,
        judged=judged,
        passed=passed,
        reason=reason,
    )
