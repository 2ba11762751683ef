"""Tables on disk to data frames: whatever is wrong with a file is a `SectionError` that names it."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stlearn_lib.errors import SectionError


def check_columns(
    path: Path, table: pd.DataFrame, columns: tuple[str, ...], numeric: tuple[str, ...] | None = None
) -> None:
    """Check that a table has columns, and numbers in those of `numeric`; in all of them if it is None."""
    missing = [c for c in columns if c not in table]
    if missing:
        raise SectionError(f"{path}: the column(s) {', '.join(missing)} are missing; found {', '.join(table.columns)}.")
    for column in columns if numeric is None else numeric:
        bad = ~np.isfinite(pd.to_numeric(table[column], errors="coerce").to_numpy(float))
        if bad.any():
            line = int(table.index[bad][0]) + 2  # the header is line 1
            raise SectionError(f"{path}: row {line}, column {column} is not a number.")


def read_table(path: Path, **kwargs: Any) -> pd.DataFrame:
    """Read a tab-separated table of one row or more, plain or gzip; `kwargs` are those of `pandas.read_csv`."""
    if not path.is_file():
        raise SectionError(f"{path} does not exist.")
    try:
        table = pd.read_csv(path, sep="\t", **kwargs)
    except (
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
        OSError,
        EOFError,
        zlib.error,
    ) as error:
        raise SectionError(f"{path} is no readable table ({error}).") from error
    if table.empty:
        raise SectionError(f"{path} is empty: a header, but no rows.")
    return table


def first_line(path: Path) -> str:
    """Read a text file's first line, plain or gzip."""
    if not path.is_file():
        raise SectionError(f"{path} does not exist.")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            return str(file.readline())
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise SectionError(f"{path} is no readable table ({error}).") from error
