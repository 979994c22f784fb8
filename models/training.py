"""One training, the same for every framework: reads rows, trains, and writes a bundle.

A framework is a module `models/NAME_model.py` with

    train(rows, sizes, settings) -> (model, history, held-out loss or None)

and one of, or both,

    save(model, folder)                       the model's own files, which its `load(folder)` reads
    predicted(model, numbers, categories)     what goes into a SavedModel, graph and all

If it is one of `GOES_ON`, `train` takes the folder of a bundle to go on from as well, and raises
`models.warm.Unfit` where it cannot.
"""

from __future__ import annotations

import importlib
import json
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import tensorflow_transform as tft

from models import cross_validation, export, history, manifest, problems, warm
from models.bundle import CATEGORIES, NUMBERS, TRANSFORM, Predict, by_row, output_of
from models.dataset import Rows, matrices, read
from models.features import ModelInputs
from models.manifest import EXAMPLE_ROW_FILE, Base, Manifest
from pipeline.errors import UserError
from pipeline.evaluate_config import CrossValidation
from pipeline.features_config import FeaturesConfig
from pipeline.provenance import Provenance
from pipeline.train_config import Framework, TrainConfig

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs


_Trained: TypeAlias = tuple[Any, history.History, float | None]
"""A model, its history, and the loss of the rows that were held out, if any were."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What a training takes, and where it writes."""

    train_files: Sequence[str]
    """Patterns of the train split's files: gzipped TFRecords of transformed examples. With
    cross-validation of the raw ones, of every split."""
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
    train_weights: Sequence[float] = ()
    """What a row of the files of each pattern weighs; by default 1."""
    memory_budget: float = 1.0
    """GiB that the rows may take in memory."""
    provenance: Provenance = field(default_factory=Provenance)
    """The run and the data."""
    parameters: Mapping[str, Any] | None = None
    """Hyper-parameters that a search has found, in place of those in `settings`."""
    base: Path | None = None
    """The bundle of a model that none of the rows to hold out was learned by, to go on from."""
    cross_validation: CrossValidation | None = None
    """How every row is predicted by models that have not learned from it, if that is to be."""

    @classmethod
    def of(cls, fn_args: FnArgs) -> Self:
        """What TFX's Trainer asks for.

        `fn_args.custom_config` holds "features", a FeaturesConfig, "train", a TrainConfig, and
        "provenance", a Provenance, as JSON, "memory_budget" in GiB, and "train_weights", and may
        hold "cross_validation", a CrossValidation, as JSON.
        """
        config = fn_args.custom_config
        parted = config.get("cross_validation")
        return cls(
            train_files=fn_args.train_files,
            transform_graph=fn_args.transform_graph_path,
            features=FeaturesConfig.model_validate_json(config["features"]),
            settings=TrainConfig.model_validate_json(config["train"]),
            model_folder=Path(fn_args.serving_model_dir),
            run_folder=Path(fn_args.model_run_dir),
            train_weights=config.get("train_weights", ()),
            memory_budget=config["memory_budget"],
            provenance=Provenance.model_validate_json(config.get("provenance", "{}")),
            parameters=getattr(fn_args, "hyperparameters", None),
            base=Path(fn_args.base_model) if fn_args.base_model else None,
            cross_validation=CrossValidation.model_validate_json(parted) if parted else None,
        )

    @property
    def known(self) -> Sequence[bool]:
        """Whether a model before may know the rows of each pattern; empty if that is all one."""
        spans = self.provenance.spans
        return [span < max(spans) for span in spans] if self.settings.warm_start else ()


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
    keys, rows, target_encoded = _read(task, inputs, transform)
    _check_labels(rows, task.features)
    settings = settings.for_rows(len(rows))
    graph = manifest.fingerprint(Path(task.transform_graph))
    out_of_fold = None
    if task.cross_validation:
        with getattr(module, "spent_models", nullcontext)():
            out_of_fold, out_of_fold_loss = cross_validation.predict(
                keys,
                rows,
                task.cross_validation,
                fit=lambda some: _fit(module, some, inputs.sizes, settings),
                seed=settings.seed,
                target_encoded=target_encoded,
            )
    start = time.perf_counter()
    begun, base, (model, told, held_out_loss) = _train(
        framework, replace(task, settings=settings), rows, inputs.sizes, graph
    )
    seconds, loss = time.perf_counter() - start, problems.loss_name(rows.classes)
    told = told.model_copy(update={"seconds": seconds, "begun": begun, "loss": loss})
    _export(module, model, inputs, task, transform)
    if out_of_fold:
        out_of_fold.write(task.model_folder)
        held_out_loss = out_of_fold_loss
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
            problem=task.features.problem,
            classes=task.features.class_names,
            inputs=export.input_types(transform, task.features),
            example=_example(task),
            transform=graph,
            held_out_loss=held_out_loss,
            provenance=task.provenance,
            base=base,
        ),
    )


def _read(
    task: Task, inputs: ModelInputs, transform: tft.TFTransformOutput
) -> tuple[list[bytes], Rows, cross_validation.TargetEncoded]:
    """The rows to learn from, and with cross-validation what else it takes."""
    classes = len(task.features.class_names)
    if task.cross_validation:
        return cross_validation.read(
            task.train_files,
            inputs,
            transform,
            classes=classes,
            weights=task.train_weights,
            target_encoded=task.features.target_encoded,
        )
    rows = read(
        task.train_files,
        inputs,
        classes=classes,
        weights=task.train_weights,
        never_held_out=task.known,
        memory_budget=task.memory_budget,
    )
    return [], rows, {}


def _fit(module: ModuleType, rows: Rows, sizes: Sequence[int], settings: TrainConfig) -> Predict:
    """What a model says that learned from some rows; it is kept nowhere."""
    model, *_ = module.train(rows, sizes, settings)
    with tempfile.TemporaryDirectory() as folder:
        if not hasattr(module, "predicted"):
            module.save(model, Path(folder))
        return _predict(module, model, Path(folder))


def _check_labels(rows: Rows, features: FeaturesConfig) -> None:
    if rows.labels.min() == rows.labels.max():
        names, label = features.class_names, rows.labels[0]
        said = names[int(label)] if names else f"{label:g}"
        raise UserError(
            f"all {len(rows)} rows of the train split have {features.label} = {said}: nothing to "
            "tell apart. Use more data, or another data.split_by."
        )


def _train(
    framework: Framework, task: Task, rows: Rows, sizes: Sequence[int], graph: str
) -> tuple[str, Base | None, _Trained]:
    """How the training began, in words, what it went on from, if anything, and what came of it."""
    train = importlib.import_module(f"models.{framework}_model").train
    settings = task.settings
    if not (settings.warm_start or task.base):
        return "", None, train(rows, sizes, settings)
    base: Base | None
    try:
        warm.check_new(rows, settings.validation_share)
        folder, base = warm.find(task.base, framework, task.features, transform=graph)
        trained = train(rows, sizes, settings, folder)
        begun = warm.sentence(base)
    except warm.Unfit as reason:
        base, begun = None, f"anew: {reason}"
        trained = train(rows, sizes, settings)
    _log.info("%s: %s", framework, begun)
    return begun, base, trained


def _export(
    module: ModuleType,
    model: Any,
    inputs: ModelInputs,
    task: Task,
    transform: tft.TFTransformOutput,
) -> None:
    """Writes what the bundle of a model holds beside its manifest."""
    task.model_folder.mkdir(parents=True, exist_ok=True)
    if hasattr(module, "save"):
        module.save(model, task.model_folder)
    if hasattr(module, "predicted"):

        def predicted(columns: export.Tensors) -> export.Tensors:
            said = module.predicted(model, *matrices(columns, inputs))
            return {output_of(task.features.problem): said}

        export.save(
            str(task.model_folder),
            predicted,
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


def _predict(module: ModuleType, model: Any, folder: Path) -> Predict:
    """What the exported model says to transformed rows."""
    if hasattr(module, "predicted"):
        return lambda numbers, categories: by_row(module.predicted(model, numbers, categories))
    predict: Predict = module.load(folder)
    return predict


def _example(task: Task) -> dict[str, Any]:
    """The raw columns of a row of the data, as Transform has left them; none if it has not."""
    file = Path(task.transform_graph) / EXAMPLE_ROW_FILE
    row = json.loads(file.read_text()) if file.is_file() else {}
    return {column: row.get(column) for column in task.features.inputs}
