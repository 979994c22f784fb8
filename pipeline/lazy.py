"""Leaves out what TFX's packages import for components that a process never runs.

`tfx.components` imports every component of TFX, and with one of them TensorFlow Model Analysis and
its many metrics: two seconds, for whoever imports `tfx.components.trainer.component` alone. Here
such a module is there at once, and its own code runs when something of it is asked for.

TFX's launcher imports TensorFlow too, which alone takes longer than all the rest, for next to
nothing: those few modules are told that it is not there, which TFX is made for, or get it when they
use it. Whoever else imports TensorFlow gets TensorFlow, at once, as ever.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

MODULES: dict[str, str | None] = {
    "keras.wrappers": None,
    "keras._tf_keras.keras.wrappers": None,
    "tfx.components": None,
    "tfx.components.statistics_gen.stats_artifact_utils": None,
    "tfx.dsl.components.base.base_beam_executor": None,
    "tensorflow_model_analysis": "tensorflow_model_analysis.proto.config_pb2",
    "tensorflow_model_analysis.sdk": "tensorflow_model_analysis.proto.config_pb2",
}
"""What is deferred; with another module whose names TFX adds to it, to be had without its code."""

WITHOUT = {
    "tfx.dsl.input_resolution.strategies.span_range_strategy": "tfx.components.example_gen",
    "tfx.orchestration.portable.beam_executor_operator": "apache_beam",
    "tfx.utils.doc_controls": "tensorflow.tools.docs",
}
"""Modules of TFX that know how to do without another one, and what each does without.

They want it for an annotation, for documentation, and for the name of a property.
"""
ON_USE = {
    "tfx.components.schema_gen.executor": "tensorflow_data_validation",
    "tfx.dsl.io.plugins.tensorflow_gfile": "tensorflow",
}
"""Modules that import another one at their top, but use it inside their functions alone."""


class _Deferred(ModuleType):
    """A module whose code runs when an attribute is asked for that is not there yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":  # Python's own questions
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        submodule = f"{self.__name__}.{name}"
        if hasattr(self, "__path__") and PathFinder.find_spec(submodule, self.__path__):
            return importlib.import_module(submodule)
        more = _names_of(MODULES[self.__name__])
        if name in more:
            return more[name]
        loader: _Loader = self.__dict__["__loader__"]
        with loader.lock:
            if not loader.begun:  # else the module's own code asks, or another thread was first
                loader.begun = True
                try:
                    loader.real.exec_module(self)
                except BaseException:
                    loader.begun = False
                    raise
                vars(self).update(more | vars(self))
                self.__class__ = ModuleType  # type: ignore[assignment]
        return ModuleType.__getattribute__(self, name)


def _names_of(module: str | None) -> dict[str, Any]:
    if module is None:
        return {}
    importlib.import_module("google.protobuf.wrappers_pb2")  # which config_pb2 takes for loaded
    names = vars(importlib.import_module(module))
    return {name: value for name, value in names.items() if not name.startswith("_")}


class _Loader(Loader):
    def __init__(self, real: Loader) -> None:
        self.real = real
        self.lock = threading.RLock()
        self.begun = False

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Deferred(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Not yet."""


class _OnUse(ModuleType):
    """Stands for a module that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


class _Frugal(Loader):
    """Has a module do without what `WITHOUT` and `ON_USE` say, and nobody else."""

    def __init__(self, real: Loader) -> None:
        self.real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        importer = module.__name__

        def import_(
            name: str,
            globals: Mapping[str, object] | None = None,
            locals: Mapping[str, object] | None = None,
            fromlist: Sequence[str] | None = (),
            level: int = 0,
        ) -> ModuleType:
            if name == WITHOUT.get(importer):
                raise ModuleNotFoundError(f"{importer} does without {name}", name=name)
            if name == ON_USE.get(importer):
                return _OnUse(name)
            return builtins.__import__(name, globals, locals, fromlist, level)

        # An `import` statement takes `__import__` from the builtins of the module it stands in.
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": import_}
        self.real.exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in MODULES:
            loader: type[_Loader | _Frugal] = _Loader
        elif fullname in WITHOUT or fullname in ON_USE:
            loader = _Frugal
        else:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = loader(spec.loader)
        return spec


@contextmanager
def imports() -> Iterator[None]:
    """Around many imports: leaves them alone with the garbage collector.

    What they make stays to the end: to look through it again and again takes a quarter of the time,
    and once more at the end a second. SciPy's functions come first: skops, when it is imported,
    looks for each of them in one module after the other, and TensorFlow's and TFX's are thousands.
    """
    gc.disable()
    try:
        with suppress(ModuleNotFoundError):  # A trainer's image may do without.
            importlib.import_module("scipy.special")
        yield
    finally:
        gc.freeze()
        gc.enable()


def install() -> None:
    """Defers the modules that are not imported yet; a second time there is nothing to do."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
