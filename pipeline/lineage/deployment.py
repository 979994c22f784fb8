"""What was put to work on a cluster, and which runs came of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.lineage import html
from pipeline.store import deployments

if TYPE_CHECKING:
    from pipeline.lineage.reader import Reader
    from pipeline.lineage.run import Run

_TARGETS = {"kubeflow": "kfp", "vertex": "vertex"}
"""What a deployment calls the runners of runs."""


@dataclass(frozen=True, repr=False)
class Deployment(deployments.Record):
    """One time that a package was put to work, or was to be."""

    _reader: Reader = field(compare=False)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs that ran it, the newest first."""
        return tuple(run for run in self._reader.runs() if of_run(run, self._reader) is self)

    def facts(self) -> dict[str, Any]:
        """What a table says of it."""
        first = ("action", "outcome", "when", "who", "pipeline", "target", "server", "commit")
        more = ("committed", "image", "package_digest", "version", "version_id", "reason")
        return {name: getattr(self, name) for name in (*first, *more)}

    def __str__(self) -> str:
        return f"{self.version}, {self.action} by {self.who}, {html.moment(self.when)}"

    def __repr__(self) -> str:
        what = f"{self.action} of {html.short(self.commit)} on {self.target}"
        return f"<Deployment {self.id}: {what}, {self.outcome}, {html.moment(self.when)}>"

    def _repr_html_(self) -> str:
        return html.facts(f"Deployment {self.id}", self.facts())


def all_of(reader: Reader) -> tuple[Deployment, ...]:
    """Every deployment that the store knows, the newest first."""
    return tuple(
        Deployment(**asdict(record), _reader=reader) for record in deployments.read(reader.store)
    )


def of_run(run: Run, reader: Reader) -> Deployment | None:
    """The deployment whose package a run ran; None where it was started otherwise.

    A run keeps its commit, image and runner, which a release and a later rollback may share: it is
    the one that was at work when the run began.
    """
    facts = run.facts
    if not facts.get("image"):
        return None
    found = [
        one
        for one in reader.deployments
        if one.outcome == deployments.COMPLETE
        and one.action != deployments.PAUSE
        and one.pipeline == facts.get("pipeline")
        and one.image == facts["image"]
        and one.commit == facts.get("commit")
        and one.target == _TARGETS.get(facts.get("runner", ""))
    ]
    # The clocks of two machines differ: a run that seems to be the earlier is of the first.
    return next((one for one in found if one.when <= run.begun), found[-1] if found else None)
