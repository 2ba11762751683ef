"""What several of the published models share: layers, and a strict way to load a checkpoint."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from stlearn_lib.errors import ModelError


class ProjectionHead(nn.Module):
    r"""Maps features to an embedding: a linear map, refined once, and normalised.

    $$h = W_1 x + b_1, \qquad y = \mathrm{LayerNorm}(\mathrm{Dropout}(W_2\, \mathrm{GELU}(h) + b_2) + h)$$

    Args:
        n_features: Width of the features.
        n_embedding: D, width of the embedding.
        dropout: Probability of dropout.

    Example:
        >>> import torch
        >>> ProjectionHead(1024, 256)(torch.zeros(2, 1024)).shape
        torch.Size([2, 256])

    Reference:
        mclSTExp, arXiv 2407.08216, and RankByGene, arXiv 2411.15076, which use the same head.
    """

    def __init__(self, n_features: int, n_embedding: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.projection = nn.Linear(n_features, n_embedding)
        self.fc = nn.Linear(n_embedding, n_embedding)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(n_embedding)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (..., n_features) to embeddings (..., D)."""
        projected = self.projection(features)
        embedding: Tensor = self.layer_norm(self.dropout(self.fc(F.gelu(projected))) + projected)
        return embedding


class TransformerBlock(nn.Module):
    r"""A pre-norm Transformer block: $x \leftarrow x + \mathrm{Attention}(\mathrm{LN}(x))$, then the same with an MLP.

    Queries, keys and values have no bias; the MLP is as wide as the tokens.

    Args:
        width: Width of the tokens.
        n_heads: Attention heads.
        head_dim: Width of each head; $n_\text{heads} \cdot d_\text{head}$ need not be the width of the tokens.
        dropout: Probability of dropout.

    Example:
        >>> import torch
        >>> TransformerBlock(32, n_heads=8, head_dim=64)(torch.zeros(5, 32)).shape
        torch.Size([5, 32])
    """

    def __init__(self, width: int, *, n_heads: int, head_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * n_heads * head_dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(n_heads * head_dim, width), nn.Dropout(dropout))
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width), nn.Dropout(dropout)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map sequences of tokens (..., N, width) to others, each token seeing all those of its sequence."""
        tokens = tokens + self._attend(self.attention_norm(tokens))
        mixed: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return mixed

    def _attend(self, tokens: Tensor) -> Tensor:
        # (..., N, 3, heads, d) -> 3 x (..., heads, N, d)
        query, key, value = self.to_qkv(tokens).unflatten(-1, (3, self.n_heads, -1)).movedim(-3, 0).transpose(-3, -2)
        mixed = F.scaled_dot_product_attention(query, key, value)
        attended: Tensor = self.to_out(mixed.transpose(-3, -2).flatten(-2))
        return attended


def load_fitting(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load weights that fit a model name by name, and say what does not.

    Args:
        model: The model.
        state: Tensors by the model's names.

    Raises:
        ModelError: If a tensor is missing, unknown or of another shape; it names the first of each.
    """
    own = model.state_dict()
    problems = {
        "missing": sorted(own.keys() - state.keys()),
        "unknown": sorted(state.keys() - own.keys()),
        "of another shape": sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape),
    }
    found = [f"{len(names)} {what}, first {names[0]}" for what, names in problems.items() if names]
    if found:
        raise ModelError(f"the checkpoint does not fit this model: {'; '.join(found)}.")
    model.load_state_dict(state)
