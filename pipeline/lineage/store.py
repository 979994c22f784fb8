"""The metadata store, open for questions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.lineage import html
from pipeline.lineage.artifact import EXAMPLES, MODEL, Artifact
from pipeline.lineage.decision import Decisions
from pipeline.lineage.deployment import Deployment
from pipeline.lineage.reader import Reader
from pipeline.lineage.run import Run
from pipeline.store import connect, database

if TYPE_CHECKING:
    import pandas as pd

_NOT_MADE = ("pending", "abandoned")
_SHOWN, _NEAR = 20, 3


def open(address: PipelineConfig | Path | str) -> Store:
    """The store of a pipeline, to read from only.

    Args:
      address: the pipeline's configuration; or a URL as in `store.url` (sqlite:///FILE,
        postgresql://…, mysql://…), whose password comes from the environment; or the path of an
        sqlite file.

    Raises:
      UserError: there is none, it cannot be reached, or it is something else.
    """
    if isinstance(address, PipelineConfig):
        return Store(Reader(connect.existing(address)))
    is_file = isinstance(address, str) and "://" not in address and Path(address).is_file()
    if isinstance(address, Path) or is_file:
        address = f"sqlite:///{Path(address).absolute()}"
    scheme = address.partition("://")[0] if isinstance(address, str) else ""
    if scheme not in ("sqlite", "postgresql", "mysql"):
        raise UserError(
            f"{address!r} is no metadata store's address; expected sqlite:///FILE, "
            "postgresql://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE, or an sqlite file"
        )
    connection = connect.connection_to(address, mode=connect.READ_ONLY)
    if not connect.exists(connection):
        raise UserError(f"{database.place(connection)}: there is no metadata store")
    return Store(Reader(connect.opened(connection)))


class Store:
    """What a pipeline's runs have left, as it is when first asked; open it anew to see more.

    An artifact, a node or a run is the same object however it is reached.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def runs(self, limit: int | None = None) -> tuple[Run, ...]:
        """The runs, the newest first; a backfill is found in its run's `backfills`.

        Raises:
          UserError: `limit` is no number of runs.
        """
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise UserError(f"runs({limit!r}): expected how many runs, as in runs(10)")
        return tuple(islice(self, limit))

    def __iter__(self) -> Iterator[Run]:
        """The runs, the newest first; read as far as is looked at."""
        # Where backfills come before their run, they stand alone until it begins.
        return filter(self._reader.stands_alone, self._reader.runs())

    def deployments(self) -> tuple[Deployment, ...]:
        """What was put to work on a cluster, and what failed to be, the newest first."""
        return self._reader.deployments

    def decisions(self) -> Decisions:
        """What the policy of `python -m pipeline continuous` said of spans, the newest first."""
        return self._reader.decisions

    def read_ahead(self, runs: Iterable[Run]) -> None:
        """Reads what tables say of many runs by a few questions, in place of some for each."""
        self._reader.read_ahead(runs, MODEL)

    def run(self, run_id: str) -> Run:
        """The run, or the backfill, with that id.

        Raises:
          UserError: there is none.
        """
        if not isinstance(run_id, str):
            raise UserError(f"{run_id!r} is not a run's id, as in '20261125-090000'")
        return self._reader.run(run_id)

    def artifact(self, artifact_id: int) -> Artifact:
        """The artifact with that id.

        Raises:
          UserError: there is none.
        """
        _check_number(artifact_id, "an artifact")
        # The store's ids have 64 bits; it fails on more.
        found = self._reader.artifacts([artifact_id]) if artifact_id < 2**63 else {}
        if artifact_id not in found:
            raise UserError(f"there is no artifact {artifact_id} in the metadata store")
        return found[artifact_id]

    def live_model(self) -> Artifact:
        """The model that was pushed last.

        Raises:
          UserError: none has been.
        """
        newest = self._reader.live_model
        if newest is None:
            raise UserError(
                "no model is live yet: no run has pushed one. Its gate, evaluator and canary must "
                "all pass; the summary at a run's end says which did not"
            )
        return newest

    def find(self, type: str | None = None, **properties: Any) -> tuple[Artifact, ...]:
        """The artifacts of a type with these properties, as in `find("ModelSelection", winner="")`.

        Raises:
          UserError: the store knows no such type, or no such property of its artifacts.
        """
        found = self._reader.find(type, properties)
        if type is not None and not found:
            self._check_type(type)
        if not found:
            self._check_properties(type, properties)
        return tuple(artifact for artifact in found if artifact.state not in _NOT_MADE)

    def _check_type(self, name: str) -> None:
        known = sorted(kind.name for kind in self._reader.store.get_artifact_types())
        if name not in known:
            raise UserError(
                f"the metadata store knows no type {name!r} of artifacts; there are: "
                f"{', '.join(known) or 'none yet'}"
            )

    def _check_properties(self, type: str | None, wanted: Iterable[str]) -> None:
        known = {key for artifact in self._reader.find(type, {}) for key in artifact.properties}
        unknown = [key for key in wanted if key not in known]
        if known and unknown:
            raise UserError(
                f"no {type or 'artifact'} has a property {unknown[0]!r}; there are: "
                f"{', '.join(sorted(known))}"
            )

    def span(self, number: int) -> tuple[Artifact, ...]:
        """The examples that were ingested as that span: more than one if its files changed.

        The last are those that were ingested, or found in the cache, last.

        Raises:
          UserError: none were.
        """
        _check_number(number, "a span")
        examples = self.find(EXAMPLES)
        of_span = [a for a in examples if a.properties.get("span") == number]
        parents = self._reader.parents(of_span)
        ingested = tuple(a for a in of_span if all(p.type != EXAMPLES for p in parents[a.id]))
        if not ingested:
            there = sorted({a.properties["span"] for a in examples if "span" in a.properties})
            near = sorted(there, key=lambda span: abs(span - number))[:_NEAR]
            raise UserError(
                f"span {number} was not ingested; there are {len(there)}, the nearest: "
                f"{', '.join(map(str, sorted(near))) or 'none yet'}"
            )
        return tuple(sorted(ingested, key=self._reader.put_out_last))

    def frame(self) -> pd.DataFrame:
        """The runs as a table, a row for each, the newest first."""
        import pandas as pd

        runs = self.runs()
        self.read_ahead(runs)
        return pd.DataFrame([run.summary() for run in runs])

    def __repr__(self) -> str:
        runs = self.runs()
        newest = f", the newest {runs[0].id}" if runs else ""
        return f"<Store: {len(runs)} runs{newest}>"

    def _repr_html_(self) -> str:
        return html.table([run.summary() for run in self.runs(_SHOWN)])


def _check_number(given: object, what: str) -> None:
    if not isinstance(given, int):
        raise UserError(f"{given!r} is not {what}'s number, as in 3")
