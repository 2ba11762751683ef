"""Does a slide look like the ones that a method was trained on? Colour and texture compared, with plain warnings.

The 26 statistics of `data.statistics` of up to 100 spots of each training section, their mean and covariance, and how
far from it the training spots themselves lie. No label is needed: it is asked before anything is believed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from anndata import AnnData
from sklearn.covariance import LedoitWolf

from stlearn_lib.data.patches import PATCH_PX, cut_patches
from stlearn_lib.data.sections import metadata_of
from stlearn_lib.data.statistics import colour_texture_statistics

N_SPOTS = 100
"""Spots of a section that are looked at, evenly spaced in its order: enough for a mean, and a fifth of a second."""

CHANNELS = ("red", "green", "blue")
"""Whose mean optical densities are the first three statistics."""

# Set on HER2+ sections. C2 to C6, of one patient, each against any two to four of the others, stay below all three
# (at most 0.95, 1.49 and 18 %; against a single other 3 of 20 do not: one section is little to know a stain by). B4, a
# paler one, is above the first against 30 of the 31 sets that C2 to C6 have; A1, of another stain and scanner, above
# the other two against all (at least 1.87 and 34 %). The tests hold the main ones.
MAX_STAIN_DISTANCE = 1.0
MAX_FEATURE_DISTANCE = 1.6
MAX_SHARE_UNLIKE = 0.25


@dataclass(frozen=True)
class Likeness:
    """How like the training sections a slide is."""

    stain_distance: float
    """How far its mean optical density lies from that of training, in spreads of training spots; see `Appearance`."""
    feature_distance: float
    """How far its median spot lies from the centre of training, in units of the median training spot's distance."""
    share_unlike: float
    """Share of its spots that are farther from the centre than 99 % of the training spots: 0.01 if it is alike."""
    warnings: tuple[str, ...]
    """What speaks against believing a prediction, in plain words; empty if it is alike."""


@dataclass(frozen=True)
class Appearance:
    r"""What the training spots look like.

    With $m$ and $\Sigma$ mean and covariance of the training spots' statistics, and $x$ those of a spot of a slide,

    $$d(x) = \sqrt{(x - m)^\top \Sigma^{-1} (x - m)}, \qquad
    \mathrm{stain\ distance} = \sqrt{\tfrac13 \textstyle\sum_{c=1}^3 (\bar x_c - m_c)^2 / \Sigma_{cc}}$$

    where $c$ runs over the mean optical densities of red, green and blue, and $\bar x$ is the mean over the slide's
    spots. At a stain distance of 1 the whole slide is as much darker or lighter as a single training spot usually is.

    Args:
        mean: Mean of the statistics over training spots, (26,).
        covariance: Their covariance, shrunk towards uncorrelated statistics as Ledoit and Wolf say, (26, 26).
        distances: $d$ of each training spot, (n,).

    Reference:
        Ledoit and Wolf, Journal of Multivariate Analysis 88 (2004) 365.
    """

    mean: np.ndarray
    covariance: np.ndarray
    distances: np.ndarray

    @classmethod
    def of(cls, sections: Sequence[AnnData]) -> Self | None:
        """Measure training sections.

        Args:
            sections: The sections.

        Returns:
            What they look like; None if one of them has no image, or they have a single spot.

        Raises:
            ImageError: If an image cannot be read.
        """
        if not all("image_path" in metadata_of(section) for section in sections):
            return None
        values = np.concatenate([_statistics(section) for section in sections])
        if len(values) < 2:
            return None
        spread = values.std(axis=0)
        spread = np.where(spread > 0, spread, 1)  # shrunk in units of their spreads, which leaves variances as they are
        shrunk = LedoitWolf().fit((values - values.mean(axis=0)) / spread)
        mean, covariance = values.mean(axis=0), shrunk.covariance_ * np.outer(spread, spread)
        return cls(mean, covariance, _distances(values, mean, covariance))

    def compare(self, section: AnnData) -> Likeness:
        """Compare a slide with the training sections.

        Args:
            section: The slide; its counts are not looked at.

        Returns:
            How like them it is.

        Raises:
            ImageError: If it has no image, or it cannot be read.
        """
        values = _statistics(section)
        spread = np.sqrt(np.diag(self.covariance)[:3])
        shift = (values.mean(axis=0) - self.mean)[:3] / np.where(spread > 0, spread, 1)
        distances = _distances(values, self.mean, self.covariance)
        stain = float(np.sqrt(np.mean(shift**2)))
        feature = float(np.median(distances) / max(np.median(self.distances), np.finfo(float).eps))
        unlike = float((distances > np.quantile(self.distances, 0.99)).mean())
        return Likeness(stain, feature, unlike, tuple(_warnings(shift, stain, feature, unlike)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything as arrays by name, to be saved."""
        return {"mean": self.mean, "covariance": self.covariance, "distances": self.distances}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Return what `arrays` described."""
        return cls(**arrays)


def _statistics(section: AnnData) -> np.ndarray:
    """The statistics of some of a section's spots, (n, 26); patches are cut of these alone, as a slide may be large."""
    rows = np.unique(np.linspace(0, section.n_obs - 1, N_SPOTS).astype(int))
    return _statistics_of(cut_patches(section[rows], PATCH_PX).filename)


@lru_cache(maxsize=128)
def _statistics_of(patches: Path) -> np.ndarray:
    """Measure once in a process: the name of a file of patches changes with what is in it."""
    values = colour_texture_statistics(np.load(patches, mmap_mode="r"))
    values.flags.writeable = False
    return values


def _distances(values: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Mahalanobis distances of rows (n, 26) from a mean, (n,)."""
    centred = values - mean
    squares = np.einsum("ij,jk,ik->i", centred, np.linalg.pinv(covariance, hermitian=True), centred)
    return np.sqrt(np.maximum(squares, 0))


def _warnings(shift: np.ndarray, stain: float, feature: float, unlike: float) -> list[str]:
    found = []
    if stain > MAX_STAIN_DISTANCE:
        darker = "darker" if shift.mean() > 0 else "lighter"
        channels = ", ".join(f"{channel} {s:+.1f}" for channel, s in zip(CHANNELS, shift, strict=True))
        found.append(
            f"the slide is {darker} than the training sections: its mean optical density differs by {stain:.1f} "
            f"spreads of a training spot ({channels})."
        )
    if feature > MAX_FEATURE_DISTANCE:
        found.append(
            f"colour and texture differ from training: the median spot lies {feature:.1f} times as far from the centre "
            "of the training spots as the median training spot."
        )
    if unlike > MAX_SHARE_UNLIKE:
        found.append(
            f"{100 * unlike:.0f} % of the spots lie farther from the centre of the training spots than 99 % of those."
        )
    return found
