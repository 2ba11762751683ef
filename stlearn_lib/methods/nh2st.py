"""NH2ST as a method: expression decoded from a patch, with neighbourhood and contrast acting through the losses.

The model is `models.nh2st`, the losses `losses.contrastive`, the neighbourhoods `data.neighbourhoods`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor
from torch.nn import functional as F

from stlearn_lib.data.augmentation import nh2st_training
from stlearn_lib.data.expression import expression
from stlearn_lib.data.neighbourhoods import NeighbourhoodTable, nearest_spots
from stlearn_lib.data.patches import PATCH_PX
from stlearn_lib.data.spots import SpotTable
from stlearn_lib.losses import gather_embeddings, weighted_info_nce
from stlearn_lib.methods.trained import (
    NetworkSettings,
    TrainedMethod,
    channels_first,
    channels_last_in_memory,
    model_state,
)
from stlearn_lib.models import nh2st
from stlearn_lib.models.encoders import Encoder
from stlearn_lib.training import Task, TrainingSettings

TRAINING = TrainingSettings(
    epochs=200, batch_size=8, learning_rate=5e-4, schedule="step", decay=0.9, decay_epochs=50, patience=20
)
"""The README's; its early stopping looks at the test fold, ours at validation sections."""

_FLAT = 1e-6  # what is left of a spread of 0 in single precision


@dataclass(frozen=True, kw_only=True)
class NH2STSettings(NetworkSettings):
    """What can be chosen about NH2ST, besides `NetworkSettings`; the defaults are those of the authors' README.

    Args:
        width: Width of the embeddings.
        depth: Cross-attention blocks.
        n_heads: Their heads.
        mlp_ratio: Width of their MLP in units of the embeddings'.
        dropout: Probability of dropout in them.
        k: Spots of a neighbourhood.
        hyperedges: Which of them are joined: ``"similar"`` or ``"random"`` ones, see `models.nh2st.NH2ST`.
        variant: ``"released"`` or ``"paper"``, see there.
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
        stop_by: By which validation loss the best epoch is kept. ``"correlation"``, as released: 1 minus the mean of
            the 50 highest correlations of a gene, over the validation spots that fill whole batches. ``"error"``: the
            mean squared error.

    Raises:
        StlearnError: If a choice is unknown.
    """

    CHOICES: ClassVar = {
        "hyperedges": nh2st.HYPEREDGES,
        "variant": nh2st.VARIANTS,
        "batches": ("random", "adjacent"),
        "stop_by": ("correlation", "error"),
    }

    encoder: str = "resnet18"
    training: TrainingSettings = TRAINING
    width: int = 512
    depth: int = 1
    n_heads: int = 8
    mlp_ratio: float = 1.0
    dropout: float = 0.5
    k: int = 9
    hyperedges: Literal["similar", "random"] = "similar"
    variant: Literal["released", "paper"] = "released"
    temperature: float = 0.05
    negative_weight: float = 0.1
    symmetric: bool = False
    patch_weight: float = 1.0
    neighbor_weight: float = 0.5
    smooth_training: bool = False
    batches: Literal["random", "adjacent"] = "random"
    sharing: bool = False
    augment: bool = True
    stop_by: Literal["correlation", "error"] = "correlation"


class NH2ST(TrainedMethod):
    r"""Predicts a spot's expression from its own patch; neighbours and expression act in training only.

    $$L = w_p\, L_c(p, e) + w_n\, L_c(p^N, e^N) + \lVert \hat y - y \rVert^2 / G$$

    with $p, e$ the embeddings of a spot's patch and expression, $p^N, e^N$ those of its neighbourhood, $L_c$
    `losses.weighted_info_nce`, and $\hat y$ decoded from the patch before the cross-attention.

    Epochs are judged by $\hat y$ alone, on the validation sections. The released code judges them on the *test* fold:
    so does a fold with `data.splits.Fold.select_on_test`, and the table says so.

    Arguments are those of `TrainedMethod`, with the fields of `NH2STSettings`. The target's expression is also what is
    embedded.

    Example:
        >>> NH2ST(features=["deep:mobilenetv2_100"]).name
        'NH2ST (frozen deep:mobilenetv2_100)'

    Reference:
        Qu et al., arXiv 2506.23827, MICCAI 2025; code MCPathology/NH2ST @ e385a1c.
    """

    Settings = NH2STSettings
    title = "NH2ST"

    def _fit(
        self, sections: Sequence[AnnData], truths: list[np.ndarray], validation: Sequence[AnnData]
    ) -> dict[str, np.ndarray]:
        state = self._inputs.fit(sections) if self._inputs else {}
        spots = self._spots(sections, state, smooth=self.options.smooth_training)
        held_out = self._spots(validation, state, smooth=False) if validation else None
        model = self._new_model(spots)
        self.learnt["history"] = self._train(DualScaleTask(model, self.options), spots, held_out)
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
            hyperedges=o.hyperedges,
            variant=o.variant,
        )

    def _predict(self, section: AnnData) -> np.ndarray:
        return self._see(self._images(section, self.state), self._fitted_model().predict)


class DualScaleTask(Task):
    """The model, its two contrastive losses and the error of its prediction."""

    def __init__(self, model: nh2st.NH2ST, options: NH2STSettings) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.augment = nh2st_training()

    def facts(self) -> dict[str, Any]:
        """Return everything that was chosen: all of it acts in training."""
        return {name: value for name, value in self.options.plain().items() if name != "training"}

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
        terms = {"loss": total, "patch": patch, "neighbor": neighbor, "error": error}
        return terms if self.training else terms | {"moments": moments(output.prediction, expression[targets])}

    def judge(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the terms, the correlation, and as loss the error or the distance of the correlation from 1."""
        correlation = best_correlation(means.pop("moments"))
        loss = {"correlation": 1 - correlation, "error": means["error"]}[self.options.stop_by]
        return means | {"correlation": correlation, "loss": loss}

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


def moments(a: Tensor, b: Tensor) -> Tensor:
    """Return the means (5, G) over spots of a, b, a², b² and ab, with a, b (B, G).

    Those of all spots are the mean of those of batches of one size: a correlation needs no more.
    """
    a, b = a.float(), b.float()
    return torch.stack([a, b, a * a, b * b, a * b]).mean(dim=1)


def best_correlation(moments: Tensor, n_best: int = 50) -> Tensor:
    """Return the mean of the highest correlations of genes whose `moments` are (5, G); a constant gene counts as 0."""
    a, b, aa, bb, ab = moments
    spread = ((aa - a * a) * (bb - b * b)).clamp(min=0).sqrt()
    r = torch.where(spread > _FLAT, (ab - a * b) / spread.clamp(min=_FLAT), 0.0)
    return r.topk(min(n_best, len(r))).values.mean()
