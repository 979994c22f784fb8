"""The PyTorch model: embeddings and scaled numbers into small networks, trained side by side.

It is what the Keras model is: much dropout, a number of epochs chosen on held-out groups (days,
say) and a training anew on all rows (early stopping with retraining: Goodfellow, Bengio, Courville,
Deep Learning, 2016, algorithm 7.2), of a few networks whose probabilities are averaged (deep
ensembles: Lakshminarayanan, Pritzel, Blundell, NeurIPS 2017).
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models import problems, threads
from models.dataset import Rows, row_weights
from models.history import Curve, History, ignore
from models.problems import Scale
from models.warm import Unfit
from pipeline import progress
from pipeline.errors import UserError
from pipeline.sections import Section
from pipeline.train_config import Framework, PytorchConfig, TrainConfig

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

FILE = "model.pt"
"""The weights: tensors alone, which are read without unpickling anything else."""
ARCHITECTURE_FILE = "model.json"
"""What they are the weights of: an `Architecture`."""

_ROWS_AT_ONCE = 8192
_FOREIGN = (
    *(AttributeError, EOFError, OSError, RuntimeError, TypeError, ValueError),
    pickle.UnpicklingError,
)
"""What comes of reading a file that is none of ours."""


def run_fn(fn_args: FnArgs) -> None:
    """Trains the model and writes its bundle; TFX's Trainer calls this."""
    from models import training  # Whoever loads a model needs no more than this file.

    training.run(Framework.PYTORCH, training.Task.of(fn_args))


class Architecture(Section):
    """The shape of the networks."""

    numbers: int
    """How many numbers they take."""
    sizes: tuple[int, ...]
    """How many values each category that they take may have."""
    hidden_units: tuple[int, ...]
    """Units of each hidden layer."""
    embedding_dim: int
    """Largest size of a category's embedding."""
    members: int
    """How many networks there are."""
    dropout: float
    """Share of units left out at each training step."""
    classes: int = 2
    """How many classes they tell apart; 0: they say a value."""
    scale: Scale = Scale()
    """The unit in which they learn and say values."""


class Networks(nn.Module):
    """Networks that share nothing but their inputs; the first dimension of a weight is theirs."""

    def __init__(self, shape: Architecture, start: Sequence[float] = (0.0,)) -> None:
        """Untrained ones, whose logits begin around `start`, whatever they are asked."""
        super().__init__()
        self.shape = shape
        dims = [min(shape.embedding_dim, (size + 1) // 2) for size in shape.sizes]
        self.embeddings = nn.ModuleList(
            nn.Embedding(size, shape.members * dim)
            for size, dim in zip(shape.sizes, dims, strict=True)
        )
        widths = [shape.numbers + sum(dims), *shape.hidden_units, problems.outputs(shape.classes)]
        self.weights = nn.ParameterList(
            torch.empty(shape.members, *width) for width in pairwise(widths)
        )
        self.biases = nn.ParameterList(torch.zeros(shape.members, 1, n) for n in widths[1:])
        self.reset(start)

    def reset(self, start: Sequence[float]) -> None:
        """Draws the weights."""
        for embedding in self.embeddings:
            # Zeros, so that a value that training never meets stays neutral.
            nn.init.zeros_(embedding.weight)
        for weight in self.weights:
            # Glorot and Bengio, AISTATS 2010, for each network by itself.
            bound = math.sqrt(6 / (weight.shape[1] + weight.shape[2]))
            nn.init.uniform_(weight, -bound, bound)
        # The first epochs need not learn the base rate.
        with torch.no_grad():
            self.biases[-1].copy_(torch.as_tensor(start))

    def first(self, count: int) -> dict[str, Tensor]:
        """The weights of so many of the networks, as `load_state_dict` takes them."""
        members = self.shape.members
        return {
            # An embedding's are side by side, network by network.
            name: weight.unflatten(1, (members, -1))[:, :count].flatten(1)
            if name.startswith("embeddings")
            else weight[:count]
            for name, weight in self.state_dict().items()
        }

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Logits, or values in their scale, for numbers [rows, n] and categories [rows, k].

        [members, rows], or [members, rows, classes] of several classes.
        """
        members = self.shape.members
        x = torch.cat(
            [numbers.expand(members, -1, -1)]
            + [
                embedding(categories[:, place]).unflatten(1, (members, -1)).transpose(0, 1)
                for place, embedding in enumerate(self.embeddings)
            ],
            dim=2,
        )
        *hidden, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in hidden:
            x = torch.relu(torch.baddbmm(bias, x, weight))
            x = dropout(x, self.shape.dropout) if self.training else x
        said = torch.baddbmm(last[1], x, last[0])
        return said.squeeze(2) if said.shape[2] == 1 else said

    def predict(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """The mean of what all say: probabilities [rows] or [rows, classes], or values [rows]."""
        said = self(numbers, categories)
        if not self.shape.classes:
            return said.mean(0) * self.shape.scale.deviation + self.shape.scale.mean
        return (torch.sigmoid(said) if said.ndim == 2 else torch.softmax(said, 2)).mean(0)


def dropout(x: Tensor, share: float) -> Tensor:
    """`x` with a share of zeros, the rest larger for it; on a CPU twice as fast as PyTorch's own.

    Srivastava et al., Dropout, JMLR 2014.
    """
    return x * (torch.rand_like(x) >= share).to(x.dtype).div_(1 - share)


def train(
    rows: Rows, sizes: Sequence[int], settings: TrainConfig, base: Path | None = None
) -> tuple[Networks, History, float | None]:
    """Finds the number of epochs on held-out groups, if none is given; trains on all rows.

    Args:
        rows: The train split.
        sizes: How many values each categorical column may take.
        settings: Seed, held-out share, class weights and hyper-parameters; on a CPU the same ones
            give the same weights.
        base: The bundle whose networks learn on; by default new ones do.

    Returns:
        The model, the losses of both trainings, and the loss of the rows that were held out.

    Raises:
        Unfit: If the base has other networks than these settings make.
    """
    settings = settings.for_rows(len(rows))
    hyper = settings.pytorch
    known = _known(base, architecture(rows, sizes, hyper)) if base else None
    searched = search(rows, sizes, settings, base=known) if hyper.epochs is None else None
    epochs = searched.best_step if searched else hyper.epochs or 1
    with _reproducible(settings):
        fitting = Fitting(rows, sizes, settings, members=hyper.members, epochs=epochs, base=known)
        losses = [fitting.epoch(np.arange(len(rows))) for _ in range(epochs)]
    history = History(
        framework=Framework.PYTORCH,
        step="epoch",
        steps=epochs,
        search=searched,
        training=Curve(learned=tuple(losses)),
    )
    return fitting.networks.cpu().eval(), history, searched.best_loss if searched else None


def search(
    rows: Rows,
    sizes: Sequence[int],
    settings: TrainConfig,
    *,
    report: Callable[[int, float], None] = ignore,
    base: Networks | None = None,
) -> Curve:
    """The loss of each epoch on held-out groups, up to some after the best one.

    `report` is told each epoch's number and held-out loss, and may raise to end the search.
    """
    settings = settings.for_rows(len(rows))
    _, max_epochs, patience = settings.pytorch.passes(len(rows))
    learn, stop = rows.hold_out(settings.validation_share)
    learned: list[float] = []
    held_out: list[float] = []
    with _reproducible(settings):
        fitting = Fitting(rows, sizes, settings, members=1, epochs=max_epochs, base=base)
        before = fitting.loss(stop) if base else None
        while len(held_out) < max_epochs:
            learned.append(fitting.epoch(learn))
            held_out.append(fitting.loss(stop))
            report(len(held_out), held_out[-1])
            if len(held_out) - 1 - int(np.argmin(held_out)) >= patience:
                break
    return Curve(learned=tuple(learned), held_out=tuple(held_out), before=before)


def architecture(rows: Rows, sizes: Sequence[int], hyper: PytorchConfig) -> Architecture:
    """The shape of the networks that hyper-parameters ask for."""
    return Architecture(
        numbers=rows.numbers.shape[1],
        sizes=tuple(sizes),
        classes=rows.classes,
        **hyper.model_dump(include={"hidden_units", "embedding_dim", "members", "dropout"}),
    )


def _known(base: Path, shape: Architecture) -> Networks:
    """The networks in a bundle, if they are of a shape; dropout and scale have no part in it."""
    known = _read(base)
    if known.shape.model_copy(update={"dropout": shape.dropout, "scale": shape.scale}) != shape:
        raise Unfit("the model before has other networks than train.pytorch says")
    return known


class Fitting:
    """Networks on their way."""

    def __init__(
        self,
        rows: Rows,
        sizes: Sequence[int],
        settings: TrainConfig,
        *,
        members: int,
        epochs: int,
        base: Networks | None = None,
    ) -> None:
        """Takes what `train` does, the number of networks and that of epochs, for messages.

        The networks begin with the weights of as many of `base`, if it is given.
        """
        hyper = settings.pytorch
        weights = row_weights(rows, settings)
        scale = base.shape.scale if base else Scale.of(rows, weights)
        self._rows = replace(rows, weights=weights, labels=scale.scaled(rows.labels))
        self._epochs, self._batch_size = epochs, hyper.passes(len(rows)).batch_size
        self._rng = np.random.default_rng(settings.seed)
        self._device = device(hyper)
        shape = architecture(rows, sizes, hyper).model_copy(
            update={"members": members, "scale": scale}
        )
        self.networks = Networks(shape, problems.base_logits(rows, weights).tolist())
        if base:
            self.networks.load_state_dict(base.first(shape.members))
        self.networks.to(self._device)
        self._optimizer = torch.optim.AdamW(
            self.networks.parameters(),
            lr=hyper.learning_rate,
            weight_decay=hyper.weight_decay,
            fused=True,
        )
        self._steps = 0

    def epoch(self, among: NDArray[np.int64]) -> float:
        """Learns once from the rows at the positions `among`; their mean loss on the way."""
        self.networks.train()
        total, weight = 0.0, 0.0
        steps = self._epochs * math.ceil(len(among) / self._batch_size)
        for batch in self._rows.batches(self._batch_size, among=among, rng=self._rng):
            losses, weights = self._losses(batch)
            # As if each network were alone: none has a part in another's loss.
            self._optimizer.zero_grad()
            losses.mean(1).sum().backward()
            self._optimizer.step()
            total += float(losses.detach().mean(0).sum())
            weight += weights
            self._steps += 1
            progress.report(self._steps, steps, "steps")
        return self.networks.shape.scale.loss(total / weight)

    @torch.inference_mode()
    def loss(self, among: NDArray[np.int64]) -> float:
        """The mean loss of the rows at the positions `among`."""
        self.networks.eval()
        parts = [self._losses(b) for b in self._rows.batches(_ROWS_AT_ONCE, among=among)]
        total = sum(float(losses.mean(0).sum()) for losses, _ in parts)
        return self.networks.shape.scale.loss(total / sum(weight for _, weight in parts))

    def _losses(self, batch: Rows) -> tuple[Tensor, float]:
        """The weighted losses [members, rows], and the sum of the weights."""
        numbers, categories, labels, weight = (
            torch.from_numpy(array).to(self._device)
            for array in (batch.numbers, batch.categories, batch.labels, batch.weights)
        )
        losses = loss(self.networks(numbers, categories), labels, self.networks.shape)
        return losses * weight, float(batch.weights.sum())


def loss(said: Tensor, labels: Tensor, shape: Architecture) -> Tensor:
    """The losses [members, rows] of what networks say of labels [rows], both in their scale."""
    if not shape.classes:
        return torch.square(said - labels)
    labels = labels.expand(shape.members, -1)
    if shape.classes > 2:
        return F.cross_entropy(said.movedim(2, 1), labels.long(), reduction="none")
    return F.binary_cross_entropy_with_logits(said, labels, reduction="none")


def device(hyper: PytorchConfig) -> torch.device:
    """Where to train.

    Raises:
        UserError: If a GPU is asked for, and there is none.
    """
    if hyper.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            'train.pytorch.device = "cuda", but PyTorch finds no GPU here: '
            'expected "cpu" or "auto".'
        )
    if hyper.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda")


@contextmanager
def _reproducible(settings: TrainConfig) -> Iterator[None]:
    """PyTorch's random numbers begin at the seed; afterwards they go on as before."""
    with torch.random.fork_rng(), _threads(settings.pytorch.batch_size or 1):
        torch.manual_seed(settings.seed)
        yield


@contextmanager
def _threads(rows: int) -> Iterator[None]:
    """As many threads as so many rows at once are worth; afterwards as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads.worth(rows))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def save(model: Networks, folder: Path) -> None:
    """Writes the weights, and what they are the weights of."""
    torch.save(model.state_dict(), folder / FILE)
    (folder / ARCHITECTURE_FILE).write_text(model.shape.model_dump_json(indent=2) + "\n")


def load(folder: Path) -> Callable[[NDArray[np.float32], NDArray[np.int32]], NDArray[np.float32]]:
    """The model in a folder: gives `bundle.Predictions` for numbers and categories [rows, …].

    Raises:
        UserError: If its files are not those of such a model, or hold more than tensors.
    """
    networks = _read(folder).eval()

    def predict(numbers: NDArray[np.float32], categories: NDArray[np.int32]) -> NDArray[np.float32]:
        with torch.inference_mode(), _threads(len(numbers)):
            inputs = torch.from_numpy(numbers), torch.from_numpy(categories)
            some = zip(*(array.split(_ROWS_AT_ONCE) for array in inputs), strict=True)
            said: NDArray[np.float32] = torch.cat(
                [networks.predict(*part) for part in some]
            ).numpy()
        return said

    return predict


def _read(folder: Path) -> Networks:
    try:
        networks = Networks(
            Architecture.model_validate_json((folder / ARCHITECTURE_FILE).read_text())
        )
        networks.load_state_dict(torch.load(folder / FILE, map_location="cpu", weights_only=True))
    except _FOREIGN:
        raise UserError(
            f"{folder} holds no PyTorch model of this kind: expected {ARCHITECTURE_FILE}, and the "
            f"weights of such networks, nothing else, in {FILE}."
        ) from None
    return networks
