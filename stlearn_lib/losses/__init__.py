"""Losses: tensors to scalars, each a pure function; none knows a model."""

from stlearn_lib.losses.contrastive import clip_loss, info_nce, weighted_info_nce
from stlearn_lib.losses.gather import PartByPart, gather_embeddings
from stlearn_lib.losses.ranking import order_loss, ranking_consistency, similarity_rows

__all__ = [
    "PartByPart",
    "clip_loss",
    "gather_embeddings",
    "info_nce",
    "order_loss",
    "ranking_consistency",
    "similarity_rows",
    "weighted_info_nce",
]
