"""RankByGene: a student encoder ordered by genes, a slow teacher, and a small network that predicts expression.

Huang et al., arXiv 2411.15076, IEEE TMI 2026. Code: winston52/RankByGene @ 96a1549; re-implemented from a description
and proved equal to its values (`tests/models/test_rankbygene.py`).
"""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stlearn_lib.models.encoders import Channels, Encoder, create_encoder
from stlearn_lib.models.layers import ProjectionHead, load_fitting

_LIGHTNING_PREFIXES = {"image_encoder.": "", "gene_encoder.": "gene_head."}


class RankByGeneOutput(NamedTuple):
    """What `RankByGene` returns for a batch of B spots.

    Args:
        student_features: Of the student's view, (B, n_features).
        teacher_features: Of the teacher's view, (B, n_features); without a gradient.
        student_embedding: (B, D).
        teacher_embedding: (B, D); without a gradient.
        gene_embedding: Of the expression, (B, D).
    """

    student_features: Tensor
    teacher_features: Tensor
    student_embedding: Tensor
    teacher_embedding: Tensor
    gene_embedding: Tensor


class RankByGene(nn.Module):
    r"""Embeds two views of a spot's patch by a student and its slow teacher, and the spot's expression.

    The teacher is an exponential moving average of the student, see `update_teacher`. Its backbone starts as the
    student's; its head, as in the released code, from random values of its own.

    The authors' encoder is UNI, a ViT-L/16 for histology whose weights are behind a licence: ask for access on
    https://huggingface.co/MahmoodLab/UNI, log in with ``huggingface-cli login``, and pass
    ``encoder="hf-hub:MahmoodLab/UNI", encoder_kwargs={"init_values": 1e-5, "dynamic_img_size": True}``.

    Args:
        n_genes: G.
        encoder: The image encoder, see `models.encoders.create_encoder`, or the encoder itself. An int is the width of
            features that were computed before: then the "views" are those, and only the heads learn.
        encoder_kwargs: Handed to ``timm.create_model`` for an encoder that is given by name.
        weights: The weights of an encoder that is given by name.
        projection_dim: D.
        dropout: Probability of dropout in the heads.
        mean: Subtracted from images in 0..1; what belongs to the encoder's weights if None.
        std: By which they are divided, as `mean`.

    Raises:
        WeightsError: If the encoder's weights cannot be had.

    Example:
        >>> model = RankByGene(n_genes=5, encoder="resnet18", weights=None, projection_dim=16)
        >>> output = model(student_view=torch.rand(2, 3, 64, 64), teacher_view=torch.rand(2, 3, 64, 64),
        ...                expression=torch.rand(2, 5))
        >>> output.student_features.shape, output.gene_embedding.shape
        (torch.Size([2, 512]), torch.Size([2, 16]))
    """

    def __init__(
        self,
        *,
        n_genes: int,
        encoder: str | int | Encoder = "vit_large_patch16_224",
        encoder_kwargs: Mapping[str, Any] | None = None,
        weights: str | Path | None = "auto",
        projection_dim: int = 1024,
        dropout: float = 0.0,
        mean: Channels | None = None,
        std: Channels | None = None,
    ) -> None:
        super().__init__()
        self.student_backbone: Encoder | nn.Identity
        if isinstance(encoder, int):
            self.student_backbone, n_features = nn.Identity(), encoder
        else:
            if isinstance(encoder, str):
                encoder = create_encoder(encoder, weights, mean=mean, std=std, **(encoder_kwargs or {}))
            self.student_backbone, n_features = encoder, encoder.n_features
        self.teacher_backbone = copy.deepcopy(self.student_backbone)
        self.student_head = ProjectionHead(n_features, projection_dim, dropout)
        self.teacher_head = ProjectionHead(n_features, projection_dim, dropout)
        self.gene_head = ProjectionHead(n_genes, projection_dim, dropout)
        for part in (self.teacher_backbone, self.teacher_head):
            part.requires_grad_(False)

    def forward(self, *, student_view: Tensor, teacher_view: Tensor, expression: Tensor) -> RankByGeneOutput:
        """Embed the spots of a batch.

        Args:
            student_view: Patches, (B, 3, H, W), uint8 or float in 0..1.
            teacher_view: The same patches, augmented otherwise.
            expression: Expression, (B, G).

        Returns:
            Features and embeddings.
        """
        student = self.student_backbone(student_view)
        with torch.no_grad():
            teacher = self.teacher_backbone(teacher_view)
            teacher_embedding = self.teacher_head(teacher)
        return RankByGeneOutput(
            student, teacher, self.student_head(student), teacher_embedding, self.gene_head(expression)
        )

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        r"""Move the teacher towards the student.

        $$\theta_t \leftarrow m\, \theta_t + (1 - m)\, \theta_s$$

        Running statistics, of an encoder that has batch norms, are the student's.

        Args:
            momentum: $m$, from 0 to 1, see `teacher_momentum`.
        """
        for teacher, student in (
            (self.teacher_backbone, self.student_backbone),
            (self.teacher_head, self.student_head),
        ):
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.lerp_(fast, 1 - momentum)
            for statistic, newer in zip(teacher.buffers(), student.buffers(), strict=True):
                statistic.copy_(newer)

    def load_released_state_dict(
        self, image_encoder: Mapping[str, Tensor], gene_encoder: Mapping[str, Tensor] | None = None
    ) -> None:
        """Load the authors' checkpoint.

        Args:
            image_encoder: Tensors of their image encoder, teacher included; or, without `gene_encoder`, the
                ``state_dict`` of a published Lightning checkpoint, which holds both as ``image_encoder.*`` and
                ``gene_encoder.*``.
            gene_encoder: Tensors of their gene encoder.

        Raises:
            ModelError: If a tensor is missing, unknown or of another shape; it names the first of each.
        """
        theirs = dict(image_encoder)
        if gene_encoder is not None:
            theirs |= {f"gene_encoder.{name.removeprefix('module.')}": tensor for name, tensor in gene_encoder.items()}
        load_fitting(self, {_translated(name): tensor for name, tensor in theirs.items()})


def _translated(name: str) -> str:
    name = name.removeprefix("module.")
    for prefix, ours in _LIGHTNING_PREFIXES.items():
        if name.startswith(prefix):
            name = ours + name.removeprefix(prefix)
    for backbone in ("student_backbone.", "teacher_backbone."):  # ours keeps timm's model in an encoder
        if name.startswith(backbone):
            name = backbone + "backbone." + name.removeprefix(backbone)
    return name


def teacher_momentum(epoch: float, n_epochs: int, *, start: float = 0.96, end: float = 1.0) -> float:
    r"""Return the momentum of the teacher at a time: it rises along half a cosine.

    $$m_e = m_1 - (m_1 - m_0) \cos^2\!\Big(\frac{\pi e}{2 (E - 1)}\Big)$$

    Args:
        epoch: $e$, whole or not, from 0.
        n_epochs: $E$.
        start: $m_0$.
        end: $m_1$, reached in the last epoch, and kept.

    Returns:
        The momentum.

    Example:
        >>> teacher_momentum(0, 100), teacher_momentum(99, 100)
        (0.96, 1.0)
    """
    share = min(epoch / max(n_epochs - 1, 1), 1.0)
    return end - (end - start) * math.cos(math.pi * share / 2) ** 2


class GenePredictor(nn.Module):
    """Predicts expression from frozen features: three linear layers with ReLU and dropout between.

    Each spot's features are brought into 0..1 first, by their own smallest and largest.

    Args:
        n_features: Width of the features.
        n_genes: G.
        n_hidden: Width of both hidden layers.
        dropout: Probability of dropout after each of them.

    Example:
        >>> GenePredictor(32, 10)(torch.rand(4, 32)).shape
        torch.Size([4, 10])
    """

    def __init__(self, n_features: int, n_genes: int, *, n_hidden: int = 1024, dropout: float = 0.2) -> None:
        super().__init__()
        self.fc1 = nn.Linear(n_features, n_hidden)
        self.fc2 = nn.Linear(n_hidden, n_hidden)
        self.fc3 = nn.Linear(n_hidden, n_genes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, n_features) to expression (B, G)."""
        low, high = features.amin(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)
        scaled = (features - low) / (high - low).clamp(min=torch.finfo(features.dtype).tiny)
        hidden = self.dropout(self.fc1(scaled).relu())
        prediction: Tensor = self.fc3(self.dropout(self.fc2(hidden).relu()))
        return prediction


class RidgePredictor(nn.Module):
    r"""Predicts expression from frozen features by ridge regression: what a deeper predictor has to beat. Ours.

    $$\min_W \lVert Y - \bar Y - ZW \rVert_F^2 + \alpha \lVert W \rVert_F^2$$

    with features $Z$ of mean 0 and variance $1/D$, as of the baselines: the same $\alpha$ means the same for any width.

    Args:
        n_features: D, width of the features.
        n_genes: G.

    Example:
        >>> features = torch.rand(50, 4)
        >>> predictor = RidgePredictor(4, 1).solve(features, features[:, :1], alpha=1e-6)
        >>> torch.allclose(predictor(features), features[:, :1], atol=1e-3)
        True

    Reference:
        Hoerl and Kennard, Technometrics 12 (1970) 55.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, n_features: int, n_genes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("spread", torch.ones(n_features))
        self.linear = nn.Linear(n_features, n_genes)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, n_features) to expression (B, G)."""
        prediction: Tensor = self.linear((features - self.mean) / self.spread)
        return prediction

    @torch.no_grad()
    def solve(self, features: Tensor, expression: Tensor, alpha: float = 10.0) -> "RidgePredictor":
        """Learn from all spots at once, in closed form.

        Args:
            features: Features, (N, n_features).
            expression: Expression, (N, G).
            alpha: Strength of the penalty.

        Returns:
            Itself.
        """
        x, y = features.double(), expression.double()
        self.mean.copy_(x.mean(dim=0))
        spread = x.std(dim=0, correction=0)
        self.spread.copy_(torch.where(spread > 0, spread, 1.0) * features.shape[1] ** 0.5)
        z = (x - self.mean) / self.spread
        penalty = alpha * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        weights = torch.linalg.solve(z.T @ z + penalty, z.T @ (y - y.mean(dim=0)))
        self.linear.weight.copy_(weights.T)
        self.linear.bias.copy_(y.mean(dim=0) - z.mean(dim=0) @ weights)
        return self
