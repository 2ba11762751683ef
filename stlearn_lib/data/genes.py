"""Gene lists: read safely from the files the authors published, or chosen on training sections."""

import io
import pickle
import pickletools
import tokenize
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from stlearn_lib.errors import GeneError

# What a pickled array or index of strings is made of; numpy and pandas have moved these functions between versions.
_HARMLESS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("pandas.core.indexes.base", "_new_Index"): pd.Index([]).__reduce__()[0],
    ("pandas.core.indexes.base", "Index"): pd.Index,
}

# What a pickle, or the header of an array, may raise where a byte of it is wrong.
_BROKEN = (
    *(OSError, EOFError, pickle.UnpicklingError, SyntaxError, tokenize.TokenError, MemoryError, RuntimeError),
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
)


class _StringsOnly(pickle.Unpickler):
    """An unpickler that builds arrays and indexes, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _HARMLESS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def _unpickle(raw: bytes) -> list[Any]:
    """Read a pickled array or index; its numbers count what is in it, and a larger one would fill the memory."""
    for opcode, argument, _ in pickletools.genops(raw):
        if isinstance(argument, int) and argument > len(raw):
            raise pickle.UnpicklingError(f"{opcode.name} {argument} in {len(raw)} bytes")
    return list(_StringsOnly(io.BytesIO(raw)).load())


def read_gene_list(path: Path | str) -> tuple[str, ...]:
    """Read a gene list: ``.npy``, pickled array or index (``.pkl``), or one gene a line.

    Pickles can run code. Here only arrays and indexes are built from one; anything else in it is refused.

    Args:
        path: The file.

    Returns:
        Gene names in the file's order. In text files the first line is a gene, not a header.

    Raises:
        GeneError: If the file is missing, unreadable, empty, holds what is no name, or names a gene twice.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        genes = _parse(path.suffix, raw)
    except _BROKEN as error:
        raise GeneError(f"{path} is no readable gene list ({error}).") from error
    if not genes or not all(isinstance(gene, str) and gene for gene in genes):
        raise GeneError(f"{path} holds no gene names.")
    doubled = [gene for gene, n in Counter(genes).items() if n > 1]
    if doubled:
        raise GeneError(f"{path} names {doubled[0]!r} twice.")
    return tuple(str(gene) for gene in genes)


def _parse(suffix: str, raw: bytes) -> list[str]:
    if suffix == ".pkl":
        return _unpickle(raw)
    if suffix != ".npy":
        return [line.strip() for line in raw.decode("utf-8").splitlines() if line.strip()]
    file = io.BytesIO(raw)
    np.lib.format.read_magic(file)
    *_, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        return _unpickle(file.read())
    return [str(gene) for gene in np.load(io.BytesIO(raw), allow_pickle=False)]


def shared_genes(sections: Sequence[AnnData], genes: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the genes that every section has.

    Args:
        sections: The sections.
        genes: Keep only these, in this order; without them all genes, in the first section's order.

    Returns:
        Gene names.

    Raises:
        GeneError: If nothing is left.
    """
    candidates = sections[0].var_names if genes is None else genes
    common = set.intersection(*(set(section.var_names) for section in sections))
    kept = tuple(gene for gene in candidates if gene in common)
    if not kept:
        raise GeneError("the sections share none of these genes.")
    return kept


def select_genes(sections: Sequence[AnnData], *, n_top: int = 1000, min_spots: int = 1000) -> tuple[str, ...]:
    """Choose genes: highly variable in some section, and seen in enough spots.

    Each section contributes its ``n_top`` most variable genes (scanpy, on counts per 10,000, log1p); of their union
    those stay that occur in at least ``min_spots`` spots over all sections and that every section has. Hand it the
    *training* sections only: a choice that has seen the test section's variance has seen part of the answer.

    Args:
        sections: The training sections.
        n_top: Genes that each section proposes.
        min_spots: Spots, over all sections, in which a gene must have a count.

    Returns:
        Gene names, sorted.

    Raises:
        GeneError: If no gene is left.

    Reference:
        The rule of mclSTExp (arXiv 2407.08216); which flavour of variability its list used is not stated.
    """
    import scanpy as sc  # takes two seconds, and nothing else here needs it

    common = list(shared_genes(sections))
    proposed: set[str] = set()
    n_spots = pd.Series(0, index=common)
    for section in sections:
        part = section[:, common].copy()
        n_spots += np.asarray((part.X > 0).sum(axis=0)).ravel()
        sc.pp.filter_cells(part, min_counts=1)
        sc.pp.normalize_total(part, target_sum=1e4)
        sc.pp.log1p(part)
        dispersion = sc.pp.highly_variable_genes(part, inplace=False)["dispersions_norm"]
        proposed.update(dispersion.nlargest(n_top, keep="all").index)
    kept = tuple(sorted(gene for gene in proposed if n_spots[gene] >= min_spots))
    if not kept:
        raise GeneError(f"no gene is highly variable and seen in {min_spots} spots of {len(sections)} sections.")
    return kept
