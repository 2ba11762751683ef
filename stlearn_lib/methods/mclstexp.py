"""mclSTExp as a method: contrast spots with their images, then borrow the expression of the spots that fit an image.

The model is `models.mclstexp`, the loss `losses.contrastive`, the search `retrieval`; here they come together.
"""

import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor, nn
from torch.nn import functional as F

from stlearn_lib.data.augmentation import mclstexp_training, mclstexp_visium_test
from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.sections import section_name
from stlearn_lib.data.spots import SpotTable
from stlearn_lib.errors import ModelError, SectionError, StlearnError
from stlearn_lib.losses import clip_loss, gather_embeddings
from stlearn_lib.methods.features import PATCH_PX, FeatureInputs
from stlearn_lib.methods.trained import (
    TrainedMethod,
    channels_first,
    channels_last_in_memory,
    model_state,
    restore_model,
)
from stlearn_lib.models import mclstexp
from stlearn_lib.models.encoders import Channels, Encoder, create_encoder
from stlearn_lib.retrieval import Distance, Neighbours, Weighting, nearest_keys, retrieve
from stlearn_lib.training import Compute, Task, TrainingSettings

Augment = Callable[[Tensor], Tensor]

INPUT_SPACE = {"released": "spot_log10_10k", "paper": "spot_ln_1m"}
"""The expression that is embedded, by variant."""
AUGMENTATIONS: dict[str, Callable[[torch.Generator | None], Augment]] = {
    "jitter": mclstexp_training,
    "right_angles": mclstexp_visium_test,
}
TRAINING = TrainingSettings(epochs=90, batch_size=128, learning_rate=1e-4, weight_decay=1e-3)
KEYS = ("batches", "section", "spot")
KEY_BATCH = 32
_READ_AT_ONCE = 32  # patches or lonely spots embedded at a time; more would not be faster


@dataclass(frozen=True)
class MclSTExpSettings:
    r"""Everything that can be chosen about mclSTExp; the defaults are the authors' for HER2+.

    Args:
        encoder: The image encoder that is trained, see `models.mclstexp.MclSTExp`.
        encoder_weights: What it starts from; the weights of frozen features, too.
        features: Frozen features in place of an encoder, see `methods.features.FeatureInputs`.
        variant: ``"released"`` or ``"paper"``.
        projection_dim: D, width of the embeddings.
        n_heads: Attention heads of the spot encoder.
        head_dim: Width of a head.
        n_layers: Its Transformer blocks.
        dropout: Probability of dropout.
        position: Whether a spot's place in the array is part of its token.
        mean: Subtracted from images in 0..1; what belongs to the encoder's weights if None.
        std: By which they are divided, as `mean`.
        temperature: $\tau$ of the loss.
        normalize: Whether embeddings are scaled to unit length, in the loss and in the distances of retrieval.
        loss_weight: $\lambda$ of the loss.
        augmentation: ``"jitter"`` as for HER2+ and cSCC, ``"right_angles"`` as for Visium, or None.
        augment_test: Whether test images are augmented too, as the released code does with Visium.
        k: Training spots to borrow from.
        distance: ``"l1"`` or ``"l2"``, behind the weights of the borrowed spots.
        weighting: How they are weighted, see `retrieval.retrieve`.
        keys: With whom training spots are read for their keys: ``"batches"``, ``"section"`` or ``"spot"``.
        training: Epochs, batch, learning rate and so on, see `training.TrainingSettings`.
        checkpoint: A checkpoint of the authors' code; then `fit` trains nothing and computes keys only.

    Raises:
        StlearnError: If a choice is unknown.
    """

    encoder: str = "densenet121"
    encoder_weights: str | None = "auto"
    features: Sequence[str] = ()
    variant: Literal["released", "paper"] = "released"
    projection_dim: int = 256
    n_heads: int = 8
    head_dim: int = 64
    n_layers: int = 2
    dropout: float = 0.0
    position: bool = True
    mean: Channels | None = (0.0, 0.0, 0.0)
    std: Channels | None = (1.0, 1.0, 1.0)
    temperature: float = 1.0
    normalize: bool = False
    loss_weight: float = 0.5
    augmentation: Literal["jitter", "right_angles"] | None = "jitter"
    augment_test: bool = False
    k: int = 200
    distance: Distance = "l1"
    weighting: Weighting = "inverse_square"
    keys: Literal["batches", "section", "spot"] = "batches"
    training: TrainingSettings = TRAINING
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        allowed: dict[str, Sequence[str | None]] = {
            "variant": tuple(INPUT_SPACE),
            "augmentation": (None, *AUGMENTATIONS),
            "distance": ("l1", "l2"),
            "weighting": ("inverse_square", "uniform"),
            "keys": KEYS,
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise StlearnError(f"{name} must be one of {', '.join(map(str, values))}, not {getattr(self, name)!r}.")
        if isinstance(self.training, Mapping):  # from a JSON file
            object.__setattr__(self, "training", TrainingSettings(**self.training))


# Not prediction, which can be another with the same weights.
_OF_THE_RUN = (
    *("encoder", "encoder_weights", "features", "variant", "position", "dropout", "mean", "std"),
    *("temperature", "normalize", "loss_weight", "augmentation"),
)


def _plain(options: MclSTExpSettings) -> dict[str, Any]:
    """As a JSON file has them: lists in the place of tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return plain


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

    With ``features`` the image encoder is frozen: patches are seen through features that are computed once and
    cached, and only projection heads and spot encoder are trained. Ours, for machines without a GPU.

    Args:
        compute: Devices and precision; a single device if None.
        folder: Where training keeps checkpoints and history, in a folder for each set of training sections; nowhere
            if None.
        progress: Whether to show a bar while training, on a terminal.
        target: Genes and expression space to predict.
        **settings: The fields of `MclSTExpSettings`.

    Raises:
        StlearnError: If a choice is unknown.

    Example:
        >>> MclSTExp(features=["deep:mobilenetv2_100"], k=50).name
        'mclSTExp (frozen deep:mobilenetv2_100)'

    Reference:
        Min, Shi et al., arXiv 2407.08216, Briefings in Bioinformatics 2024; code shizhiceng/mclSTExp @ fdd3ab1.
    """

    def __init__(
        self,
        *,
        compute: Compute | None = None,
        folder: Path | str | None = None,
        progress: bool = True,
        target: Target | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(compute=compute, folder=folder, progress=progress, target=target)
        self.options = MclSTExpSettings(**settings)
        features, weights = self.options.features, self.options.encoder_weights
        self._inputs = FeatureInputs(features, encoder_weights=weights) if features else None
        self._model: mclstexp.MclSTExp | None = None

    @property
    def name(self) -> str:
        """The method's name in tables."""
        o = self.options
        seen_by = f"frozen {' + '.join(o.features)}" if o.features else o.encoder
        return f"mclSTExp ({seen_by}{', as in the paper' if o.variant == 'paper' else ''})"

    @property
    def seed(self) -> int:
        """What initial weights, order of spots and augmentation are drawn from."""
        return self.options.training.seed

    def settings(self) -> dict[str, Any]:
        """Return the arguments, other than the target, that build this method again."""
        return _plain(self.options)

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
        model = self._model = self._new_model([spots, held_out] if held_out else [spots])
        self.learnt["key_sections"] = [[section_name(section), section.n_obs] for section in sections]
        if self.options.checkpoint is None:
            self._train(ContrastTask(model, self.options), spots, self.options.training, held_out)
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

    def _images(self, section: AnnData, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Patches (N, H, W, 3) uint8, or frozen features (N, n_features)."""
        return self._inputs(section, state).astype(np.float32) if self._inputs else cut_patches(section, PATCH_PX)

    def _new_model(self, tables: Sequence[SpotTable]) -> mclstexp.MclSTExp:
        """Make a model for the spots of all tables."""
        encoder: Encoder | int
        if self._inputs:
            encoder = tables[0].columns["image"][0].shape[1]
            self.learnt |= {"encoder": encoder, "weights": self._inputs.weights_id}
        else:
            o = self.options
            encoder = create_encoder(o.encoder, o.encoder_weights, seed=self.seed, mean=o.mean, std=o.std)
            self.learnt |= {"encoder": encoder.settings, "weights": encoder.weights_id}
        last = max(int(block.max()) for table in tables for block in table.columns["position"])
        self.learnt["n_positions"] = last + 1 if self.options.position else 0
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            return self._build(encoder)

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
        size = KEY_BATCH if self.options.keys == "batches" else _READ_AT_ONCE
        return np.split(np.arange(len(spots)), np.arange(size, len(spots), size))

    # ------------------------------------------------------------------------------------------------------ predicting

    def _predict(self, section: AnnData) -> np.ndarray:
        query, keys = self._queries_and_keys(section)
        return retrieve(query, keys, self.state["values"], **self._retrieval())

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

    @torch.inference_mode()
    def _embed_images(self, section: AnnData) -> np.ndarray:
        """Embed a section's patches, (N, D)."""
        model = self._fitted_model()
        device = next(model.parameters()).device
        generator = torch.Generator().manual_seed(self.seed)
        augment = _augmentation(self.options, generator) if self.options.augment_test else nn.Identity()
        images = SpotTable({"image": [self._images(section, self.state)]})
        embeddings = []
        for start in range(0, len(images), _READ_AT_ONCE):
            batch = images.rows(range(start, min(start + _READ_AT_ONCE, len(images))))["image"].to(device)
            embeddings.append(model.embed_images(augment(channels_first(batch)))[1].cpu().numpy())
        return np.concatenate(embeddings)

    def _fitted_model(self) -> mclstexp.MclSTExp:
        if self._model is None:  # it was loaded
            settings = self.learnt["encoder"]
            encoder = settings if isinstance(settings, int) else create_encoder(weights=None, **settings)
            self._model = restore_model(self._build(encoder), self.state)
        return self._model.eval()


class ContrastTask(Task):
    """The model and its contrastive loss."""

    def __init__(self, model: mclstexp.MclSTExp, options: MclSTExpSettings) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.augment = _augmentation(options)

    def facts(self) -> dict[str, Any]:
        """Return what the loss, the model and its inputs were chosen to be."""
        return {name: value for name, value in _plain(self.options).items() if name in _OF_THE_RUN}

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
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path} is no checkpoint that can be read, of tensors by name: {reason}") from error
    model.load_released_state_dict(checkpoint)
