"""Losses: tensors to scalars, each a pure function; none knows a model."""

from stlearn_lib.losses.contrastive import clip_loss, weighted_info_nce
from stlearn_lib.losses.gather import gather_embeddings

__all__ = ["clip_loss", "gather_embeddings", "weighted_info_nce"]
