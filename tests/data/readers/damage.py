"""What a reader's corpus of broken files is made of: `Reader`, and the edits that break a file."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata import AnnData

from stlearn_lib.data.sections import read_image

FACTS = {"name": "X1", "patient": "X"}
Edit = Callable[[Path], None]


@dataclass(frozen=True)
class Reader:
    """How valid files are written and read, and how they break."""

    write: Callable[[Path], object]
    read: Callable[[Path], AnnData]
    files: tuple[str, ...]
    cases: dict[str, tuple[str, Edit, str]] = field(default_factory=dict)
    """What is wrong -> file, edit, what the error says; it names the file, too."""
    shuffles: dict[str, Edit] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    """Files that may be missing."""


def with_image(section: AnnData) -> AnnData:
    """Read the image of a section, of which its reader sees the header only."""
    read_image(section, max_px=200)
    return section


def content(new: str | bytes) -> Edit:
    """Write something else into a file."""
    return lambda path: path.write_bytes(new if isinstance(new, bytes) else new.encode())


def replaced(old: str, new: str) -> Edit:
    """Replace a text where it first occurs."""

    def edit(path):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return edit


def table(change: Callable[[pd.DataFrame], pd.DataFrame], **layout) -> Edit:
    """Change a table, tab-separated or with commas; `layout` is its header and index."""

    def edit(path):
        header = layout.get("header", "infer")
        sep = "\t" if path.suffix == ".tsv" else ","
        change(pd.read_csv(path, sep=sep, header=header, dtype=object)).to_csv(
            path, sep=sep, index=False, header=header is not None
        )

    return edit


def cell(row: int, column: int | str, value: object, **layout) -> Edit:
    """Change one cell of a table; the column is given by its place or its name."""

    def change(frame):
        frame.iloc[row, column if isinstance(column, int) else frame.columns.get_loc(column)] = value
        return frame

    return table(change, **layout)


def shuffled(**layout) -> Edit:
    """Shuffle a table's rows."""
    return table(lambda frame: frame.sample(frac=1, random_state=0), **layout)


def json_with(**changes) -> Edit:
    """Change entries of a JSON object."""
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def parquet(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Edit:
    """Change a Parquet table."""
    return lambda path: change(pd.read_parquet(path)).to_parquet(path)


def hdf5(key: str, change: Callable[[np.ndarray], object]) -> Edit:
    """Change a data set of an HDF5 file; None removes it."""

    def edit(path):
        with h5py.File(path, "r+") as file:
            values, facts = change(file[key][()]), dict(file[key].attrs)
            del file[key]
            if values is not None:
                file[key] = values
                file[key].attrs.update(facts)

    return edit


def first(value: object) -> Callable[[np.ndarray], np.ndarray]:
    """Change an array's first value, and its type if need be."""
    return lambda values: np.concatenate([[value], values[1:]])


def h5ad(change: Callable[[AnnData], object]) -> Edit:
    """Change a stored `AnnData`."""

    def edit(path):
        stored = anndata.read_h5ad(path)
        change(stored)
        stored.write_h5ad(path)

    return edit


def cut(path: Path) -> None:
    """Cut a file in its middle; a text within its last row, where no cell but the first is left."""
    raw = path.read_bytes()
    separator = {".csv": b",", ".tsv": b"\t"}.get(path.suffix)
    path.write_bytes(raw[: raw.index(separator, raw.rstrip().rindex(b"\n")) if separator else len(raw) // 2])


def instead_of(path: Path) -> None:
    """Put a folder in a file's place."""
    path.unlink()
    path.mkdir()


ANY_FILE: dict[str, Edit] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": cut,
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe\x00\x80\t,\n" * 30),
    "another format": lambda path: path.write_text("<!DOCTYPE html>\n<html><body>404: not found</body></html>\n"),
    "a folder": instead_of,
    "missing": lambda path: path.unlink(),
}
