"""Why a run happened: what each part of the policy found, or that a person asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.lineage import RetrainDecision, Run
from pipeline.store.decisions import TO_DECIDE

_SAYS = {True: ("holds it back", "bad"), False: ("asks for it", "good")}
"""What a rule says that holds, by whether it is one that holds back; and how good that is."""


@dataclass(frozen=True)
class Part:
    """A part of the policy, as it was configured then."""

    rule: str
    says: str
    tone: str
    value: float | None
    """What was measured; None where there is nothing to measure."""
    bound: float | None
    """The setting that it was compared with."""
    words: str

    @property
    def form(self) -> str:
        """How the value is written."""
        return "count" if isinstance(self.value, int) else "general"


@dataclass(frozen=True)
class Why:
    """Why the run happened."""

    sentence: str
    decision: RetrainDecision | None = None
    parts: tuple[Part, ...] = ()


def why(run: Run) -> Why:
    """From the decision that started it, or else from what the runner has kept."""
    began = run.retrain_decision
    if began is not None:
        return Why(
            f"The policy asked for it, in decision {began.id}. One reason is enough; what holds "
            "back outweighs all of them; what is not configured is not in the table.",
            began,
            tuple(map(_part, began.findings)),
        )
    if run.note.endswith(TO_DECIDE):
        return Why("The policy looked at the span, to decide about it.")
    if run.runner in ("", "local"):
        return Why("Started by hand.")
    return Why(f"Started on {run.runner}, by a person or a schedule there, not by a decision.")


def _part(finding: dict[str, Any]) -> Part:
    from pipeline.continuous.policy import Rule

    says, tone = "no", "muted"
    if finding["holds"]:
        says, tone = _SAYS[Rule(finding["rule"]).holds_back]
    words = str(finding["words"])
    words = words[:1].upper() + words[1:]
    return Part(finding["rule"], says, tone, finding["value"], finding["bound"], words)
