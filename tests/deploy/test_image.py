"""The pipeline's image: what its Dockerfile says, and what is in it once it is built."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools.environment import EXTRAS, LOCKS, ROOT
from tools.pytorch import pins

DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
TRAINER = DOCKERFILE.parent / "trainer" / "Dockerfile"
LARGEST = 4_000_000_000
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def instructions(dockerfile: Path = DOCKERFILE) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile and its arguments, without comments."""
    lines = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    joined = lines.replace("\\\n", " ").splitlines()
    found = (line.partition(" ") for line in joined if line.strip())
    return [(name, " ".join(arguments.split())) for name, _, arguments in found]


def copied(dockerfile: Path = DOCKERFILE) -> list[str]:
    """What is copied out of the project's folder."""
    copies = [rest.split()[:-1] for name, rest in instructions(dockerfile) if name == "COPY"]
    return [source for copy in copies if not copy[0].startswith("--from") for source in copy]


def test_it_copies_code_locks_and_the_example_and_nothing_else() -> None:
    assert sorted(copied()) == [
        *("*_runner.py", "configs", "custom_components", "data/flights", "models", "pipeline"),
        *("requirements-pytorch.lock", "requirements.lock", "tools/bootstrap.lock"),
    ]
    assert "ADD" not in {name for name, _ in instructions()}


@pytest.mark.parametrize("dockerfile", [DOCKERFILE, TRAINER], ids=["pipeline", "trainer"])
def test_what_is_copied_into_an_image_is_there(dockerfile: Path) -> None:
    sources = [source.replace("${FRAMEWORK}", "xgboost") for source in copied(dockerfile)]
    assert sources and all(list(ROOT.glob(source)) for source in sources)


def test_a_change_of_code_or_commit_leaves_the_packages_layer_as_it_is() -> None:
    given = instructions()
    final = max(i for i, (name, _) in enumerate(given) if name == "FROM")
    steps = [name if name != "COPY" else rest for name, rest in given[final:]]
    packages, code = (i for i, step in enumerate(steps) if step.startswith("--from"))
    assert packages < code < given.index(("ARG", "COMMIT=")) - final
    first_stage = given[: next(i for i, (_, rest) in enumerate(given) if rest.endswith("AS code"))]
    assert not [rest for name, rest in first_stage if name == "COPY" and ".lock" not in rest]


def test_it_runs_as_a_user_that_kubernetes_can_see_is_not_root() -> None:
    users = [rest for name, rest in instructions() if name == "USER"]
    assert users == ["10001"]
    assert instructions()[-1][0] == "LABEL"
    assert ("ENTRYPOINT", '["python", "-m", "pipeline.node"]') in instructions()


def test_every_package_comes_from_a_lock_with_hashes() -> None:
    installs = [rest for name, rest in instructions() if name == "RUN" and "install" in rest]
    assert len(installs) == 2
    for command in installs:
        assert "--require-hashes" in command and "--no-deps" in command
        assert all(
            word.endswith(".lock") for word in re.findall(r"--requirement (\S+?)}?(?: |$)", command)
        )
    for lock in (LOCKS["run"], *EXTRAS.values(), "tools/bootstrap.lock"):
        assert all("--hash=sha256:" in pin for pin in pins((ROOT / lock).read_text("utf-8")))


def test_settings_of_an_index_are_mounted_and_stay_out_of_the_file() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert not re.search(r"https?://|index-url|INDEX|TOKEN|PASSWORD", text)
    assert {"pip", "uv", "ca"} == set(re.findall(r"type=secret,id=(\w+)", text))


def test_what_is_private_or_made_here_never_reaches_a_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {".git", ".venv", ".env", "output", "tests", "**/__pycache__"} <= set(ignored)


@dataclass(frozen=True)
class Image:
    name: str
    root: Path

    @property
    def config(self) -> dict[str, Any]:
        said = buildah("inspect", "--type", "image", self.name)
        found: dict[str, Any] = json.loads(said)["OCIv1"]["config"]
        return found

    def run(self, script: str, *, user: str) -> subprocess.CompletedProcess[str]:
        """Runs a shell script as the container would: by its settings, its root read-only."""
        namespace = (
            'set -e; root=$1; mount --bind "$root" "$root"; mount -o remount,ro,bind "$root"; '
            'mount -t tmpfs tmpfs "$root/tmp"; mount -t proc proc "$root/proc"; '
            'mount --rbind /dev "$root/dev"; shift; exec env -i "$@"'
        )
        inside = f"cd {self.config['WorkingDir']} && {script}"
        command = ["unshare", "--mount", "sh", "-c", namespace, "sh", str(self.root)]
        command += self.config["Env"]
        chroot = str(shutil.which("chroot"))
        command += [chroot, "--userspec", user, str(self.root), "sh", "-euc", inside]
        return subprocess.run(command, capture_output=True, text=True)


def buildah(*arguments: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(["buildah", *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout.strip()


def secrets(folder: Path) -> list[str]:
    """This machine's settings of the package index, as the Dockerfile takes them."""
    files = {"ca": CERTIFICATES} if CERTIFICATES.exists() else {}
    if index := os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL"):
        files |= {"pip": folder / "pip.conf", "uv": folder / "uv.toml"}
        files["pip"].write_text(f"[global]\nindex-url = {index}\n")
        files["uv"].write_text(f'[[index]]\nurl = "{index}"\ndefault = true\n')
    return [f"--secret=id={name},src={file}" for name, file in files.items()]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image, built on a Debian that is made for it; gone again afterwards."""
    missing = [name for name in ("buildah", "mmdebstrap", "unshare") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"The image is built where buildah and mmdebstrap are: no {missing[0]} here.")
    if os.geteuid() != 0:
        pytest.skip("The image is built by root alone: mmdebstrap and chroot take no other user.")
    folder = tmp_path_factory.mktemp("image")
    if shutil.disk_usage(folder).free < 15e9:
        pytest.skip("The image is built where 15 GB of disk are free.")
    tar, base, name = (
        folder / "base.tar",
        f"localhost/base-{os.getpid()}",
        f"localhost/{os.getpid()}",
    )
    include = "--include=python3,python3-venv,ca-certificates"
    debian = ["mmdebstrap", "--variant=minbase", include, "trixie", str(tar)]
    done = subprocess.run(debian, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"No base image can be made here: {done.stderr.strip().splitlines()[-1]}")
    scratch = buildah("from", "scratch")
    try:
        buildah("add", scratch, str(tar), "/")
        buildah("config", "--env", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", scratch)
        buildah("commit", scratch, base)
    finally:
        buildah("rm", scratch)
    tar.unlink()
    arguments = [
        f"--build-arg={key}" for key in (f"BASE_IMAGE={base}", "COMMIT=abc", "SOURCE=here")
    ]
    arguments += ["--isolation=chroot", "--layers=false", *secrets(folder)]
    container = ""
    try:
        buildah("bud", f"--file={DOCKERFILE}", f"--tag={name}", *arguments, ".")
        container = buildah("from", name)
        yield Image(name, Path(buildah("mount", container)))
    finally:
        if container:
            buildah("rm", container)
            buildah("rmi", name)
        buildah("rmi", base)


@pytest.mark.e2e
def test_the_image_says_what_it_is(image: Image) -> None:
    config = image.config
    assert config["User"] == "10001"
    assert config["Entrypoint"] == ["python", "-m", "pipeline.node"]
    assert "PIPELINE_COMMIT=abc" in config["Env"]
    labels = {key.rpartition(".")[2]: value for key, value in config["Labels"].items()}
    assert {"title": "pipeline", "revision": "abc", "source": "here"}.items() <= labels.items()


@pytest.mark.e2e
def test_the_image_holds_nothing_that_no_task_needs(image: Image) -> None:
    files = [file for file in image.root.rglob("*") if file.is_file() and not file.is_symlink()]
    assert sum(file.stat().st_size for file in files) < LARGEST
    packages = next(image.root.glob("opt/venv/lib/python3*/site-packages"))
    assert not list(packages.glob("pip"))
    assert not list(packages.rglob("tests")) and not list(packages.glob("tensorflow/include"))
    assert not (image.root / "opt/tools").exists()
    assert not list((image.root / "root").glob(".cache/*")) and not list(image.root.glob("tmp/*"))
    assert not list(image.root.glob("etc/pip.conf")) and not list(image.root.glob("etc/uv"))
    app = image.root / "app"
    assert {f.name for f in app.iterdir()} >= {"pipeline", "models", "configs", "local_runner.py"}
    assert not {".git", "tests", ".venv"} & {f.name for f in app.iterdir()}
    assert not list((app / "output").iterdir())
    assert stat.S_IMODE((app / "output").stat().st_mode) == 0o1777


@pytest.mark.e2e
def test_everything_in_the_image_is_compiled(image: Image) -> None:
    for folder in (
        image.root / "app",
        next(image.root.glob("opt/venv/lib/python3*/site-packages/tfx")),
    ):
        compiled = {f.name.partition(".")[0] for f in folder.rglob("*.pyc")}
        assert {f.stem for f in folder.rglob("*.py")} <= compiled


COMPILE = """
from pathlib import Path
from pipeline import metadata
from pipeline.cluster import packed
from pipeline.compiler import compile_pipeline
from pipeline.config_file import load

config = load(Path("configs/flights.toml"), ['root="/tmp/run"', "data.window=1"])
metadata.create_tables(metadata.connection(config))
Path("/tmp/ir").write_text(packed.pack(compile_pipeline(config)))
Path("/tmp/store").write_text(config.store_url)
"""


@pytest.mark.e2e
@pytest.mark.parametrize("user", ["10001:10001", "1234567:0"], ids=["its own user", "any user"])
def test_a_node_runs_in_the_image_on_a_root_that_cannot_be_written(image: Image, user: str) -> None:
    script = f"python - <<'END'\n{COMPILE}END\n" + (
        'python -m pipeline.node --ir-gzip "$(cat /tmp/ir)" --store "$(cat /tmp/store)"'
        " --node-id ExampleGen --run-id first --span 1\nfind /tmp/run -name '*.gz'"
    )
    done = image.run(script, user=user)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Split-train/data_tfrecord" in done.stdout
    refused = image.run("touch /app/x", user=user)
    assert "Read-only file system" in refused.stderr


@pytest.mark.e2e
@pytest.mark.parametrize(
    "module",
    [
        *("pipeline.tasks.init", "pipeline.tasks.backfill", "pipeline.node"),
        *("pipeline.tasks.finish", "pipeline serve", "models.train xgboost"),
    ],
)
def test_the_programs_of_the_image_answer(image: Image, module: str) -> None:
    done = image.run(f"python -m {module} --help", user="10001:10001")
    assert done.returncode == 0 and "usage:" in done.stdout, done.stderr[-2000:]
