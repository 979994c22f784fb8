"""One training, the same for every framework: reads rows, trains, and writes a bundle.

A framework is a module `models/NAME_model.py` with

    train(rows, sizes, settings) -> (model, history, held-out loss or None)

and one of

    save(model, folder)                       the model's own files, which its `load(folder)` reads
    probability(model, numbers, categories)   what goes into a SavedModel, graph and all
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import tensorflow_transform as tft

from models import export, history, manifest
from models.bundle import CATEGORIES, NUMBERS, PROBABILITY, TRANSFORM, Predict, by_row
from models.dataset import Rows, matrices, read
from models.features import ModelInputs
from models.manifest import EXAMPLE_ROW_FILE, Manifest
from pipeline.config import FeaturesConfig
from pipeline.errors import UserError
from pipeline.provenance import Provenance
from pipeline.train_config import Framework, TrainConfig

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs


@dataclass(frozen=True)
class Task:
    """What a training takes, and where it writes."""

    train_files: Sequence[str]
    """Patterns of the train split's files: gzipped TFRecords of transformed examples."""
    transform_graph: str
    """Folder of the graph that `preprocessing_fn` became."""
    features: FeaturesConfig
    """The columns."""
    settings: TrainConfig
    """Seed, hyper-parameters and the rest."""
    model_folder: Path
    """Where the bundle is written."""
    run_folder: Path
    """Where the history and the hyper-parameters are written."""
    memory_budget: float = 1.0
    """GiB that the rows may take in memory."""
    provenance: Provenance = field(default_factory=Provenance)
    """The run and the data."""
    parameters: Mapping[str, Any] | None = None
    """Hyper-parameters that a search has found, in place of those in `settings`."""

    @classmethod
    def of(cls, fn_args: FnArgs) -> Self:
        """What TFX's Trainer asks for.

        `fn_args.custom_config` holds "features", a FeaturesConfig, "train", a TrainConfig, and
        "provenance", a Provenance, as JSON, and "memory_budget" in GiB.
        """
        config = fn_args.custom_config
        return cls(
            train_files=fn_args.train_files,
            transform_graph=fn_args.transform_graph_path,
            features=FeaturesConfig.model_validate_json(config["features"]),
            settings=TrainConfig.model_validate_json(config["train"]),
            model_folder=Path(fn_args.serving_model_dir),
            run_folder=Path(fn_args.model_run_dir),
            memory_budget=config["memory_budget"],
            provenance=Provenance.model_validate_json(config.get("provenance", "{}")),
            parameters=getattr(fn_args, "hyperparameters", None),
        )


def run(
    framework: Framework,
    task: Task,
    *,
    judge: Callable[[Predict, ModelInputs], None] | None = None,
) -> Manifest:
    """Trains a model and writes its bundle, its history and its hyper-parameters.

    `judge` is given the trained model, for transformed rows, before the bundle is sealed.

    Raises:
        UserError: If there are too few rows to learn from, or a hyper-parameter does not fit.
    """
    module = importlib.import_module(f"models.{framework}_model")
    settings = task.settings.with_parameters(framework, task.parameters or {})
    transform = tft.TFTransformOutput(task.transform_graph)
    inputs = ModelInputs.of(
        task.features, transform.transformed_feature_spec(), transform.vocabulary_size_by_name
    )
    rows = read(task.train_files, inputs, memory_budget=task.memory_budget)
    _check_labels(rows, task.features.label)
    model, told, held_out_loss = _train(module, rows, inputs, settings)
    _export(module, model, inputs, task, transform)
    if judge:
        judge(_predict(module, model, task.model_folder), inputs)
    history.write(task.run_folder, told)
    used = settings.of(framework).model_dump_json(indent=2)
    (task.run_folder / history.PARAMETERS_FILE).write_text(used + "\n")
    return manifest.write(
        task.model_folder,
        Manifest(
            framework=framework,
            label=task.features.label,
            inputs=export.input_types(transform, task.features),
            example=_example(task),
            transform=manifest.fingerprint(Path(task.transform_graph)),
            held_out_loss=held_out_loss,
            provenance=task.provenance,
        ),
    )


def _check_labels(rows: Rows, label: str) -> None:
    if rows.labels.min() == rows.labels.max():
        raise UserError(
            f"all {len(rows)} rows of the train split have {label} = {rows.labels[0]:.0f}: nothing "
            "to tell apart. Use more data, or another data.split_by."
        )


def _train(
    module: ModuleType, rows: Rows, inputs: ModelInputs, settings: TrainConfig
) -> tuple[Any, history.History, float | None]:
    start = time.perf_counter()
    model, told, held_out_loss = module.train(rows, inputs.sizes, settings)
    seconds = time.perf_counter() - start
    return model, told.model_copy(update={"seconds": seconds}), held_out_loss


def _export(
    module: ModuleType,
    model: Any,
    inputs: ModelInputs,
    task: Task,
    transform: tft.TFTransformOutput,
) -> None:
    """Writes what the bundle of a model holds beside its manifest."""
    task.model_folder.mkdir(parents=True, exist_ok=True)
    if hasattr(module, "probability"):

        def probability(columns: export.Tensors) -> export.Tensors:
            return {PROBABILITY: module.probability(model, *matrices(columns, inputs))}

        export.save(
            str(task.model_folder),
            probability,
            transform=transform,
            config=task.features,
            model=model,
        )
        return

    def arrays(columns: export.Tensors) -> export.Tensors:
        numbers, categories = matrices(columns, inputs)
        return {NUMBERS: numbers, CATEGORIES: categories}

    folder = task.model_folder / TRANSFORM
    export.save(str(folder), arrays, transform=transform, config=task.features)
    module.save(model, task.model_folder)


def _predict(module: ModuleType, model: Any, folder: Path) -> Predict:
    """What the exported model says to transformed rows."""
    if hasattr(module, "probability"):
        return lambda numbers, categories: by_row(module.probability(model, numbers, categories))
    predict: Predict = module.load(folder)
    return predict


def _example(task: Task) -> dict[str, Any]:
    """The raw columns of a row of the data, as Transform has left them; none if it has not."""
    file = Path(task.transform_graph) / EXAMPLE_ROW_FILE
    row = json.loads(file.read_text()) if file.is_file() else {}
    return {column: row.get(column) for column in task.features.inputs}
