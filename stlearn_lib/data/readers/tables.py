"""Tables on disk to data frames: whatever is wrong with a file is a `SectionError` that names it."""

import csv
import gzip
import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as pa_csv
from scipy import sparse

from stlearn_lib.errors import SectionError

_UNREADABLE = (
    pd.errors.ParserError,
    pd.errors.EmptyDataError,
    UnicodeDecodeError,
    OSError,
    EOFError,
    zlib.error,
    csv.Error,
)
_BYTES_AT_ONCE = 2**24

MAX_POSITION = 10_000_000  # pixels or steps of an array; whatever is beyond is damage
_LARGEST = 2**24  # float32 holds every whole number up to here


class Counts(NamedTuple):
    """A count table: what was counted where."""

    values: sparse.csr_matrix
    """(N, G), float32."""
    spots: pd.Index
    """N spots, as the table names them."""
    genes: list[str]
    """G genes."""


def read_counts(path: Path) -> Counts:
    """Read a count table, spots x genes, whose first column names the spots: ``.csv`` or tab-separated, gzip or plain.

    Raises:
        SectionError: If it cannot be read, names a spot or a gene twice, or holds what is no count; it says where.
    """
    genes = _genes(path)
    parts: list[sparse.csr_matrix] = []
    spots: list[str] = []
    try:
        with pa.input_stream(str(path)) as file, _batches(file, path, len(genes)) as batches:
            for batch in batches:
                names = batch.column("spot").to_pylist()
                if None in names:
                    raise SectionError(f"{path}: row {len(spots) + names.index(None) + 2} names no spot.")
                values = batch.drop_columns(["spot"]).to_tensor(null_to_nan=True).to_numpy()
                _check_counts(path, values, names, genes)
                parts.append(sparse.csr_matrix(values, dtype=np.float32))
                spots.extend(names)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, str(error), genes) from error
    if not spots:
        raise SectionError(f"{path} is empty: a header, but no rows.")
    index = pd.Index(spots, dtype=object)
    if index.has_duplicates:
        raise SectionError(f"{path}: the spot {index[index.duplicated()][0]!r} occurs more than once.")
    return Counts(sparse.vstack(parts, format="csr"), index, genes)


def _batches(file: pa.NativeFile, path: Path, n_genes: int) -> pa_csv.CSVStreamingReader:
    """Read a table in parts: 4,000 spots and 36,000 genes take more than 1 GB as a whole, their counts little."""
    genes = [str(i) for i in range(n_genes)]  # the names themselves may be "spot"
    return pa_csv.open_csv(
        file,
        pa_csv.ReadOptions(use_threads=False, block_size=_BYTES_AT_ONCE, skip_rows=1, column_names=["spot", *genes]),
        pa_csv.ParseOptions(delimiter=separator(path)),
        pa_csv.ConvertOptions(
            column_types={"spot": pa.string()} | dict.fromkeys(genes, pa.float64()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _unreadable(path: Path, error: str, genes: list[str]) -> SectionError:
    if column := re.search(r"column #([1-9]\d*)", error):  # the first, 0, names the spots
        gene = genes[int(column[1]) - 1]
        return SectionError(f"{path}: the gene {gene!r} has values that are not numbers ({error}).")
    return SectionError(f"{path} is no readable table ({error}).")


def _genes(path: Path) -> list[str]:
    line = first_line(path)
    try:
        genes = next(csv.reader([line], delimiter=separator(path)), [])[1:]
    except csv.Error as error:
        raise SectionError(f"{path} is no readable table ({error}).") from error
    if not genes:
        raise SectionError(f"{path} is no readable table (its first line names no genes).")
    if len(genes) != len(set(genes)):  # pandas renames doubled columns silently
        doubled = next(g for g in genes if genes.count(g) > 1)
        raise SectionError(f"{path}: the gene {doubled!r} occurs more than once.")
    return genes


def _check_counts(path: Path, values: np.ndarray, spots: list[str], genes: list[str]) -> None:
    for wrong, what in (
        (~np.isfinite(values), "missing or infinite"),
        (values < 0, "negative"),
        (values > _LARGEST, "too large to be a count"),
        (values != np.rint(values), "not a whole number; raw counts are needed"),
    ):
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise SectionError(f"{path}: the count of {genes[column]} in spot {spots[row]} is {what}.")


def separator(path: Path) -> str:
    """Return what stands between a table's columns, by its name: commas in ``.csv`` and ``.csv.gz``, else tabs."""
    return "," if path.name.lower().endswith((".csv", ".csv.gz")) else "\t"


def check_columns(
    path: Path, table: pd.DataFrame, columns: tuple[str, ...], numeric: tuple[str, ...] | None = None
) -> None:
    """Check that a table has columns, and positions in those of `numeric`; in all of them if it is None."""
    missing = [c for c in columns if c not in table]
    if missing:
        raise SectionError(f"{path}: the column(s) {', '.join(missing)} are missing; found {', '.join(table.columns)}.")
    for column in columns if numeric is None else numeric:
        numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(float)
        for bad, what in (
            (~np.isfinite(numbers), f"column {column} is not a number"),
            (np.abs(numbers) > MAX_POSITION, f"a position beyond {MAX_POSITION:,} in column {column} is on no image"),
        ):
            if bad.any():
                line = int(table.index[bad][0]) + 2  # the header is line 1
                raise SectionError(f"{path}: row {line}, {what}.")


def read_table(path: Path, **kwargs: Any) -> pd.DataFrame:
    """Read a table of one row or more, plain or gzip; `kwargs` are those of `pandas.read_csv`."""
    if not path.is_file():
        raise SectionError(f"{path} does not exist.")
    try:
        table = pd.read_csv(path, sep=separator(path), **kwargs)
    except _UNREADABLE as error:
        raise SectionError(f"{path} is no readable table ({error}).") from error
    if table.empty:
        raise SectionError(f"{path} is empty: a header, but no rows.")
    _check_width(path, table)
    return table


def _check_width(path: Path, table: pd.DataFrame) -> None:
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes what is left over for the row's name
        raise SectionError(f"{path} is no readable table (its rows have more columns than its first line).")


def first_line(path: Path) -> str:
    """Read a text file's first line, plain or gzip."""
    if not path.is_file():
        raise SectionError(f"{path} does not exist.")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as file:
            return str(file.readline())
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise SectionError(f"{path} is no readable table ({error}).") from error
