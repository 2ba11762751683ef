"""RankByGene as a method: an encoder that is ordered by genes, and expression predicted from its features.

The model is `models.rankbygene`, the losses `losses.contrastive` and `losses.ranking`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor, nn
from torch.nn import functional as F

from stlearn_lib.data.augmentation import rankbygene_strong, rankbygene_weak
from stlearn_lib.data.expression import expression
from stlearn_lib.data.spots import SpotTable
from stlearn_lib.losses import gather_embeddings, info_nce, ranking_consistency
from stlearn_lib.losses.alignment import order_accuracy, row_correlation
from stlearn_lib.losses.ranking import VARIANTS
from stlearn_lib.methods.trained import (
    NetworkSettings,
    TrainedMethod,
    channels_first,
    channels_last_in_memory,
    model_state,
)
from stlearn_lib.models import rankbygene
from stlearn_lib.models.encoders import Encoder
from stlearn_lib.training import Task, TrainingSettings

TRAINING = TrainingSettings(epochs=100, batch_size=32, learning_rate=1e-4)
"""As published for breast; lung has batches of 64."""

PREDICTOR = TrainingSettings(epochs=20, batch_size=64, learning_rate=1e-4)
"""Of the network that predicts expression from frozen features, as published."""


@dataclass(frozen=True, kw_only=True)
class RankByGeneSettings(NetworkSettings):
    """What can be chosen about RankByGene, besides `NetworkSettings`; the defaults are those published for breast.

    The authors' encoder is UNI, ``encoder="hf-hub:MahmoodLab/UNI"``, behind a licence (see `models.rankbygene`); the
    default is the same architecture with timm's weights.

    Args:
        width: Width of the embeddings.
        dropout: Probability of dropout in the projection heads.
        temperature: Of both contrastive losses.
        rank_weight: Weight of the ranking loss, α: 5 for breast, 10 for lung.
        teacher_weight: Weight of the agreement with the teacher, β.
        variant: Of the ranking loss: ``"released"`` or ``"ordered"``, see `losses.ranking.order_loss`.
        shifts: Shifts that the ranking loss compares; all if None.
        gene_rate: Learning rate of the gene tower, in units of the others'.
        teacher_update: Whether the teacher follows after each ``"epoch"``, as released, or after each ``"step"``.
        teacher_start: Momentum of the teacher at the start; it rises to 1.
        augment: Whether the two views are augmented.
        predict_from: ``"features"`` of the teacher's encoder, as published, or its ``"embedding"``, ours: with frozen
            features the encoder learns nothing, and the embedding is what training changes.
        regressor: What predicts expression from them: ``"mlp"``, as published, or ``"ridge"``.
        predictor: Training of the former.

    Raises:
        StlearnError: If a choice is unknown.
    """

    CHOICES: ClassVar = {
        "variant": VARIANTS,
        "teacher_update": ("epoch", "step"),
        "predict_from": ("features", "embedding"),
        "regressor": ("mlp", "ridge"),
    }

    encoder: str = "vit_large_patch16_224"
    training: TrainingSettings = TRAINING
    width: int = 1024
    dropout: float = 0.0
    temperature: float = 0.1
    rank_weight: float = 5.0
    teacher_weight: float = 1.0
    variant: Literal["released", "ordered"] = "released"
    shifts: int | None = 1
    gene_rate: float = 10.0
    teacher_update: Literal["epoch", "step"] = "epoch"
    teacher_start: float = 0.96
    augment: bool = True
    predict_from: Literal["features", "embedding"] = "features"
    regressor: Literal["mlp", "ridge"] = "mlp"
    predictor: TrainingSettings = PREDICTOR

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.predictor, Mapping):  # from a JSON file
            object.__setattr__(self, "predictor", TrainingSettings(**self.predictor))


class RankByGene(TrainedMethod):
    r"""Orders an image encoder by genes, then predicts expression from its frozen features.

    $$L = \mathrm{NCE}(s, g) + \alpha\, L_{rank}(g, s) + \beta\, \mathrm{NCE}(s, t)$$

    with $s, t$ the embeddings of two views of a patch by the student and its teacher, $g$ that of the expression,
    $\mathrm{NCE}$ `losses.info_nce` and $L_{rank}$ `losses.ranking_consistency`. Afterwards a network of three layers
    learns to predict expression from the teacher's features of the untouched patches.

    The losses compare the spots of a batch. The released code divides its batches into parts of 8 and compares within
    these: for that, ``accumulate=4`` for a batch of 32 in the training settings. With ``compare="batch"`` beside it the
    whole batch is compared, in the memory of a part; then each part draws a permutation of its own.

    A validation's loss is the same on validation sections. The released code "validates" on its training data.

    Arguments are those of `TrainedMethod`, with the fields of `RankByGeneSettings`.

    Example:
        >>> RankByGene(features=["deep:mobilenetv2_100"], predict_from="embedding").name
        'RankByGene (frozen deep:mobilenetv2_100)'

    Reference:
        Huang et al., IEEE TMI 2026, arXiv 2411.15076; code winston52/RankByGene @ 96a1549.
    """

    Settings = RankByGeneSettings
    title = "RankByGene"

    def _fit(
        self, sections: Sequence[AnnData], truths: list[np.ndarray], validation: Sequence[AnnData]
    ) -> dict[str, np.ndarray]:
        state = self._inputs.fit(sections) if self._inputs else {}
        spots, held_out = self._spots(sections, truths, state), None
        if validation:
            held_out = self._spots(validation, [expression(section, self._target()) for section in validation], state)
        model = self._new_model(spots)
        self.learnt["history"] = self._train(RankingTask(model.towers, self.options), spots, held_out)
        features = [self._features(images) for images in spots.columns["image"]]
        self._fit_predictor(model.predictor, features, spots.columns["expression"])
        return state | model_state(model)

    def _fit_predictor(self, predictor: nn.Module, features: list[np.ndarray], truths: list[np.ndarray]) -> None:
        if isinstance(predictor, rankbygene.RidgePredictor):
            predictor.solve(torch.from_numpy(np.concatenate(features)), torch.from_numpy(np.concatenate(truths)))
        else:
            seen = SpotTable({"features": features, "expression": truths})
            task = PredictionTask(predictor)
            self.learnt["predictor_history"] = self._train(task, seen, None, self.options.predictor)

    def _spots(
        self, sections: Sequence[AnnData], truths: list[np.ndarray], state: Mapping[str, np.ndarray]
    ) -> SpotTable:
        images = [self._images(section, state) for section in sections]
        return SpotTable({"image": images, "expression": [truth.astype(np.float32) for truth in truths]})

    def _build(self, encoder: Encoder | int) -> nn.Module:
        o, n_genes = self.options, len(self._target().genes)
        towers = rankbygene.RankByGene(n_genes=n_genes, encoder=encoder, projection_dim=o.width, dropout=o.dropout)
        n_features = towers.teacher_head.projection.in_features if o.predict_from == "features" else o.width
        kind = {"mlp": rankbygene.GenePredictor, "ridge": rankbygene.RidgePredictor}[o.regressor]
        return _Pipeline(towers, kind(n_features, n_genes))

    def features(self, section: AnnData) -> np.ndarray:
        """Return what expression is predicted from.

        Args:
            section: A section with its image; its counts are not looked at.

        Returns:
            The teacher's features, or its embedding, of each spot, (N, n_features).

        Raises:
            NotFittedError: If the method is not fitted.
        """
        self._check_fitted()
        return self._features(self._images(section, self.state))

    def _features(self, images: np.ndarray) -> np.ndarray:
        """What expression is predicted from, (N, n_features), of what `_images` returned."""
        towers = self._fitted_model().towers
        embed = towers.teacher_head if self.options.predict_from == "embedding" else nn.Identity()
        return self._see(images, lambda views: embed(towers.teacher_backbone(views)))

    @torch.inference_mode()
    def _predict(self, section: AnnData) -> np.ndarray:
        features = torch.from_numpy(self.features(section))
        predictor = self._fitted_model().predictor
        prediction: np.ndarray = predictor(features.to(next(predictor.parameters()).device)).cpu().numpy()
        return prediction


class _Pipeline(nn.Module):
    """The two towers and what predicts from them, to be kept in one file."""

    def __init__(self, towers: rankbygene.RankByGene, predictor: nn.Module) -> None:
        super().__init__()
        self.towers, self.predictor = towers, predictor


class RankingTask(Task):
    """Student, teacher and gene tower, and the three losses between them."""

    def __init__(self, model: rankbygene.RankByGene, options: RankByGeneSettings) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.strong, self.weak = rankbygene_strong(), rankbygene_weak()

    def facts(self) -> dict[str, Any]:
        """Return everything that was chosen and acts in training."""
        return {
            name: value
            for name, value in self.options.plain().items()
            if name not in ("training", "predictor", "predict_from", "regressor")
        }

    def learning_rates(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return the parameters of the image tower and, with a learning rate of their own, those of the gene tower."""
        genes = list(self.model.gene_head.parameters())
        others = [p for p in self.parameters() if p.requires_grad and all(p is not gene for gene in genes)]
        return [(others, 1.0), (genes, self.options.gene_rate)]

    def after_step(self, epoch: int, step: int, n_steps: int) -> None:
        """Let the teacher follow."""
        n_epochs, start = self.options.training.epochs, self.options.teacher_start
        if self.options.teacher_update == "step":
            self.model.update_teacher(rankbygene.teacher_momentum(epoch + step / n_steps, n_epochs, start=start))
        elif step == n_steps - 1:
            self.model.update_teacher(rankbygene.teacher_momentum(epoch, n_epochs, start=start))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch, ``image`` and ``expression`` of B spots; in evaluation how they agree, too."""
        images = channels_first(batch["image"])
        output = self.model(
            student_view=self._view(images, self.strong),
            teacher_view=self._view(images, self.weak),
            expression=batch["expression"],
        )
        embeddings = (output.gene_embedding, output.student_embedding, output.teacher_embedding)
        with torch.autocast(images.device.type, enabled=False):  # a softmax over half-precision logits loses digits
            gene, student, teacher = (gather_embeddings(embedding.float()) for embedding in embeddings)
            o = self.options
            contrast = info_nce(student, gene, temperature=o.temperature)
            rank = ranking_consistency(gene, student, variant=o.variant, shifts=o.shifts)
            agreement = info_nce(student, teacher, temperature=o.temperature)
        loss = contrast + o.rank_weight * rank + o.teacher_weight * agreement
        terms = {"loss": loss, "contrast": contrast, "rank": rank, "teacher": agreement}
        if self.training:
            return terms
        return terms | {
            "row_correlation": row_correlation(gene, student),
            "order_accuracy": order_accuracy(gene, student),
        }

    def _view(self, images: Tensor, augment: nn.Module) -> Tensor:
        if not (self.training and self.options.augment) or images.ndim != 4:
            return images
        return channels_last_in_memory(augment(images))


class PredictionTask(Task):
    """The predictor and its mean squared error."""

    def __init__(self, predictor: nn.Module) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch: ``features`` and ``expression``."""
        return {"loss": F.mse_loss(self.predictor(batch["features"]), batch["expression"])}
