"""A corpus of broken files: for every reader its valid files, and what can be wrong with them.

To add a reader, add an entry to `READERS`; every file that it names is broken in each of the ways of `ANY_FILE`, and in
its own ways, `Reader.cases`. `Reader.shuffles` change the order of rows, which must not change the section.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata import AnnData

from stlearn_lib.data.readers import read_st, read_visium, read_visium_h5ad, read_visium_hd
from tests.data.readers.written import write_visium, write_visium_h5ad, write_visium_hd

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


def cell(row: int, column: int, value: object, **layout) -> Edit:
    """Change one cell of a table."""

    def change(frame):
        frame.iloc[row, column] = value
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
    """Cut a file in its middle; a text within its last row, since one that ends with a row looks whole."""
    raw = path.read_bytes()
    separator = {".csv": b",", ".tsv": b"\t"}.get(path.suffix)
    path.write_bytes(raw[: raw.rindex(separator) if separator else len(raw) // 2])


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


def write_st(folder: Path) -> None:
    """Write two tables of the Spatial Transcriptomics pipeline."""
    (folder / "counts.tsv").write_text("\tGNAS\tFASN\n1x1\t3\t0\n2x1\t0\t1\n2x2\t4\t7\n")
    rows = ((x, y, float(x), float(y), 100 * x, 100 * y) for x, y in ((1, 1), (2, 1), (2, 2), (3, 2)))
    frame = pd.DataFrame(rows, columns=["x", "y", "new_x", "new_y", "pixel_x", "pixel_y"])
    frame.to_csv(folder / "spots.tsv", sep="\t", index=False)


def positions_cases(file: str, row: int, **layout) -> dict[str, tuple[str, Edit, str]]:
    """What can be wrong with Space Ranger's positions; `row` is the second spot's as an editor counts."""
    return {
        f"{name} in {file}": (file, edit, message)
        for name, edit, message in (
            ("words", cell(1, 3, "far", **layout), f"row {row}, column array_col is not a number"),
            ("missing value", cell(1, 5, "", **layout), f"row {row}, column pxl_col_in_fullres is not a number"),
            ("infinite", cell(1, 5, "inf", **layout), f"row {row}, column pxl_col_in_fullres is not a number"),
            ("huge", cell(1, 5, "1e300", **layout), f"row {row}, a position beyond"),
            ("off its place", cell(1, 5, "9000", **layout), "lies .* px from its place on the array"),
            ("in_tissue 2", cell(1, 1, "2", **layout), f"row {row}, in_tissue is neither"),
            ("twice", table(lambda f: pd.concat([f, f.iloc[[1]]]), **layout), "occurs more than once"),
            ("other barcodes", table(lambda f: f.iloc[:90], **layout), "have counts but no position"),
            ("missing column", table(lambda f: f.iloc[:, :5], **layout), "column"),
        )
    }


def factors_cases(file: str, *keys: str) -> dict[str, tuple[str, Edit, str]]:
    """What can be wrong with a number of Space Ranger's scale factors."""
    wrong = {"text": "0.5", "list": [1.0], "null": None, "true": True, "nan": float("nan"), "negative": -1, "zero": 0}
    cases = {
        f"{key} {name}": (file, json_with(**{key: value}), f"{key} must be a positive number")
        for key in keys
        for name, value in wrong.items()
    }
    return cases | {
        "a list": (file, lambda path: path.write_text("[1, 2]"), "expected an object"),
        "deep": (file, lambda path: path.write_text("[" * 100_000), "no readable JSON"),
        "huge": (file, json_with(spot_diameter_fullres=1e300), "scale mismatch"),
    }


def hdf5_cases(file: str, spot: str = "") -> dict[str, tuple[str, Edit, str]]:
    """What can be wrong with a feature-barcode matrix."""
    unreadable = "no readable feature-barcode matrix"
    return {
        f"{name} in the matrix": (file, hdf5(f"matrix/{key}", change), message)
        for name, key, change, message in (
            ("negative", "data", first(-3), f"in {spot}.* is -3, which is no count"),
            ("nan", "data", first(np.nan), "is nan, which is no count"),
            ("infinite", "data", first(np.inf), "is inf, which is no count"),
            ("huge", "data", first(1e300), r"is 1e\+300, which is no count"),
            ("fraction", "data", first(0.5), "is 0.5, which is no count"),
            ("texts", "data", lambda v: v.astype("S"), "not numbers"),
            ("no data", "data", lambda v: None, unreadable),
            ("short data", "data", lambda v: v[:-1], unreadable),
            ("index beyond", "indices", first(99), unreadable),
            ("index negative", "indices", first(-1), unreadable),
            ("pointers unsorted", "indptr", lambda v: np.concatenate([[0, v[-1]], v[2:]]), unreadable),
            ("shape", "shape", lambda v: v[::-1], unreadable),
            ("shape huge", "shape", lambda v: np.array([2**40, v[1]]), "features are named"),
            (
                "barcode twice",
                "barcodes",
                lambda v: np.concatenate([v[1:2], v[1:]]),
                "barcode '.*' occurs more than once",
            ),
            ("barcode missing", "barcodes", lambda v: v[1:], "barcodes and"),
            ("barcodes not UTF-8", "barcodes", first(b"\xff\xfe"), unreadable),
            ("barcodes numbers", "barcodes", lambda v: np.arange(len(v)), unreadable),
            (
                "id twice",
                "features/id",
                lambda v: np.concatenate([v[1:2], v[1:]]),
                "feature '.*' occurs more than once",
            ),
            ("name missing", "features/name", lambda v: v[1:], "of different number"),
            ("no genes", "features/feature_type", lambda v: np.full(len(v), b"Antibody Capture"), "Gene Expression"),
            ("no types", "features/feature_type", lambda v: None, unreadable),
        )
    }


MATRIX = "filtered_feature_bc_matrix.h5"
FOLDER = "filtered_feature_bc_matrix"
FACTORS = "spatial/scalefactors_json.json"
HIRES_IMAGE = "spatial/tissue_hires_image.png"
BINS = "binned_outputs/square_008um/"

READERS: dict[str, Reader] = {
    "ST": Reader(
        write_st,
        lambda folder: read_st(folder / "counts.tsv", folder / "spots.tsv", **FACTS),
        ("counts.tsv", "spots.tsv"),
        {
            "doubled spot": ("counts.tsv", replaced("2x1", "1x1"), "spot '1x1' occurs more than once"),
            "doubled gene": ("counts.tsv", replaced("FASN", "GNAS"), "gene 'GNAS' occurs more than once"),
            "missing value": ("counts.tsv", replaced("1x1\t3", "1x1\t"), "GNAS in spot 1x1 is missing"),
            "infinite": ("counts.tsv", replaced("1x1\t3", "1x1\tinf"), "GNAS in spot 1x1 is missing or infinite"),
            "negative": ("counts.tsv", replaced("1x1\t3", "1x1\t-3"), "GNAS in spot 1x1 is negative"),
            "huge": ("counts.tsv", replaced("1x1\t3", "1x1\t1e300"), "GNAS|counts must be finite"),
            "words": ("counts.tsv", replaced("1x1\t3", "1x1\tmany"), "gene 'GNAS' has values that are not numbers"),
            "missing column": ("spots.tsv", replaced("pixel_y", "y_pixel"), "pixel_y are missing"),
            "no number": ("spots.tsv", cell(1, 4, "far"), "row 3, column pixel_x is not a number"),
            "no place": ("spots.tsv", cell(1, 4, ""), "row 3, column pixel_x is not a number"),
            "infinite place": ("spots.tsv", cell(1, 4, "inf"), "row 3, column pixel_x is not a number"),
            "spot twice": ("spots.tsv", table(lambda f: pd.concat([f, f.iloc[[1]]])), "'2x1' occurs more than once"),
            "unknown spot": ("spots.tsv", table(lambda f: f.iloc[1:]), "counts but no position"),
        },
        {"counts.tsv": shuffled(), "spots.tsv": shuffled()},
    ),
    "Visium 1": Reader(
        lambda folder: write_visium(folder, 1),
        lambda folder: read_visium(folder, **FACTS),
        (MATRIX, "spatial/tissue_positions_list.csv", FACTORS, HIRES_IMAGE),
        positions_cases("spatial/tissue_positions_list.csv", 2, header=None) | hdf5_cases(MATRIX),
        {"spatial/tissue_positions_list.csv": shuffled(header=None)},
        optional=(HIRES_IMAGE,),
    ),
    "Visium 2, Matrix Market": Reader(
        lambda folder: write_visium(folder, 2, hdf5=False),
        lambda folder: read_visium(folder, **FACTS),
        (
            *(f"{FOLDER}/{file}.gz" for file in ("matrix.mtx", "features.tsv", "barcodes.tsv")),
            "spatial/tissue_positions.csv",
        ),
        positions_cases("spatial/tissue_positions.csv", 3)
        | factors_cases(FACTORS, "spot_diameter_fullres", "tissue_hires_scalef"),
        {"spatial/tissue_positions.csv": shuffled()},
    ),
    "Visium 3": Reader(
        lambda folder: write_visium(folder, 3),
        lambda folder: read_visium(folder, **FACTS),
        ("spatial/tissue_positions.parquet",),
        {
            "missing column": (
                "spatial/tissue_positions.parquet",
                parquet(lambda f: f.drop(columns="array_col")),
                "array_col are missing",
            ),
            "texts": (
                "spatial/tissue_positions.parquet",
                parquet(lambda f: f.assign(array_col="far")),
                "row 2, column array_col is not a number",
            ),
        },
        {"spatial/tissue_positions.parquet": parquet(lambda f: f.sample(frac=1, random_state=0))},
    ),
    "Visium HD": Reader(
        write_visium_hd,
        lambda folder: read_visium_hd(folder, **FACTS),
        tuple(BINS + file for file in (MATRIX, "spatial/tissue_positions.parquet", FACTORS)),
        factors_cases(BINS + FACTORS, "bin_size_um", "microns_per_pixel"),
        {BINS + "spatial/tissue_positions.parquet": parquet(lambda f: f.sample(frac=1, random_state=0))},
    ),
    "h5ad": Reader(
        write_visium_h5ad,
        lambda folder: read_visium_h5ad(folder / "section.h5ad", **FACTS),
        ("section.h5ad",),
        {
            "no matrix": ("section.h5ad", lambda path: h5py.File(path, "r+").__delitem__("X/data"), "no readable"),
            "texts for numbers": (
                "section.h5ad",
                h5ad(lambda s: s.obs.__setitem__("array_row", "a")),
                "must be numbers",
            ),
            "spot twice": (
                "section.h5ad",
                hdf5("obs/barcode", lambda v: np.full(len(v), v[0])),
                "occurs more than once",
            ),
        },
        {"section.h5ad": lambda path: anndata.read_h5ad(path)[::-1].copy().write_h5ad(path)},
    ),
}
