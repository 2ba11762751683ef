"""Fixed features of a section's patches, by name."""

import sys
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from anndata import AnnData
from sklearn.decomposition import PCA

from stlearn_lib.cache import cache_folder
from stlearn_lib.data.patches import PATCH_PX, cut_patches
from stlearn_lib.data.statistics import colour_texture_statistics
from stlearn_lib.models.encoders import Encoder, create_encoder, extract_features
from stlearn_lib.training import Compute

_N_KEPT = 64  # sections whose deep features stay in memory: those of a cohort, which folds use again and again
_N_TRAINING_SETS_KEPT = 8  # whose principal components stay in memory: seeds and variants ask for the same
_components: OrderedDict[tuple[bytes, tuple[int, ...], str, int], np.ndarray] = OrderedDict()


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

    # What this process computed or read last, by file of patches and by weights; copies of a method share it.
    _kept: ClassVar[OrderedDict[tuple[str, str], np.ndarray]] = OrderedDict()

    def __init__(self, encoder: str, weights: str | None = "auto") -> None:
        self.encoder_name = encoder
        self.weights = weights

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, made when it is first needed; on a GPU where there is one."""
        return create_encoder(self.encoder_name, self.weights).to(Compute().fabric().device)

    @cached_property
    def _fingerprint(self) -> str:
        return self.encoder.fingerprint()

    @property
    def weights_id(self) -> str:  # type: ignore[override]
        """Which weights the encoder has."""
        return self.encoder.weights_id

    def __call__(self, section: AnnData) -> np.ndarray:
        """Return the features, (N, D)."""
        patches = cut_patches(section, PATCH_PX)
        key = (str(patches.filename), self._fingerprint)
        if key not in self._kept:
            at_terminal = sys.stderr.isatty()  # elsewhere, as on a page, a bar would stay behind
            values = extract_features(patches, self.encoder, cache=cache_folder("features"), progress=at_terminal)
            values.flags.writeable = False
            self._kept[key] = values
            if len(self._kept) > _N_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


class FeatureInputs:
    """What a method that sees a patch through fixed features takes in: blocks of features, scaled, side by side.

    Features are standardised by the training spots' mean and spread, or, with ``standardize="section"``, each section
    by its own: that removes a difference in stain between patients, and needs the whole test section's image at once.
    A block of features wider than ``n_components`` is reduced to so many principal components of the training spots.
    Each block is scaled to unit total variance, so that 1,280 deep features do not outweigh 26 statistics.

    Args:
        features: Blocks of features: names such as ``"colour_texture"`` or ``"deep:mobilenetv2_100"``.
        standardize: Whose mean and spread.
        n_components: Principal components kept of a wide block.
        encoder_weights: Weights of deep features, see `models.encoders.create_encoder`.

    Raises:
        ValueError: If a name is unknown.
    """

    def __init__(
        self,
        features: Sequence[str],
        *,
        standardize: Literal["training", "section"] = "training",
        n_components: int = 256,
        encoder_weights: str | None = "auto",
    ) -> None:
        if standardize not in ("training", "section"):
            raise ValueError(f"standardize must be 'training' or 'section', not {standardize!r}.")
        self.standardize = standardize
        self.n_components = n_components
        self.blocks: list[Features] = [build_features(name, encoder_weights) for name in features]

    @property
    def weights_id(self) -> str:
        """Which pretrained weights the features use."""
        return " + ".join(block.weights_id for block in self.blocks if block.weights_id != "none") or "none"

    def fit(self, sections: Sequence[AnnData]) -> dict[str, np.ndarray]:
        """Return the state that makes inputs of any section: means, spreads and components of the training spots."""
        state: dict[str, np.ndarray] = {}
        for i, block in enumerate(self.blocks):
            values = [block(section) for section in sections]
            together = np.concatenate(values)
            state[f"mean_{i}"], state[f"spread_{i}"] = _mean_and_spread(together)
            if together.shape[1] > self.n_components:
                scaled = np.concatenate([self._scale(v, state, i) for v in values])
                state[f"components_{i}"] = _principal_components(scaled, min(self.n_components, len(scaled)))
        return state

    def __call__(self, section: AnnData, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the inputs of a section's spots, (N, D)."""
        blocks = []
        for i, block in enumerate(self.blocks):
            scaled = self._scale(block(section), state, i)
            scaled /= np.sqrt(scaled.shape[1])
            blocks.append(scaled @ state[f"components_{i}"].T if f"components_{i}" in state else scaled)
        return np.concatenate(blocks, axis=1)

    def _scale(self, values: np.ndarray, state: Mapping[str, np.ndarray], i: int) -> np.ndarray:
        own = self.standardize == "section"
        mean, spread = _mean_and_spread(values) if own else (state[f"mean_{i}"], state[f"spread_{i}"])
        return (values - mean) / spread


def _principal_components(values: np.ndarray, n: int) -> np.ndarray:
    """Return the first n principal components (n, D) of values (N, D); of the same values they are computed once."""
    key = (blake2b(values.tobytes()).digest(), values.shape, values.dtype.str, n)
    if key not in _components:
        _components[key] = PCA(n, svd_solver="covariance_eigh").fit(values).components_
        if len(_components) > _N_TRAINING_SETS_KEPT:
            _components.popitem(last=False)
    return _components[key].copy()


def _mean_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = values.std(axis=0)
    return values.mean(axis=0), np.where(spread > 0, spread, 1)


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
