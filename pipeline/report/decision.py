"""What a run has decided, in the sentences with which its page begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.config import Severity
from pipeline.lineage import PUSHED_MODEL, Artifact
from pipeline.report.evidence import GATE, Evidence, failed_node
from pipeline.report.figures import percents

_NONE_MAY = ": no candidate may go live ("
_APPROVE = "python -m pipeline registry approve"

Tone = Literal["good", "warn", "bad", "muted"]


@dataclass(frozen=True)
class Paragraph:
    """Words, and a list below them; either may be empty."""

    text: str = ""
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What came of a run."""

    tone: Tone
    """How good that is."""
    sentence: str
    """It, in a sentence."""
    why: tuple[Paragraph, ...] = ()
    """The reason, and what follows from it."""
    command: str = ""
    """What a person may type now."""


@dataclass(frozen=True)
class Hint:
    """One thing that is worth a look."""

    text: str
    section: str
    """The id of the section that tells more."""


def decision(found: Evidence) -> Decision:
    """What was decided, and why. The store alone says it, so that no file needs to be there."""
    run, pushed = found.run, found.pushed
    if run.state == "failed":
        return _failed(found)
    selection = found.last("ModelSelection")
    if selection is None:
        return _undecided(found)
    winner = str(selection.properties.get("winner") or "")
    reason = percents(str(selection.properties.get("reason") or ""))
    if not winner:
        return _nobody(found, reason)
    if pushed is not None:
        approved = "" if pushed in run.outputs(PUSHED_MODEL) else ", as a person approved it"
        sentence = f"Pushed: {_went_live(pushed)}{approved}."
        return Decision("good", sentence, (Paragraph(f"{reason}."), _since(pushed)))
    return _not_yet(found, winner, Paragraph(f"{reason}."))


def hints(found: Evidence) -> Iterator[Hint]:
    """What else a reader should know of."""
    verdict, gate, best = found.verdict.content, found.gate.content, found.best
    if verdict and best in verdict.blessed and (failures := verdict.failures(best)):
        slices = [check for check in failures if check.slice]
        if bounds := [check for check in failures if not check.slice]:
            metrics = ", ".join(dict.fromkeys(str(check.metric) for check in bounds))
            yield Hint(f"{best}, the best candidate, fails on {metrics}", "metrics")
        if slices:
            names = ", ".join(_slice(check.slice) for check in slices[:3])
            more = f" and {len(slices) - 3} more" if len(slices) > 3 else ""
            yield Hint(f"{best} is too much worse on {names}{more}", "slices")
    # A finding that stops the run fails it, and leaves no report.
    warnings = [f for f in gate.findings if f.severity is Severity.WARN] if gate else []
    if warnings:
        columns = ", ".join(dict.fromkeys(f.feature or "rows" for f in warnings))
        yield Hint(f"the data gate warns of {columns}", "data")
    told = found.registration
    if told is not None and not told.properties.get("registered"):
        yield Hint(f"MLflow was not told: {told.properties.get('reason')}", "versions")


def _failed(found: Evidence) -> Decision:
    run, node = found.run, failed_node(found.run)
    name = run.facts.get("failed_node") or (node.name if node else "")
    first, *more = _paragraphs((node.error if node else "") or run.reason) or [Paragraph()]
    what = first.text.rstrip(":.")
    if name == GATE:
        sentence = f"Stopped by the data gate: {what}."
    else:
        sentence = f"Failed in {name}: {what}." if name else f"Failed: {what}."
    if found.pushed is not None:
        stays = f"Before that {_went_live(found.pushed)}."
    else:
        stays = "Nothing was pushed; the model that was live, if any, stays."
    return Decision("bad", sentence, (Paragraph(items=first.items), *more, Paragraph(stays)))


def _paragraphs(text: str) -> list[Paragraph]:
    """An error's lines, as errors are written here: those that begin with a dash are a list."""
    found: list[Paragraph] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("- ") and found:
            found[-1] = replace(found[-1], items=(*found[-1].items, line.removeprefix("- ")))
        else:
            found.append(Paragraph(line))
    return found


def _undecided(found: Evidence) -> Decision:
    if found.run.state == "running":
        return Decision("muted", "Nothing is decided yet: the run has not ended.")
    if found.pushed is not None:  # By `registry approve` or `rollback`.
        live = _went_live(found.pushed)
        return Decision("good", f"Made live by a person: {live}.", (_since(found.pushed),))
    return Decision(
        "muted", "Nothing was decided: the nodes that choose were not part of this run."
    )


def _nobody(found: Evidence, reason: str) -> Decision:
    stays, mark, rest = reason.partition(_NONE_MAY)
    if not mark:  # "the live X stays: the best candidate, …"
        stays, _, rest = (reason or "no candidate was chosen").partition(": ")
        why = Paragraph(f"{_capital(rest)}." if rest else "")
        return Decision("warn", f"Not pushed: {stays}.", (why,))
    selection = found.selection.content
    why = Paragraph(f"{rest.removesuffix(')')}.")
    if selection:
        why = Paragraph(
            items=tuple(f"{c.name}: {percents(c.reason)}." for c in selection.candidates)
        )
    return Decision("warn", f"Not pushed: {stays}, as no candidate may go live.", (why,))


def _not_yet(found: Evidence, winner: str, reason: Paragraph) -> Decision:
    canary = found.last("InfraBlessing")
    if canary is None:
        return Decision("muted", f"{winner} was chosen, but not tried and not pushed.", (reason,))
    if not canary.properties.get("blessed"):
        why = Paragraph(
            f"{_capital(str(canary.properties.get('reason') or 'it did not say why'))}."
        )
        sentence = f"Not pushed: {winner} was chosen, but the canary refused it."
        return Decision("warn", sentence, (why, reason))
    approval = found.run.config.get("register", {}).get("approval")
    if approval == "manual":
        sentence = f"Not live yet: {winner} was chosen and waits for a person's approval."
        return Decision("warn", sentence, (reason,), _APPROVE)
    if approval == "shadow":
        sentence = f"Not live yet: {winner} was chosen and waits for its trial on the next span."
        return Decision("warn", sentence, (reason,))
    if found.run.state == "running":
        return Decision("muted", f"{winner} was chosen and is about to be pushed.", (reason,))
    return Decision("muted", f"{winner} was chosen, but this run was not to push it.", (reason,))


def _went_live(pushed: Artifact) -> str:
    framework = pushed.properties.get("framework") or "a model"
    return f"{framework} went live as version {pushed.properties.get('pushed_version')}"


def _since(pushed: Artifact) -> Paragraph:
    if pushed.is_live:
        return Paragraph("It was still the live model when this page was written.")
    return Paragraph("Another model has replaced it since.")


def _slice(columns: dict[str, str | int | float]) -> str:
    return ", ".join(f"{column} {value}" for column, value in columns.items())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
