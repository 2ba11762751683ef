"""What classification and survival share: attention pooling over a bag, and how it is trained on a cohort."""

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchmil.nn import AttentionPool, masked_softmax

from stlearn_lib.data.spots import SpotTable
from stlearn_lib.errors import BagError
from stlearn_lib.slides.bags import Bag
from stlearn_lib.slides.cohorts import Cohort
from stlearn_lib.slides.saving import SavedModel
from stlearn_lib.training import Compute, Task, TrainingSettings, fit

TRAINING = TrainingSettings(
    epochs=20, batch_size=16, learning_rate=1e-3, weight_decay=1e-2, optimizer="adamw", schedule="cosine"
)


class Pooled(NamedTuple):
    """What the network says of B bags."""

    output: Tensor
    """Logits or log-hazards, (B, O)."""
    attention: Tensor
    """Each instance's share of its bag, (B, N); 0 where a shorter bag was filled up."""


class AttentionPooling(nn.Module):
    r"""Gated attention pooling: embed each instance, average with learnt weights, one linear layer on the average.

    $$z = \sum_n a_n h_n, \qquad a = \mathrm{softmax}_n\bigl(w^\top (\tanh(V h_n) \odot \sigma(U h_n))\bigr),
      \qquad h_n = \mathrm{ReLU}(W x_n)$$

    Features are standardised first, by mean and spread of the training instances.

    Args:
        n_features: D of the instances.
        n_outputs: O.
        width: Of the embedding h.
        attention_width: Of V and U.
        dropout: Of the embedding.

    Example:
        >>> pooled = AttentionPooling(8, 2)(torch.zeros(3, 5, 8), torch.ones(3, 5))
        >>> pooled.output.shape, pooled.attention.sum(dim=1).allclose(torch.ones(3))
        (torch.Size([3, 2]), True)

    Reference:
        Ilse, Tomczak and Welling, Attention-based deep multiple instance learning, ICML 2018; torchmil.
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self, n_features: int, n_outputs: int, width: int = 128, attention_width: int = 64, dropout: float = 0.25
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("spread", torch.ones(n_features))
        self.embed = nn.Sequential(nn.Linear(n_features, width), nn.ReLU(), nn.Dropout(dropout))
        self.pool = AttentionPool(width, attention_width, gated=True)
        self.head = nn.Linear(width, n_outputs)

    def forward(self, features: Tensor, mask: Tensor) -> Pooled:
        """Map bags (B, N, D), with a mask (B, N) that is 0 where a bag was filled up, to outputs and attention."""
        embedded = self.embed((features - self.mean) / self.spread)
        pooled, logits = self.pool(embedded, mask, return_att=True)
        return Pooled(self.head(pooled), masked_softmax(logits.unsqueeze(-1), mask).squeeze(-1))


@dataclass(frozen=True, kw_only=True)
class PoolingSettings:
    """What can be chosen about attention pooling; the defaults are ours, small enough for two cores.

    Args:
        width: Width of the embedding.
        attention_width: Width of the attention's hidden layers.
        dropout: Of the embedding.
        training: A batch is of slides, filled up to the largest bag in it: memory is batch x largest bag x D, and
            ``accumulate`` divides it.
    """

    width: int = 128
    attention_width: int = 64
    dropout: float = 0.25
    training: TrainingSettings = field(default=TRAINING)

    def __post_init__(self) -> None:
        if isinstance(self.training, Mapping):  # from a JSON file
            object.__setattr__(self, "training", TrainingSettings(**self.training))


class BagTable(SpotTable):
    """Slides as rows for `training.fit`: targets in columns, bags read when a batch needs them and filled up.

    Args:
        cohort: The slides.
        targets: What is predicted, one value for each slide.
    """

    def __init__(self, cohort: Cohort, targets: dict[str, np.ndarray]) -> None:
        super().__init__({name: [np.asarray(values)] for name, values in targets.items()})
        self.cohort = cohort

    def rows(self, index: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Read slides: the targets, ``features`` (B, N, D) of the largest bag's N, and ``mask`` (B, N)."""
        bags = [self.cohort.bag(slide) for slide in self.cohort.table.index[np.asarray(index)]]
        check_widths(bags, bags[0].features.shape[1])
        features = pad_sequence([_tensor(bag) for bag in bags], batch_first=True)
        mask = torch.arange(features.shape[1]) < torch.tensor([len(bag) for bag in bags])[:, None]
        return {**super().rows(index), "features": features, "mask": mask.float()}

    def fingerprint(self) -> str:
        """Hash targets and bags; a bag on disk stands for its bytes by its name, size and date."""
        digest = hashlib.blake2b(super().fingerprint().encode(), digest_size=12)
        for slide in self.cohort.table.index:
            found = self.cohort.bags[slide]
            digest.update(slide.encode())
            if isinstance(found, Path):
                digest.update(f"{found.name} {found.stat().st_size} {found.stat().st_mtime_ns}".encode())
            else:
                digest.update(np.ascontiguousarray(found.features).data)
        return digest.hexdigest()


class PoolingTask(Task):
    """What both tasks are: a network under a loss.

    Args:
        network: The network that is trained.
    """

    def __init__(self, network: AttentionPooling) -> None:
        super().__init__()
        self.network = network

    def facts(self) -> dict[str, Any]:
        """Return what neither the weights' shapes nor the slides tell of a run."""
        return {"dropout": [module.p for module in self.network.modules() if isinstance(module, nn.Dropout)]}


class SlideModel(SavedModel, ABC):
    """Attention pooling, trained on a cohort; a subclass says what is predicted and by which loss.

    Args:
        compute: Devices and precision; a single device if None.
        folder: Where training keeps checkpoints and history, see `training.fit`; nowhere if None.
        progress: Whether to show a bar while training, on a terminal.
        **settings: The fields of `PoolingSettings`.
    """

    def __init__(
        self,
        *,
        compute: Compute | None = None,
        folder: Path | str | None = None,
        progress: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.compute, self.progress = compute, progress
        self.folder = None if folder is None else Path(folder)
        self.options = PoolingSettings(**settings)
        self._network: AttentionPooling | None = None

    @property
    def history(self) -> pd.DataFrame:
        """The training's history, see `training.fit`; empty before."""
        return pd.DataFrame(self.learnt.get("history", []))

    def settings(self) -> dict[str, Any]:
        """Return the arguments that build this model again; not devices and folders, which belong to a machine."""
        return asdict(self.options)

    def fit(self, cohort: Cohort, validation: Cohort | None = None) -> Self:
        """Train on a cohort.

        Args:
            cohort: Slides to learn from.
            validation: Slides of other patients to stop early by, with ``patience`` in the training settings.

        Returns:
            The model itself.

        Raises:
            BagError: If the cohort lacks what is predicted, or bags are of different widths.
            TrainingError: As `training.fit`.
        """
        self.learnt, self.trained_on = self._learn_targets(cohort), ()
        n_features = cohort.bag(cohort.table.index[0]).features.shape[1]
        network = self._new_network(n_features)
        network.mean, network.spread = _instance_moments(cohort, n_features)
        history = fit(
            self._task(network),
            BagTable(cohort, self._targets(cohort)),
            self.options.training,
            validation=BagTable(validation, self._targets(validation)) if validation is not None else None,
            compute=self.compute,
            folder=self.folder,
            progress=self.progress,
        )
        self._network = network.eval()
        self.state = {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}
        self.learnt["history"] = history.to_dict("records")
        self.trained_on = tuple(map(str, cohort.table.index))
        return self

    def predict(self, cohort: Cohort) -> pd.DataFrame:
        """Predict slides, one at a time, so that the largest bag decides what memory is needed.

        Returns:
            A row for each slide, in the cohort's order.

        Raises:
            NotFittedError: Before `fit`.
            BagError: If a bag cannot be read, or is of another width.
        """
        outputs = [self._pooled(cohort.bag(slide)).output[0].cpu().numpy() for slide in cohort.table.index]
        return self._describe(np.stack(outputs).astype(float)).set_index(cohort.table.index)

    def attention(self, bag: Bag) -> np.ndarray:
        """Return each instance's share of what the model says of a bag, (N,), summing to 1.

        Raises:
            NotFittedError: Before `fit`.
            BagError: If the bag is of another width.
        """
        shares: np.ndarray = self._pooled(bag).attention[0].cpu().numpy()
        return shares

    def unfitted(self) -> Self:
        """Return a copy, with the same devices and folder, that has learnt nothing."""
        other = copy.copy(self)
        other.state, other.learnt, other.trained_on, other._network = {}, {}, (), None
        return other

    @abstractmethod
    def _learn_targets(self, cohort: Cohort) -> dict[str, Any]:
        """Return what there is to predict, such as the classes, learnt from the training slides; plain JSON values."""

    @abstractmethod
    def _targets(self, cohort: Cohort) -> dict[str, np.ndarray]:
        """Return the columns that the loss needs, one value for each slide."""

    @abstractmethod
    def _task(self, network: AttentionPooling) -> PoolingTask:
        """Return network and loss."""

    @property
    @abstractmethod
    def _n_outputs(self) -> int:
        """O of the network."""

    @abstractmethod
    def _describe(self, outputs: np.ndarray) -> pd.DataFrame:
        """Turn outputs (N, O) into columns with names."""

    def _new_network(self, n_features: int) -> AttentionPooling:
        o = self.options
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(o.training.seed)
            return AttentionPooling(n_features, self._n_outputs, o.width, o.attention_width, o.dropout)

    def _set_learnt(self, state: dict[str, np.ndarray], learnt: dict[str, Any], trained_on: Iterable[str]) -> None:
        super()._set_learnt(state, learnt, trained_on)
        network = self._new_network(len(state["mean"]))
        network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        self._network = network.eval()

    @torch.inference_mode()
    def _pooled(self, bag: Bag) -> Pooled:
        self._check_fitted()
        network: Any = self._network
        check_widths([bag], len(network.mean))
        features = _tensor(bag)[None].to(network.mean.device)
        pooled: Pooled = network(features, torch.ones(features.shape[:2], device=features.device))
        return pooled


def _tensor(bag: Bag) -> Tensor:
    """The features (N, D), copied only where they are read-only, as those from a cache are: torch warns of them."""
    return torch.from_numpy(np.require(bag.features, requirements="W"))


def check_widths(bags: Sequence[Bag], n_features: int) -> None:
    """Check that bags have so many features.

    Raises:
        BagError: Naming the first that has another number.
    """
    for bag in bags:
        if bag.features.shape[1] != n_features:
            raise BagError(
                f"bag {bag.slide} has {bag.features.shape[1]} features, others have {n_features}: extract all slides "
                "with one encoder."
            )


def _instance_moments(cohort: Cohort, n_features: int) -> tuple[Tensor, Tensor]:
    """Mean and spread of all instances, one bag in memory at a time; a constant feature keeps its scale."""
    n, total, squares = 0, np.zeros(n_features), np.zeros(n_features)
    for slide in cohort.table.index:
        bag = cohort.bag(slide)
        check_widths([bag], n_features)
        values = bag.features.astype(np.float64)
        n, total, squares = n + len(values), total + values.sum(axis=0), squares + (values**2).sum(axis=0)
    mean = total / n
    variance = squares / n - mean**2
    spread = np.sqrt(np.where(variance > 1e-12 * (squares / n), variance, 1))
    return torch.from_numpy(mean).float(), torch.from_numpy(np.where(spread > 0, spread, 1)).float()
