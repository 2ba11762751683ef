"""Broken files of the published collections."""

import gzip

import h5py
import numpy as np

from stlearn_lib.data.readers import read_cscc, read_hest, read_stimage
from tests.data.readers.broken_tables import counts_cases, places_cases
from tests.data.readers.broken_visium import stored_counts_cases
from tests.data.readers.damage import (
    Edit,
    Reader,
    content,
    h5ad,
    hdf5,
    json_with,
    shuffled,
    table,
    with_image,
)
from tests.data.readers.written_collections import (
    HEST_FACTS,
    cscc_files,
    hest_squares,
    stimage_square,
    write_hest,
    write_stimage,
)

H5AD, SLIDE, FACTS, PATCHES = "st/X1.h5ad", "wsis/X1.tif", "metadata/X1.json", "patches/X1.h5"
COUNT, COORD, PNG = "ST/gene_exp/X1_count.csv", "ST/coord/X1_coord.csv", "ST/image/X1.png"
POOLED = HEST_FACTS | {"st_technology": "Xenium", "spot_diameter": float("nan")}
GSM = "GSM..."  # what the reader says for the number of a file that is missing
STDATA, SELECTION, JPEG = f"{GSM}_X1_stdata.tsv", f"{GSM}_spot_data-selection-X1.tsv", f"{GSM}_X1.jpg"


def facts_cases() -> dict[str, tuple[str, Edit, str]]:
    """What can be wrong with HEST's facts."""
    no_number = {
        "text": "0.5",
        "list": [0.5],
        "true": True,
        "negative": -0.5,
        "zero": 0,
        "infinite": float("inf"),
        "huge": 1e300,
        "many digits": 10**400,
        "tiny": 1e-300,
    }
    no_text = {"list": ["a"], "object": {"name": "a"}, "true": True}
    nothing = {"null": None, "nan": float("nan"), "empty": ""}
    return (
        {
            f"{key} {name}": (FACTS, json_with(**{key: value}), f"{key} must be a number of micrometres")
            for key in ("pixel_size_um_estimated", "spot_diameter")
            for name, value in no_number.items()
        }
        | {
            f"{key} {name}": (FACTS, json_with(**{key: value}), f"{key} must be a text")
            for key in ("patient", "dataset_title", "st_technology")
            for name, value in no_text.items()
        }
        | {
            f"{key} {name}": (FACTS, json_with(**{key: value}), message)
            for key, message in (
                ("pixel_size_um_estimated", "there is no pixel_size_um_estimated or pixel_size_um_embedded"),
                ("spot_diameter", "there is no spot_diameter"),
                ("patient", "names no patient: pass patient="),
            )
            for name, value in nothing.items()
        }
        | {
            "a list": (FACTS, content("[1, 2]"), "expected an object"),
            "half an object": (FACTS, content("{"), "no readable JSON"),
            "deep": (FACTS, content("[" * 100_000), "no readable JSON"),
        }
    )


def table_cases() -> dict[str, tuple[str, Edit, str]]:
    """What can be wrong with HEST's places of spots."""
    place, array = "obsm/spatial", "obs/array_col"
    return {
        name: (H5AD, edit, message)
        for name, edit, message in (
            ("no places", h5ad(lambda t: t.obsm.pop("spatial")), r"has no X or no obsm\['spatial'\]"),
            ("three axes", hdf5(place, lambda v: np.hstack([v, v[:, :1]])), r"must be numbers \(x, y\)"),
            ("texts for places", hdf5(place, lambda v: v.astype("S")), r"must be numbers \(x, y\)|no readable"),
            ("no place", hdf5(place, first_place(np.nan)), "spot A000-1 has no position on any image"),
            ("infinite place", hdf5(place, first_place(np.inf)), "spot A000-1 has no position on any image"),
            ("huge place", hdf5(place, first_place(1e300)), "spot A000-1 has no position on any image"),
            ("no array", h5ad(lambda t: t.obs.drop(columns="array_col", inplace=True)), "lacks the column array_col"),
            (
                "words in the array",
                h5ad(lambda t: t.obs.__setitem__("array_col", "a")),
                "of spot A000-1 is no position",
            ),
            ("nan in the array", hdf5(array, lambda v: v * np.nan), "array_col of spot A000-1 is no position"),
            ("infinite array", hdf5(array, lambda v: v * np.inf), "array_col of spot A000-1 is no position"),
            ("huge array", hdf5(array, lambda v: v * 1e300), "array_col of spot A000-1 is no position"),
            ("spot twice", hdf5("obs/_index", second_twice), "the spot 'C001-1' occurs more than once"),
            ("gene twice", hdf5("var/_index", second_twice), "the gene 'G1' occurs more than once"),
            ("not UTF-8", hdf5("obs/_index", lambda v: np.array([b"\xff\xfe"] * len(v), object)), "no readable"),
        )
    }


def second_twice(values):
    """Put the second in the place of the first."""
    return np.concatenate([values[1:2], values[1:]])


def first_place(value: float):
    """Change the x of the first spot."""

    def change(places):
        places = places.astype(float)
        places[0, 0] = value
        return places

    return change


def patches_cases() -> dict[str, tuple[str, Edit, str]]:
    """What can be wrong with HEST's patches."""
    unreadable = "no patches with barcode and coords"
    return {
        f"patches: {name}": (PATCHES, edit, message)
        for name, edit, message in (
            ("no barcodes", hdf5("barcode", lambda v: None), unreadable),
            ("no corners", hdf5("coords", lambda v: None), unreadable),
            ("none", empty, "holds no patches"),
            ("words for corners", hdf5("coords", lambda v: np.full(v.shape, b"far")), unreadable),
            ("barcodes not UTF-8", hdf5("barcode", lambda v: np.full(v.shape, b"\xff\xfe")), unreadable),
            ("a barcode less", hdf5("barcode", lambda v: v[1:]), "20 barcodes, but coords of shape"),
            ("other barcodes", hdf5("barcode", lambda v: np.full(v.shape, b"Z999-1")), "Z999-1 belongs to none"),
            ("numbers for barcodes", hdf5("barcode", lambda v: np.arange(len(v))), "belongs to none"),
            ("off", hdf5("coords", first_place(0)), "does not lie around its spot"),
            ("nan", hdf5("coords", first_place(np.nan)), "does not lie around its spot"),
            ("huge", hdf5("coords", first_place(1e300)), "does not lie around its spot"),
            ("swapped", hdf5("coords", lambda v: v[:, ::-1]), "does not lie around its spot"),
        )
    }


def empty(path) -> None:
    """Leave no patch."""
    with h5py.File(path, "r+") as file:
        for name in ("barcode", "coords"):
            values = file[name][:0]
            del file[name]
            file[name] = values


def write_cscc(folder, packed: bool) -> None:
    """Write a section as GEO has it, or decompressed."""
    for file, packed_content in cscc_files("X1", GSM).items():
        (folder / file).write_bytes(packed_content)
        if not packed:
            (folder / file).rename(folder / file.removesuffix(".gz"))
            (folder / file.removesuffix(".gz")).write_bytes(gzip.decompress(packed_content))


def read_cscc_x1(folder):
    """Read it."""
    return with_image(read_cscc(folder, "X1"))


COLLECTIONS: dict[str, Reader] = {
    "HEST": Reader(
        lambda folder: write_hest(folder, "X1"),
        lambda folder: with_image(read_hest(folder, "X1")),
        (H5AD, SLIDE, FACTS, PATCHES),
        table_cases() | stored_counts_cases(H5AD) | facts_cases() | patches_cases(),
        {H5AD: h5ad(lambda t: t._inplace_subset_obs(np.random.default_rng(5).permutation(t.n_obs)))},
        optional=(PATCHES,),
    ),
    "HEST, pooled": Reader(
        lambda folder: write_hest(folder, "X1", hest_squares(100.0)[0], POOLED, patches=False),
        lambda folder: read_hest(folder, "X1"),
        (),
        {
            name: (H5AD, hdf5("obsm/spatial", change), message)
            for name, change, message in (
                ("no place", first_place(np.nan), "spot 0000 has no position on any image"),
                ("huge place", first_place(1e300), "spot 0000 has no position on any image"),
                ("beside the slide", first_place(1_000_500), "1 of 37 spots lie outside the image"),
                ("two in one", second_twice, "array"),
                ("all in one", np.zeros_like, "lie on one another"),
                ("on a line", lambda v: np.column_stack([np.arange(len(v)), v[:, 0] * 0]) * 200.0, "lie on one line"),
                ("at random", lambda v: np.random.default_rng(0).uniform(0, 1500, v.shape), "array"),
            )
        },
        {H5AD: h5ad(lambda t: t._inplace_subset_obs(np.random.default_rng(5).permutation(t.n_obs)))},
    ),
    "STimage-1K4M": Reader(
        lambda folder: write_stimage(folder, "X1", *stimage_square(), radius=10.0),
        lambda folder: with_image(read_stimage(folder, "X1", patient="P")),
        (COUNT, COORD, PNG),
        counts_cases(COUNT, "G0", "G1")
        | places_cases(COORD, "yaxis", "xaxis", "r")
        | {
            "two radii": (COORD, table(lambda t: t.assign(r=range(len(t)))), "radius r must be the same positive"),
            "negative radius": (COORD, table(lambda t: t.assign(r=-1)), "radius r must be the same positive"),
            "swapped": (
                COORD,
                table(lambda t: t.rename(columns={"xaxis": "yaxis", "yaxis": "xaxis"})),
                "outside the image .*swapped",
            ),
            "a spot less": (COORD, table(lambda t: t[1:]), "1 spots are missing, first 'X1_3x8'"),
            "a spot more": (COUNT, table(lambda t: t[1:]), "1 spots are missing, first 'X1_3x8'"),
            "at random": (
                COORD,
                table(lambda t: t.assign(xaxis=np.random.default_rng(0).uniform(130, 320, len(t)))),
                "no regular array|does not lie on the array|array cannot be seen",
            ),
        },
        {COUNT: shuffled(), COORD: shuffled()},
    ),
    "cSCC": Reader(
        lambda folder: write_cscc(folder, packed=True),
        read_cscc_x1,
        tuple(f"{file}.gz" for file in (STDATA, SELECTION, JPEG)),
    ),
    "cSCC, decompressed": Reader(
        lambda folder: write_cscc(folder, packed=False),
        read_cscc_x1,
        (STDATA, SELECTION, JPEG),
        counts_cases(STDATA, "KRT5", "KRT14")
        | places_cases(SELECTION, "x", "y", "new_x", "new_y", "pixel_x", "pixel_y")
        | {
            "other names": (
                STDATA,
                table(lambda t: t.assign(**{t.columns[0]: [f"0{spot}x" for spot in t[t.columns[0]]]})),
                "40 spots have counts but no position",
            ),
            "outside": (SELECTION, table(lambda t: t.assign(pixel_x=9000.0 * t["x"].astype(int))), "outside the image"),
        },
        {STDATA: shuffled(), SELECTION: shuffled()},
    ),
}
