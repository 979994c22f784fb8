"""Which of the project's code a node runs, and a digest of it."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.config import PROJECT

_PACKAGES = ("custom_components", "models", "pipeline")
_LIBRARIES = (
    "apache-beam",
    "keras",
    "pyarrow",
    "tensorflow",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "tensorflow-transform",
    "tfx",
)
"""Those that every node stands on."""
_WHERE_IMPORTED = {
    "mlflow": ("mlflow",),
    "optuna": ("optuna",),
    "sklearn": ("scikit-learn",),
    "skops": ("skops",),
    "torch": ("torch",),
    "xgboost": ("xgboost", "xgboost-cpu"),
}
"""Those of single nodes: packages by the name of their module."""
_MODULE_NAME = re.compile(r"\b(?:pipeline|models|custom_components)(?:\.\w+)+")


def digest(mentions: Iterable[str]) -> str:
    """SHA-256 of `mentions` and of the code and files that they name.

    A mention names the project's modules by their dotted names, anywhere in it, each with all that
    it imports from this project; a mention that is the absolute path of a file stands for what the
    file holds.
    """
    sha = hashlib.sha256()
    modules: set[Path] = set()
    for mention in mentions:
        # Where the project lies is not what it is: an image has it elsewhere.
        sha.update(mention.replace(str(PROJECT), "").encode() + b"\0")
        for name in _MODULE_NAME.findall(mention):
            modules |= _closure(name)
        if mention.startswith("/") and "\n" not in mention and Path(mention).is_file():
            sha.update(Path(mention).read_bytes())
    sha.update(library_versions(name for file in modules for name in _names(file)).encode())
    for file in sorted(modules):
        sha.update(str(file.relative_to(PROJECT)).encode() + b"\0" + file.read_bytes())
    return sha.hexdigest()


def project_files() -> list[Path]:
    """The source files of all of the project's packages."""
    return sorted(file for name in _PACKAGES for file in (PROJECT / name).rglob("*.py"))


def library_versions(imported: Iterable[str] = _WHERE_IMPORTED) -> str:
    """The libraries that decide what code makes that imports these modules, with their versions."""
    roots = {name.partition(".")[0] for name in imported}
    single = [p for root in roots for p in _WHERE_IMPORTED.get(root, ())]
    return " ".join(filter(None, map(_version, [*_LIBRARIES, *sorted(single)])))


@functools.cache
def _version(package: str) -> str:
    try:
        return f"{package}={importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def _closure(name: str) -> set[Path]:
    """Source files of the modules in `name`, and of all that these import from this project."""
    files: set[Path] = set()
    waiting = set(_files(name))
    while waiting:
        file = waiting.pop()
        files.add(file)
        waiting |= set(_imports(file)) - files
    return files


def _files(name: str) -> Iterator[Path]:
    """Source files of the packages and the module along a dotted name, which may go on to a class.

    Importing a.b.c runs a/__init__.py and a/b/__init__.py as well.
    """
    path = PROJECT
    for part in name.split("."):
        path = path / part
        if (path / "__init__.py").is_file():
            yield path / "__init__.py"
        elif path.with_suffix(".py").is_file():
            yield path.with_suffix(".py")
            return
        else:
            return


@functools.cache
def _names(file: Path) -> tuple[str, ...]:
    """The dotted names of all that a file imports."""
    names: list[str] = []
    for statement in ast.walk(ast.parse(file.read_bytes(), str(file))):
        match statement:
            case ast.Import(names=aliases):
                names += [alias.name for alias in aliases]
            case ast.ImportFrom(module=str(module), names=aliases, level=0):
                names += [f"{module}.{alias.name}" for alias in aliases]
            # A module that is run by its name, as in python -m models.train.
            case ast.Constant(value=str(text)) if _MODULE_NAME.fullmatch(text):
                names.append(text)
    return tuple(names)


@functools.cache
def _imports(file: Path) -> tuple[Path, ...]:
    """The project's files that a file imports."""
    return tuple(f for name in _names(file) if _MODULE_NAME.match(name) for f in _files(name))
