"""Samples of HEST-1k as it publishes them: .h5ad, a pyramid, JSON with bare NaN, patches by barcode."""

import json

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse

from stlearn_lib.data.readers import read_hest
from stlearn_lib.data.sections import image_path_of, image_size, metadata_of, patient_of, read_image, um_per_px_of
from stlearn_lib.errors import ImageError, SectionError
from tests.slide_files import write_slide

UM_PER_PX = 0.5
FACTS = {
    "id": "INT1",
    "dataset_title": "A study",
    "patient": "Patient 1",
    "st_technology": "Visium",
    "pixel_size_um_embedded": float("nan"),
    "pixel_size_um_estimated": UM_PER_PX,
    "inter_spot_dist": 100.0,
    "spot_diameter": 55.0,
    "oncotree_code": None,
    "treatment_comment": float("nan"),
}


def table(array, pixels, names):
    """Put counts and spots together as HEST does."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "in_tissue": True,
            "array_row": array[:, 1],
            "array_col": array[:, 0],
            "pxl_col_in_fullres": pixels[:, 0],
            "pxl_row_in_fullres": pixels[:, 1],
        },
        index=names,
    )
    found = anndata.AnnData(
        sparse.csr_matrix(rng.poisson(1, (len(obs), 5)), dtype=np.float32),
        obs=obs,
        var=pd.DataFrame(index=[f"G{i}" for i in range(5)]),
    )
    found.obsm["spatial"] = pixels
    image = {"downscaled_fullres": np.zeros((4, 4, 3), np.uint8)}
    found.uns["spatial"] = {"ST": {"images": image, "scalefactors": {"tissue_downscaled_fullres_scalef": 0.01}}}
    return found


def visium(columns=6, rows=4):
    row, column = (axis.ravel() for axis in np.mgrid[:rows, :columns])
    array = np.column_stack([2 * column + row % 2 + 10, row + 20])
    pixels = (array - [8, 18]) * np.array([50, 50 * np.sqrt(3)]) / UM_PER_PX
    return table(array, pixels, [f"{'ACGT'[i % 4]}{i:03d}-1" for i in range(len(array))])


@pytest.fixture
def write(tmp_path):
    """Write a sample; its files can be changed afterwards."""

    def write(sample="INT1", found=None, facts=FACTS, patches=True):
        found = visium() if found is None else found
        for part in ("st", "wsis", "metadata", "patches"):
            (tmp_path / part).mkdir(exist_ok=True)
        found.write_h5ad(tmp_path / f"st/{sample}.h5ad")
        (tmp_path / f"metadata/{sample}.json").write_text(json.dumps(facts))
        width, height = (int(edge) + 300 for edge in found.obsm["spatial"].max(axis=0))
        write_slide(tmp_path / f"wsis/{sample}.tif", Image.new("RGB", (width, height), (220, 150, 190)), UM_PER_PX)
        if patches:
            kept = np.random.default_rng(1).permutation(found.n_obs)[:-3]  # those on tissue, in another order
            corners = found.obsm["spatial"] - 224 * 0.5 / UM_PER_PX // 2
            with h5py.File(tmp_path / f"patches/{sample}.h5", "w") as file:
                file["img"] = np.zeros((len(kept), 2, 2, 3), np.uint8)
                file["barcode"] = found.obs_names.to_numpy()[kept].astype("S")[:, None]
                file["coords"] = corners[kept].astype(int)
        return tmp_path

    return write


def test_a_sample_of_visium(write):
    found = visium()
    section = read_hest(write(), "INT1")
    assert section.obs_names.tolist() == found.obs_names.tolist()
    assert (section.X != found.X).nnz == 0
    np.testing.assert_array_equal(section.obs["array_x"], found.obs["array_col"])
    np.testing.assert_array_equal(section.obsm["spatial"], found.obs[["pxl_col_in_fullres", "pxl_row_in_fullres"]])
    assert um_per_px_of(section) == UM_PER_PX and patient_of(section) == "A study, Patient 1"
    assert section.uns["spatial"]["INT1"]["scalefactors"]["spot_diameter_fullres"] == 110
    assert image_path_of(section).name == "INT1.tif" and image_size(section)[0] > 1000
    assert metadata_of(section)["platform"] == "Visium"


def test_patients_are_numbered_within_a_study(write):
    folder = write("INT1", facts=FACTS | {"dataset_title": "Another study"})
    write("ZEN40")
    assert patient_of(read_hest(folder, "INT1")) != patient_of(read_hest(folder, "ZEN40"))
    assert patient_of(read_hest(folder, "INT1", patient="P")) == "P"
    for empty in (float("nan"), None, ""):
        write("INT1", facts=FACTS | {"patient": empty})
        with pytest.raises(SectionError, match=r"INT1\.json names no patient: pass patient="):
            read_hest(folder, "INT1")
        assert patient_of(read_hest(folder, "INT1", patient="P")) == "P"


def test_spatial_transcriptomics_has_x_in_array_row(write):
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(3, 9), np.arange(11, 15)))
    names = [f"{a:03d}x{b:03d}" for a, b in zip(x, y, strict=True)]
    pixels = np.column_stack([x, y]) * 100.0
    found = table(np.column_stack([y, x]), pixels, names)  # array_row is the first number of the name
    facts = FACTS | {"st_technology": "Spatial Transcriptomics", "spot_diameter": 100.0, "pixel_size_um_estimated": 2.0}
    section = read_hest(write(found=found, facts=facts, patches=False), "INT1")
    np.testing.assert_array_equal(section.obs[["array_x", "array_y"]], np.column_stack([x, y]))
    np.testing.assert_array_equal(section.obsm["spatial"], pixels)


@pytest.mark.parametrize(("platform", "side_um"), [("Xenium", 100.0), ("Visium HD", 128.0)])
def test_pooled_squares_are_placed_and_sized_by_their_pixels(write, platform, side_um):
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(8), np.arange(6)))
    pixels = np.column_stack([x, y]) * side_um / UM_PER_PX + 500
    full = np.random.default_rng(0).random(len(x)) < 0.8
    number = np.arange(full.sum())  # HEST counts the squares that are not empty
    found = table(np.column_stack([number % 8, number // 8]), pixels[full], [f"{i:04d}" for i in number])
    facts = FACTS | {"st_technology": platform, "spot_diameter": float("nan") if platform == "Xenium" else 2}
    section = read_hest(write(found=found, facts=facts), "INT1")
    shifts = section.obs[["array_x", "array_y"]].to_numpy() - np.column_stack([x, y])[full]
    assert len(np.unique(shifts, axis=0)) == 1
    diameter_um = section.uns["spatial"]["INT1"]["scalefactors"]["spot_diameter_fullres"] * UM_PER_PX
    assert np.pi * diameter_um**2 / 4 == pytest.approx(side_um**2)


def test_the_resolution_that_was_estimated_goes_before_the_embedded_one(write):
    facts = FACTS | {"pixel_size_um_embedded": 0.25}
    assert um_per_px_of(read_hest(write(facts=facts), "INT1")) == UM_PER_PX
    facts |= {"pixel_size_um_estimated": float("nan")}
    assert um_per_px_of(read_hest(write(facts=facts), "INT1")) == 0.25


def test_a_dense_table_and_rows_in_another_order_are_the_same_section(write):
    first = read_hest(write(), "INT1")
    found = visium()
    found = found[np.random.default_rng(5).permutation(found.n_obs)].copy()
    found.X = found.X.toarray().astype(np.int64)
    second = read_hest(write(found=found), "INT1")[first.obs_names].copy()
    assert (first.X != second.X).nnz == 0
    pd.testing.assert_frame_equal(first.obs, second.obs)
    np.testing.assert_array_equal(first.obsm["spatial"], second.obsm["spatial"])


ST, WSI, JSON, PATCHES = "st/INT1.h5ad", "wsis/INT1.tif", "metadata/INT1.json", "patches/INT1.h5"


@pytest.mark.parametrize("file", [ST, WSI, JSON, PATCHES])
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "text"])
def test_a_broken_file_is_named(write, file, how):
    path = write() / file
    if how == "missing":
        path.unlink()
        if file == PATCHES:
            read_hest(path.parents[1], "INT1")  # they are optional
            return
    else:
        path.write_bytes({"empty": b"", "cut": path.read_bytes()[: path.stat().st_size // 3], "text": b"\xff\0"}[how])
    with pytest.raises((SectionError, ImageError), match=path.name):
        read_image(read_hest(path.parents[1], "INT1"))  # of a slide only the header is read before


def change_x(row, column, value):
    def change(found):
        found.X = found.X.toarray()
        found.X[row, column] = value

    return change


def rename(axis, which, name):
    def change(found):
        names = getattr(found, axis).tolist()
        names[which] = name
        setattr(found, axis, names)

    return change


def place(value):
    def change(found):
        found.obsm["spatial"][3, 0] = value

    return change


TABLES = {
    "negative": (change_x(2, 1, -1), r"INT1\.h5ad: G1 in G002-1 is -1\.0, which is no count"),
    "NaN": (change_x(2, 1, np.nan), "G1 in G002-1 is nan"),
    "infinite": (change_x(2, 1, np.inf), "G1 in G002-1 is inf"),
    "normalised": (change_x(2, 1, 0.5), "G1 in G002-1 is 0.5"),
    "huge": (change_x(2, 1, 1e9), "G1 in G002-1 is 1000000000"),
    "no pixels": (lambda found: found.obsm.pop("spatial"), r"INT1\.h5ad has no X or no obsm\['spatial'\]"),
    "three axes": (lambda found: found.obsm.update(spatial=np.zeros((24, 3))), r"must be numbers \(x, y\)"),
    "a spot without pixels": (place(np.nan), "spot T003-1 has no pixel coordinates"),
    "a spot at infinity": (place(np.inf), "spot T003-1 has no pixel coordinates"),
    "a spot beside the slide": (place(1e6), r"1 of 24 spots lie outside the image"),
    "no array": (lambda found: found.obs.drop(columns="array_col", inplace=True), "obs lacks the column array_col"),
    "an array of words": (lambda found: found.obs.__setitem__("array_row", "first"), "array_row of spot A000-1 is not"),
    "a doubled spot": (rename("obs_names", 1, "A000-1"), "the spot 'A000-1' occurs more than once"),
    "a doubled gene": (rename("var_names", 1, "G0"), "the gene 'G0' occurs more than once"),
}


@pytest.mark.filterwarnings("ignore:.*not unique")
@pytest.mark.parametrize("case", TABLES)
def test_a_broken_table_is_named(write, case):
    change, message = TABLES[case]
    folder, found = write(patches=False), visium()
    change(found)
    found.write_h5ad(folder / ST)
    with pytest.raises(SectionError, match=message):
        read_hest(folder, "INT1")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"pixel_size_um_estimated": -0.5}, r"INT1\.json: pixel_size_um_estimated must be a positive number, not -0.5"),
        ({"pixel_size_um_estimated": "0.5"}, "must be a positive number, not '0.5'"),
        ({"pixel_size_um_estimated": float("inf")}, "must be a positive number, not inf"),
        ({"pixel_size_um_estimated": True}, "must be a positive number, not True"),
        ({"pixel_size_um_estimated": None}, "there is no pixel_size_um_estimated or pixel_size_um_embedded"),
        ({"spot_diameter": float("nan")}, r"INT1\.json: there is no spot_diameter"),
    ],
)
def test_broken_facts_are_named(write, facts, message):
    with pytest.raises(SectionError, match=message):
        read_hest(write(facts=FACTS | facts), "INT1")


def test_facts_of_another_kind_are_named(write):
    folder = write()
    for text in ("[1, 2]", "{", "[" * 10**5):
        (folder / JSON).write_text(text)
        with pytest.raises(SectionError, match=r"INT1\.json"):
            read_hest(folder, "INT1")


def patched(change):
    def apply(path):
        with h5py.File(path, "a") as file:
            change(file)

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (patched(lambda file: file.pop("barcode")), "no patches with barcode and coords"),
        (patched(lambda file: file["barcode"].write_direct(np.full((21, 1), b"Z999-1"))), "Z999-1 belongs to none"),
        (patched(lambda file: file["coords"].__setitem__((4, 0), 0)), "does not lie around its spot"),
        (
            patched(lambda file: file["coords"].__setitem__((), file["coords"][()][:, ::-1])),
            "does not lie around its spot",
        ),
    ],
)
def test_patches_of_something_else_are_named(write, change, message):
    folder = write()
    change(folder / PATCHES)
    with pytest.raises(SectionError, match=message) as caught:
        read_hest(folder, "INT1")
    assert "patches/INT1.h5" in str(caught.value)
