"""Broken files of Space Ranger, and of those who stored its sections."""

import anndata
import numpy as np
import pandas as pd

from stlearn_lib.data.readers import read_visium, read_visium_h5ad, read_visium_hd
from tests.data.readers.damage import FACTS, Edit, Reader, cell, first, h5ad, hdf5, json_with, parquet, shuffled, table
from tests.data.readers.written import write_visium, write_visium_h5ad, write_visium_hd


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


def stored_counts_cases(file: str) -> dict[str, tuple[str, Edit, str]]:
    """What can be wrong with the counts of a stored `AnnData`."""
    unreadable = r"no readable \.h5ad file|no sound sparse matrix"
    return {
        f"{name} in X": (file, edit, message)
        for name, edit, message in (
            ("negative", hdf5("X/data", first(-3)), "in .* is -3.0, which is no count"),
            ("nan", hdf5("X/data", first(np.nan)), "is nan, which is no count"),
            ("infinite", hdf5("X/data", first(np.inf)), "is inf, which is no count"),
            ("huge", hdf5("X/data", first(1e300)), r"is 1e\+300, which is no count"),
            ("fraction", hdf5("X/data", first(0.5)), "is 0.5, which is no count"),
            ("complex", hdf5("X/data", lambda v: v * 1j), "complex.*, not numbers"),
            ("texts", hdf5("X/data", lambda v: v.astype("S")), unreadable),
            ("texts in rows", h5ad(lambda s: setattr(s, "X", s.X.toarray().astype(str))), "not numbers"),
            ("no data", hdf5("X/data", lambda v: None), unreadable),
            ("no matrix", h5ad(lambda s: setattr(s, "X", None)), "has no X"),
            ("short data", hdf5("X/data", lambda v: v[:-1]), unreadable),
            ("index beyond", hdf5("X/indices", first(99)), unreadable),
            ("index negative", hdf5("X/indices", first(-1)), unreadable),
            ("index beyond in columns", by_columns, unreadable),
            ("pointers unsorted", hdf5("X/indptr", lambda v: np.concatenate([[0, v[-1]], v[2:]])), unreadable),
            ("pointers short", hdf5("X/indptr", lambda v: v[:-1]), unreadable),
        )
    }


def by_columns(path) -> None:
    """Store X by columns, with an index beyond its rows."""
    h5ad(lambda s: setattr(s, "X", s.X.tocsc()))(path)
    hdf5("X/indices", first(10**6))(path)


MATRIX = "filtered_feature_bc_matrix.h5"
FOLDER = "filtered_feature_bc_matrix"
FACTORS = "spatial/scalefactors_json.json"
HIRES_IMAGE = "spatial/tissue_hires_image.png"
BINS = "binned_outputs/square_008um/"

VISIUM: dict[str, Reader] = {
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
        stored_counts_cases("section.h5ad")
        | {
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
