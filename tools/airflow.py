"""Start Airflow here on the pipeline, in an environment of its own: `python -m tools.airflow`.

`--setup` only makes the environments, of the Airflow that is started and of the oldest one that the
tests try; `--test` makes them and runs those tests.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.environment import PYTHON, ROOT, TOOLS, digest
from tools.install import UV_SETTINGS, base_python, uv
from tools.steps import SetupError, Steps, only_one

FOLDER = ROOT / "deploy" / "airflow"
HOME = ROOT / "output" / "airflow"
LOCKS = {"3": FOLDER / "requirements.lock", "2": FOLDER / "requirements-2.lock"}
"""What is installed of Airflow, by the number of its version: the first is the one to start."""
TESTS = ("tests/deploy/test_airflow.py", "tests/deploy/test_airflow_whole.py")
POOL = "pipeline"
STOP_SECONDS = 20
"""From asking Airflow to end to ending it."""
TASKS_AT_ONCE = min(4, os.cpu_count() or 1)


def program(version: str) -> Path:
    """The program of that Airflow, in its environment."""
    return TOOLS / f"airflow-{version}" / "bin" / "airflow"


def is_ready(version: str) -> bool:
    """Whether the environment of that Airflow holds what its lock says."""
    stamp = TOOLS / f"airflow-{version}" / "digest"
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == digest(LOCKS[version])


def set_up(*versions: str) -> None:
    """Make the environments of these Airflows, those that are not ready.

    Raises:
        SetupError: If one cannot be made.
    """
    missing = [version for version in versions if not is_ready(version)]
    if not missing:
        return
    TOOLS.mkdir(exist_ok=True)
    with only_one() as lock:
        steps = Steps(lock)
        for version in missing:
            if version == "2" and sys.version_info >= (3, 13):
                raise SetupError("Airflow 2.11 needs Python 3.12 or older: name one with PYTHON=.")
            folder = TOOLS / f"airflow-{version}"
            command = [uv(steps), "venv", "--quiet", "--clear", "--python", base_python(), folder]
            steps.run(f"Making .tools/{folder.name}", command, settings=UV_SETTINGS)
            command = [uv(steps), "pip", "sync", "--quiet", "--require-hashes"]
            command += ["--compile-bytecode", "--python", folder / "bin" / "python", LOCKS[version]]
            steps.run(f"Installing Airflow {version}", command, settings=UV_SETTINGS)
            (folder / "digest").write_text(digest(LOCKS[version]), encoding="utf-8")


def environment(home: Path, settings: Mapping[str, object]) -> dict[str, str]:
    """The variables under which Airflow finds its home, the DAG and the DAG's settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON"))}
    return kept | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(FOLDER / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_VAR_PIPELINE": json.dumps(settings),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def standalone(
    version: str, home: Path, port: int, settings: Mapping[str, object]
) -> dict[str, str]:
    """The variables for `airflow standalone` of that version: few DAGs, on one machine."""
    return environment(home, settings) | {
        "PATH": os.pathsep.join([str(program(version).parent), os.environ.get("PATH", "")]),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://localhost:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",  # what 2.11 calls them
        "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": str(port),
        "AIRFLOW__WEBSERVER__WORKERS": "1",
        # Without these each of Airflow's programs takes as if for many.
        "AIRFLOW__CORE__PARALLELISM": str(TASKS_AT_ONCE),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    }


def start(options: Sequence[str], port: int, *, policy: bool) -> int:
    """Compile the plan and start Airflow until Ctrl-C; the exit code."""
    plans = HOME / "plans"
    plans.mkdir(parents=True, exist_ok=True)
    for other in plans.glob("*.airflow.json"):
        other.unlink()  # Of another configuration: its DAG would stay.
    draft = plans / "new.airflow.json"
    compiler = [str(PYTHON), "-m", "pipeline.runners.airflow", "--output", str(draft)]
    code = subprocess.run([*compiler, *options], cwd=ROOT).returncode
    if code:
        return code
    name = json.loads(draft.read_text(encoding="utf-8"))["name"]
    draft.rename(draft.with_name(f"{name}.airflow.json"))
    settings = {"plans": str(plans), "pool": POOL, "tasks_at_once": TASKS_AT_ONCE}
    settings |= {"policy": policy}
    airflow = str(program("3"))
    variables = standalone("3", HOME, port, settings)
    with (HOME / "setup.log").open("wb") as log:
        for words in (
            ["db", "migrate"],
            ["pools", "set", POOL, str(TASKS_AT_ONCE), "Tasks of the pipeline on this machine"],
        ):
            done = subprocess.run([airflow, *words], env=variables, stdout=log, stderr=log)
            if done.returncode:
                print(f"airflow: {' '.join(words)} failed; see {log.name}", file=sys.stderr)
                return 1
    print(f"Airflow starts at http://localhost:{port}. {_password()}")
    print(
        f"Start a run on the page of the DAG {name}, or with `make airflow ARGS=--run` elsewhere."
    )
    print("Ctrl-C ends Airflow, and runs with it.", flush=True)
    return _until_interrupted([airflow, "standalone"], variables)


def _until_interrupted(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run Airflow in a session of its own: its programs hang if Ctrl-C reaches each of them."""
    process = subprocess.Popen(command, env=variables, start_new_session=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(STOP_SECONDS)
        return 130
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _password() -> str:
    """What to sign in with; Airflow makes and prints it when it is started first."""
    file = HOME / "simple_auth_manager_passwords.json.generated"
    if not file.exists():
        return f"It prints the password of admin, and keeps it in {file.relative_to(ROOT)}."
    return f"Sign in as admin, {json.loads(file.read_text(encoding='utf-8'))['admin']}."


def trigger(words: Sequence[str]) -> int:
    """Start a run in the Airflow that is at work here; the exit code."""
    plans = list((HOME / "plans").glob("*.airflow.json"))
    if not plans:
        print("airflow: nothing was started here yet: `make airflow` first.", file=sys.stderr)
        return 2
    name = plans[0].name.removesuffix(".airflow.json")
    command = [str(program("3")), "dags", "trigger", name, *words]
    return subprocess.run(command, env=environment(HOME, {"plans": str(HOME / "plans")})).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments ask for; the exit code."""
    parser = argparse.ArgumentParser(prog="make airflow", description=__doc__, allow_abbrev=False)
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--setup", action="store_true", help="only make the environments")
    does.add_argument("--test", action="store_true", help="make them, and test the DAG in each")
    does.add_argument("--run", action="store_true", help="start a run in the Airflow that is here")
    parser.add_argument("--policy", action="store_true", help="a second DAG starts runs")
    parser.add_argument("--port", type=int, default=8080, help="of Airflow's pages; default 8080")
    parser.add_argument("--config", default="configs/flights.toml", help="whose pipeline")
    options, others = parser.parse_known_args(argv)
    try:
        set_up(*(LOCKS if options.setup or options.test else ["3"]))
    except SetupError as error:
        print(f"airflow: {error}", file=sys.stderr)
        return 1
    if options.setup:
        return 0
    if options.test:
        return subprocess.run([PYTHON, "-m", "pytest", *TESTS, *others], cwd=ROOT).returncode
    if options.run:
        return trigger(others)
    return start(["--config", options.config, *others], options.port, policy=options.policy)


if __name__ == "__main__":
    sys.exit(main())
