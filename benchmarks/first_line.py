"""Runs a module as a program until its executor's `Do` would begin, and writes down when that was.

python -m benchmarks.first_line FILE CLASS_PATH MODULE [ARGUMENT ...]
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

_IMPORTER = "tfx.utils.import_utils"
"""TFX's launcher and its container's entry point both take the executor's class from there."""
_tensorflow_seconds = [0.0]
_HEAVY = ("tensorflow", "apache_beam", "tfx.v1", "kfp", "google.cloud.aiplatform")


def main() -> None:
    """Runs the program that the command line names; its executor does not run."""
    file, class_path, module, *arguments = sys.argv[1:]
    sys.meta_path.insert(0, _Finder(Path(file), class_path))
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:  # a resolver's node has no executor, and ends by itself
        write(Path(file))


def write(file: Path) -> None:
    """Writes the time, the processor seconds until now, and what of it is for heavy modules."""
    facts = {
        "at": time.monotonic(),
        "cpu": sum(os.times()[:2]),
        "tensorflow_seconds": _tensorflow_seconds[0],
        "imported": [name for name in _HEAVY if name in sys.modules],
    }
    file.write_text(json.dumps(facts))


class _Finder(MetaPathFinder):
    """Has the executor's class stop where its work would begin."""

    def __init__(self, file: Path, class_path: str) -> None:
        self._file = file
        self._class_path = class_path

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in (_IMPORTER, "tensorflow"):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            begin = time.monotonic()
            execute(module)
            if fullname == "tensorflow":
                _tensorflow_seconds[0] = time.monotonic() - begin
                return
            import_class = module.import_class_by_path

            def import_class_by_path(class_path: str) -> Any:
                found = import_class(class_path)
                if class_path == self._class_path:
                    found.Do = self._stop
                return found

            module.import_class_by_path = import_class_by_path

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def _stop(self, *_: object, **__: object) -> NoReturn:
        write(self._file)
        os._exit(0)


if __name__ == "__main__":
    main()
