"""The two nodes of the export: one reads the evaluation, one sends it on from a container."""

from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputDict
from tfx.dsl.component.experimental.container_component import create_container_component
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.component.experimental.placeholders import InputValuePlaceholder
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.placeholder.placeholder import execution_invocation
from tfx.types.channel import BaseChannel
from tfx.types.standard_artifacts import ModelEvaluation, String

from custom_components import selection as selections
from custom_components.artifacts import ModelSelection
from custom_components.evaluator import verdict as verdicts
from custom_components.evaluator.verdict import Verdict
from custom_components.export_evaluation import program
from custom_components.export_evaluation.records import flatten, pack
from custom_components.selection import Selection

# This module cannot say `from __future__ import annotations`: the decorator reads the annotations
# below as objects, not as text.


@component
def EvaluationRecords(
    evaluation: InputArtifact[ModelEvaluation], selection: InputArtifact[ModelSelection]
) -> OutputDict(records=str):  # type: ignore[valid-type]
    """Makes the records that are sent, as one value.

    `OutputDict` is how this style of component puts out a value: what is returned under a name is
    an artifact like any other, here a `String`, whose content another node can be given as it is.

    Args:
      evaluation: what the evaluator found, see `evaluator.verdict`.
      selection: which model was selected, see `selection`.

    Returns:
      `records`: packed as `program` takes them.

    Raises:
      UserError: there are more than an argument holds.
    """
    verdict = (Path(evaluation.uri) / verdicts.FILE).read_bytes()
    chosen = (Path(selection.uri) / selections.FILE).read_bytes()
    records = flatten(Verdict.model_validate_json(verdict), Selection.model_validate_json(chosen))
    return {"records": pack(records)}


def ExportEvaluation(records: BaseChannel, *, url: str, image: str) -> BaseComponent:
    """Posts the records to `url`, from a container of `image`.

    This is a component in TFX's third style, a *container*: an image, a command, and placeholders
    for what is only known when the node runs. Take it for a step that is not Python, or that must
    not share the pipeline's libraries or rights. All that is said of the node is here: TFX resolves
    the placeholders, and whoever runs the pipeline starts the container (see
    `pipeline.cluster.containers`).

    The container gets the records by value: an image of Python alone could read a mounted volume,
    but no bucket. The program travels in the command, so nobody has to build an image. Both are
    part of the cache key: what was sent is not sent again, until the evaluation, the program, the
    image or the address is another.

    Args:
      records: the String of `EvaluationRecords`.
      url: where they are posted. A token is in the variable EXPORT_TOKEN of the node's environment.
      image: any image with Python 3.9 or newer.
    """
    invocation = execution_invocation()
    make = create_container_component(
        name="ExportEvaluation",
        image=image,
        command=[
            *("python", "-c", Path(program.__file__).read_text()),
            *("--url", InputValuePlaceholder("url")),
            *("--pipeline", invocation.pipeline_info.id),
            *("--run", invocation.pipeline_run_id),
            *("--records", InputValuePlaceholder("records")),
        ],
        inputs={"records": String},
        parameters={"url": str},
    )
    return make(records=records, url=url)
