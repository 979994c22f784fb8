"""Runs the pipeline on this machine: nodes in parallel, each in a child of one warm process."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import progress
from pipeline.display import Display
from pipeline.node import NodeResult, State, run_node, warm_up

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 5.0


@dataclass
class _Worker:
    """A node at work."""

    process: BaseProcess
    result: Connection
    progress_file: Path
    started: float = field(default_factory=time.monotonic)

    def finished(self, node_id: str) -> NodeResult:
        """The result it sent, or what can be said of a process that died without one."""
        seconds = time.monotonic() - self.started
        try:
            result: NodeResult = self.result.recv()
        except EOFError:
            self.process.join()
            code = self.process.exitcode or 0
            cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            message = f"its process was ended by {cause}"
            if code == -signal.SIGKILL:
                message += "; the machine may be short of memory: try --jobs 1"
            return NodeResult(node_id, State.FAILED, seconds, message, defect=True)
        self.process.join()
        return result


class LocalRunner:
    """Runs compiled pipelines, several nodes at once where the graph allows.

    The process that makes it has imported TensorFlow and TFX but run no TensorFlow operation:
    only then may it fork. Where fork is unsafe (macOS) children are spawned: they import all
    again, which is slower; that way was not run on a Mac.
    """

    def __init__(self, *, store: bytes, jobs: int, display: Display) -> None:
        """Nodes use the metadata store that `store` (a serialized ConnectionConfig) names."""
        self._store = store
        self._jobs = jobs
        self._display = display
        self._context: ForkContext | SpawnContext = (
            multiprocessing.get_context("fork")
            if sys.platform == "linux"
            else multiprocessing.get_context("spawn")
        )
        warm_up()

    def run(
        self, ir: pipeline_pb2.Pipeline, *, log_file: Callable[[str], Path]
    ) -> list[NodeResult]:
        """Runs the nodes of `ir` that are not marked to be skipped; their results, as they ended.

        After a node fails no further node starts; those at work come to their end. When this
        process is interrupted or dies, its children end too.
        """
        waiting = {node_id: set(needs) for node_id, needs in dependencies(ir)}
        self._display.begin(list(waiting))
        working: dict[str, _Worker] = {}
        results: list[NodeResult] = []
        try:
            while waiting or working:
                failed = any(result.state is State.FAILED for result in results)
                ready = [] if failed else [n for n, needs in waiting.items() if not needs]
                for node_id in ready[: self._jobs - len(working)]:
                    del waiting[node_id]
                    working[node_id] = self._start(ir, node_id, log_file(node_id))
                    self._display.started(node_id)
                if not working:
                    break
                for node_id, result in self._wait(working):
                    results.append(result)
                    self._display.ended(result)
                    for needs in waiting.values():
                        needs.discard(node_id)
        finally:
            _stop(working.values())
            self._display.end()
        return results

    def _start(self, ir: pipeline_pb2.Pipeline, node_id: str, log_file: Path) -> _Worker:
        receiver, sender = self._context.Pipe(duplex=False)
        progress_file = log_file.with_suffix(".progress")
        process = self._context.Process(
            target=_work,
            args=(ir.SerializeToString(), node_id, self._store, log_file, progress_file, sender),
            name=node_id,
        )
        process.start()
        sender.close()
        return _Worker(process, receiver, progress_file)

    def _wait(self, working: dict[str, _Worker]) -> Iterator[tuple[str, NodeResult]]:
        """Takes those that ended within a moment out of `working`; shows the others' progress."""
        ended = wait([worker.result for worker in working.values()], timeout=_POLL_SECONDS)
        for node_id, worker in list(working.items()):
            if worker.result in ended:
                del working[node_id]
                worker.progress_file.unlink(missing_ok=True)
                yield node_id, worker.finished(node_id)
            else:
                self._display.at_work(node_id, progress.latest(worker.progress_file))
        self._display.refresh()


def dependencies(ir: pipeline_pb2.Pipeline) -> list[tuple[str, list[str]]]:
    """The nodes of `ir` to run, in topological order, each with those that it waits for."""
    nodes = [n.pipeline_node for n in ir.nodes]
    to_run = [n for n in nodes if not n.execution_options.HasField("skip")]
    ids = {n.node_info.id for n in to_run}
    taker = [n.node_info.id for n in to_run if n.execution_options.run.perform_snapshot]
    found = []
    for node in to_run:
        needs = [upstream for upstream in node.upstream_nodes if upstream in ids]
        if node.execution_options.run.depends_on_snapshot:
            needs += [n for n in taker if n != node.node_info.id]
        found.append((node.node_info.id, needs))
    return found


def _work(
    ir: bytes, node_id: str, store: bytes, log_file: Path, progress_file: Path, result: Connection
) -> None:
    """Runs one node in this child process, whose output goes to the node's log."""
    from ml_metadata.proto import metadata_store_pb2
    from tfx.proto.orchestration import pipeline_pb2

    os.setsid()  # A group of its own: ended as one with the programs it starts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with log_file.open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    sys.argv = sys.argv[:1]  # TFX hands the rest to Abseil's flags.
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, force=True)
    progress.write_to(progress_file)
    result.send(
        run_node(
            pipeline_pb2.Pipeline.FromString(ir),
            node_id,
            connection=metadata_store_pb2.ConnectionConfig.FromString(store),
        )
    )
    result.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # Not the parent's exit handlers, nor a wait for TensorFlow's threads.


def _end_with_parent() -> None:
    """Ends this process and the programs it started when the parent is gone, even by kill -9."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)


def _stop(workers: Iterable[_Worker]) -> None:
    """Asks the workers to end, and ends them where they do not."""
    processes = [worker.process for worker in workers]
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.is_alive() and process.pid is not None:
                try:
                    os.killpg(process.pid, sign)
                except ProcessLookupError:
                    process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
