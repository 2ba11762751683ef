r"""Expression spaces: named functions from raw counts to what a model predicts.

With $c_{sg}$ the count of gene $g$ in spot $s$, $\mathcal G$ the chosen genes and $\mathcal S$ the spots of a section:

| name | formula | who uses it |
|---|---|---|
| `spot_log10_10k` | $\log_{10}(1 + 10^4\, c_{sg} / \sum_{g' \in \mathcal G} c_{sg'})$ | mclSTExp's inputs, NH2ST |
| `gene_log10_10k` | $\log_{10}(1 + 10^4\, c_{sg} / \sum_{s' \in \mathcal S} c_{s'g})$ | mclSTExp's evaluation |
| `spot_ln_1m` | $\ln(1 + 10^6\, c_{sg} / \sum_{\text{all } g'} c_{sg'})$ | mclSTExp's paper |
| `cp10k_log1p` | $\ln(1 + 10^4\, c_{sg} / \sum_{\text{all } g'} c_{sg'})$ | RankByGene |

The second divides by the gene's total, not by the spot's: how many reads a spot has stays in the target. An empty spot
(or gene) has nothing to divide and stays zero.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from anndata import AnnData
from scipy import sparse
from scipy.spatial import cKDTree

from stlearn_lib.data.sections import section_name
from stlearn_lib.errors import GeneError, SpaceError


def spot_log10_10k(counts: np.ndarray, library: np.ndarray) -> np.ndarray:
    r"""Scale each spot to 10,000 counts over the chosen genes, then take $\log_{10}(1 + x)$.

    Args:
        counts: Raw counts of the chosen genes, (N, G).
        library: Each spot's total over all genes, (N,); not used in this space.

    Returns:
        Expression, (N, G).

    Example:
        >>> spot_log10_10k(np.array([[1.0, 1.0], [0.0, 0.0]]), library=np.array([9.0, 0.0])).round(3)
        array([[3.699, 3.699],
               [0.   , 0.   ]])

    Reference:
        shizhiceng/mclSTExp @ fdd3ab1, model inputs; MCPathology/NH2ST @ e385a1c.
    """
    return np.log10(1 + 1e4 * _share(counts, counts.sum(axis=1, keepdims=True)))


def gene_log10_10k(counts: np.ndarray, library: np.ndarray) -> np.ndarray:
    r"""Scale each gene to 10,000 counts over the spots of the section, then take $\log_{10}(1 + x)$.

    The released evaluation of mclSTExp arrives here by handing a matrix of genes x spots to a function that scales
    rows. The spot's total count is not divided out, so tissue density alone predicts every gene a little.

    Args:
        counts: Raw counts of the chosen genes in all spots of one section, (N, G).
        library: Each spot's total over all genes, (N,); not used in this space.

    Returns:
        Expression, (N, G).

    Example:
        >>> gene_log10_10k(np.array([[1.0, 0.0], [3.0, 0.0]]), library=np.array([1.0, 3.0])).round(3)
        array([[3.398, 0.   ],
               [3.875, 0.   ]])

    Reference:
        shizhiceng/mclSTExp @ fdd3ab1, evaluation.
    """
    return np.log10(1 + 1e4 * _share(counts, counts.sum(axis=0, keepdims=True)))


def spot_ln_1m(counts: np.ndarray, library: np.ndarray) -> np.ndarray:
    r"""Scale each spot to a million counts over all genes, then take $\ln(1 + x)$.

    Args:
        counts: Raw counts of the chosen genes, (N, G).
        library: Each spot's total over all genes, (N,).

    Returns:
        Expression, (N, G).

    Example:
        >>> spot_ln_1m(np.array([[1.0, 4.0]]), library=np.array([1e6])).round(3)
        array([[0.693, 1.609]])

    Reference:
        mclSTExp, arXiv 2407.08216. That the total runs over all genes is inferred from the paper's wording.
    """
    return np.log1p(1e6 * _share(counts, library[:, None]))


def cp10k_log1p(counts: np.ndarray, library: np.ndarray) -> np.ndarray:
    r"""Scale each spot to 10,000 counts over all genes, then take $\ln(1 + x)$: scanpy's usual normalisation.

    Args:
        counts: Raw counts of the chosen genes, (N, G).
        library: Each spot's total over all genes, (N,).

    Returns:
        Expression, (N, G).

    Example:
        >>> cp10k_log1p(np.array([[1.0, 4.0]]), library=np.array([1e4])).round(3)
        array([[0.693, 1.609]])

    Reference:
        RankByGene, arXiv 2411.15076; scanpy's ``normalize_total`` and ``log1p``.
    """
    return np.log1p(1e4 * _share(counts, library[:, None]))


def _share(counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Divide, leaving zero where there is nothing to divide by."""
    return np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)


SPACES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    function.__name__: function for function in (spot_log10_10k, gene_log10_10k, spot_ln_1m, cp10k_log1p)
}


@dataclass(frozen=True)
class Target:
    """What is predicted: which genes, in which expression space, smoothed or not.

    Args:
        genes: G gene names, in order.
        space: A name in `SPACES`.
        smooth: Average each spot with its neighbours on the 3x3 array grid, as NH2ST's and RankByGene's labels.
        gene_list: The list's name, for tables.

    Raises:
        SpaceError: If the space is unknown.
        GeneError: If there is no gene, or one occurs twice.
    """

    genes: tuple[str, ...]
    space: str = "spot_log10_10k"
    smooth: bool = False
    gene_list: str = "custom"

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise SpaceError(f"unknown expression space {self.space!r}; known: {', '.join(SPACES)}.")
        if not self.genes or len(set(self.genes)) != len(self.genes):
            raise GeneError(f"gene list {self.gene_list!r} is empty or names a gene twice.")

    def in_space(self, space: str) -> "Target":
        """Return the same genes in another space."""
        return replace(self, space=space)


def chosen_counts(section: AnnData, genes: tuple[str, ...]) -> np.ndarray:
    """Return the raw counts of the chosen genes.

    Args:
        section: The section.
        genes: G gene names.

    Returns:
        Raw counts, (N, G) float64.

    Raises:
        GeneError: If the section lacks a gene.
    """
    index = section.var_names.get_indexer(list(genes))
    if (index < 0).any():
        lacking = [gene for gene, i in zip(genes, index, strict=True) if i < 0]
        raise GeneError(
            f"section {section_name(section)} lacks {len(lacking)} of {len(genes)} genes: {', '.join(lacking[:5])}"
            f"{' ...' if len(lacking) > 5 else ''}. Use `genes.shared_genes` to keep those that all sections have."
        )
    columns = section.X[:, index]
    return np.asarray(columns.todense() if sparse.issparse(columns) else columns, dtype=np.float64)


def library_size(section: AnnData) -> np.ndarray:
    """Return each spot's total count over all genes, (N,) float64."""
    return np.asarray(section.X.sum(axis=1), dtype=np.float64).ravel()


def expression(section: AnnData, target: Target) -> np.ndarray:
    """Return a section's expression as a target wants it.

    Args:
        section: The section.
        target: Genes, space and smoothing.

    Returns:
        Expression, (N, G) float64.

    Raises:
        GeneError: If the section lacks a gene.
    """
    values = SPACES[target.space](chosen_counts(section, target.genes), library_size(section))
    return smooth_3x3(values, section.obs[["array_x", "array_y"]].to_numpy()) if target.smooth else values


def smooth_3x3(values: np.ndarray, array_xy: np.ndarray) -> np.ndarray:
    r"""Average each spot with those of its eight grid neighbours that exist.

    $$\tilde y_s = \frac{1}{|\mathcal N_s|} \sum_{t \in \mathcal N_s} y_t, \qquad
    \mathcal N_s = \{t : \max(|x_s - x_t|, |y_s - y_t|) \le 1\}.$$

    Applied to the truth of a test section this makes every score higher: part of the noise is averaged away.

    Args:
        values: Expression, (N, G).
        array_xy: Array column and row of each spot, (N, 2), rounded to whole steps.

    Returns:
        Smoothed expression, (N, G).

    Example:
        >>> smooth_3x3(np.array([[0.0], [3.0], [6.0]]), np.array([[0, 0], [1, 1], [3, 3]])).ravel()
        array([1.5, 1.5, 6. ])

    Reference:
        MCPathology/NH2ST @ e385a1c; winston52/RankByGene @ 96a1549.
    """
    grid = np.rint(array_xy)
    pairs = cKDTree(grid).sparse_distance_matrix(cKDTree(grid), 1, p=np.inf, output_type="coo_matrix")
    neighbours = sparse.csr_matrix((np.ones(len(pairs.row)), (pairs.row, pairs.col)), shape=pairs.shape)
    return np.asarray(neighbours @ values / neighbours.sum(axis=1))
