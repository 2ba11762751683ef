"""Fixed features of a section's patches, by name."""

import sys
from abc import ABC, abstractmethod
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from anndata import AnnData

from stlearn_lib.cache import cache_folder
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.statistics import colour_texture_statistics
from stlearn_lib.models.encoders import Encoder, create_encoder, extract_features

PATCH_PX = 224


class Features(ABC):
    """Turns a section into one row of numbers for each spot."""

    weights_id = "none"

    @abstractmethod
    def __call__(self, section: AnnData) -> np.ndarray:
        """Return the features, (N, D)."""


class ColourTexture(Features):
    """The 26 colour and texture statistics of `data.statistics`."""

    def __call__(self, section: AnnData) -> np.ndarray:
        """Return the statistics, (N, 26)."""
        return _statistics_of(cut_patches(section, PATCH_PX).filename)


@lru_cache(maxsize=128)
def _statistics_of(patches: Path) -> np.ndarray:
    """Measure once in a process: the name of a file of patches changes with what is in it."""
    values = colour_texture_statistics(np.load(patches, mmap_mode="r"))
    values.flags.writeable = False
    return values


class DeepFeatures(Features):
    """The features of a pretrained encoder, without training it.

    Args:
        encoder: A timm backbone, see `models.encoders.create_encoder`.
        weights: ``"auto"``, a path, or None for random weights.
    """

    # What this process has computed or read, by file of patches and by weights; copies of a method share it.
    _kept: ClassVar[dict[tuple[str, str], np.ndarray]] = {}

    def __init__(self, encoder: str, weights: str | None = "auto") -> None:
        self.encoder_name = encoder
        self.weights = weights

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, made when it is first needed."""
        return create_encoder(self.encoder_name, self.weights)

    @property
    def weights_id(self) -> str:  # type: ignore[override]
        """Which weights the encoder has."""
        return self.encoder.weights_id

    def __call__(self, section: AnnData) -> np.ndarray:
        """Return the features, (N, D)."""
        patches = cut_patches(section, PATCH_PX)
        key = (str(patches.filename), self.encoder.fingerprint())
        if key not in self._kept:
            at_terminal = sys.stderr.isatty()  # elsewhere, as on a page, a bar would stay behind
            values = extract_features(patches, self.encoder, cache=cache_folder("features"), progress=at_terminal)
            values.flags.writeable = False
            self._kept[key] = values
        return self._kept[key]


def build_features(name: str, weights: str | None = "auto") -> Features:
    """Make features by name.

    Args:
        name: ``"colour_texture"``, or ``"deep:"`` and the name of a timm backbone.
        weights: The weights of a deep encoder.

    Returns:
        The features.

    Raises:
        ValueError: If the name is unknown.
    """
    if name == "colour_texture":
        return ColourTexture()
    if name.startswith("deep:"):
        return DeepFeatures(name.removeprefix("deep:"), weights)
    raise ValueError(
        f"unknown features {name!r}: use 'colour_texture' or 'deep:ENCODER', such as 'deep:mobilenetv2_100'."
    )
