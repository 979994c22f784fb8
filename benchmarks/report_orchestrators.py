"""Makes Markdown of what a node costs by each orchestrator."""

from __future__ import annotations

from benchmarks.report import Figures, table

_NAMES = {
    "local": "the local runner, which forks",
    "containers": "the Kubeflow package, each container's command a process",
    "airflow-3": "Airflow 3 (LocalExecutor), tasks as processes",
    "airflow-2": "Airflow 2.11 (SequentialExecutor), tasks as processes",
}


def orchestrators(figures: Figures) -> str:
    """The section on what orchestrators cost."""
    found = figures["orchestrators"]
    least = found["local"]["task"]
    rows: list[list[object]] = [
        [name, run["tasks"], run["task"], f"{run['task'] / least:.1f}", run["before"], run["run"]]
        for key, name in _NAMES.items()
        if (run := found.get(key))
    ]
    headers = ["", "tasks", "s a task", "/ local", "s before the first", "s in all"]
    parts = [
        "A run of the flights pipeline with one framework on one span, of which everything is in "
        "the cache, one task at a time: what is left is the orchestrator's own, the start of "
        "processes, and the questions to the store (sqlite). From the start of the first task to "
        "the end of the last, by their number; before it, from the command that asks for a run. "
        "Tasks are the nodes and, but for the local runner, what begins and ends a run. Airflow "
        f"is at work already. The least of {figures['rounds']}.",
        table(headers, rows),
    ]
    if missing := [name for key, name in _NAMES.items() if key not in found]:
        parts.append(f"Not measured: {'; '.join(missing)} (`make airflow ARGS=--setup`).")
    return "\n\n".join(parts)
