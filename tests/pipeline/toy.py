"""A graph of four function components, to try runners on in seconds."""

import os
import signal
import time

from tfx.dsl.compiler.compiler import Compiler
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration.pipeline import Pipeline
from tfx.proto.orchestration import pipeline_pb2
from tfx.types.standard_artifacts import ExternalArtifact

from pipeline import progress
from pipeline.errors import UserError


@component
def Source(out: OutputArtifact[ExternalArtifact]) -> None:
    """Makes something."""
    progress.report(3, 3, "rows")
    out.set_string_custom_property("made_by", "Source")


@component
def Left(
    given: InputArtifact[ExternalArtifact],
    out: OutputArtifact[ExternalArtifact],
    behaviour: Parameter[str] = "work",
) -> None:
    """Works, or fails in one of the ways a node can fail."""
    match behaviour:
        case "user error":
            raise UserError("row 3 is bad; mend it")
        case "defect":
            raise ZeroDivisionError("division by zero")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleep":
            time.sleep(60)


@component
def Right(given: InputArtifact[ExternalArtifact], out: OutputArtifact[ExternalArtifact]) -> None:
    """Works for a moment."""
    time.sleep(0.5)


@component
def Join(left: InputArtifact[ExternalArtifact], right: InputArtifact[ExternalArtifact]) -> None:
    """Takes both."""


def compile_toy(root: str, behaviour: str = "work") -> pipeline_pb2.Pipeline:
    """Source → (Left, Right) → Join, compiled; `behaviour` is Left's."""
    source = Source()
    left = Left(given=source.outputs["out"], behaviour=behaviour)
    right = Right(given=source.outputs["out"])
    join = Join(left=left.outputs["out"], right=right.outputs["out"])
    return Compiler().compile(
        Pipeline("toy", root, components=[source, left, right, join], enable_cache=True)
    )
