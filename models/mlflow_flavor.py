"""A bundle as an MLflow model, which a machine without this project loads and asks.

    model = mlflow.pyfunc.load_model("models:/flights@champion")
    model.predict(pd.read_csv("flights.csv"))

One folder has two flavours. `python_function` is the bundle: raw rows in, predictions out; the
modules of this project that loading takes lie beside it, so nothing is pickled. The other is the
framework's own, for `mlflow.xgboost.load_model` and its like: the model behind the transform graph.
"""

from __future__ import annotations

import ast
import importlib.metadata
import platform
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import manifest
from models.bundle import RAW_SIGNATURE, Bundle, Predictions, output_of
from models.manifest import ENSEMBLE, MEMBERS, Manifest
from pipeline.features_config import Problem

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

BUNDLE = "bundle"
"""The folder of the bundle, below data/ in the model's."""

_PROJECT = Path(__file__).resolve().parents[1]
_PACKAGES = ("models", "pipeline")
_TYPES = {"string": "string", "float32": "double", "float64": "double", "int64": "long"}
_DATA = f"data/{BUNDLE}"
_LIBRARIES = {
    "keras": ("tensorflow",),
    "pytorch": ("tensorflow", "torch"),
    "sklearn": ("tensorflow", "sklearn", "skops"),
    "xgboost": ("tensorflow", "xgboost", "xgboost-cpu"),
}
"""What a bundle imports as it is loaded, and no sooner."""
_FLAVORS = {
    "keras": "tensorflow",
    "pytorch": "pytorch",
    "sklearn": "sklearn",
    "xgboost": "xgboost",
}
SKOPS_TYPES = (
    "functools.partial",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
)
"""What scikit-learn's models are made of beside what skops trusts by itself."""
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}
"""Under what a module is installed, where that is not its own name."""


class _Predictor:
    """What MLflow asks."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def predict(self, rows: pd.DataFrame, params: dict[str, Any] | None = None) -> Predictions:
        """What the model says of each row; a column that may be missing may be left out."""
        absent = [column for column in self._bundle.inputs if column not in rows]
        return self._bundle.predict(rows.assign(**dict.fromkeys(absent)) if absent else rows)


def _load_pyfunc(path: str) -> _Predictor:
    """What `mlflow.pyfunc.load_model` calls, with the bundle's folder.

    Raises:
        UserError: If the bundle was changed, or its framework is not installed.
    """
    return _Predictor(Bundle.load(path))


def save(
    bundle: Path, folder: Path, *, model_id: str | None = None, run_id: str | None = None
) -> None:
    """Writes an MLflow model of a bundle.

    Args:
        bundle: The bundle's folder.
        folder: Where to; it must not exist.
        model_id: The model's id in MLflow, if it has one already.
        run_id: The id of MLflow's run that made it.

    Raises:
        UserError: If the bundle is damaged.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    found = manifest.read(bundle)
    manifest.verify(bundle, found)
    frameworks = _frameworks(bundle, found)
    modules = _modules(frameworks)
    model = Model(
        model_id=model_id,
        run_id=run_id,
        metadata={"framework": found.framework, "bundle_digest": found.digest},
    )
    for flavor, settings in _native_flavor(bundle, found.framework).items():
        model.add_flavor(flavor, **settings)
    with tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary)
        (staged / BUNDLE).symlink_to(bundle.resolve())
        _copy_code(modules, staged)
        mlflow.pyfunc.save_model(
            folder,
            loader_module=__name__,
            data_path=str(staged / BUNDLE),
            code_paths=[str(staged / package) for package in _PACKAGES],
            mlflow_model=model,
            signature=signature(found),
            input_example=_example(found),
            conda_env=_environment(frameworks, modules),
        )


def signature(found: Manifest) -> ModelSignature:
    """The raw columns as MLflow checks them: those that a row may lack are optional."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    columns = [
        ColSpec(_TYPES[kind], name, required=kind == "int64") for name, kind in found.inputs.items()
    ]
    shape = (-1, len(found.classes)) if found.problem is Problem.MULTICLASS else (-1,)
    output = TensorSpec(np.dtype("float32"), shape, output_of(found.problem))
    return ModelSignature(Schema(columns), Schema([output]))


def _example(found: Manifest) -> pd.DataFrame | None:
    """A row of the training data, with the types that the signature names; None if it is no row."""
    import numpy as np
    import pandas as pd

    if any(kind == "int64" and found.example.get(n) is None for n, kind in found.inputs.items()):
        return None
    row = pd.DataFrame([found.example], columns=list(found.inputs))
    kinds = {"string": object, "int64": np.int64}
    return row.astype({name: kinds.get(kind, np.float64) for name, kind in found.inputs.items()})


def _frameworks(bundle: Path, found: Manifest) -> list[str]:
    """What the bundle is made with: of an ensemble, what its members are."""
    if found.framework != ENSEMBLE:
        return [found.framework]
    return sorted({manifest.read(m).framework for m in (bundle / MEMBERS).iterdir()})


def _native_flavor(bundle: Path, framework: str) -> dict[str, dict[str, Any]]:
    """The flavour of the framework itself, where MLflow can load it from the bundle's own files.

    An ensemble has none. PyTorch's has its loader unpickle a module, or load what torch.export
    wrote: a bundle with weights alone has none.
    """
    for flavor, (file, settings) in _native_flavors().items():
        if flavor == _FLAVORS.get(framework) and (bundle / file).is_file():
            return {flavor: settings}
    return {}


def _native_flavors() -> dict[str, tuple[str, dict[str, Any]]]:
    """By flavour, a file that a bundle of it has, and what MLflow's loader has to be told."""
    return {
        "pytorch": ("model.pt2", {"model_data": _DATA, "pytorch_version": _version("torch")}),
        "sklearn": (
            "model.skops",
            {
                "pickled_model": f"{_DATA}/model.skops",
                "serialization_format": "skops",
                "skops_trusted_types": list(SKOPS_TYPES),
                "sklearn_version": _version("scikit-learn"),
            },
        ),
        "tensorflow": (
            "saved_model.pb",
            {
                "model_type": "tf2-module",
                "saved_model_dir": _DATA,
                "meta_graph_tags": ["serve"],
                "signature_def_key": RAW_SIGNATURE,
            },
        ),
        "xgboost": (
            "model.ubj",
            {
                "data": f"{_DATA}/model.ubj",
                "model_class": "xgboost.core.Booster",
                "model_format": "ubj",
                "xgb_version": _version("xgboost") or _version("xgboost-cpu"),
            },
        ),
    }


def _environment(frameworks: Iterable[str], modules: Iterable[Path]) -> dict[str, Any]:
    """What is to be installed for loading, in the versions of here.

    As a Conda environment: MLflow takes pip's requirements from it as they are, where it compares
    those that are given alone with all that is installed, which takes a second.
    """
    imported = (name.partition(".")[0] for module in modules for name in _imports(module))
    named = chain(imported, ["mlflow"], *(_LIBRARIES[framework] for framework in frameworks))
    names = {_DISTRIBUTIONS.get(name, name) for name in named}
    found = [f"{name}=={version}" for name in sorted(names) if (version := _version(name))]
    python = f"python={platform.python_version()}"
    return {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [python, "pip", {"pip": found}],
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _copy_code(modules: Iterable[Path], folder: Path) -> None:
    for module in modules:
        copy = folder / module.relative_to(_PROJECT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module, copy)


def _modules(frameworks: Iterable[str]) -> list[Path]:
    """The modules of this project that loading takes: with what each imports at once.

    An import inside a function is for what is not done where a model is loaded, as training is.
    """
    names = [__name__, *(f"models.{name}_model" for name in frameworks if name != "keras")]
    waiting = {file for name in names for file in _files(name)}
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        found.add(file)
        waiting |= {f for name in _imports(file) for f in _files(name)} - found
    return sorted(found)


def _files(name: str) -> Iterator[Path]:
    """Files of the packages and the module of this project along a dotted name."""
    first, *_ = parts = name.split(".")
    path = _PROJECT
    for part in parts if first in _PACKAGES else ():
        path = path / part
        if path.with_suffix(".py").is_file():
            yield path.with_suffix(".py")
            return
        if (path / "__init__.py").is_file():
            yield path / "__init__.py"


@cache
def _imports(file: Path) -> tuple[str, ...]:
    """Dotted names of what is imported when the module is."""
    return tuple(_imported(ast.parse(file.read_bytes(), str(file)).body))


def _imported(statements: Iterable[ast.stmt]) -> Iterator[str]:
    for statement in statements:
        match statement:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.ImportFrom(module=str(module), names=aliases):
                yield from (f"{module}.{alias.name}" for alias in aliases)
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=otherwise):
                yield from _imported(otherwise)
            case ast.If(body=body) | ast.With(body=body) | ast.Try(body=body):
                yield from _imported(body)
