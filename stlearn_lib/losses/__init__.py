"""Losses: tensors to scalars, each a pure function; none knows a model."""

from stlearn_lib.losses.contrastive import clip_loss

__all__ = ["clip_loss"]
