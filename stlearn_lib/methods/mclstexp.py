"""mclSTExp as a method: contrast spots with their images, then borrow the expression of the spots that fit an image.

The model is `models.mclstexp`, the loss `losses.contrastive`, the search `retrieval`; here they come together.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor, nn
from torch.nn import functional as F

from stlearn_lib.data.augmentation import mclstexp_training, mclstexp_visium_test
from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.sections import section_name
from stlearn_lib.data.spots import SpotTable
from stlearn_lib.errors import ModelError, SectionError, StlearnError
from stlearn_lib.losses import clip_loss, gather_embeddings
from stlearn_lib.methods.trained import (
    NetworkSettings,
    TrainedMethod,
    channels_first,
    channels_last_in_memory,
    model_state,
)
from stlearn_lib.methods.uncertainty import borrowed_spread
from stlearn_lib.models import mclstexp
from stlearn_lib.models.encoders import Channels, Encoder
from stlearn_lib.retrieval import Distance, Neighbours, Weighting, nearest_keys, retrieve
from stlearn_lib.training import Task, TrainingSettings

Augment = Callable[[Tensor], Tensor]

INPUT_SPACE = {"released": "spot_log10_10k", "paper": "spot_ln_1m"}
"""The expression that is embedded, by variant."""
AUGMENTATIONS: dict[str, Callable[[torch.Generator | None], Augment]] = {
    "jitter": mclstexp_training,
    "right_angles": mclstexp_visium_test,
}
TRAINING = TrainingSettings(epochs=90, batch_size=128, learning_rate=1e-4, weight_decay=1e-3)
KEY_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class MclSTExpSettings(NetworkSettings):
    r"""What can be chosen about mclSTExp, besides `NetworkSettings`; the defaults are the authors' for HER2+.

    Args:
        variant: ``"released"`` or ``"paper"``.
        projection_dim: D, width of the embeddings.
        n_heads: Attention heads of the spot encoder.
        head_dim: Width of a head.
        n_layers: Its Transformer blocks.
        dropout: Probability of dropout.
        position: Whether a spot's place in the array is part of its token.
        temperature: $\tau$ of the loss.
        normalize: Whether embeddings are scaled to unit length, in the loss and in the distances of retrieval.
        loss_weight: $\lambda$ of the loss.
        augmentation: ``"jitter"`` as for HER2+ and cSCC, ``"right_angles"`` as for Visium, or None.
        augment_test: Whether test images are augmented too, as the released code does with Visium.
        k: Training spots to borrow from.
        distance: ``"l1"`` or ``"l2"``, behind the weights of the borrowed spots.
        weighting: How they are weighted, see `retrieval.retrieve`.
        keys: With whom training spots are read for their keys: ``"batches"``, ``"section"`` or ``"spot"``.
        checkpoint: A checkpoint of the authors' code; then `fit` trains nothing and computes keys only.

    Raises:
        StlearnError: If a choice is unknown.
    """

    CHOICES: ClassVar = {
        "variant": tuple(INPUT_SPACE),
        "augmentation": (None, *AUGMENTATIONS),
        "distance": ("l1", "l2"),
        "weighting": ("inverse_square", "uniform"),
        "keys": ("batches", "section", "spot"),
    }

    encoder: str = "densenet121"
    mean: Channels | None = (0.0, 0.0, 0.0)
    std: Channels | None = (1.0, 1.0, 1.0)
    training: TrainingSettings = TRAINING
    variant: Literal["released", "paper"] = "released"
    projection_dim: int = 256
    n_heads: int = 8
    head_dim: int = 64
    n_layers: int = 2
    dropout: float = 0.0
    position: bool = True
    temperature: float = 1.0
    normalize: bool = False
    loss_weight: float = 0.5
    augmentation: Literal["jitter", "right_angles"] | None = "jitter"
    augment_test: bool = False
    k: int = 200
    distance: Distance = "l1"
    weighting: Weighting = "inverse_square"
    keys: Literal["batches", "section", "spot"] = "batches"
    checkpoint: str | None = None


# Not prediction, which can be another with the same weights.
_OF_THE_RUN = (
    *("encoder", "encoder_weights", "features", "variant", "position", "dropout", "mean", "std"),
    *("temperature", "normalize", "loss_weight", "augmentation"),
)


class MclSTExp(TrainedMethod):
    r"""Predicts a spot's expression as that of the training spots whose embeddings lie closest to its image's.

    Training draws each spot's embedding to its image's, and away from those of the other spots of the batch
    (`losses.clip_loss`). Prediction embeds a patch, finds the k training spots of the most similar embeddings, and
    averages their expression (`retrieval.retrieve`). What is embedded is the expression in the variant's own space;
    what is averaged is the target's.

    The embedding of a spot depends on the spots that are read with it. When the training spots' keys are computed
    for good, ``keys="batches"`` reads 32 at a time in the order of the spots, across sections, as the released code
    does; ``"section"`` reads a section at a time; ``"spot"``, our correction, each spot alone, so that its key is a
    function of nothing else.

    Variants: ``"released"`` (the authors' code) reads $\log_{10}$ of counts per 10,000 and leaves out DenseNet's last
    ReLU; ``"paper"`` reads $\ln$ of counts per million and has it.

    Arguments are those of `TrainedMethod`, with the fields of `MclSTExpSettings`. With ``features`` only projection
    heads and spot encoder are trained.

    Example:
        >>> MclSTExp(features=["deep:mobilenetv2_100"], k=50).name
        'mclSTExp (frozen deep:mobilenetv2_100)'

    Reference:
        Min, Shi et al., arXiv 2407.08216, Briefings in Bioinformatics 2024; code shizhiceng/mclSTExp @ fdd3ab1.
    """

    Settings = MclSTExpSettings
    title = "mclSTExp"

    @property
    def name(self) -> str:
        """The method's name in tables."""
        return super().name + (", as in the paper" if self.options.variant == "paper" else "")

    # ------------------------------------------------------------------------------------------------------- learning

    def _fit(
        self, sections: Sequence[AnnData], truths: list[np.ndarray], validation: Sequence[AnnData]
    ) -> dict[str, np.ndarray]:
        n_spots = sum(section.n_obs for section in sections)
        if n_spots < self.options.k:
            raise StlearnError(
                f"{self.name}: k = {self.options.k} spots to borrow from, but {n_spots} to train on: lower k."
            )
        state = self._inputs.fit(sections) if self._inputs else {}
        spots = self._spots(sections, state)
        held_out = self._spots(validation, state) if validation else None
        last = max(int(block.max()) for table in (spots, held_out) if table for block in table.columns["position"])
        self.learnt["n_positions"] = last + 1 if self.options.position else 0
        model = self._new_model(spots)
        self.learnt["key_sections"] = [[section_name(section), section.n_obs] for section in sections]
        if self.options.checkpoint is None:
            self.learnt["history"] = self._train(ContrastTask(model, self.options), spots, held_out)
        else:
            _load_checkpoint(model, self.options.checkpoint)
            self.learnt["weights"] = f"file:{Path(self.options.checkpoint).name}"
        return state | model_state(model) | {"keys": self._embed_spots(model, spots), "values": np.concatenate(truths)}

    def _spots(self, sections: Sequence[AnnData], state: Mapping[str, np.ndarray]) -> SpotTable:
        read = Target(self._target().genes, INPUT_SPACE[self.options.variant])
        return SpotTable(
            {
                "image": [self._images(section, state) for section in sections],
                "expression": [expression(section, read).astype(np.float32) for section in sections],
                "position": [_position(section) for section in sections],
            }
        )

    def _build(self, encoder: Encoder | int) -> mclstexp.MclSTExp:
        o = self.options
        return mclstexp.MclSTExp(
            n_genes=len(self._target().genes),
            encoder=encoder,
            projection_dim=o.projection_dim,
            n_heads=o.n_heads,
            head_dim=o.head_dim,
            n_layers=o.n_layers,
            dropout=o.dropout,
            n_positions=self.learnt["n_positions"],
            variant=o.variant,
        )

    @torch.inference_mode()
    def _embed_spots(self, model: mclstexp.MclSTExp, spots: SpotTable) -> np.ndarray:
        """Embed the training spots for good, (M, D): each read with those that `keys` says."""
        model.eval()
        return np.concatenate([embedding.cpu().numpy() for embedding in self._key_embeddings(model, spots)])

    def _key_embeddings(self, model: mclstexp.MclSTExp, spots: SpotTable) -> Iterator[Tensor]:
        device = next(model.parameters()).device
        read = SpotTable({name: spots.columns[name] for name in ("expression", "position")})
        for rows in self._sentences(spots):
            batch = {name: values.to(device) for name, values in read.rows(rows).items()}
            if self.options.keys == "spot":  # sentences of a single word, many at a time
                batch = {name: values[:, None] for name, values in batch.items()}
            embedding = model.embed_spots(batch["expression"], batch["position"])[1]
            yield embedding.flatten(end_dim=-2)

    def _sentences(self, spots: SpotTable) -> list[np.ndarray]:
        if self.options.keys == "section":
            return np.split(np.arange(len(spots)), np.cumsum(spots.n_spots)[:-1])
        return np.split(np.arange(len(spots)), np.arange(KEY_BATCH, len(spots), KEY_BATCH))

    # ------------------------------------------------------------------------------------------------------ predicting

    def _predict(self, section: AnnData) -> np.ndarray:
        query, keys = self._queries_and_keys(section)
        return retrieve(query, keys, self.state["values"], **self._retrieval())

    @property
    def spread_kind(self) -> str:
        """What `spread` returns, in plain words."""
        k = self.options.k
        return f"weighted standard deviation of the expression of the {k} training spots that it is borrowed from"

    def _spread(self, section: AnnData) -> np.ndarray:
        return borrowed_spread(self.neighbours(section), self.state["values"])

    def neighbours(self, section: AnnData) -> Neighbours:
        """Return the training spots behind each prediction, to look at the evidence.

        Args:
            section: The section; its counts are not looked at.

        Returns:
            ``indices`` (N, k) of training spots and their ``weights`` (N, k); `key_spot` says which spots they are.

        Raises:
            NotFittedError: If `fit` was not called.
        """
        self._check_fitted()
        query, keys = self._queries_and_keys(section)
        return nearest_keys(query, keys, **self._retrieval())

    def key_spot(self, index: int) -> tuple[str, int]:
        """Return the section's name, and the row in that section, of a training spot."""
        for name, n_spots in self.learnt["key_sections"]:
            if index < n_spots:
                return name, index
            index -= n_spots
        raise StlearnError(f"{self.name} has {len(self.state['keys'])} training spots only.")

    def _retrieval(self) -> dict[str, Any]:
        return {"k": self.options.k, "distance": self.options.distance, "weighting": self.options.weighting}

    def _queries_and_keys(self, section: AnnData) -> tuple[np.ndarray, np.ndarray]:
        embeddings = (self._embed_images(section), self.state["keys"])
        if not self.options.normalize:
            return embeddings
        query, keys = (F.normalize(torch.as_tensor(embedding), dim=1).numpy() for embedding in embeddings)
        return query, keys

    def _embed_images(self, section: AnnData) -> np.ndarray:
        """Embed a section's patches, (N, D)."""
        model, generator = self._fitted_model(), torch.Generator().manual_seed(self.seed)
        augment = _augmentation(self.options, generator) if self.options.augment_test else nn.Identity()
        return self._see(self._images(section, self.state), lambda images: model.embed_images(augment(images))[1])


class ContrastTask(Task):
    """The model and its contrastive loss."""

    def __init__(self, model: mclstexp.MclSTExp, options: MclSTExpSettings) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.augment = _augmentation(options)

    def facts(self) -> dict[str, Any]:
        """Return what the loss, the model and its inputs were chosen to be."""
        return {name: value for name, value in self.options.plain().items() if name in _OF_THE_RUN}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the contrastive loss of a batch: ``image``, ``expression`` (B, G) and ``position`` (B, 2)."""
        image = channels_first(batch["image"])
        embedded = self.model(
            image=channels_last_in_memory(self.augment(image)) if self.training else image,
            expression=batch["expression"],
            position=batch["position"],
        )
        with torch.autocast(image.device.type, enabled=False):  # a softmax over half-precision logits loses digits
            loss = clip_loss(
                gather_embeddings(embedded.spot_embedding.float()),
                gather_embeddings(embedded.image_embedding.float()),
                temperature=self.options.temperature,
                normalize=self.options.normalize,
                weight=self.options.loss_weight,
            )
        return {"loss": loss}


def _augmentation(options: MclSTExpSettings, generator: torch.Generator | None = None) -> Augment:
    """Features that were computed before cannot be augmented."""
    frozen = options.augmentation is None or options.features
    return nn.Identity() if frozen else AUGMENTATIONS[str(options.augmentation)](generator)


def _position(section: AnnData) -> np.ndarray:
    """Array column and row of each spot, (N, 2), whole numbers."""
    position = np.rint(section.obs[["array_x", "array_y"]].to_numpy()).astype(np.int64)
    if (position < 0).any():
        raise SectionError(f"section {section_name(section)}: an array coordinate is negative.")
    return position


def _load_checkpoint(model: mclstexp.MclSTExp, path: str) -> None:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(checkpoint, Mapping) or not all(isinstance(value, Tensor) for value in checkpoint.values()):
            raise ValueError("it holds something else")
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path} is no checkpoint that can be read, of tensors by name: {reason}") from error
    model.load_released_state_dict(checkpoint)
