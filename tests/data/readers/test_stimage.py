"""STimage-1K4M: tables as it publishes them, of real spots and of written ones."""

import numpy as np
import pytest

from stlearn_lib.data.readers import read_st, read_stimage
from stlearn_lib.data.sections import image_path_of, metadata_of, um_per_px_of
from stlearn_lib.errors import SectionError
from tests.data.readers.written_collections import stimage_square, write_stimage


def hexagonal(columns=8, rows=6, pitch=30.0):
    y, x = (axis.ravel() for axis in np.mgrid[:rows, :columns])
    array = np.column_stack([2 * x + y % 2, y])
    names = ["".join("ACGT"[i // 4**k % 4] for k in range(16)) + "-1" for i in range(len(x))]
    pixels = array * [pitch / 2, pitch * np.sqrt(3) / 2] + 40
    return array, pixels, names, np.random.default_rng(0).poisson(2, (len(x), 4))


@pytest.fixture
def folder(tmp_path):
    write_stimage(tmp_path, "S1", *stimage_square(), radius=10.0)
    return tmp_path


def test_a_slide_of_spatial_transcriptomics(folder):
    pixels, names, counts = stimage_square()
    section = read_stimage(folder, "S1", patient="P")
    assert section.obs_names.tolist() == names
    np.testing.assert_array_equal(section.X.toarray(), counts)
    np.testing.assert_allclose(section.obsm["spatial"], pixels)
    np.testing.assert_array_equal(section.obs[["array_x", "array_y"]], pixels / 40)
    assert um_per_px_of(section) == pytest.approx(200 / 40)
    assert metadata_of(section)["platform"] == "ST" and image_path_of(section) == folder / "ST/image/S1.png"
    assert section.uns["spatial"]["S1"]["scalefactors"]["spot_diameter_fullres"] == pytest.approx(100 / 5)


def test_the_published_example_is_her2st_a1(mirror, tmp_path):
    """The data set's own example, Human_Breast_Andersson_10142021_ST_A1, has A1's pixels and r = 54.328144511906295."""
    files = [mirror / "her2st/ST-cnts/A1.tsv.gz", mirror / "her2st/ST-spotfiles/A1_selection.tsv"]
    ours = read_st(*files, name="A1", patient="A")[:, :4].copy()
    pixels, slide = ours.obsm["spatial"], "Human_Breast_Andersson_10142021_ST_A1"
    first = list(ours.obs_names).index("10x13")
    np.testing.assert_array_equal(pixels[first], [1923.65, 2622.15])  # xaxis, yaxis of the example's first row
    write_stimage(tmp_path, slide, pixels, ours.obs_names, ours.X.toarray(), radius=54.328144511906295)
    theirs = read_stimage(tmp_path, slide, patient="A")
    assert theirs.obs_names.tolist() == ours.obs_names.tolist() and (theirs.X != ours.X).nnz == 0
    np.testing.assert_allclose(theirs.obsm["spatial"], pixels)
    np.testing.assert_array_equal(theirs.obs["array_x"], np.rint(ours.obs["array_x"]))
    assert um_per_px_of(theirs) == pytest.approx(um_per_px_of(ours), rel=0.01)
    assert um_per_px_of(theirs) == pytest.approx(50 / 54.328144511906295, rel=0.01), (
        "r is the radius of a spot of 100 µm"
    )


@pytest.mark.parametrize("radius", [55 / 100 * 30 / 2, 65 / 100 * 30 / 2])
def test_a_slide_of_visium_has_no_array_but_its_pixels(tmp_path, radius):
    array, pixels, names, counts = hexagonal()
    write_stimage(tmp_path, "V1", pixels, names, counts, radius, platform="Visium")
    section = read_stimage(tmp_path, "V1", patient="P")
    np.testing.assert_array_equal(section.obs[["array_x", "array_y"]], array)
    assert section.obs_names.tolist() == names
    assert um_per_px_of(section) == pytest.approx(100 / 30)
    assert section.uns["spatial"]["V1"]["scalefactors"]["spot_diameter_fullres"] == pytest.approx(55 * 30 / 100)


@pytest.mark.parametrize("share", [45.13 / 250, 91.75 / 250])  # of GSM4284316, in the first files and in later ones
def test_a_finer_array_is_not_taken_for_a_common_one(tmp_path, share):
    pixels, names, counts = stimage_square()
    write_stimage(tmp_path, "GSE144239_GSM4284316", pixels, names, counts, share * 40)
    with pytest.raises(SectionError, match=r"GSM4284316_coord\.csv: spots of radius .* pass um_per_px"):
        read_stimage(tmp_path, "GSE144239_GSM4284316", patient="P2")
    section = read_stimage(tmp_path, "GSE144239_GSM4284316", patient="P2", um_per_px=0.6)
    assert um_per_px_of(section) == 0.6
    diameter = section.uns["spatial"]["GSE144239_GSM4284316"]["scalefactors"]["spot_diameter_fullres"]
    assert diameter == pytest.approx(2 * share * 40)


def test_visium_hd_does_not_tell_its_bins(tmp_path):
    write_stimage(tmp_path, "H1", *stimage_square(), radius=20.0, platform="VisiumHD")
    with pytest.raises(SectionError, match=r"VisiumHD bins is not told, so um_per_px \(--um-per-px\) is needed"):
        read_stimage(tmp_path, "H1", patient="P")
    assert um_per_px_of(read_stimage(tmp_path, "H1", patient="P", um_per_px=0.2)) == 0.2
