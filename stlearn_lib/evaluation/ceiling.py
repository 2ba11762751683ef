"""How good could any prediction be? Two answers from the measurements themselves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from anndata import AnnData
from scipy import sparse
from scipy.spatial import cKDTree

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.registration import align
from stlearn_lib.data.sections import um_per_px_of
from stlearn_lib.errors import EvaluationError
from stlearn_lib.evaluation import weighted


@dataclass(frozen=True)
class Reliability:
    """How much of a gene's pattern over the spots would come again in a second measurement.

    Args:
        split_half: Correlation of two halves of the reads, (G,).
        full: Reliability at full depth by Spearman and Brown, (G,), 0 to 1.
    """

    split_half: np.ndarray
    full: np.ndarray

    @property
    def ceiling(self) -> np.ndarray:
        r"""The highest r that a perfect prediction can expect, $\sqrt{\rho_g}$, (G,)."""
        return np.sqrt(self.full)


def split_half_reliability(section: AnnData, target: Target, *, n_repeats: int = 10, seed: int = 0) -> Reliability:
    r"""Measure reliability by dealing every read to one of two halves.

    Each count is split, $a_{sg} \sim \mathrm{Binomial}(c_{sg}, \tfrac12)$ and $b = c - a$: were reads drawn
    independently, $a$ and $b$ are two independent measurements at half the depth. With $r_g$ their correlation in the
    target's space, averaged over repeats,

    $$\rho_g = \frac{2 r_g}{1 + r_g}, \qquad r_{\max} = \sqrt{\rho_g}.$$

    What varies between spots for reasons other than drawing reads (a tear, a failed spot) counts as signal here, so
    the ceiling is generous.

    Args:
        section: The section.
        target: Genes, space and smoothing.
        n_repeats: How many times the reads are dealt.
        seed: Seed of the dealing.

    Returns:
        The reliability of each gene; NaN where a half is constant, 0 where the halves anti-correlate.

    Reference:
        Spearman, British Journal of Psychology 3 (1910) 271; Brown, ibid. 296.
    """
    rng = np.random.default_rng(seed)
    counts = section.X.toarray().astype(int) if sparse.issparse(section.X) else np.asarray(section.X, dtype=int)
    repeats = []
    for _ in range(n_repeats):
        one = rng.binomial(counts, 0.5)
        first, second = (expression(_with_counts(section, half), target) for half in (one, counts - one))
        repeats.append(weighted.pearson(first, second, weighted.uniform(section.n_obs))[0])
    defined = np.isfinite(repeats).all(axis=0)
    split_half = np.where(defined, np.nan_to_num(repeats).mean(axis=0), np.nan)
    positive = np.clip(split_half, 0, 1)
    return Reliability(split_half, 2 * positive / (1 + positive))


def _with_counts(section: AnnData, counts: np.ndarray) -> AnnData:
    copy = section.copy()
    copy.X = sparse.csr_matrix(counts, dtype=np.float32)
    return copy


def predict_from_neighbours(
    section: AnnData, neighbours: Sequence[AnnData], target: Target, *, k: int = 4
) -> np.ndarray:
    """Predict a section from what was measured in adjacent sections of the same tissue.

    Each neighbour is laid on the section by its image (`data.registration.align`); a spot is predicted by the mean of
    the k nearest spots of each. Not a method, since it needs a measurement next door: a mark to compare methods with.

    Args:
        section: The section to predict; its counts are not looked at.
        neighbours: Adjacent sections of the same tissue.
        target: Genes, space and smoothing.
        k: Spots averaged from each neighbour.

    Returns:
        Predicted expression, (N, G).

    Raises:
        EvaluationError: If there is no neighbour, or one has fewer than k spots.
    """
    if not neighbours or min(neighbour.n_obs for neighbour in neighbours) < k:
        raise EvaluationError(f"at least one neighbouring section of {k} spots or more is needed.")
    spots_um = section.obsm["spatial"] * um_per_px_of(section)
    predictions = []
    for neighbour in neighbours:
        _, nearest = cKDTree(align(neighbour, section).positions_um).query(spots_um, k=k)
        predictions.append(expression(neighbour, target)[nearest.reshape(len(spots_um), k)].mean(axis=1))
    return np.mean(predictions, axis=0)
