"""A bare repository whose pushes start builds, and a clone of it in which a person works."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tools.environment import PYTHON, ROOT, STAMP, VENV

MAIN = "main"
# Of this process, and wrong in another repository, run of the tests or build.
_NOT_HANDED_ON = re.compile(
    r"GIT_.*|GITHUB_.*|GITLAB_.*|MAKE.*|MFLAGS|PIPELINE_COMMIT|PYTHONPATH|PYTEST_.*|VIRTUAL_ENV"
)
# A person's own settings of git may sign commits, or run other hooks.
_SETTINGS = {
    "user.name": "Ada Lovelace",
    "user.email": "ada@example.com",
    "commit.gpgsign": "false",
    "core.hooksPath": os.devnull,
}
_HOOK = """\
#!/bin/sh
# Stands for the trigger: what is pushed to {main} is built.
while read -r _ commit ref; do
    if [ "$ref" = refs/heads/{main} ]; then
        cd {project} && {python} -m tools.cicd.trigger {folder} "$commit"
    fi
done
"""


@dataclass(frozen=True)
class Trigger:
    """How a push is built."""

    substitutions: Mapping[str, str]
    """In place of the file's defaults."""
    skip: Sequence[str] = ()
    """The ids of steps that are passed over."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """For all steps."""
    has_image: bool = False
    """Whether an image is built; otherwise a digest stands for it."""


@dataclass(frozen=True)
class Build:
    """What came of a build."""

    commit: str
    code: int
    """The executor's exit code."""
    seconds: float
    workspace: str
    """The checkout in which it ran."""
    log: str
    """The file with all that it printed."""


@dataclass(frozen=True)
class Remote:
    """The repository, the clone, and the builds of what was pushed, all in one folder."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Remote":
        """Clone this project twice, with its uncommitted changes as a commit of their own.

        Raises:
            OSError: The project is no git repository.
        """
        remote = cls(folder)
        folder.mkdir(parents=True)
        try:
            git(ROOT, "clone", "--quiet", "--bare", str(ROOT), str(remote.bare))
        except subprocess.CalledProcessError as error:
            raise OSError(f"{ROOT} cannot be cloned: {error.stderr.strip()}") from None
        git(remote.bare, "symbolic-ref", "HEAD", f"refs/heads/{MAIN}")
        git(remote.bare, "update-ref", f"refs/heads/{MAIN}", git(ROOT, "rev-parse", "HEAD"))
        git(folder, "clone", "--quiet", str(remote.bare), str(remote.clone))
        git(remote.bare, "config", "core.hooksPath", str(remote.bare / "hooks"))
        for key, value in _SETTINGS.items():
            git(remote.clone, "config", key, value)
        remote._bring_changes()
        lend_environment(remote.clone)
        return remote

    @property
    def bare(self) -> Path:
        """What stands for GitHub."""
        return self.folder / "remote.git"

    @property
    def clone(self) -> Path:
        """Where a person works."""
        return self.folder / "clone"

    def commit(self, message: str, files: Mapping[str, str]) -> str:
        """The id of a new commit in the clone, which gives these files that content."""
        for name, text in files.items():
            file = self.clone / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--message", message)
        return git(self.clone, "rev-parse", "HEAD")

    def set_trigger(self, trigger: Trigger) -> None:
        """Have every push to main built like that from now on."""
        draft = self.folder / "trigger.draft"
        draft.write_text(json.dumps(asdict(trigger), indent=2), encoding="utf-8")
        draft.replace(self.folder / "trigger.json")
        places = {"project": ROOT, "python": PYTHON, "folder": self.folder}
        quoted = {key: shlex.quote(str(path)) for key, path in places.items()}
        hook = self.bare / "hooks" / "post-receive"
        hook.write_text(_HOOK.format(main=MAIN, **quoted), encoding="utf-8")
        hook.chmod(0o755)

    def trigger(self) -> Trigger:
        """How a push is built."""
        return Trigger(**json.loads((self.folder / "trigger.json").read_text(encoding="utf-8")))

    def push(self, *words: str) -> "subprocess.Popen[str]":
        """Push, by default main; the push ends with the build, whose output it prints."""
        command = ["git", "push", "origin", *(words or [f"HEAD:{MAIN}"])]
        return subprocess.Popen(
            command,
            cwd=self.clone,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def builds(self) -> list[Build]:
        """What came of the builds so far, the first that ended first."""
        files = sorted((self.folder / "builds").glob("*.json"), key=lambda f: f.stat().st_mtime_ns)
        return [Build(**json.loads(file.read_text(encoding="utf-8"))) for file in files]

    def _bring_changes(self) -> None:
        """Make a commit of what was changed in this project and is not committed."""
        listed = ("ls-files", "-z", "--modified", "--others", "--exclude-standard")
        for name in filter(None, git(ROOT, *listed).split("\0")):
            source, target = ROOT / name, self.clone / name
            if not source.exists():
                target.unlink(missing_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
        if git(self.clone, "status", "--porcelain"):
            self.commit("What is not committed yet", {})
            git(self.clone, "push", "--quiet", "origin", f"HEAD:{MAIN}")


def lend_environment(checkout: Path) -> None:
    """Give a checkout this project's environment, so that its own set-up finds nothing to do."""
    venv = checkout / ".venv"
    venv.mkdir()
    for entry in VENV.iterdir():
        if entry != STAMP:
            (venv / entry.name).symlink_to(entry)
    stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    (venv / STAMP.name).write_text(json.dumps(stamp | {"root": str(checkout)}), encoding="utf-8")


def environment(**more: str) -> dict[str, str]:
    """This process's environment, without what would lead elsewhere, and with more."""
    kept = {k: v for k, v in os.environ.items() if not _NOT_HANDED_ON.fullmatch(k)}
    return kept | {"PYTHONUNBUFFERED": "1"} | more


def git(folder: Path, *words: str) -> str:
    """What git prints; its error is raised as subprocess.CalledProcessError."""
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def python(checkout: Path) -> str:
    """The Python of a checkout that was lent the environment."""
    return str(checkout / ".venv" / "bin" / Path(sys.executable).name)
