"""Does a predicted expression profile find the tissue's regions? Clusters of spots beside a pathologist's labels.

mclSTExp's supplement reports a mean ARI of 0.2646 and NMI of 0.2853 (B1: 0.381 and 0.429); how the spots were clustered
is not stated in what we hold. The authors' code in ZhicengShi/mclSTExp @ 2d00256, ``utils.py`` (that it made those
figures is inferred) leaves out the "undetermined" spots, takes nine principal components of the prediction, and runs
K-means with seed 0 for as many clusters as there are regions: ``cluster_spots(..., standardize=False, seed=0)`` here,
of the `labelled_spots`.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.preprocessing import StandardScaler

from stlearn_lib.errors import EvaluationError

NO_REGION = ("undetermined", "unlabelled")
"""Labels that name no region: the pathologist's own, and that of `readers.read_st` for spots without a label."""


@dataclass(frozen=True)
class Agreement:
    """How well clusters match a pathologist's regions; 1 is perfect, whatever the clusters are called."""

    ari: float
    """Adjusted Rand index; 0 is what chance reaches."""
    nmi: float
    """Normalised mutual information, 0 to 1; chance lies above 0, and further above for more clusters."""
    n_spots: int
    """Spots compared: those that have a region."""


def labelled_spots(labels: ArrayLike, *, exclude: Sequence[str] = NO_REGION) -> np.ndarray:
    """Find the spots to which a pathologist gave a region.

    Args:
        labels: (N,) a section's ``obs["label"]``; None, NaN and "" are no label.
        exclude: Labels that are no regions.

    Returns:
        (N,) True where there is a region.

    Example:
        >>> labelled_spots(["invasive cancer", "undetermined", None, "adipose tissue"])
        array([ True, False, False,  True])
    """
    names = pd.Series(np.asarray(labels, dtype=object))
    return (names.notna() & ~names.isin(["", *exclude])).to_numpy()


def cluster_spots(
    expression: ArrayLike, *, n_clusters: int, seed: int, n_components: int = 9, standardize: bool = True
) -> np.ndarray:
    r"""Group spots of similar expression: principal components, then K-means.

    .. math:: \min_{c, \mu} \sum_n \lVert z_n - \mu_{c(n)} \rVert^2

    with :math:`z_n` the spot's first principal components; the best of ten starts. Standardised, every gene counts the
    same; otherwise genes count by their variance, which a prediction makes smaller the less it knows about a gene. The
    positions of the spots are not looked at.

    Args:
        expression: (N, G) measured or predicted expression of one section, in any space.
        n_clusters: Number of clusters, from 2 to N.
        seed: Seed of the starts; the same seed and expression give the same clusters.
        n_components: Principal components; all there are where there are fewer.
        standardize: Whether each gene is brought to unit variance first.

    Returns:
        (N,) the cluster of each spot, counted from 0. There are fewer clusters where fewer profiles differ: one, for a
        prediction that is the same everywhere.

    Raises:
        EvaluationError: Expression is not (N, G), a number is NaN or infinite, there are fewer spots than clusters,
            fewer than two clusters, or no component.

    Example:
        >>> clusters = cluster_spots([[0.0, 0.1], [0.1, 0.0], [5.0, 5.1], [5.1, 5.0]], n_clusters=2, seed=0)
        >>> agreement(["stroma", "stroma", "tumour", "tumour"], clusters).ari
        1.0

    Reference:
        Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28, 1982.
    """
    values = np.asarray(expression, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise EvaluationError(f"expression has shape {values.shape}: expected finite numbers, (spots, genes)")
    if not 2 <= n_clusters <= len(values):
        raise EvaluationError(f"{len(values)} spots cannot make {n_clusters} clusters: choose 2 to the number of spots")
    if n_components < 1:
        raise EvaluationError(f"n_components = {n_components}: choose at least one")
    if standardize:
        values = StandardScaler().fit_transform(values)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # A prediction with fewer different profiles than clusters is a poor one, which the agreement will say.
        warnings.simplefilter("ignore", ConvergenceWarning)
        components = PCA(min(n_components, *values.shape), svd_solver="full").fit_transform(values)
        return KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(components)


def agreement(labels: ArrayLike, clusters: ArrayLike, *, exclude: Sequence[str] = NO_REGION) -> Agreement:
    r"""Compare clusters with a pathologist's regions, over the spots that have one.

    .. math:: \mathrm{ARI} = \frac{\sum_{ij} \binom{n_{ij}}{2} - E}
        {\frac{1}{2} \left( \sum_i \binom{a_i}{2} + \sum_j \binom{b_j}{2} \right) - E}, \qquad
        E = \sum_i \binom{a_i}{2} \sum_j \binom{b_j}{2} \Big/ \binom{N}{2}, \qquad
        \mathrm{NMI} = \frac{2\, I(L; C)}{H(L) + H(C)}

    with :math:`n_{ij}` spots of region i in cluster j, :math:`a_i` and :math:`b_j` their sums, I the mutual information
    and H the entropy. Regions are coherent, so whatever is smooth over the tissue agrees with them better than what is
    noisy, true or not: set the figure of a prediction beside those of the measured expression, plain and smoothed.

    Args:
        labels: (N,) a section's ``obs["label"]``; spots with None, NaN or "" are left out.
        clusters: (N,) the cluster of each spot, under any names.
        exclude: Labels that are no regions; their spots are left out too.

    Returns:
        The `Agreement`. Clusters that are all one reach 0 and 0.

    Raises:
        EvaluationError: Lengths differ, a cluster is missing, or the labelled spots are not of at least two regions.

    Example:
        >>> agreement(["tumour", "tumour", "fat", "undetermined"], [1, 1, 0, 0])
        Agreement(ari=1.0, nmi=1.0, n_spots=3)

    Reference:
        Hubert and Arabie, "Comparing partitions", Journal of Classification 2, 1985.
    """
    regions, found = np.asarray(labels, dtype=object), np.asarray(clusters)
    if regions.shape != found.shape or regions.ndim != 1:
        raise EvaluationError(f"labels are {regions.shape} and clusters are {found.shape}: expected one for each spot")
    if n_missing := int(pd.isna(found).sum()):
        raise EvaluationError(f"{n_missing} spots have no cluster")
    compared = labelled_spots(labels, exclude=exclude)
    if (n_regions := len(set(regions[compared]))) < 2:
        raise EvaluationError(f"{compared.sum()} labelled spots of {n_regions} regions: at least two are needed")
    pair = regions[compared].astype(str), found[compared]
    return Agreement(float(adjusted_rand_score(*pair)), float(normalized_mutual_info_score(*pair)), int(compared.sum()))
