"""NH2ST as a method: expression decoded from a patch, with neighbourhood and contrast acting through the losses.

The model is `models.nh2st`, the losses `losses.contrastive`, the neighbourhoods `data.neighbourhoods`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor
from torch.nn import functional as F

from stlearn_lib.data.augmentation import nh2st_training
from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.neighbourhoods import NeighbourhoodTable, nearest_spots
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.spots import SpotTable
from stlearn_lib.errors import StlearnError
from stlearn_lib.losses import gather_embeddings, weighted_info_nce
from stlearn_lib.methods.features import PATCH_PX, FeatureInputs
from stlearn_lib.methods.trained import (
    TrainedMethod,
    channels_first,
    channels_last_in_memory,
    model_state,
    restore_model,
)
from stlearn_lib.models import nh2st
from stlearn_lib.models.encoders import Channels, Encoder, create_encoder
from stlearn_lib.training import Compute, Task, TrainingSettings

TRAINING = TrainingSettings(
    epochs=200, batch_size=8, learning_rate=5e-4, schedule="step", decay=0.9, decay_epochs=50, patience=20
)
"""The README's; its early stopping looks at the test fold, ours at validation sections."""
_READ_AT_ONCE = 32


@dataclass(frozen=True)
class NH2STSettings:
    """Everything that can be chosen about NH2ST; the defaults are those of the authors' README.

    Args:
        encoder: The image encoder, see `models.nh2st.NH2ST`.
        encoder_weights: What it starts from; the weights of frozen features, too.
        features: Frozen features in place of an encoder, see `methods.features.FeatureInputs`.
        width: Width of the embeddings.
        depth: Cross-attention blocks.
        n_heads: Their heads.
        mlp_ratio: Width of their MLP in units of the embeddings'.
        dropout: Probability of dropout in them.
        mean: Subtracted from images in 0..1; what belongs to the encoder's weights if None.
        std: By which they are divided, as `mean`.
        k: Spots of a neighbourhood.
        temperature: Of both contrastive losses.
        negative_weight: Factor of the negatives' logits in them, see `losses.weighted_info_nce`.
        symmetric: Whether they look in both directions.
        patch_weight: Of the loss between a spot's image and its expression.
        neighbor_weight: Of the loss between a neighbourhood's images and their expression.
        smooth_training: Whether training labels are smoothed over the 3x3 grid although the target, and with it the
            test's truth, is not. The released code smooths both: for that, smooth the target.
        batches: ``"random"`` as released, or ``"adjacent"``: spots of a batch lie side by side and share neighbours.
        sharing: Whether a spot is encoded once for all neighbourhoods of a batch and for itself, augmented; otherwise,
            as released, once for each, and only targets are augmented.
        augment: Whether training images are flipped and turned.
        training: Epochs, batch, learning rate and so on, see `training.TrainingSettings`.

    Raises:
        StlearnError: If a choice is unknown.
    """

    encoder: str = "resnet18"
    encoder_weights: str | None = "auto"
    features: Sequence[str] = ()
    width: int = 512
    depth: int = 1
    n_heads: int = 8
    mlp_ratio: float = 1.0
    dropout: float = 0.5
    mean: Channels | None = None
    std: Channels | None = None
    k: int = 9
    temperature: float = 0.05
    negative_weight: float = 0.1
    symmetric: bool = False
    patch_weight: float = 1.0
    neighbor_weight: float = 0.5
    smooth_training: bool = False
    batches: Literal["random", "adjacent"] = "random"
    sharing: bool = False
    augment: bool = True
    training: TrainingSettings = TRAINING

    def __post_init__(self) -> None:
        if self.batches not in ("random", "adjacent"):
            raise StlearnError(f"batches must be random or adjacent, not {self.batches!r}.")
        if isinstance(self.training, Mapping):  # from a JSON file
            object.__setattr__(self, "training", TrainingSettings(**self.training))


class NH2ST(TrainedMethod):
    r"""Predicts a spot's expression from its own patch; neighbours and expression act in training only.

    $$L = w_p\, L_c(p, e) + w_n\, L_c(p^N, e^N) + \lVert \hat y - y \rVert^2 / G$$

    with $p, e$ the embeddings of a spot's patch and expression, $p^N, e^N$ those of its neighbourhood, $L_c$
    `losses.weighted_info_nce`, and $\hat y$ decoded from the patch before the cross-attention.

    A validation loss is the error of $\hat y$ alone: that is what predicts. The released code stops by the correlation
    on the *test* fold.

    Args:
        compute: Devices and precision; a single device if None.
        folder: Where training keeps checkpoints and history, in a folder for each set of training spots; nowhere if
            None.
        progress: Whether to show a bar while training, on a terminal.
        target: Genes and expression space to predict, which is also the expression that is embedded.
        **settings: The fields of `NH2STSettings`.

    Raises:
        StlearnError: If a choice is unknown.

    Example:
        >>> NH2ST(features=["deep:mobilenetv2_100"]).name
        'NH2ST (frozen deep:mobilenetv2_100)'

    Reference:
        Qu et al., arXiv 2506.23827, MICCAI 2025; code MCPathology/NH2ST @ e385a1c.
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
        self.options = NH2STSettings(**settings)
        features, weights = self.options.features, self.options.encoder_weights
        self._inputs = FeatureInputs(features, encoder_weights=weights) if features else None
        self._model: nh2st.NH2ST | None = None

    @property
    def name(self) -> str:
        """The method's name in tables."""
        o = self.options
        seen_by = f"frozen {' + '.join(o.features)}" if o.features else o.encoder
        return f"NH2ST ({seen_by})"

    @property
    def seed(self) -> int:
        """What initial weights, order of spots and augmentation are drawn from."""
        return self.options.training.seed

    def settings(self) -> dict[str, Any]:
        """Return the arguments, other than the target, that build this method again."""
        return _plain(self.options)

    def _fit(
        self, sections: Sequence[AnnData], truths: list[np.ndarray], validation: Sequence[AnnData]
    ) -> dict[str, np.ndarray]:
        state = self._inputs.fit(sections) if self._inputs else {}
        spots = self._spots(sections, state, smooth=self.options.smooth_training)
        held_out = self._spots(validation, state, smooth=False) if validation else None
        model = self._model = self._new_model(spots)
        self._train(DualScaleTask(model, self.options), spots, self.options.training, held_out)
        return state | model_state(model)

    def _spots(self, sections: Sequence[AnnData], state: Mapping[str, np.ndarray], smooth: bool) -> SpotTable:
        target = self._target()
        read = replace(target, smooth=target.smooth or smooth)
        adjacent = self.options.batches == "adjacent"
        return NeighbourhoodTable(
            {
                "image": [self._images(section, state) for section in sections],
                "expression": [expression(section, read).astype(np.float32) for section in sections],
            },
            neighbours=[nearest_spots(section, self.options.k) for section in sections],
            centres=[np.asarray(section.obsm["spatial"], dtype=float) for section in sections] if adjacent else None,
        )

    def _images(self, section: AnnData, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Patches (N, H, W, 3) uint8, or frozen features (N, n_features)."""
        return self._inputs(section, state).astype(np.float32) if self._inputs else cut_patches(section, PATCH_PX)

    def _new_model(self, spots: SpotTable) -> nh2st.NH2ST:
        o = self.options
        encoder: Encoder | int
        if self._inputs:
            encoder = spots.columns["image"][0].shape[1]
            self.learnt |= {"encoder": encoder, "weights": self._inputs.weights_id}
        else:
            encoder = create_encoder(o.encoder, o.encoder_weights, seed=self.seed, mean=o.mean, std=o.std)
            self.learnt |= {"encoder": encoder.settings, "weights": encoder.weights_id}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            return self._build(encoder)

    def _build(self, encoder: Encoder | int) -> nh2st.NH2ST:
        o = self.options
        return nh2st.NH2ST(
            n_genes=len(self._target().genes),
            encoder=encoder,
            width=o.width,
            depth=o.depth,
            n_heads=o.n_heads,
            mlp_ratio=o.mlp_ratio,
            dropout=o.dropout,
            patch_px=PATCH_PX,
        )

    @torch.inference_mode()
    def _predict(self, section: AnnData) -> np.ndarray:
        model = self._fitted_model()
        device = next(model.parameters()).device
        images = SpotTable({"image": [self._images(section, self.state)]})
        predicted = []
        for start in range(0, len(images), _READ_AT_ONCE):
            batch = images.rows(range(start, min(start + _READ_AT_ONCE, len(images))))["image"].to(device)
            predicted.append(model.predict(channels_first(batch)).cpu().numpy())
        return np.concatenate(predicted)

    def _fitted_model(self) -> nh2st.NH2ST:
        if self._model is None:  # it was loaded
            settings = self.learnt["encoder"]
            encoder = settings if isinstance(settings, int) else create_encoder(weights=None, **settings)
            self._model = restore_model(self._build(encoder), self.state)
        return self._model.eval()


class DualScaleTask(Task):
    """The model, its two contrastive losses and the error of its prediction."""

    def __init__(self, model: nh2st.NH2ST, options: NH2STSettings) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.augment = nh2st_training()

    def facts(self) -> dict[str, Any]:
        """Return everything that was chosen: all of it acts in training."""
        return {name: value for name, value in _plain(self.options).items() if name != "training"}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch: ``image`` and ``expression`` of S spots, ``neighbours`` (B, K) among them."""
        images, expression, neighbours = channels_first(batch["image"]), batch["expression"], batch["neighbours"]
        targets = neighbours[:, 0]
        shared = self.options.sharing or not self.training  # in evaluation both give the same
        embed = self.embed_each_once if shared else self.embed_each_anew
        output = embed(images, expression, neighbours)
        error = F.mse_loss(output.prediction, expression[targets])
        patch = self._contrast(output.patch_embedding, output.expression_embedding)
        neighbor = self._contrast(output.neighbor_patch_embedding, output.neighbor_expression_embedding)
        total = self.options.patch_weight * patch + self.options.neighbor_weight * neighbor + error
        return {"loss": total if self.training else error, "patch": patch, "neighbor": neighbor, "error": error}

    def embed_each_anew(self, images: Tensor, expression: Tensor, neighbours: Tensor) -> nh2st.NH2STOutput:
        """Encode a spot for itself, augmented, and once more for each neighbourhood that it belongs to."""
        targets = neighbours[:, 0]
        output: nh2st.NH2STOutput = self.model(
            patch=self._augmented(images[targets]),
            expression=expression[targets],
            neighbor_patch=images[neighbours],
            neighbor_expression=expression[neighbours],
        )
        return output

    def embed_each_once(self, images: Tensor, expression: Tensor, neighbours: Tensor) -> nh2st.NH2STOutput:
        """Encode each spot once, for itself and for all neighbourhoods that it belongs to."""
        features = self.model.encode_images(self._augmented(images))
        targets = neighbours[:, 0]
        return self.model.embed(features[targets], expression[targets], features, expression, neighbours)

    def _augmented(self, images: Tensor) -> Tensor:
        if not (self.training and self.options.augment) or images.ndim != 4:
            return images
        return channels_last_in_memory(self.augment(images))

    def _contrast(self, a: Tensor, b: Tensor) -> Tensor:
        with torch.autocast(a.device.type, enabled=False):  # a softmax over half-precision logits loses digits
            return weighted_info_nce(
                gather_embeddings(a.float()),
                gather_embeddings(b.float()),
                temperature=self.options.temperature,
                negative_weight=self.options.negative_weight,
                symmetric=self.options.symmetric,
            )


def _plain(options: NH2STSettings) -> dict[str, Any]:
    """As a JSON file has them: lists in the place of tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return plain
