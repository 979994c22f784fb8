"""What stands for a cluster: the tests' Kubeflow Pipelines server, whose runs are executed here."""

import subprocess
from pathlib import Path
from typing import Any

from tests.pipeline.kfp_server import KfpServer
from tools.cicd.remote import environment, python

SECRETS = {"PIPELINE_STORE_PASSWORD": "unused"}
"""What Secret Manager and the cluster's secrets would give; an sqlite file has no password."""

# Two months would be a window; one is enough to see a run, and two frameworks to see a choice.
_CONFIG = """\
# The configuration of this place: one machine, a small slice of the data, an sqlite store.
extends = "flights-kubeflow.toml"
root = "{folder}/root"

[store]
url = "sqlite:///{folder}/store.sqlite"

[data]
path = "{folder}/data"
span = 1
window = 1
train_buckets = 3
eval_buckets = 2

[train]
frameworks = ["sklearn", "xgboost"]
sklearn = {{ max_trees = 30 }}
xgboost = {{ max_trees = 50 }}

[evaluate]
guards = []
thresholds = {{ auc = {{ min = 0.5 }} }}

[schedule]
cron = "0 6 2 * *"
timezone = "UTC"

[tasks]
one_machine = true

[tasks.defaults]
volumes = {{ pipeline-root = "{folder}" }}
"""


def config_of(folder: Path) -> str:
    """A configuration whose store, root and data lie in a folder, as on a cluster's volume."""
    return _CONFIG.format(folder=folder)


def write_rows(source: Path, folder: Path) -> int:
    """Write every eighth flight of January for `config_of(folder)`; how many these are.

    Args:
        source: The folder with the spans of all flights.
        folder: Gets data/span-01.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(next((source / "span-01").glob("*.parquet")))
    rows = table.take(list(range(0, table.num_rows, 8)))
    target = folder / "data" / "span-01"
    target.mkdir(parents=True)
    pq.write_table(rows, target / "rows.parquet")
    return int(rows.num_rows)


def versions(server: KfpServer) -> dict[str, str]:
    """The names of the versions that the server holds, by their ids, the oldest first."""
    return {v["pipeline_version_id"]: v["display_name"] for v in server.things["versions"]}


def scheduled(server: KfpServer) -> list[str]:
    """The names of the versions of which its schedules start runs."""
    names = versions(server)
    return [
        names[recurring["pipeline_version_reference"]["pipeline_version_id"]]
        for recurring in server.things["recurringruns"]
        if recurring["mode"] == "ENABLE"
    ]


def execute(server: KfpServer, run: dict[str, Any], checkout: Path, file: Path) -> int:
    """Run what the server holds of a run's version, each task a process; the exit code.

    Args:
        server: On which the run was started.
        run: As the server has it.
        checkout: Has the code of the version's commit, as its image would.
        file: Gets the package.
    """
    wanted = run["pipeline_version_reference"]["pipeline_version_id"]
    (version,) = (v for v in server.things["versions"] if v["pipeline_version_id"] == wanted)
    file.write_text(version["package"], encoding="utf-8")
    command = [python(checkout), "kubeflow_runner.py", "run-local", str(file)]
    command += ["--run-id", run["run_id"], "--jobs", "2"]
    for name, value in run.get("runtime_config", {}).get("parameters", {}).items():
        command += ["--param", f"{name}={value}"]
    return subprocess.run(command, cwd=checkout, env=environment(**SECRETS)).returncode
