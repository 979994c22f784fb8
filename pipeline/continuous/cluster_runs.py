"""Runs that decisions start on Kubeflow or on Vertex AI, and found there again after a crash."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.cluster.remote import FINAL, Package, RemoteRun, Server
from pipeline.config import PipelineConfig
from pipeline.continuous.apart import apart
from pipeline.continuous.runs import Done, RunFailed, done, mark_of, refuse_second, runs_with
from pipeline.errors import UnreachableError, UserError
from pipeline.lineage.run import Run
from pipeline.store.record import SUCCEEDED

if TYPE_CHECKING:
    from pipeline.cluster.kfp_settings import Target

POLL_SECONDS = 10.0
PATIENCE_SECONDS = 600.0
"""For how long a server that cannot be asked how a run goes is asked again."""

Compile = Callable[[PipelineConfig], Package]


class Ingests(Protocol):
    """Who brings a span into the store."""

    def ingest(self, span: int) -> None:
        """See `Runner`."""


class ClusterRuns:
    """A server's runs. Spans are ingested here, into the store that all share.

    To decide about a span this machine has to read store and root anyway; what it has made of the
    span the run on the server finds in the cache.
    """

    def __init__(
        self,
        config: PipelineConfig,
        server: Callable[[], Server],
        here: Ingests,
        compiled: Compile,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Contacts nothing yet.

        Args:
          config: the pipeline's.
          server: gives the server, signed in: the token of a pod does not last as long as a run.
          here: ingests.
          compiled: makes the package of a configuration.
          clock: the time in seconds, which never goes back.
          sleep: waits so many seconds.
        """
        self._config, self._server, self._here, self._compiled = config, server, here, compiled
        self._clock, self._sleep = clock, sleep

    def ingest(self, span: int) -> None:
        """See `Runner`."""
        self._here.ingest(span)

    def train(self, decision: int, span: int, note: str, begun: Callable[[str], None]) -> Done:
        """See `Runner`. Who is interrupted leaves the run at work, and goes on with it later."""
        mark = mark_of(decision)
        known = list(runs_with(self._config, mark))
        for run in known:
            if run.facts.get("outcome") == SUCCEEDED:
                begun(run.id)
                return done(run)
        refuse_second(next(iter(known), None), self._config.continuous.runner)
        label = self._label(decision)
        try:
            # What its server has of it may not be in the store yet.
            going = [r for r in self._server().labelled(label) if _may_succeed(r)]
            if going:
                remote, earlier = going[0], frozenset[str]()
            else:
                earlier = frozenset(run.id for run in known)
                remote = self._submit(label, span, f"{mark}{note}")
        except UserError as error:
            raise RunFailed(f"the run did not begin: {error}") from None
        begun(remote.id)
        return self._waited_for(remote, mark, earlier, begun)

    def _submit(self, label: str, span: int, note: str) -> RemoteRun:
        package = self._compiled(self._config)
        values = package.parameters([f"span={span}", f"note={note}"])
        return self._server().submit(package, values, label=label)

    def _waited_for(
        self, remote: RemoteRun, mark: str, earlier: frozenset[str], begun: Callable[[str], None]
    ) -> Done:
        """What a run came to, which in the store may have another id than on its server."""
        run: Run | None = None
        asked = self._clock()
        while True:
            is_over = remote.state in FINAL
            if run is None or is_over:
                there = (r for r in runs_with(self._config, mark) if r.id not in earlier)
                run = next(there, None)
                if run is not None and run.id != remote.id:
                    begun(run.id)
            if is_over:
                break
            self._sleep(POLL_SECONDS)
            try:
                remote = self._server().run(remote.id)
                asked = self._clock()
            except UnreachableError as error:
                if self._clock() - asked > PATIENCE_SECONDS:
                    raise RunFailed(f"nobody knows how run {remote.id} goes: {error}") from None
            except UserError as error:
                raise RunFailed(f"run {remote.id}: {error}") from None
        if remote.state == "SUCCEEDED":
            return done(run) if run else Done(remote.id, "")
        reason = run.reason if run is not None and run.reason else _reason(remote)
        raise RunFailed(f"run {run.id if run else remote.id}: {reason} ({remote.link})")

    def _label(self, decision: int) -> str:
        """Tells the decision's runs from those of a pipeline of the same name with another store.

        A store has one root.
        """
        root = hashlib.sha256(self._config.pipeline_root.encode()).hexdigest()[:8]
        return f"decision-{decision}-{root}"


def compiler(target: Target) -> Compile:
    """Compiles packages in a process of its own, so that TensorFlow does not stay in this one."""

    def compiled(config: PipelineConfig) -> Package:
        text = apart(_compile, config, target, doing="compiled the package")
        return Package(text)

    return compiled


def _compile(config: PipelineConfig, target: Target) -> str:
    from pipeline.quiet import errors_to

    with errors_to(Path(os.devnull)):  # What libraries say of the machine.
        from pipeline.runners import kubeflow

        return kubeflow.compile_package(config, target=target)


def _may_succeed(run: RemoteRun) -> bool:
    return run.state == "SUCCEEDED" or run.state not in FINAL


def _reason(run: RemoteRun) -> str:
    """Why a run failed, as its server says."""
    failed = [task for task in run.tasks if task.state == "FAILED"]
    words = [f"{task.name} failed{': ' if task.error else ''}{task.error}" for task in failed]
    return "; ".join(words) or run.error or f"it is {run.state}"
