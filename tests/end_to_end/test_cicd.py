"""From a git push to a run of what was pushed, and the ways on which nothing may change.

A bare repository's hook builds each push by its own cloudbuild.yaml. Steps that a test is not about
are passed over.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import lineage
from pipeline.config_file import load
from pipeline.store.deployments import COMPLETE, RELEASE, ROLLBACK
from tests.deploy import registries
from tests.pipeline.kfp_server import KfpServer, kfp_server
from tools import cicd_demo
from tools.cicd import cluster
from tools.cicd.remote import Build, Remote, Trigger, environment, git, python
from tools.environment import STAMP

pytestmark = pytest.mark.e2e

PUSHED = "tests/test_pushed.py"
PASSES = "def test_passes() -> None:\n    assert True\n"
FAILS = "def test_fails() -> None:\n    assert 1 == 2\n"
WAITS = """\
import pathlib
import time


def test_waits() -> None:
    deadline = time.monotonic() + 300
    while not pathlib.Path({file!r}).exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
"""
LEFT_OUT = ["lint", "e2e", "trainers", "scan", "compare"]


@dataclass
class Place:
    """The remote after the demonstration, and the server that it releases to."""

    remote: Remote
    server: KfpServer

    def trigger(self, *skip: str, **more: str) -> Trigger:
        values = {
            "_CONFIG": cicd_demo.CONFIG,
            "_KFP_HOST": self.server.url,
            "_TESTS": PUSHED,
        }
        return Trigger(values | more, [*LEFT_OUT, *(skip or ["image"])], cluster.SECRETS)

    def commit(self, files: dict[str, str], after: str = "") -> str:
        """A commit on top of the newest that was released, or of another."""
        git(self.remote.clone, "checkout", "--quiet", "-B", "main", after or self.released())
        return self.remote.commit("A change", {PUSHED: PASSES} | files)

    def push(self, commit: str = "HEAD") -> Build:
        """Pushes a commit and waits for its build."""
        before = self.remote.builds()
        with self.remote.push("--force", f"{commit}:main") as pushing:
            printed, _ = pushing.communicate(timeout=600)
        assert pushing.returncode == 0, printed
        (build,) = [b for b in self.remote.builds() if b not in before]
        return build

    def deploy(self, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """A command of deploying in a checkout, as the step calls it."""
        host = f"kubeflow.host={self.server.url}"
        words = ["-m", "pipeline", "deploy", command, "--config", cicd_demo.CONFIG, "--set", host]
        return subprocess.run(
            [python(folder), *words],
            cwd=folder,
            env=environment(**cluster.SECRETS),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def store(self) -> lineage.Store:
        return lineage.open(load(self.remote.clone / cicd_demo.CONFIG))

    def released(self) -> str:
        """The newest commit that was released."""
        return next(
            one.commit
            for one in self.store().deployments()
            if (one.action, one.outcome) == (RELEASE, COMPLETE)
        )

    def state(self) -> tuple[list[str], list[str], int]:
        """What is at work, what the server holds, and how many deployments were completed."""
        done = [one for one in self.store().deployments() if one.outcome == COMPLETE]
        return (
            cluster.scheduled(self.server),
            list(cluster.versions(self.server).values()),
            len(done),
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if not STAMP.exists():
        pytest.skip("The environment that `make setup` makes is lent to the builds: none is here.")
    folder = tmp_path_factory.mktemp("cicd") / "demo"
    choices = cicd_demo.Choices(tests="tests/models/test_features.py", skip=("lint", "e2e"))
    with kfp_server() as server:
        remote = cicd_demo.show(folder, server, choices)
        yield Place(remote, server)
        assert server.refused == []


@pytest.fixture
def at_work(place: Place) -> Iterator[Place]:
    """The place, whose trigger tests, compiles and releases, and nothing else."""
    place.remote.set_trigger(place.trigger())
    yield place
    place.server.on_request = lambda *_: None


def log(build: Build) -> str:
    return Path(build.log).read_text(encoding="utf-8")


def version_of(commit: str) -> str:
    return f"flights-{commit[:9]}"


def test_a_push_ends_with_a_run_by_its_commit_and_the_store_knows_its_deployment(
    place: Place,
) -> None:
    (build,) = place.remote.builds()
    pushed = git(place.remote.clone, "rev-parse", "HEAD")
    assert (build.commit, build.code) == (pushed, 0)
    store = place.store()
    (run,) = store.runs()
    assert (run.commit, run.state) == (pushed, "complete")
    assert run.id == place.server.things["runs"][0]["run_id"]
    assert run.deployment is not None
    assert (run.deployment.commit, run.deployment.action) == (pushed, RELEASE)
    assert run.deployment.version.startswith(version_of(pushed))
    assert run.deployment.who.startswith("Cloud Build ")
    assert run.deployment.runs == (run,)
    live = store.live_model()
    assert live is not None and live.producer is not None and live.producer.run == run


def test_the_demonstration_ends_with_the_version_before_taken_back(place: Place) -> None:
    back, pushed, first = place.store().deployments()[-3:]
    assert [one.action for one in (back, pushed, first)] == [ROLLBACK, RELEASE, RELEASE]
    assert back.version == first.version != pushed.version
    assert pushed.version in cluster.versions(place.server).values()


def test_a_push_with_a_failing_test_deploys_nothing(at_work: Place) -> None:
    before = at_work.state()
    at_work.commit({PUSHED: FAILS})
    build = at_work.push()
    assert build.code == 1
    assert '- "test" ended with exit code' in log(build)
    assert "assert 1 == 2" in log(build)
    assert at_work.state() == before


def test_a_push_that_does_not_compile_deploys_nothing(at_work: Place) -> None:
    before = at_work.state()
    at_work.commit({"pipeline/pipeline.py": "raise RuntimeError('half a thought')\n"})
    build = at_work.push()
    assert build.code == 1
    assert '"compile" ended with exit code' in log(build)
    assert "half a thought" in log(build)
    assert at_work.state() == before


def test_an_upload_that_is_refused_leaves_the_old_version_until_it_is_repeated(
    at_work: Place,
) -> None:
    before = at_work.state()
    at_work.server.on_request = refusing(403)
    commit = at_work.commit({})
    build = at_work.push()
    assert build.code == 1
    assert '"release" ended with exit code 2' in log(build)
    assert "is not deployed." in log(build) and "is still at work" in log(build)
    assert at_work.state() == before
    for status in (500, 0):  # 0 hangs up
        at_work.server.on_request = refusing(status)
        done = at_work.deploy("release", Path(build.workspace))
        assert done.returncode == 2
        assert "is still at work" in done.stderr and "Traceback" not in done.stderr
        assert at_work.state() == before
    at_work.server.on_request = lambda *_: None
    assert at_work.deploy("release", Path(build.workspace)).returncode == 0
    (version,) = at_work.state()[0]
    assert version.startswith(version_of(commit))


def test_the_same_commit_pushed_again_is_deployed_once(at_work: Place) -> None:
    commit = at_work.commit({"CHANGED": "once\n"})
    assert at_work.push().code == 0
    after = at_work.state()
    git(at_work.remote.bare, "update-ref", "refs/heads/main", f"{commit}~1")
    again = at_work.push()
    assert (again.commit, again.code) == (commit, 0)
    assert "Nothing to do" in log(again) and "is deployed already" in log(again)
    assert at_work.state() == after


def test_two_pushes_at_once_end_with_the_newer_one_though_the_older_comes_last(
    at_work: Place, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    older = at_work.commit({PUSHED: WAITS.format(file=str(go_on))})
    with at_work.remote.push("--force", "HEAD:main") as slow:
        wait_for(lambda: git(at_work.remote.bare, "rev-parse", "main") == older)
        newer = at_work.commit({}, after=older)
        assert at_work.push().code == 0
        go_on.touch()
        slow.communicate(timeout=600)
    (build,) = [b for b in at_work.remote.builds() if b.commit == older]
    assert build.code == 0
    assert "a newer commit is deployed already" in log(build)
    (version,) = at_work.state()[0]
    assert version.startswith(version_of(newer))


def test_a_roll_back_puts_the_version_before_to_work_and_what_was_taken_back_stays_so(
    at_work: Place,
) -> None:
    (before,), _, _ = at_work.state()
    commit = at_work.commit({"CHANGED": "and back\n"})
    build = at_work.push()
    assert (build.commit, build.code) == (commit, 0)
    _, held, count = at_work.state()
    done = at_work.deploy("rollback", at_work.remote.clone)
    assert done.returncode == 0, done.stderr
    assert at_work.state() == ([before], held, count + 1)
    assert at_work.store().deployments()[0].action == ROLLBACK
    # Building again what was taken back does not put it to work again.
    again = at_work.deploy("release", Path(build.workspace))
    assert again.returncode == 2
    assert "was rolled back to" in again.stderr
    assert at_work.state() == ([before], held, count + 1)


def test_an_image_that_was_built_is_released_by_its_digest(place: Place, tmp_path: Path) -> None:
    registries.skip_without_buildah()
    with registries.registry(tmp_path) as address:
        repository = f"{address}/flights"
        trigger = place.trigger("smoke", _REPOSITORY=repository, _CACHE=f"{repository}-cache")
        settings = registries.settings(tmp_path) | cluster.SECRETS
        place.remote.set_trigger(
            Trigger(trigger.substitutions, trigger.skip, settings, has_image=True)
        )
        commit = place.commit({"deploy/docker/Dockerfile": "FROM scratch\nCOPY LICENSE /\n"})
        build = place.push()
    assert build.code == 0, log(build)
    deployed = place.store().deployments()[0]
    assert deployed.commit == commit
    assert deployed.image.startswith(f"{repository}@sha256:")


def refusing(status: int) -> Callable[[str, str], tuple[int, bytes] | None]:
    """Answers every upload with that status; 0 hangs up."""

    def instead(method: str, path: str) -> tuple[int, bytes] | None:
        if method == "POST" and path.startswith("/pipelines/upload_version"):
            return status, b'{"message": "no"}'
        return None

    return instead


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
