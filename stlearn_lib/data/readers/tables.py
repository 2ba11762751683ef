"""Tables on disk to data frames: whatever is wrong with a file is a `SectionError` that names it."""

import csv
import gzip
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
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
_SPOTS_AT_ONCE = 1024  # a table of 4,000 spots and 36,000 genes takes more than 1 GB as a whole, its counts little

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
    parts, spots = [], []
    try:
        with pd.read_csv(
            path,
            sep=separator(path),
            header=None,
            skiprows=1,
            names=["spot", *range(len(genes))],
            dtype={"spot": str},
            keep_default_na=False,
            na_values=[""],
            chunksize=_SPOTS_AT_ONCE,
        ) as tables:
            for table in tables:
                if len(table):
                    parts.append(_counts(path, table, genes))
                    spots.append(table["spot"])
    except _UNREADABLE as error:
        raise SectionError(f"{path} is no readable table ({error}).") from error
    if not parts:
        raise SectionError(f"{path} is empty: a header, but no rows.")
    names = pd.Index(pd.concat(spots).to_numpy(dtype=object))
    if names.has_duplicates:
        raise SectionError(f"{path}: the spot {names[names.duplicated()][0]!r} occurs more than once.")
    return Counts(sparse.vstack(parts, format="csr"), names, genes)


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


def _counts(path: Path, table: pd.DataFrame, genes: list[str]) -> sparse.csr_matrix:
    _check_width(path, table)
    if table["spot"].isna().any():
        raise SectionError(f"{path}: row {int(table.index[table['spot'].isna()][0]) + 2} names no spot.")
    counts = table.drop(columns="spot")
    for gene, kind in zip(genes, counts.dtypes, strict=True):
        if kind.kind not in "iuf":
            raise SectionError(f"{path}: the gene {gene!r} has values that are not numbers.")
    values = counts.to_numpy()
    for wrong, what in (
        (~np.isfinite(values), "missing or infinite"),
        (values < 0, "negative"),
        (values > _LARGEST, "too large to be a count"),
        (values != np.rint(values), "not a whole number; raw counts are needed"),
    ):
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise SectionError(f"{path}: the count of {genes[column]} in spot {table['spot'].iloc[row]} is {what}.")
    return sparse.csr_matrix(values, dtype=np.float32)


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
