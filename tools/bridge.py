"""Let .venv's Python run on a newer glibc than the system's.

TFX's compiled packages need glibc 2.39. Debian 12 and Ubuntu 22.04 have an older one, so the C and
C++ libraries of the next release are fetched by apt, from the system's own mirror and checked with
the system's own keys, unpacked in the project's folder, and .venv's Python is made to load them.
The system, and every other program that this Python starts, keep theirs.
"""

import os
import re
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tools.environment import PYTHON, TOOLS
from tools.steps import SetupError, Steps

NEEDED = (2, 39)
# The release that the system is, and the one that has the libraries.
SUITES = {"bookworm": "trixie", "jammy": "noble"}
PACKAGES = ["libc6", "libstdc++6", "libgcc-s1"]
LIBRARIES = ["libstdc++.so.6", "libgcc_s.so.1"]
LOADER = "ld-linux-x86-64.so.2"
APT = Path("/etc/apt")
GLIBC = TOOLS / "glibc"


class Source(NamedTuple):
    """Where apt finds a suite: the text of a one-line (.list) or deb822 (.sources) file."""

    suite: str
    suffix: str
    text: str


def system_glibc() -> tuple[int, ...] | None:
    """The version of the system's glibc, None if it has none."""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except ValueError:
        return None
    match = re.match(r"glibc (\d+)\.(\d+)", version)
    return tuple(map(int, match.groups())) if match else None


def needed() -> bool:
    """Whether the system's glibc is too old for TFX's packages."""
    version = system_glibc()
    return version is not None and version < NEEDED


def fetch(steps: Steps) -> None:
    """Have the newer libraries in .tools/glibc."""
    if (GLIBC / LOADER).exists():
        return
    old = "glibc " + ".".join(map(str, system_glibc() or ()))
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise SetupError(
            f"{old} is older than TFX's packages need (2.39), and there is no apt here to fetch a"
            " newer one: use Debian 12, Ubuntu 22.04 or newer, or the devcontainer."
        )
    sources = newer_sources(APT)
    if not sources:
        raise SetupError(
            f"{old} is older than TFX's packages need (2.39), and no source in {APT} is one of"
            f" {' or '.join(SUITES)}, to fetch a newer one from the same place: put the system's"
            " usual sources back, or use Debian 13, Ubuntu 24.04 or newer."
        )
    print(f"{old} is older than TFX needs: fetching a newer one, for .venv alone.", flush=True)
    for source in sources:
        try:
            return download(steps, source)
        except SetupError as error:
            failure = error
    raise failure


def download(steps: Steps, source: Source) -> None:
    """Fetch and unpack the libraries from one source."""
    draft = GLIBC.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial", "sources", "debs", "root", "lib"):
        (draft / folder).mkdir(parents=True)
    (draft / "sources" / f"newer{source.suffix}").write_text(source.text, encoding="utf-8")
    options = {
        "APT::Default-Release": source.suite,
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
        "Dir::Cache": draft / "cache",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": draft / "sources",
        "Dir::State::Lists": draft / "lists",
    }
    apt = ["apt-get", "--quiet", *(f"-o{key}={value}" for key, value in options.items())]
    in_folder = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", draft / "debs"]
    plain = {"LC_ALL": "C"}
    steps.run(f"Reading apt's lists of {source.suite}", [*apt, "update"], settings=plain)
    command = [*in_folder, *apt, "download", *PACKAGES]
    steps.run(f"Fetching {', '.join(PACKAGES)}", command, shown=False, settings=plain)
    for package in (draft / "debs").iterdir():
        command = ["dpkg-deb", "--extract", package, draft / "root"]
        steps.run(f"Unpacking {package.name}", command, shown=False)
    for library in draft.glob("root/**/x86_64-linux-gnu/*.so*"):
        library.replace(draft / "lib" / library.name)
    shutil.rmtree(GLIBC, ignore_errors=True)
    (draft / "lib").replace(GLIBC)
    shutil.rmtree(draft)


def cross(steps: Steps, base: Path, patchelf: Path) -> None:
    """Put a copy of the base Python that loads those libraries into .venv."""
    copy = PYTHON.with_name("python.draft")
    shutil.copy2(base, copy)
    own = steps.run("Reading Python's library path", [patchelf, "--print-rpath", copy], shown=False)
    folders = [str(GLIBC), own.strip(), sysconfig.get_config_var("LIBDIR")]
    command = [patchelf, "--set-interpreter", GLIBC / LOADER]
    command += ["--force-rpath", "--set-rpath", ":".join(filter(None, folders))]
    for library in LIBRARIES:  # needed first, or TensorFlow's own path would find the system's
        command += ["--add-needed", library]
    steps.run("Patching .venv's Python", [*command, copy], shown=False)
    for name in PYTHON.parent.glob("python*"):
        if name != copy:
            name.unlink()
            name.symlink_to(PYTHON.name)
    copy.replace(PYTHON)


def newer_sources(apt: Path) -> list[Source]:
    """The system's sources, changed to the newer suite, the likeliest to have it first."""
    found: list[Source] = []
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if path.suffix in (".list", ".sources") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            text = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
            found += newer_lines(text) if path.suffix == ".list" else newer_stanzas(text)
    # others publish under the same suites; the mirrors of the distribution end in its name
    return sorted(found, key=lambda source: not re.search(r"/(debian|ubuntu)/?\s", source.text))


def newer_lines(text: str) -> Iterator[Source]:
    """The lines `deb [OPTIONS] URI SUITE main ...` of a .list file, for the newer suite."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]*)", line)
        if match and match[3] in SUITES and "main" in match[4].split():
            suite = SUITES[match[3]]
            yield Source(suite, ".list", f"deb {match[1] or ''}{match[2]} {suite} main\n")


def newer_stanzas(text: str) -> Iterator[Source]:
    """The stanzas of a .sources file, for the newer suite."""
    for stanza in re.split(r"\n\s*\n", text):
        pairs = re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza, flags=re.MULTILINE)
        fields = {name.lower(): value.strip() for name, value in pairs}
        old = [suite for suite in fields.get("suites", "").split() if suite in SUITES]
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0")
        packages = "deb" in fields.get("types", "").split()
        if old and enabled and packages and "main" in fields.get("components", "").split():
            fields.update(types="deb", suites=SUITES[old[0]], components="main")
            lines = (f"{name}: {value}\n" for name, value in fields.items())
            yield Source(SUITES[old[0]], ".sources", "".join(lines))
