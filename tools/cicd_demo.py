"""Show a git push that is tested, released and run, on this machine alone.

`make cicd-demo` clones this project, pushes a change to a bare repository whose hook stands for
the trigger, and tells step by step what happens. All of it lies in build/cicd-demo.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.pipeline.kfp_server import KfpServer, kfp_server
from tools.cicd import cluster
from tools.cicd.remote import Remote, Trigger, environment, git, python
from tools.cicd.trigger import stand_in_image
from tools.environment import ROOT

FOLDER = ROOT / "build" / "cicd-demo"
CONFIG = "configs/cicd-demo.toml"
CHANGED = "models/preprocessing.py"
CHANGES = {
    CHANGED: ("MOST_DEVIATIONS = 5.0", "MOST_DEVIATIONS = 4.0"),
    "tests/models/test_preprocessing.py": ("== [5, -5]", "== [4, -4]"),
}
TESTS = "tests/models/test_preprocessing.py tests/models/test_features.py"
E2E = "-k test_the_first_run"


class DemoError(Exception):
    """A step that did not do what it is there for."""


@dataclass(frozen=True)
class Choices:
    """What of the build is left out, to be quick."""

    tests: str = TESTS
    """Which tests run, as pytest's options; empty for all."""
    e2e: str = E2E
    """Likewise, of the end-to-end ones."""
    skip: tuple[str, ...] = ()
    """Steps that are passed over."""
    image: str | None = None
    """Where the image is pushed; None builds none."""


def main(argv: Sequence[str]) -> int:
    """Show it all; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.cicd_demo", description=__doc__)
    parser.add_argument(
        "--image",
        metavar="REGISTRY/PATH",
        help="build the image, too, and push it there (3 GB, minutes; Docker or buildah)",
    )
    parser.add_argument("--all", action="store_true", help="run all tests, not a few of them")
    arguments = parser.parse_args(argv)
    choices = Choices(image=arguments.image)
    if arguments.all:
        choices = replace(choices, tests="", e2e="")
    shutil.rmtree(FOLDER, ignore_errors=True)
    started = time.monotonic()
    try:
        with kfp_server() as server:
            show(FOLDER, server, choices)
    except (DemoError, OSError, subprocess.CalledProcessError) as error:
        print(f"cicd-demo: {error} {getattr(error, 'stderr', None) or ''}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    say(f"\nDone, after {time.monotonic() - started:.0f} s. What it made: {FOLDER}")
    return 0


def show(folder: Path, server: KfpServer, choices: Choices) -> Remote:
    """Do one thing after the other, and tell of it.

    Args:
        folder: Does not exist yet; gets all of it.
        server: Stands for the cluster's.
        choices: What of the build is left out.

    Raises:
        DemoError: Something did not come out as it should.
        OSError: Not even the beginning can be made.
    """
    with step("A bare repository stands for GitHub, a clone of it for your checkout"):
        remote = Remote.make(folder)
        rows = cluster.write_rows(ROOT / "data" / "flights", folder)
        remote.commit("The configuration of this place", {CONFIG: cluster.config_of(folder)})
        say(f"{folder} holds remote.git, clone, and {rows:,} flights as data.")
        say(f"For Kubeflow Pipelines stands a server of the tests (API v2beta1): {server.url}")

    with step("What is at work before: the project as it is, released by hand"):
        reference = stand_in_image(remote.clone, git(remote.clone, "rev-parse", "HEAD"))
        deploy(remote, server, "compile", "--image", reference)
        deploy(remote, server, "release")
        tell(server)

    with step(f"A change in {CHANGED} and in the test that holds it, committed"):
        commit = remote.commit("Clip outliers earlier", changed(remote.clone))
        say(git(remote.clone, "show", "--unified=0", "--format=%h %s", commit))

    with step("git push: the hook builds what arrives by its cloudbuild.yaml"):
        remote.set_trigger(trigger(server, choices))
        shown(remote.push())
        if not (builds := remote.builds()):
            raise DemoError("the hook has built nothing; what it printed is above")
        (build,) = builds
        if build.code:
            raise DemoError(f"the build failed; all that it printed: {build.log}")
        tell(server)

    with step("The run that was started: what the server was sent, a process for each task"):
        (run,) = server.things["runs"]
        if cluster.execute(server, run, Path(build.workspace), folder / "sent.yaml"):
            raise DemoError(f"the run failed; the logs of its tasks: {build.workspace}/build/runs")

    with step("What the metadata store says of the run, and of who put it to work"):
        pipeline(remote, "show", "newest")
        pipeline(remote, "deploy", "status")

    with step("Taken back: the version before is at work again, and nothing was built"):
        deploy(remote, server, "rollback")
        tell(server)
    return remote


def changed(checkout: Path) -> dict[str, str]:
    """The files that the demonstration edits, as they are then."""
    files = {}
    for name, (before, after) in CHANGES.items():
        text = (checkout / name).read_text(encoding="utf-8")
        if before not in text:
            raise DemoError(f"{name} has no {before!r} to change")
        files[name] = text.replace(before, after)
    return files


def trigger(server: KfpServer, choices: Choices) -> Trigger:
    """How the push is built: by the file as it is, with the substitutions of this place."""
    skip, values = list(choices.skip), {"_CONFIG": CONFIG, "_KFP_HOST": server.url}
    values |= {"_TESTS": choices.tests, "_E2E": choices.e2e, "_RUN_ON_DEPLOY": "true"}
    which = f"{choices.tests}; of the end-to-end ones {choices.e2e}" if choices.tests else "all"
    say(f"Tests: {which}.")
    if choices.image:
        values |= {"_REPOSITORY": choices.image, "_CACHE": f"{choices.image}-cache"}
        say("The trainers' images are left out: nothing here would use them.")
        return Trigger(values, [*skip, "trainers"], cluster.SECRETS, has_image=True)
    say("No image is built (--image does): tasks run here, and a made-up digest stands for one.")
    return Trigger(values, [*skip, "image", "trainers"], cluster.SECRETS)


def tell(server: KfpServer) -> None:
    """Say what the server holds, and which of it the schedule starts."""
    held, at_work = list(cluster.versions(server).values()), cluster.scheduled(server)
    say(f"The server has {', '.join(held)}; its schedule starts {', '.join(at_work) or 'none'}.")


def deploy(remote: Remote, server: KfpServer, command: str, *words: str) -> None:
    """Call a command that the steps call, as a person does: in the clone."""
    pipeline(remote, "deploy", command, "--set", f"kubeflow.host={server.url}", *words)


def pipeline(remote: Remote, *words: str) -> None:
    """Call `python -m pipeline` in the clone."""
    words = (*words, "--config", CONFIG)
    say(f"$ python -m pipeline {' '.join(words)}")
    command = [python(remote.clone), "-m", "pipeline", *words]
    if subprocess.run(command, cwd=remote.clone, env=environment(**cluster.SECRETS)).returncode:
        raise DemoError(f"`pipeline {words[0]} {words[1]}` failed")


def shown(push: "subprocess.Popen[str]") -> None:
    """Print what a push prints, while it goes on."""
    with push:
        assert push.stdout
        for line in map(str.rstrip, push.stdout):
            if not line.endswith(('":', "remote:")):  # An empty one of a step.
                say(line)
    if push.returncode:
        raise DemoError("git push failed")


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Say what comes, and how long it took."""
    started = time.monotonic()
    say(f"\n== {title}")
    yield
    say(f"   ({time.monotonic() - started:.1f} s)")


def say(text: str) -> None:
    """Print a line at once: processes print in between."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
