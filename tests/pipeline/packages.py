"""Small KFP packages of containers that run `python -c`, to try an executor on."""

from collections.abc import Callable
from pathlib import Path

from kfp import dsl
from kfp.compiler import Compiler


def python(name: str, code: str, *arguments: str) -> Callable[..., dsl.PipelineTask]:
    """A component that runs `code` with `arguments`."""

    def component() -> dsl.ContainerSpec:
        return dsl.ContainerSpec("python:3", ["python", "-c", code], list(arguments))

    component.__name__ = name
    return dsl.container_component(component)


def taking(name: str, code: str) -> Callable[..., dsl.PipelineTask]:
    """A component that runs `code` with the text `given` as its first argument."""

    def component(given: str) -> dsl.ContainerSpec:
        return dsl.ContainerSpec("python:3", ["python", "-c", code], [given])

    component.__name__ = name
    return dsl.container_component(component)


def making(name: str, code: str, kind: type = str) -> Callable[..., dsl.PipelineTask]:
    """A component that runs `code` with the file of its output `made` as its first argument."""

    def component(made: dsl.OutputPath(kind)) -> dsl.ContainerSpec:  # type: ignore[valid-type]
        return dsl.ContainerSpec("python:3", ["python", "-c", code], [made])

    component.__name__ = name
    return dsl.container_component(component)


def compiled(define: Callable[..., None], folder: Path) -> Path:
    """The package of the pipeline that `define` is the function of."""
    file = folder / "package.yaml"
    Compiler().compile(dsl.pipeline(name="small")(define), str(file))
    return file
