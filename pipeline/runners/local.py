"""Runs the pipeline on this machine: nodes in parallel, in children of one warm process."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipeline import progress
from pipeline.display import Display
from pipeline.lazy import imports
from pipeline.node import NodeResult, State, preparation, run_node, warm_up

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 5.0


@dataclass
class _Task:
    """A node to run, as it is sent to a worker; or only to prepare, before its turn."""

    ir: bytes
    node_id: str
    log_file: Path
    prepare_only: bool = False

    @property
    def progress_file(self) -> Path:
        return self.log_file.with_suffix(".progress")


@dataclass
class _Worker:
    """A child process, and the node that it works on."""

    process: BaseProcess
    connection: Connection
    task: _Task
    started: float

    def result(self) -> NodeResult:
        """The result it sent, or what can be said of a process that died without one."""
        self.task.progress_file.unlink(missing_ok=True)
        try:
            received: NodeResult = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return self._death()
        return received

    def _death(self) -> NodeResult:
        code = self.process.exitcode or 0
        cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        message = f"its process was ended by {cause}"
        if code == -signal.SIGKILL:
            message += "; the machine may be short of memory: try --jobs 1"
        seconds = time.monotonic() - self.started
        return NodeResult(
            self.task.node_id,
            State.FAILED,
            seconds,
            message,
            defect=True,
            executed=True,
            started=time.time() - seconds,
        )


class LocalRunner:
    """Runs compiled pipelines, several nodes at once where the graph allows.

    The process that makes it has imported TensorFlow and TFX but run no TensorFlow operation:
    only then may it fork. For the same reason a child runs one executor in its life; one whose
    node came from the cache takes another. Where fork is unsafe (macOS) children are spawned:
    they import all again, which is slower; that way was not run on a Mac. So they are where the
    maker says that it has done more than import.

    It is a context manager, at whose end no child is left.
    """

    def __init__(self, *, store: bytes, jobs: int, fork: bool = True) -> None:
        """Nodes use the metadata store that `store`, a serialized ConnectionConfig, names."""
        self._store = store
        self._jobs = jobs
        self._idle: list[_Worker] = []
        self._ended: list[_Worker] = []
        self._prepared: dict[str, _Worker] = {}
        self._context: ForkContext | SpawnContext = (
            multiprocessing.get_context("fork")
            if fork and sys.platform == "linux"
            else multiprocessing.get_context("spawn")
        )
        with imports():
            warm_up()

    def __enter__(self) -> Self:
        """Gives itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the children that wait for work, and takes leave of those that have ended."""
        _stop([*self._idle, *self._prepared.values(), *self._ended])
        self._idle.clear()
        self._prepared.clear()
        self._ended.clear()

    def run(
        self, ir: pipeline_pb2.Pipeline, log_file: Callable[[str], Path], *, display: Display
    ) -> list[NodeResult]:
        """Runs the nodes of `ir` that are not marked to be skipped; their results, as they ended.

        After a node fails no further node starts; those at work come to their end. When this
        process is interrupted or dies, its children end too.
        """
        waiting = {node_id: set(needs) for node_id, needs in dependencies(ir)}
        definition = ir.SerializeToString()
        working: list[_Worker] = []
        results: list[NodeResult] = []
        display.begin(list(waiting))
        try:
            if self._jobs > 1:
                for node_id in waiting:
                    self._prepare(ir, _Task(definition, node_id, log_file(node_id), True))
            while waiting or working:
                failed = any(result.state is State.FAILED for result in results)
                ready = [] if failed else [n for n, needs in waiting.items() if not needs]
                for node_id in ready[: self._jobs - len(working)]:
                    del waiting[node_id]
                    working.append(self._start(_Task(definition, node_id, log_file(node_id))))
                    display.started(node_id)
                if not working:
                    break
                for result in self._wait(working, display):
                    results.append(result)
                    for needs in waiting.values():
                        needs.discard(result.node_id)
        finally:
            _stop(working)
            display.end()
        return results

    def _prepare(self, ir: pipeline_pb2.Pipeline, task: _Task) -> None:
        """Has a child of its own do what the node's executor can do before its turn, if it can."""
        if task.node_id not in self._prepared and preparation(ir, task.node_id):
            self._prepared[task.node_id] = self._start(task)

    def _start(self, task: _Task) -> _Worker:
        if task.node_id in self._prepared:
            worker = self._prepared.pop(task.node_id)
        elif self._idle:
            worker = self._idle.pop()
        else:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=_work, args=(theirs, self._store))
            process.start()
            theirs.close()
            worker = _Worker(process, ours, task, 0.0)
        worker.task, worker.started = task, time.monotonic()
        worker.connection.send(task)
        return worker

    def _wait(self, working: list[_Worker], display: Display) -> Iterator[NodeResult]:
        """Takes those that ended within a moment out of `working`; shows the others' progress."""
        ended = wait([worker.connection for worker in working], timeout=_POLL_SECONDS)
        for worker in list(working):
            if worker.connection in ended:
                working.remove(worker)
                result = worker.result()
                (self._ended if result.executed else self._idle).append(worker)
                display.ended(result)
                yield result
            else:
                display.at_work(worker.task.node_id, progress.latest(worker.task.progress_file))
        display.refresh()


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


def _work(connection: Connection, store: bytes) -> None:
    """Runs the nodes that come, in this child process, up to the first that has to be executed."""
    from ml_metadata.proto import metadata_store_pb2
    from tfx.proto.orchestration import pipeline_pb2

    os.setsid()  # A group of its own: ended as one with the programs it starts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    sys.argv = sys.argv[:1]  # TFX hands the rest to Abseil's flags.
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, force=True)
    result = None
    while result is None or not result.executed:
        task: _Task = connection.recv()
        with task.log_file.open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        ir = pipeline_pb2.Pipeline.FromString(task.ir)
        if task.prepare_only:
            prepare = preparation(ir, task.node_id)
            assert prepare is not None
            prepare()
            continue
        progress.write_to(task.progress_file)
        result = run_node(
            ir,
            task.node_id,
            connection=metadata_store_pb2.ConnectionConfig.FromString(store),
        )
        sys.stdout.flush()
        sys.stderr.flush()
        connection.send(result)
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
