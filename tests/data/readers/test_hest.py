"""Samples of HEST-1k as it publishes them: .h5ad, a pyramid, JSON with bare NaN, patches by barcode."""

import numpy as np
import pytest

from stlearn_lib.data.readers import read_hest
from stlearn_lib.data.sections import image_path_of, image_size, metadata_of, patient_of, um_per_px_of
from stlearn_lib.errors import SectionError
from tests.data.readers.written_collections import (
    HEST_FACTS,
    HEST_UM_PER_PX,
    hest_squares,
    hest_table,
    hest_visium,
    write_hest,
)


@pytest.fixture
def write(tmp_path):
    """Write a sample into the same folder."""

    def write(*args, **kwargs):
        write_hest(tmp_path, *args, **kwargs)
        return tmp_path

    return write


def test_a_sample_of_visium(write):
    found = hest_visium()
    section = read_hest(write(), "INT1")
    assert section.obs_names.tolist() == found.obs_names.tolist()
    assert (section.X != found.X).nnz == 0
    np.testing.assert_array_equal(section.obs["array_x"], found.obs["array_col"])
    np.testing.assert_array_equal(section.obsm["spatial"], found.obs[["pxl_col_in_fullres", "pxl_row_in_fullres"]])
    assert um_per_px_of(section) == HEST_UM_PER_PX and patient_of(section) == "A study, Patient 1"
    assert section.uns["spatial"]["INT1"]["scalefactors"]["spot_diameter_fullres"] == 110
    assert image_path_of(section).name == "INT1.tif" and image_size(section)[0] > 1000
    assert metadata_of(section)["platform"] == "Visium"


def test_patients_are_numbered_within_a_study(write):
    folder = write("INT1", facts=HEST_FACTS | {"dataset_title": "Another study"})
    write("ZEN40")
    assert patient_of(read_hest(folder, "INT1")) != patient_of(read_hest(folder, "ZEN40"))
    assert patient_of(read_hest(folder, "INT1", patient="P")) == "P"
    for empty in (float("nan"), None, ""):
        write("INT1", facts=HEST_FACTS | {"patient": empty})
        with pytest.raises(SectionError, match=r"INT1\.json names no patient: pass patient="):
            read_hest(folder, "INT1")
        assert patient_of(read_hest(folder, "INT1", patient="P")) == "P"


def test_spatial_transcriptomics_has_x_in_array_row(write):
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(3, 9), np.arange(11, 15)))
    names = [f"{a:03d}x{b:03d}" for a, b in zip(x, y, strict=True)]
    pixels = np.column_stack([x, y]) * 100.0
    found = hest_table(np.column_stack([y, x]), pixels, names)  # array_row is the first number of the name
    facts = HEST_FACTS | {
        "st_technology": "Spatial Transcriptomics",
        "spot_diameter": 100.0,
        "pixel_size_um_estimated": 2.0,
    }
    section = read_hest(write(found=found, facts=facts, patches=False), "INT1")
    np.testing.assert_array_equal(section.obs[["array_x", "array_y"]], np.column_stack([x, y]))
    np.testing.assert_array_equal(section.obsm["spatial"], pixels)


@pytest.mark.parametrize(("platform", "side_um"), [("Xenium", 100.0), ("Visium HD", 128.0)])
def test_pooled_squares_are_placed_and_sized_by_their_pixels(write, platform, side_um):
    found, array = hest_squares(side_um)
    facts = HEST_FACTS | {"st_technology": platform, "spot_diameter": float("nan") if platform == "Xenium" else 2}
    section = read_hest(write(found=found, facts=facts), "INT1")
    shifts = section.obs[["array_x", "array_y"]].to_numpy() - array
    assert len(np.unique(shifts, axis=0)) == 1
    diameter_um = section.uns["spatial"]["INT1"]["scalefactors"]["spot_diameter_fullres"] * HEST_UM_PER_PX
    assert np.pi * diameter_um**2 / 4 == pytest.approx(side_um**2)


def test_the_resolution_that_was_estimated_goes_before_the_embedded_one(write):
    facts = HEST_FACTS | {"pixel_size_um_embedded": 0.25}
    assert um_per_px_of(read_hest(write(facts=facts), "INT1")) == HEST_UM_PER_PX
    facts |= {"pixel_size_um_estimated": float("nan")}
    assert um_per_px_of(read_hest(write(facts=facts), "INT1")) == 0.25


def test_a_dense_table_of_whole_numbers_is_the_same_section(write):
    first = read_hest(write(), "INT1")
    found = hest_visium()
    found.X = found.X.toarray().astype(np.int64)
    second = read_hest(write(found=found), "INT1")
    assert (first.X != second.X).nnz == 0


def test_patches_are_optional(write):
    read_hest(write(patches=False), "INT1")
