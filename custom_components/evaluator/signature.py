"""Checks that a model can be evaluated, and served, before anything is computed with it."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tfx.dsl.io import fileio

from models import manifest
from models.bundle import output_of
from models.manifest import Manifest
from pipeline.errors import UserError
from pipeline.features_config import Problem
from pipeline.train_config import Framework

SIGNATURE = "serving_default"
"""The signature that takes serialized tf.Examples."""


def check(folder: Path, who: str) -> Manifest:
    """Refuses what is no bundle, and a SavedModel whose signature does not fit.

    Args:
        folder: The bundle's folder.
        who: The model in words, as messages name it.

    Returns:
        What the bundle is.

    Raises:
        UserError: Says what is wrong.
    """
    try:
        found = manifest.read(folder)
    except UserError as error:
        raise UserError(f"{who} cannot be evaluated: {error}") from None
    if found.framework == Framework.KERAS:
        check_signature(str(folder), f"{who} ({found.framework})", found.problem)
    return found


def check_signature(path: str, who: str, problem: Problem) -> None:
    """Refuses a SavedModel whose signature does not fit.

    Args:
        path: The SavedModel's folder.
        who: The model in words, as messages name it.
        problem: What kind of value it predicts.

    Raises:
        UserError: If it has no signature `serving_default` that takes one batch of serialized
            tf.Examples and gives the problem's output (`models.bundle.output_of`).
    """
    output = output_of(problem)
    file = f"{path}/saved_model.pb"
    if not fileio.exists(file):
        raise UserError(
            f"{who} is no SavedModel: {path} holds no saved_model.pb. The run_fn of its trainer "
            "must export it to fn_args.serving_model_dir."
        )
    model = saved_model_pb2.SavedModel()
    with fileio.open(file, "rb") as stream:
        try:
            model.ParseFromString(stream.read())
        except DecodeError:
            raise UserError(f"{who} cannot be read: {file} is damaged. Train it again.") from None
    signatures = {
        name: signature
        for graph in model.meta_graphs
        if "serve" in graph.meta_info_def.tags
        for name, signature in graph.signature_def.items()
        if not name.startswith("__")
    }
    found = ", ".join(sorted(signatures)) or "none"
    signature = signatures.get(SIGNATURE)
    if signature is None:
        raise UserError(
            f"{who} has no signature {SIGNATURE!r} (it has: {found}). Export one that takes a "
            f'batch of serialized tf.Examples and gives {{"{output}": …}}.'
        )
    if [tensor.dtype for tensor in signature.inputs.values()] != [types_pb2.DT_STRING]:
        takes = ", ".join(
            f"{name} ({types_pb2.DataType.Name(tensor.dtype)[3:].lower()})"
            for name, tensor in sorted(signature.inputs.items())
        )
        raise UserError(
            f"{who}: its signature {SIGNATURE!r} takes {takes or 'nothing'}; expected one string "
            "tensor, a batch of serialized tf.Examples. Named columns belong in another signature."
        )
    if output not in signature.outputs:
        gives = ", ".join(sorted(signature.outputs)) or "nothing"
        raise UserError(
            f"{who}: its signature {SIGNATURE!r} gives {gives}; expected {output!r}, as the "
            f"problem is {problem}. Name its output so."
        )
