"""mclSTExp: spots as words of a sentence, aligned with their images by contrast.

Min, Shi et al., "Multimodal contrastive learning for spatial gene expression prediction using histology images",
arXiv 2407.08216, Briefings in Bioinformatics 2024. Code: shizhiceng/mclSTExp @ fdd3ab1; re-implemented from a
description and proved equal to its values (`tests/models/test_mclstexp.py`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor, nn

from stlearn_lib.errors import ModelError
from stlearn_lib.models.encoders import Channels, Encoder, create_encoder
from stlearn_lib.models.layers import ProjectionHead, TransformerBlock, load_fitting

# The authors' names of parameters, and ours.
_IMAGE_PREFIX = "image_encoder.model.0."
_RELEASED_NAMES = (
    ("x_embed", "x_position"),
    ("y_embed", "y_position"),
    (".attn.norm.", ".attention_norm."),
    (".attn.fn.to_qkv.", ".to_qkv."),
    (".attn.fn.to_out.", ".to_out."),
    (".ff.norm.", ".mlp_norm."),
    (".ff.fn.net.", ".mlp."),
)


class MclSTExpOutput(NamedTuple):
    """What `MclSTExp` returns for B spots.

    Args:
        image_features: Pooled features of the image encoder, (B, n_features).
        image_embedding: Their projection, (B, D).
        spot_tokens: Tokens after the Transformer, (B, G).
        spot_embedding: Their projection, (B, D).
    """

    image_features: Tensor
    image_embedding: Tensor
    spot_tokens: Tensor
    spot_embedding: Tensor


class MclSTExp(nn.Module):
    r"""Embeds a spot's image and a spot's expression into one space.

    The image tower is an encoder and a projection head. In the spot tower a spot's token is its expression plus
    learnt embeddings of its array column and row,

    $$t_s = e_s + P^x_{x_s} + P^y_{y_s},$$

    and the tokens of a batch attend to one another as the words of a sentence, so that an embedding depends on its
    batch-mates.

    Variants: ``"released"`` pools DenseNet's last batch norm without the ReLU that DenseNet has there, as the authors'
    code does; ``"paper"`` has the ReLU. Other encoders are the same in both. Images are not normalised by ImageNet's
    mean and spread in the released code, nor are they here, unless `mean` and `std` say so.

    The released position tables have 65,536 rows, of which only the coordinates that occur are ever read or learnt;
    here they have `n_positions`, with the same results and without the 0.7 s a step that an optimiser spends on them.

    Args:
        n_genes: G.
        encoder: The image encoder's name, see `models.encoders.create_encoder`, or the encoder itself; the paper
            compares ``densenet121``, ``resnet18``, ``resnet50``, ``resnet101`` and ``vit_base_patch16_224``. An int is
            the width of features that were computed before: then the "images" are those, (B, n_features).
        weights: The weights of an encoder that is given by name.
        projection_dim: D.
        n_heads: Attention heads.
        head_dim: Width of a head.
        n_layers: Transformer blocks.
        dropout: Probability of dropout in blocks and heads.
        n_positions: Rows of each position table; array coordinates lie in 0 to ``n_positions - 1``. With 0 there are
            no tables, and a spot's place is not looked at.
        mean: Subtracted from images in 0..1; what belongs to the encoder's weights if None.
        std: By which they are divided, as `mean`.
        variant: What is computed where paper and code differ.

    Raises:
        ModelError: If the variant is unknown.
        WeightsError: If the encoder's weights cannot be had.

    Example:
        >>> import torch
        >>> model = MclSTExp(n_genes=5, encoder="resnet18", weights=None)
        >>> output = model(image=torch.rand(2, 3, 64, 64), expression=torch.rand(2, 5),
        ...                position=torch.tensor([[3, 5], [4, 5]]))
        >>> output.image_embedding.shape, output.spot_embedding.shape
        (torch.Size([2, 256]), torch.Size([2, 256]))
    """

    def __init__(
        self,
        *,
        n_genes: int,
        encoder: str | int | Encoder = "densenet121",
        weights: str | Path | None = "auto",
        projection_dim: int = 256,
        n_heads: int = 8,
        head_dim: int = 64,
        n_layers: int = 2,
        dropout: float = 0.0,
        n_positions: int = 128,
        mean: Channels | None = (0.0, 0.0, 0.0),
        std: Channels | None = (1.0, 1.0, 1.0),
        variant: Literal["released", "paper"] = "released",
    ) -> None:
        super().__init__()
        if variant not in ("released", "paper"):
            raise ModelError(f"variant must be 'released' or 'paper', not {variant!r}.")
        self.n_positions = n_positions
        self.image_encoder: Encoder | nn.Identity
        if isinstance(encoder, int):
            self.image_encoder, n_features = nn.Identity(), encoder
        else:
            if isinstance(encoder, str):
                encoder = create_encoder(encoder, weights, mean=mean, std=std)
            if variant == "released" and encoder.name.startswith("densenet"):
                encoder.backbone.features.norm5.act = nn.Identity()
            self.image_encoder, n_features = encoder, encoder.n_features
        self.image_projection = ProjectionHead(n_features, projection_dim, dropout)
        if n_positions:
            self.x_position = nn.Embedding(n_positions, n_genes)
            self.y_position = nn.Embedding(n_positions, n_genes)
        self.spot_encoder = nn.Sequential(
            *(TransformerBlock(n_genes, n_heads=n_heads, head_dim=head_dim, dropout=dropout) for _ in range(n_layers))
        )
        self.spot_projection = ProjectionHead(n_genes, projection_dim, dropout)

    def forward(self, *, image: Tensor, expression: Tensor, position: Tensor) -> MclSTExpOutput:
        """Embed the spots of a batch.

        Args:
            image: Patches, (B, 3, H, W), uint8 or float in 0..1.
            expression: Expression, (B, G).
            position: Array column and row of each spot, (B, 2), whole numbers.

        Returns:
            Features, tokens and embeddings.

        Raises:
            ModelError: If a coordinate lies outside the position tables.
        """
        image_features, image_embedding = self.embed_images(image)
        spot_tokens, spot_embedding = self.embed_spots(expression, position)
        return MclSTExpOutput(image_features, image_embedding, spot_tokens, spot_embedding)

    def embed_images(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, n_features) and embeddings (B, D) of patches (B, 3, H, W)."""
        features = self.image_encoder(image)
        return features, self.image_projection(features)

    def embed_spots(self, expression: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens and embeddings of spots that are read together, as one sentence or as several.

        Args:
            expression: Expression, (B, G); or (S, B, G) for S sentences that do not see one another.
            position: Array column and row of each spot, (B, 2) or (S, B, 2), whole numbers.

        Returns:
            Tokens (..., B, G) and embeddings (..., B, D).

        Raises:
            ModelError: If a coordinate lies outside the position tables.
        """
        tokens = self.spot_encoder(expression + self._embed_positions(position) if self.n_positions else expression)
        return tokens, self.spot_projection(tokens)

    def _embed_positions(self, position: Tensor) -> Tensor:
        outside = ((position < 0) | (position >= self.n_positions)).any(dim=-1)
        if outside.any():
            where = outside.nonzero()[0].tolist()
            raise ModelError(
                f"array position {position[*where].tolist()} of spot {where[-1]} of the batch lies outside "
                f"0..{self.n_positions - 1}: make the model with a larger n_positions."
            )
        embedded: Tensor = self.x_position(position[..., 0]) + self.y_position(position[..., 1])
        return embedded

    def load_released_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load the authors' checkpoint, also one that was saved from several GPUs (``module.`` before each name).

        Of the position tables the first `n_positions` rows are taken. The released code's only image encoder whose
        checkpoints are known is DenseNet-121, as torchvision names it.

        Args:
            state: Tensors by the authors' names.

        Raises:
            ModelError: If a tensor is missing, unknown or of another shape; it names the first of each.
        """
        ours = {}
        for name, tensor in state.items():
            name = name.removeprefix("module.")
            if name.startswith(_IMAGE_PREFIX):
                name = "image_encoder.backbone.features." + name.removeprefix(_IMAGE_PREFIX)
            for theirs, mine in _RELEASED_NAMES:
                name = name.replace(theirs, mine)
            ours[name] = tensor[: self.n_positions] if name.endswith("_position.weight") else tensor
        load_fitting(self, ours)
