"""10x's feature-barcode matrix, as HDF5 or as a folder of Matrix Market files, to checked sparse counts."""

import zlib
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.io import mminfo, mmread

from stlearn_lib.data.readers.tables import read_table
from stlearn_lib.errors import SectionError

NAME = "filtered_feature_bc_matrix"
MAX_COUNT = 2**24  # the largest up to which float32 holds every whole number


class FeatureMatrix(NamedTuple):
    """Counts of genes in barcodes.

    Args:
        counts: (N, G) CSR float32, whole numbers.
        barcodes: N unique barcodes.
        genes: G unique gene names, indexing the column ``gene_ids``.
    """

    counts: sparse.csr_matrix
    barcodes: pd.Index
    genes: pd.DataFrame


def read_feature_matrix(folder: Path) -> FeatureMatrix:
    """Read the filtered matrix of a Space Ranger folder; features that are no genes (antibodies) are left out.

    Doubled gene symbols are real in 10x's references. The first keeps its name, as scanpy's users expect, and each
    later one gets its Ensembl id appended: ``TBCE`` and ``TBCE-ENSG00000285053``.

    Args:
        folder: Holds ``filtered_feature_bc_matrix.h5``, perhaps with a prefix as 10x's downloads have, or else the
            folder ``filtered_feature_bc_matrix``.

    Returns:
        The matrix.

    Raises:
        SectionError: If there is none, or it is malformed; the message names the file, and the barcode and gene of a
            count that is none.
    """
    files = sorted(folder.glob(f"*{NAME}.h5"))
    if len(files) > 1:
        raise SectionError(f"{folder} holds several matrices, {', '.join(f.name for f in files)}: keep one.")
    if files:
        return _checked(files[0], *_read_hdf5(files[0]))
    if not (folder / NAME).is_dir():
        raise SectionError(f"{folder} holds neither {NAME}.h5 nor the folder {NAME}: is it Space Ranger's outs folder?")
    return _checked(folder / NAME, *_read_folder(folder / NAME))


def unique_genes(symbols: pd.Series, gene_ids: pd.Series) -> pd.Index:
    """Append the id to every gene symbol that occurred before.

    Example:
        >>> unique_genes(pd.Series(["TBCE", "ACTB", "TBCE"]), pd.Series(["E1", "E2", "E3"])).tolist()
        ['TBCE', 'ACTB', 'TBCE-E3']
    """
    return pd.Index(symbols.where(~symbols.duplicated(), symbols + "-" + gene_ids))


def check_matrix(path: Path, matrix: sparse.spmatrix | np.ndarray) -> None:
    """Check that a stored matrix holds numbers, and that its indices are its own: SciPy reads memory where they point.

    Raises:
        SectionError: If not; it names the file.
    """
    if matrix.dtype.kind not in "iuf":
        raise SectionError(f"{path}: the counts are of the type {matrix.dtype}, not numbers.")
    if not isinstance(matrix, np.ndarray):
        try:
            matrix.check_format(full_check=True)
        except ValueError as error:
            raise SectionError(f"{path}: the counts are no sound sparse matrix ({error}).") from error


def checked_counts(path: Path, counts: sparse.csr_matrix, spots: pd.Index, genes: pd.Index) -> sparse.csr_matrix:
    """Return counts as float32.

    Raises:
        SectionError: If a value is no whole number from 0 to `MAX_COUNT`; it names the file, the spot and the gene.
    """
    check_matrix(path, counts)
    values = counts.data
    right = (values >= 0) & (values <= MAX_COUNT)
    if values.dtype.kind == "f":
        right &= values == np.rint(values)
    if not right.all():
        first = int(np.argmin(right))
        spot = spots[int(np.searchsorted(counts.indptr, first, side="right")) - 1]
        raise SectionError(
            f"{path}: {genes[int(counts.indices[first])]} in {spot} is {values[first]}, which is no count (a whole "
            f"number from 0 to {MAX_COUNT:,})."
        )
    return counts.astype(np.float32)


def _checked(path: Path, counts: sparse.csr_matrix, barcodes: pd.Series, features: pd.DataFrame) -> FeatureMatrix:
    if counts.shape != (len(barcodes), len(features)):
        raise SectionError(
            f"{path}: the matrix has {counts.shape[0]} barcodes x {counts.shape[1]} features, but {len(barcodes)} "
            f"barcodes and {len(features)} features are named."
        )
    for what, names in (("barcode", barcodes), ("feature", features["id"])):
        if names.duplicated().any():
            raise SectionError(f"{path}: the {what} {names[names.duplicated()].iloc[0]!r} occurs more than once.")
    counts = checked_counts(path, counts, pd.Index(barcodes), pd.Index(features["name"]))
    genes = (features["type"] == "Gene Expression").to_numpy()
    if not genes.any():
        raise SectionError(f"{path}: no feature is of the type 'Gene Expression'.")
    kept = features[genes].reset_index(drop=True)
    table = pd.DataFrame({"gene_ids": kept["id"].to_numpy()}, index=unique_genes(kept["name"], kept["id"]))
    return FeatureMatrix(counts if genes.all() else counts[:, genes], pd.Index(barcodes), table)


def _read_hdf5(path: Path) -> tuple[sparse.csr_matrix, pd.Series, pd.DataFrame]:
    if not path.is_file():
        raise SectionError(f"{path} is no file.")
    try:
        with h5py.File(path, "r") as file:
            group = file["matrix"]
            data, indices, indptr, shape = (group[key][()] for key in ("data", "indices", "indptr", "shape"))
            texts = {
                key: pd.Series(group[place].asstr()[()], dtype=object)
                for key, place in {
                    "barcodes": "barcodes",
                    "id": "features/id",
                    "name": "features/name",
                    "type": "features/feature_type",
                }.items()
            }
        n_features, n_barcodes = map(int, shape)
        # Stored by barcode: a compressed column of features x barcodes is a compressed row of barcodes x features.
        counts = sparse.csr_matrix((data, indices, indptr), shape=(n_barcodes, n_features))
        counts.check_format(full_check=True)
        features = pd.DataFrame({key: texts[key] for key in ("id", "name", "type")})
    except (
        OSError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        MemoryError,
        OverflowError,
    ) as error:
        raise SectionError(f"{path} is no readable feature-barcode matrix ({error}).") from error
    if features.isna().any(axis=None):
        raise SectionError(f"{path}: its features have ids, names and types of different number.")
    return counts, texts["barcodes"], features


def _read_folder(folder: Path) -> tuple[sparse.csr_matrix, pd.Series, pd.DataFrame]:
    barcodes = _read_names(_file(folder, "barcodes.tsv"), ["barcode"])["barcode"]
    features = _read_names(_file(folder, "features.tsv"), ["id", "name", "type"])
    path = _file(folder, "matrix.mtx")
    try:
        rows, columns, n_entries, *_ = mminfo(path)
        # The header is checked before anything as large as it says is put into memory.
        if (rows, columns) != (len(features), len(barcodes)) or n_entries > rows * columns:
            raise ValueError(f"its header says {rows} x {columns} with {n_entries} entries")
        counts = mmread(path)
    except (OSError, EOFError, ValueError, TypeError, OverflowError, MemoryError, zlib.error) as error:
        raise SectionError(
            f"{path} is no readable matrix of {len(features)} features x {len(barcodes)} barcodes ({error})."
        ) from error
    return sparse.csr_matrix(counts.T), barcodes, features


def _file(folder: Path, name: str) -> Path:
    """Space Ranger compresses the three files; archives sometimes hold them decompressed."""
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def _read_names(path: Path, columns: list[str]) -> pd.DataFrame:
    table = read_table(path, header=None, dtype=str, keep_default_na=False, quoting=3)
    if table.shape[1] < len(columns) or (table[table.columns[: len(columns)]] == "").any(axis=None):
        raise SectionError(f"{path}: every row needs {' and '.join(columns)}, separated by tabs.")
    return table[table.columns[: len(columns)]].set_axis(columns, axis=1)
