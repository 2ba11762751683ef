import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial import KDTree

from stlearn_lib.data.patches import cut_patches, window_px
from stlearn_lib.data.section_files import write_section
from stlearn_lib.data.sections import (
    check_section,
    metadata_of,
    patient_of,
    read_image,
    section_name,
    um_per_px_of,
)
from stlearn_lib.data.tissue import find_tissue
from stlearn_lib.data.whole_slides import GRIDS, Grid, slide_section
from stlearn_lib.datasets import load_sections
from stlearn_lib.errors import ImageError, SectionError
from tests.slide_files import write_slide


def rms(difference):
    return np.sqrt((difference**2).mean(axis=(1, 2, 3)))


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """Return the path of an image of 1500 x 1000 px that does not say its resolution."""
    path = tmp_path_factory.mktemp("image") / "slide.png"
    pixels = np.random.default_rng(0).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((1500, 1000)).save(path)
    return path


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(["st", "visium"]),
    size=st.tuples(st.integers(1000, 3000), st.integers(1000, 3000)),
    um_per_px=st.floats(0.25, 2.0),
)
def test_grids_have_the_arrays_geometry(name, size, um_per_px):
    grid, table = GRIDS[name], GRIDS[name].spots(size, um_per_px)
    centres = table[["pixel_x", "pixel_y"]].to_numpy()
    pitch = grid.pitch_um / um_per_px
    assert ((centres >= 0) & (centres < size)).all() and not table[["array_x", "array_y"]].duplicated().any()
    assert (table[["array_x", "array_y"]] >= 0).all(axis=None)
    # The whole image is covered: no corner is farther from a spot than 1.5 pitches.
    corners = np.array([(0, 0), (size[0], 0), (0, size[1]), size])
    assert KDTree(centres).query(corners)[0].max() < 1.5 * pitch
    if len(table) > 1:
        assert KDTree(centres).query(centres, k=2)[0][:, 1] == pytest.approx(pitch)
    if name == "visium":
        assert ((table["array_x"] + table["array_y"]) % 2 == 0).all(), "as Visium's columns and rows"


@pytest.mark.parametrize(("name", "neighbours", "pitch_um"), [("st", 4, 200), ("visium", 6, 100)])
def test_inner_spots_have_all_their_neighbours(image, name, neighbours, pitch_um):
    slide = slide_section(image, grid=name, um_per_px=1.0, tissue=False)
    centres = slide.obsm["spatial"]
    inner = ((centres > 1.5 * pitch_um) & (centres < np.array([1500, 1000]) - 1.5 * pitch_um)).all(axis=1)
    distances = KDTree(centres).query(centres[inner], k=neighbours + 2)[0][:, 1:]
    np.testing.assert_allclose(distances[:, :neighbours], pitch_um)
    assert (distances[:, neighbours] > 1.4 * pitch_um).all()


def test_a_section_without_counts(image):
    slide = slide_section(image, grid="visium", um_per_px=2.0, tissue=False, name="new", patient="P")
    check_section(slide)
    assert (section_name(slide), patient_of(slide), um_per_px_of(slide)) == ("new", "P", 2.0)
    assert slide.X.sum() == 0 and slide.var_names.tolist() == ["not counted"]
    assert slide.uns["spatial"]["new"]["scalefactors"]["spot_diameter_fullres"] == 55 / 2
    x, y = slide.obs["array_x"], slide.obs["array_y"]
    assert slide.obs_names.tolist() == [f"{a}x{b}" for a, b in zip(x, y, strict=True)]
    assert x.dtype.kind == y.dtype.kind == "i"
    assert metadata_of(slide)["source"] == "visium grid" and "pixel_scale" not in metadata_of(slide)
    assert section_name(slide_section(image, um_per_px=2.0, tissue=False)) == "slide"


def test_dense_patches_touch(image):
    slide = slide_section(image, grid="dense", um_per_px=0.5, tissue=False)
    assert slide.n_obs == 7 * 4  # as many patches of 224 px as have their centre in 1500 x 1000
    patches = cut_patches(slide)
    whole = np.asarray(Image.open(image))[: 3 * 224, : 5 * 224]
    x, y = slide.obs["array_x"].to_numpy(), slide.obs["array_y"].to_numpy()
    for row in range(3):
        line = np.concatenate([patches[(x == column) & (y == row)][0] for column in range(5)], axis=1)
        np.testing.assert_array_equal(line, whole[224 * row : 224 * (row + 1)])
    wide = slide_section(image, grid="dense", pitch_um=100, um_per_px=0.5, scan_um_per_px=0.25, tissue=False)
    assert wide.n_obs == 7 * 5 and window_px(wide, 224) == 112
    trained_coarser = slide_section(image, grid="dense", um_per_px=0.5, scan_um_per_px=1.0, tissue=False)
    assert window_px(trained_coarser, 224) == 448
    assert np.ptp(trained_coarser.obsm["spatial"], axis=0).tolist() == [2 * 448, 448]


@pytest.fixture(scope="session")
def two_scans(mirror, tmp_path_factory):
    """Return C2's tissue as scanned with 0.69 and with 0.345 µm per pixel: the second is what is real here."""
    (section,) = load_sections(["C2"], allow_simulated=False)
    fine = read_image(section).crop((1500, 2500, 8500, 8500))
    folder = tmp_path_factory.mktemp("scans")
    coarse = write_slide(folder / "coarse.svs", fine.reduce(2), 0.69, quality=90)
    return coarse, write_slide(folder / "fine.svs", fine, 0.345, levels=1, quality=90)


def test_two_scans_show_a_model_the_same(two_scans):
    coarse, fine = (slide_section(path, scan_um_per_px=0.69) for path in two_scans)
    assert (um_per_px_of(coarse), um_per_px_of(fine)) == (0.69, 0.345)
    assert (window_px(coarse, 224), window_px(fine, 224)) == (224, 448)
    both = sorted(set(coarse.obs_names) & set(fine.obs_names))
    assert len(both) > 0.9 * max(coarse.n_obs, fine.n_obs), "but for its border, tissue does not depend on the scan"
    np.testing.assert_allclose(2 * coarse[both].obsm["spatial"], fine[both].obsm["spatial"])
    # Patches start at whole pixels: where the fine scan's lie between two of the coarse one, they are half a pixel off.
    aligned = (np.floor(fine[both].obsm["spatial"]) % 2 == 0).all(axis=1)
    kept = np.array(both)[aligned]
    seen, expected = (cut_patches(slide[kept].copy()).astype(float) for slide in (fine, coarse))
    difference = rms(seen - expected)
    contrast = expected.std(axis=(1, 2, 3))
    assert (difference < 0.1 * contrast + 4).all(), "two ways to reduce, and what a JPEG of quality 90 loses, twice"
    assert rms(seen[:, :, 1:] - expected[:, :, :-1]).mean() > 2 * difference.mean(), "nothing is shifted by a pixel"


@pytest.mark.parametrize("grid", ["st", "visium", "dense"])
def test_spots_lie_in_tissue(two_scans, grid):
    slide = slide_section(two_scans[0], grid=grid)
    tissue = find_tissue(two_scans[0])
    assert tissue.contains(slide.obsm["spatial"]).all()
    pitch = {"st": 200, "visium": 100, "dense": 224 * 0.69}[grid] / 0.69
    density = slide.n_obs * pitch**2 * (np.sqrt(0.75) if grid == "visium" else 1)
    assert density == pytest.approx(tissue.outline.area, rel=0.1)


def test_a_table_of_spots(image, tmp_path):
    spots = tmp_path / "spots.csv"
    spots.write_text("pixel_x,pixel_y\n300.5,300\n450,300\n")
    slide = slide_section(image, spots=spots, um_per_px=0.5)
    assert slide.obsm["spatial"].tolist() == [[300.5, 300], [450, 300]] and metadata_of(slide)["source"] == "spots.csv"
    for text, message in [
        ("x,y\n1,2\n", "no table with the numbers pixel_x and pixel_y"),
        ("pixel_x,pixel_y\na,2\n", "no table with the numbers"),
        ("", "no table with the numbers"),
        ("pixel_x,pixel_y\n", "no spot is left"),
        ("pixel_x,pixel_y\n,2\n", "no pixel coordinates"),
        ("pixel_x,pixel_y\n99999,2\n", "outside the image"),
    ]:
        spots.write_text(text)
        with pytest.raises(SectionError, match=message):
            slide_section(image, spots=spots, um_per_px=0.5)


def test_the_spots_of_a_section(image, tmp_path):
    measured = slide_section(image, grid="visium", um_per_px=2.0, tissue=False)[5:].copy()
    path = write_section(measured, tmp_path)
    slide = slide_section(image, spots=path, name="slide")
    np.testing.assert_array_equal(slide.obsm["spatial"], measured.obsm["spatial"])
    assert slide.obs.equals(measured.obs) and um_per_px_of(slide) == 2.0
    assert slide.uns["spatial"]["slide"]["scalefactors"]["spot_diameter_fullres"] == pytest.approx(55 / 2)


def test_resolution_is_known_and_not_contradicted(image, tmp_path):
    with pytest.raises(ImageError, match="pass um_per_px"):
        slide_section(image)
    slide = write_slide(tmp_path / "slide.tif", Image.open(image).convert("RGB"), 0.5)
    with pytest.raises(ImageError, match=r"says 0\.5 µm per pixel, but 0\.25 was passed"):
        slide_section(slide, um_per_px=0.25)
    assert um_per_px_of(slide_section(slide, tissue=False)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": "square"}, "unknown grid 'square'; known: st, visium, dense"),
        ({"grid": "visium", "pitch_um": 50}, "the grid visium has a pitch of 100 µm"),
        ({"grid": "dense", "pitch_um": 0}, "pitch_um must be positive, not 0"),
        ({"grid": "dense", "pitch_um": float("nan")}, "pitch_um must be positive"),
        ({"grid": "dense", "pitch_um": 0.01}, "are too many"),
        ({"grid": "dense", "scan_um_per_px": -1.0}, "must be positive"),
        ({"scan_um_per_px": 0.0}, "scan_um_per_px must be positive"),
        ({"grid": "dense", "pitch_um": 1e6}, "no spot is left; is um_per_px=0.5 right"),
    ],
)
def test_what_makes_no_sense_is_named(image, options, message):
    with pytest.raises(SectionError, match=message):
        slide_section(image, um_per_px=0.5, tissue=False, **options)


def test_a_grid_of_ones_own():
    assert len(Grid(10, 10).spots((100, 50), um_per_px=1.0)) == 50
