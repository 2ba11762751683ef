import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial import cKDTree

from stlearn_lib.data.arrays import CELL_UM2, fit_array
from stlearn_lib.data.placement import check_placement
from stlearn_lib.data.readers import read_st
from stlearn_lib.data.sections import image_size, metadata_of, read_image, section_name
from stlearn_lib.datasets import load_sections
from stlearn_lib.errors import ImageError, SectionError

HER2ST = ["A1", "B4", "C2", "C3", "C4", "C5", "C6"]


@pytest.fixture(scope="module")
def real(mirror):
    root = mirror / "st_mouse_olfactory_bulb"
    bulb = read_st(root / "counts.tsv", root / "spots.tsv", root / "image.jpg", name="bulb", patient="mouse")
    return {section_name(section): section for section in [*load_sections(HER2ST), bulb]}


def moved(section, pixels, scale=1.0):
    """Return the section with other pixel positions; `scale` as a reader that fits the array would find it."""
    copy = section.copy()
    copy.obsm["spatial"] = pixels
    metadata_of(copy)["um_per_px"] /= scale
    copy.uns["spatial"][section_name(copy)]["scalefactors"]["spot_diameter_fullres"] *= scale
    return copy


def still_on_tissue(section, pixels):
    """Share of moved spots within a pitch of where a spot was: no image is looked at."""
    tree = cKDTree(section.obsm["spatial"])
    pitch = np.median(tree.query(section.obsm["spatial"], k=2)[0][:, 1])
    return (tree.query(pixels)[0] < pitch).mean()


@pytest.mark.parametrize("name", [*HER2ST, "bulb"])
def test_published_sections_pass(real, name):
    placed = check_placement(real[name])
    assert placed.on_tissue > 0.9 and placed.covered > 0.85
    assert placed.cell_ratio == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", [*HER2ST, "bulb"])
def test_exchanged_axes_are_found(real, name):
    with pytest.raises(SectionError, match=f"section {name}: x and y of the spots seem to be swapped"):
        check_placement(moved(real[name], real[name].obsm["spatial"][:, ::-1].copy()))


@pytest.mark.parametrize("name", HER2ST)
def test_exchanged_axes_are_found_in_the_image_alone(real, name):
    section = real[name]
    pixels = section.obsm["spatial"][:, ::-1].copy()
    copy = moved(section, pixels)
    copy.obs[["array_x", "array_y"]] = copy.obs[["array_y", "array_x"]].to_numpy()
    if still_on_tissue(section, pixels) < 0.8:  # C2's and C4's tissue is almost symmetrical
        with pytest.raises(SectionError, match="seem to be swapped"):
            check_placement(copy)


@pytest.mark.parametrize("name", [*HER2ST, "bulb"])
def test_a_slide_that_was_turned_or_mirrored_is_right(real, name, tmp_path):
    section = real[name].copy()
    image = read_image(section, 500)
    reduction = image.width / image_size(section)[0]
    x, y = section.obsm["spatial"].T * reduction
    turned = {
        Image.Transpose.ROTATE_90: (y, image.width - x),
        Image.Transpose.FLIP_LEFT_RIGHT: (image.width - x, y),
        Image.Transpose.TRANSPOSE: (y, x),
    }
    metadata_of(section).pop("white_boxes", None)  # they are white already
    for how, pixels in turned.items():
        image.transpose(how).save(tmp_path / "turned.png")
        metadata_of(section)["image_path"] = str(tmp_path / "turned.png")
        copy = moved(section, np.column_stack(pixels), reduction)
        assert check_placement(copy).on_tissue > 0.85


@pytest.mark.parametrize("factor", [0.0450, 0.17, 2000 / 6954, 3.0, 1 / 0.17])
@pytest.mark.parametrize("name", HER2ST)
def test_a_wrong_factor_is_found_by_the_pitch(real, name, factor):
    section = real[name]
    with pytest.raises(SectionError, match="scale mismatch") as caught:
        check_placement(moved(section, section.obsm["spatial"] * factor))
    advice = float(re.search(r", by ([\d.]+):", str(caught.value)).group(1))
    assert advice * factor == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("factor", [0.0450, 0.17, 2000 / 6954, 0.5, 2.0])
@pytest.mark.parametrize("name", HER2ST)
def test_a_wrong_factor_is_found_by_the_tissue(real, name, factor):
    section = real[name]
    pixels = section.obsm["spatial"] * factor
    assert still_on_tissue(section, pixels) < 0.4
    with pytest.raises(SectionError, match=r"scale mismatch|only .* spots lie on the tissue"):
        check_placement(moved(section, pixels, factor))


def test_the_sections_own_factor_is_suggested(real):
    a1 = real["A1"]
    factor = metadata_of(a1)["pixel_scale"]
    with pytest.raises(SectionError, match=f"after multiplying their pixels by {1 / factor:.4g}"):
        check_placement(moved(a1, a1.obsm["spatial"] * factor, factor))


@pytest.mark.parametrize("name", HER2ST)
def test_a_shift_off_the_tissue_is_found(real, name):
    section = real[name]
    found = 0
    for shift in [(0.45, 0), (-0.45, 0), (0, 0.35), (0, -0.35), (0.4, 0.4)]:
        pixels = section.obsm["spatial"] + np.array(shift) * image_size(section)
        if still_on_tissue(section, pixels) < 0.4:
            found += 1
            with pytest.raises(SectionError, match="spots lie on the tissue"):
                check_placement(moved(section, pixels))
    assert found >= 3


def test_messages_have_numbers_and_a_remedy(real):
    section = real["C3"]
    pixels = section.obsm["spatial"] + [0, 6000]
    with pytest.raises(SectionError, match=rf"only \d+% of {section.n_obs} spots .*C3.*jpg; at least 50% should"):
        check_placement(moved(section, pixels))


def test_a_blank_image_is_named(section, tmp_path):
    Image.new("RGB", (2000, 2000), "white").save(tmp_path / "blank.png")
    metadata_of(section)["image_path"] = str(tmp_path / "blank.png")
    with pytest.raises(ImageError, match=r"blank\.png shows no tissue"):
        check_placement(section)


def test_simulated_tissue_passes_though_it_fills_its_image(cohort):
    for section in cohort:
        check_placement(section)


def test_without_an_image_only_the_scale_is_checked(section):
    del metadata_of(section)["image_path"]
    placed = check_placement(section)
    assert np.isnan([placed.on_tissue, placed.covered]).all()
    metadata_of(section)["um_per_px"] *= 1.2
    section.uns["spatial"][section_name(section)]["scalefactors"]["spot_diameter_fullres"] /= 1.2
    with pytest.raises(SectionError, match=r"step is 1\.2 times the platform's"):
        check_placement(section)


def test_spots_of_an_unknown_platform_have_no_step_to_compare(section):
    section.uns["spatial"][section_name(section)]["scalefactors"]["spot_diameter_fullres"] *= 0.7
    assert np.isnan(check_placement(section).cell_ratio)


@settings(max_examples=40, deadline=None)
@given(
    turn=st.floats(0, 2 * np.pi),
    step=st.floats(0.1, 500),
    origin=st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)),
    mirrored=st.booleans(),
)
def test_the_resolution_follows_from_any_placing_of_the_array(turn, step, origin, mirrored):
    row, column = (axis.ravel() for axis in np.mgrid[:7, :9])
    array = np.column_stack([column, row])[(row + column) % 2 == 0]
    pixels = array * [0.5 * step, np.sqrt(3) / 2 * step] * [-1 if mirrored else 1, 1]
    pixels = pixels @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + origin
    fit = fit_array(array, pixels)
    assert np.sqrt(CELL_UM2[55.0] / fit.cell_px2) == pytest.approx(100 / step, rel=1e-6)
    assert fit.residual_px.max() < 1e-6


@pytest.mark.parametrize("array", [[[0, 0]], [[0, 0], [1, 1]], [[0, 0], [1, 1], [2, 2]], [[3, 3]] * 5])
def test_spots_on_one_line_span_nothing(array):
    array = np.array(array)
    assert fit_array(array, array * 10.0).cell_px2 == 0
