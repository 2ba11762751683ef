"""NH2ST: a spot, its neighbours as a hypergraph, and two scales of contrast.

Qu et al., arXiv 2506.23827, MICCAI 2025. Code: MCPathology/NH2ST @ e385a1c; re-implemented from a description and
proved equal to its values (`tests/models/test_nh2st.py`).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stlearn_lib.errors import ModelError
from stlearn_lib.models.encoders import Channels, Encoder, create_encoder
from stlearn_lib.models.hypergraph import HypergraphConvolution, nearest_hyperedges
from stlearn_lib.models.layers import load_fitting

# The authors' names of parameters, and ours; and those that they have and never use.
_RELEASED_NAMES = (
    (r"^target_encoder\.0\.", "image_encoder.backbone.conv1."),
    (r"^target_encoder\.1\.", "image_encoder.backbone.bn1."),
    (r"^target_encoder\.([4-7])\.", lambda found: f"image_encoder.backbone.layer{int(found[1]) - 3}."),
    (r"^fc\.", "image_projection."),
    (r"^exp_encoder\.", "expression_encoder."),
    (r"^neighbor_encoder\.", "neighbor_image_encoder."),
    (r"^neighbor_exp_encoder\.", "neighbor_expression_encoder."),
    (r"\.layer1\.conv\.", ".first."),
    (r"\.layer2\.conv\.", ".second."),
    (r"\.lin\.weight$", ".linear.weight"),
    (r"^cross_encoder\.fusion_layer\.layers\.(\d+)\.0\.norm\.", r"fusion.blocks.\1.attention_norm."),
    (r"^cross_encoder\.fusion_layer\.layers\.(\d+)\.0\.fn\.", r"fusion.blocks.\1."),
    (r"^cross_encoder\.fusion_layer\.layers\.(\d+)\.1\.norm\.", r"fusion.blocks.\1.mlp_norm."),
    (r"^cross_encoder\.fusion_layer\.layers\.(\d+)\.1\.fn\.net\.", r"fusion.blocks.\1.mlp."),
    (r"^cross_encoder\.norm\.", "fusion.norm."),
    (r"^decoder\.fc1\.", "decoder.0."),
    (r"^decoder\.fc2\.", "decoder.1."),
)
HYPEREDGES = ("similar", "random")
VARIANTS = ("released", "paper")
_UNUSED = ("fc_target.", "fc_neighbor.", "fc_nuclei.", "fc_global.")


class NH2STOutput(NamedTuple):
    """What `NH2ST` returns for B target spots.

    Args:
        patch_embedding: Of the target's patch, after the cross-attention, (B, D).
        expression_embedding: Of the target's expression, after it, (B, D).
        neighbor_patch_embedding: Of the neighbourhood's patches, after it, (B, D).
        neighbor_expression_embedding: Of the neighbourhood's expression, after it, (B, D).
        prediction: The target's expression as decoded from its patch alone, (B, G).
    """

    patch_embedding: Tensor
    expression_embedding: Tensor
    neighbor_patch_embedding: Tensor
    neighbor_expression_embedding: Tensor
    prediction: Tensor


class CrossAttentionBlock(nn.Module):
    r"""One embedding asks another, then an MLP.

    $$q \leftarrow q + \mathrm{Attention}(\mathrm{LN}\, q, \mathrm{LN}\, c), \qquad
    q \leftarrow q + \mathrm{MLP}(\mathrm{LN}\, q)$$

    Query and context have the same layer norm. With a single token on either side the softmax runs over one number, so
    that the weight of the attention is 1, always; its queries change nothing.

    Args:
        width: D.
        n_heads: Heads, of width D / n_heads.
        mlp_ratio: Width of the MLP in units of D.
        dropout: Probability of dropout in the MLP and after the attention.
    """

    def __init__(self, width: int, *, n_heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        hidden = round(width * mlp_ratio)
        self.attention_norm = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
        )

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Map queries (B, N, D) that ask contexts (B, M, D) to (B, N, D)."""
        normed = self.attention_norm(context)
        q = self._heads(self.to_q(self.attention_norm(query)))
        k, v = (self._heads(part) for part in self.to_kv(normed).chunk(2, dim=-1))
        asked = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        query = query + self.to_out(asked)
        mixed: Tensor = query + self.mlp(self.mlp_norm(query))
        return mixed

    def _heads(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, heads, N, D / heads)."""
        return tokens.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class Fusion(nn.Module):
    """Cross-attention blocks, one after the other, and a layer norm; for embeddings, each a sentence of one token."""

    def __init__(self, width: int, *, depth: int, n_heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            CrossAttentionBlock(width, n_heads=n_heads, mlp_ratio=mlp_ratio, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Map embeddings (B, D) that ask embeddings (B, D) to (B, D)."""
        tokens = query[:, None]
        for block in self.blocks:
            tokens = block(tokens, context[:, None])
        fused: Tensor = self.norm(tokens)[:, 0]
        return fused


class HypergraphEncoder(nn.Module):
    """Two hypergraph convolutions with a ReLU after each, then the mean over the nodes."""

    def __init__(self, n_in: int, n_hidden: int, n_out: int) -> None:
        super().__init__()
        self.first = HypergraphConvolution(n_in, n_hidden)
        self.second = HypergraphConvolution(n_hidden, n_out)

    def forward(self, nodes: Tensor, neighbours: Tensor, incidence: Tensor) -> Tensor:
        """Embed neighbourhoods.

        Args:
            nodes: Features of all spots, (S, n_in): each is mapped once, however many neighbourhoods have it.
            neighbours: Which of them belong to each neighbourhood, (B, K).
            incidence: Hyperedges of each neighbourhood, (B, K, K).

        Returns:
            Embeddings, (B, n_out).
        """
        hidden = self.first.propagate(self.first.linear(nodes)[neighbours], incidence).relu()
        return self.second(hidden, incidence).relu().mean(dim=1)


class NH2ST(nn.Module):
    r"""Embeds a spot and its neighbourhood, each by image and by expression, and predicts expression from the image.

    The *query branch* encodes the target's patch and its expression. The *neighbour branch* encodes the K spots around
    it, the target among them, by two hypergraph convolutions over hyperedges that join spots of similar images; the
    expression goes over the same hyperedges. A cross-attention lets each pair of embeddings ask one another. The
    prediction is decoded from the target's image *before* that: neighbours and expression act through the losses only.

    Where the released code has parameters that it never uses (four heads), there are none here.

    Args:
        n_genes: G.
        encoder: The image encoder, see `models.encoders.create_encoder`, or the encoder itself; one for targets and
            neighbours. An int is the width of features that were computed before: then the "patches" are those.
        weights: The weights of an encoder that is given by name. The authors took the self-supervised histology
            weights of Ciga et al. (2022) for ``resnet18``.
        width: D.
        depth: Cross-attention blocks; the code's default is 2, its README says 1.
        n_heads: Heads of the cross-attention.
        mlp_ratio: Width of its MLP in units of D; the code's default is 2, its README says 1.
        dropout: Probability of dropout; the code's default is 0.1, its README says 0.5.
        patch_px: Side of the patches, in pixels: feature maps are flattened.
        n_similar: Nodes that a hyperedge has besides its own.
        hyperedges: Which they are: the most ``"similar"``, or ``"random"`` ones, drawn anew each time; ours, to see
            what the similarity is good for.
        variant: ``"released"``: of each pair of embeddings, the expression asks the image that has asked it already.
            ``"paper"``: both ask the other as it was (inferred: two like cross-attentions, without an order).
        mean: Subtracted from images in 0..1; what belongs to the encoder's weights if None.
        std: By which they are divided, as `mean`.

    Raises:
        WeightsError: If the encoder's weights cannot be had.
        ModelError: If the variant or the kind of hyperedges is unknown.

    Example:
        >>> model = NH2ST(n_genes=5, weights=None, patch_px=64, width=16)
        >>> output = model(patch=torch.rand(2, 3, 64, 64), expression=torch.rand(2, 5),
        ...                neighbor_patch=torch.rand(2, 9, 3, 64, 64), neighbor_expression=torch.rand(2, 9, 5))
        >>> output.prediction.shape, output.neighbor_patch_embedding.shape
        (torch.Size([2, 5]), torch.Size([2, 16]))
    """

    def __init__(
        self,
        *,
        n_genes: int,
        encoder: str | int | Encoder = "resnet18",
        weights: str | Path | None = "auto",
        width: int = 512,
        depth: int = 1,
        n_heads: int = 8,
        mlp_ratio: float = 1.0,
        dropout: float = 0.5,
        patch_px: int = 224,
        n_similar: int = 3,
        hyperedges: Literal["similar", "random"] = "similar",
        variant: Literal["released", "paper"] = "released",
        mean: Channels | None = None,
        std: Channels | None = None,
    ) -> None:
        super().__init__()
        for name, value, known in (("variant", variant, VARIANTS), ("hyperedges", hyperedges, HYPEREDGES)):
            if value not in known:
                raise ModelError(f"{name} must be one of {', '.join(known)}, not {value!r}.")
        self.n_similar, self.hyperedge_kind, self.variant = n_similar, hyperedges, variant
        self.image_encoder: Encoder | nn.Identity
        if isinstance(encoder, int):
            self.image_encoder, n_features = nn.Identity(), encoder
        else:
            if isinstance(encoder, str):
                encoder = create_encoder(encoder, weights, mean=mean, std=std)
            self.image_encoder = encoder
            n_features = self._n_features(patch_px)
        self.image_projection = nn.Linear(n_features, width)
        self.expression_encoder = nn.Sequential(nn.Linear(n_genes, width), nn.Linear(width, width))
        self.neighbor_image_encoder = HypergraphEncoder(n_features, 2 * width, width)
        self.neighbor_expression_encoder = HypergraphEncoder(width, 2 * width, width)
        self.fusion = Fusion(width, depth=depth, n_heads=n_heads, mlp_ratio=mlp_ratio, dropout=dropout)
        self.decoder = nn.Sequential(nn.Linear(width, width // 2), nn.Linear(width // 2, n_genes))

    def forward(
        self, *, patch: Tensor, expression: Tensor, neighbor_patch: Tensor, neighbor_expression: Tensor
    ) -> NH2STOutput:
        """Embed targets and neighbourhoods that are given patch by patch.

        Args:
            patch: Targets' patches, (B, 3, H, W), uint8 or float in 0..1.
            expression: Their expression, (B, G).
            neighbor_patch: Patches of each neighbourhood, the target's among them, (B, K, 3, H, W).
            neighbor_expression: Their expression, (B, K, G).

        Returns:
            Embeddings and prediction.
        """
        n_targets, n_neighbours = neighbor_patch.shape[:2]
        neighbours = torch.arange(n_targets * n_neighbours, device=patch.device).reshape(n_targets, n_neighbours)
        return self.embed(
            self.encode_images(patch),
            expression,
            self.encode_images(neighbor_patch.flatten(end_dim=1)),
            neighbor_expression.flatten(end_dim=1),
            neighbours,
        )

    def encode_images(self, images: Tensor) -> Tensor:
        """Return flattened feature maps, (S, n_features), of patches (S, 3, H, W)."""
        encoder = self.image_encoder
        if isinstance(encoder, nn.Identity):
            return images
        features: Tensor = encoder.backbone.forward_features(encoder.normalise(images)).flatten(1)
        return features

    def embed(
        self,
        features: Tensor,
        expression: Tensor,
        spot_features: Tensor,
        spot_expression: Tensor,
        neighbours: Tensor,
    ) -> NH2STOutput:
        """Embed targets and neighbourhoods whose spots were encoded before, each once.

        Args:
            features: Feature maps of the targets, (B, n_features).
            expression: Their expression, (B, G).
            spot_features: Feature maps of all spots of the neighbourhoods, (S, n_features).
            spot_expression: Their expression, (S, G).
            neighbours: Rows of the spots in each neighbourhood, (B, K).

        Returns:
            Embeddings and prediction.
        """
        patch = self.image_projection(features)
        prediction = self.decoder(patch)
        own = self.expression_encoder(expression)
        incidence = self.hyperedges(spot_features, neighbours)
        around = self.neighbor_image_encoder(spot_features, neighbours, incidence)
        around_expression = self.neighbor_expression_encoder(
            self.expression_encoder(spot_expression), neighbours, incidence
        )
        return NH2STOutput(*self._fuse(patch, own), *self._fuse(around, around_expression), prediction)

    def _fuse(self, image: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Let each of a pair of embeddings (B, D) ask the other."""
        fused = self.fusion(image, expression)
        return fused, self.fusion(expression, fused if self.variant == "released" else image)

    def hyperedges(self, spot_features: Tensor, neighbours: Tensor) -> Tensor:
        """Return the incidence (B, K, K) of neighbourhoods (B, K), by the cosine similarity of their feature maps.

        If hyperedges are ``"random"``, by similarities that are drawn.
        """
        if self.hyperedge_kind == "random":
            within = torch.rand(*neighbours.shape, neighbours.shape[1], device=neighbours.device)
        else:
            unit = F.normalize(spot_features.detach(), dim=1)
            similarity = unit @ unit.T  # (S, S): far fewer numbers than the feature maps of every neighbourhood
            within = similarity[neighbours[:, :, None], neighbours[:, None, :]]
        return nearest_hyperedges(within, self.n_similar)

    def predict(self, images: Tensor) -> Tensor:
        """Return the expression (B, G) that is decoded from patches (B, 3, H, W) alone."""
        expression: Tensor = self.decoder(self.image_projection(self.encode_images(images)))
        return expression

    @torch.no_grad()
    def _n_features(self, patch_px: int) -> int:
        was_training = self.image_encoder.training
        self.image_encoder.eval()
        n_features = self.encode_images(torch.zeros(1, 3, patch_px, patch_px)).shape[1]
        self.image_encoder.train(was_training)
        return n_features

    def load_released_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load the authors' checkpoint (ResNet-18), also one that was saved from several GPUs.

        Args:
            state: Tensors by the authors' names; the eight of the four heads that are never used are left out.

        Raises:
            ModelError: If a tensor is missing, unknown or of another shape; it names the first of each.
        """
        ours = {}
        for name, tensor in state.items():
            name = name.removeprefix("module.")
            if name == "fc.weight" and isinstance(
                self.image_encoder, Encoder
            ):  # theirs reads the target's map place by place, ours channel by channel
                tensor = tensor.unflatten(1, (-1, self.image_encoder.n_features)).transpose(1, 2).flatten(1)
            if not name.startswith(_UNUSED):
                ours[_translated(name)] = tensor
        load_fitting(self, ours)


def _translated(name: str) -> str:
    for theirs, mine in _RELEASED_NAMES:
        name = re.sub(theirs, mine, name)
    return name
