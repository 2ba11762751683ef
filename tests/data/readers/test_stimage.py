"""STimage-1K4M: tables as it publishes them, of real spots and of written ones."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stlearn_lib.data.readers import read_st, read_stimage
from stlearn_lib.data.sections import image_path_of, metadata_of, um_per_px_of
from stlearn_lib.errors import ImageError, SectionError


def write_slide(folder, slide, pixels, names, counts, radius, platform="ST"):
    """Write a slide as STimage-1K4M does; y comes before x."""
    for part in ("gene_exp", "coord", "image"):
        (folder / platform / part).mkdir(parents=True, exist_ok=True)
    ids = [f"{slide}_{name}" for name in names]
    pd.DataFrame(np.asarray(counts, float), ids, [f"G{i}" for i in range(np.shape(counts)[1])]).to_csv(
        folder / platform / f"gene_exp/{slide}_count.csv"
    )
    pd.DataFrame({"yaxis": pixels[:, 1], "xaxis": pixels[:, 0], "r": radius}, ids).to_csv(
        folder / platform / f"coord/{slide}_coord.csv"
    )
    size = np.ceil(pixels.max(axis=0)).astype(int) + 50
    Image.new("RGB", tuple(size.tolist()), (200, 120, 160)).save(folder / platform / f"image/{slide}.png")


def square(columns=6, rows=5, pitch=40.0):
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(columns) + 3, np.arange(rows) + 8))
    names = [f"{a}x{b}" for a, b in zip(x, y, strict=True)]
    return np.column_stack([x, y]) * pitch, names, np.random.default_rng(0).poisson(2, (len(x), 4))


def hexagonal(columns=8, rows=6, pitch=30.0):
    y, x = (axis.ravel() for axis in np.mgrid[:rows, :columns])
    array = np.column_stack([2 * x + y % 2, y])
    names = ["".join("ACGT"[i // 4**k % 4] for k in range(16)) + "-1" for i in range(len(x))]
    pixels = array * [pitch / 2, pitch * np.sqrt(3) / 2] + 40
    return array, pixels, names, np.random.default_rng(0).poisson(2, (len(x), 4))


@pytest.fixture
def folder(tmp_path):
    write_slide(tmp_path, "S1", *square(), radius=10.0)
    return tmp_path


def test_a_slide_of_spatial_transcriptomics(folder):
    pixels, names, counts = square()
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
    write_slide(tmp_path, slide, pixels, ours.obs_names, ours.X.toarray(), radius=54.328144511906295)
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
    write_slide(tmp_path, "V1", pixels, names, counts, radius, platform="Visium")
    section = read_stimage(tmp_path, "V1", patient="P")
    np.testing.assert_array_equal(section.obs[["array_x", "array_y"]], array)
    assert section.obs_names.tolist() == names
    assert um_per_px_of(section) == pytest.approx(100 / 30)
    assert section.uns["spatial"]["V1"]["scalefactors"]["spot_diameter_fullres"] == pytest.approx(55 * 30 / 100)


@pytest.mark.parametrize("share", [45.13 / 250, 91.75 / 250])  # of GSM4284316, in the first files and in later ones
def test_a_finer_array_is_not_taken_for_a_common_one(tmp_path, share):
    pixels, names, counts = square()
    write_slide(tmp_path, "GSE144239_GSM4284316", pixels, names, counts, share * 40)
    with pytest.raises(SectionError, match=r"GSM4284316_coord\.csv: spots of radius .* pass um_per_px"):
        read_stimage(tmp_path, "GSE144239_GSM4284316", patient="P2")
    section = read_stimage(tmp_path, "GSE144239_GSM4284316", patient="P2", um_per_px=0.6)
    assert um_per_px_of(section) == 0.6
    diameter = section.uns["spatial"]["GSE144239_GSM4284316"]["scalefactors"]["spot_diameter_fullres"]
    assert diameter == pytest.approx(2 * share * 40)


def test_visium_hd_does_not_tell_its_bins(tmp_path):
    write_slide(tmp_path, "H1", *square(), radius=20.0, platform="VisiumHD")
    with pytest.raises(SectionError, match=r"VisiumHD bins is not told, so um_per_px \(--um-per-px\) is needed"):
        read_stimage(tmp_path, "H1", patient="P")
    assert um_per_px_of(read_stimage(tmp_path, "H1", patient="P", um_per_px=0.2)) == 0.2


def test_rows_in_another_order_are_the_same_section(folder):
    first = read_stimage(folder, "S1", patient="P")
    for part in ("gene_exp/S1_count.csv", "coord/S1_coord.csv"):
        table = pd.read_csv(folder / "ST" / part, index_col=0)
        table.sample(frac=1, random_state=3).to_csv(folder / "ST" / part)
    second = read_stimage(folder, "S1", patient="P")[first.obs_names].copy()
    assert (first.X != second.X).nnz == 0
    pd.testing.assert_frame_equal(first.obs, second.obs)
    np.testing.assert_array_equal(first.obsm["spatial"], second.obsm["spatial"])


def edit(change):
    """Change a table of the slide."""

    def apply(path):
        change(pd.read_csv(path, index_col=0)).to_csv(path)

    return apply


COUNT, COORD, PNG = "ST/gene_exp/S1_count.csv", "ST/coord/S1_coord.csv", "ST/image/S1.png"
BROKEN = {
    "no counts": (COUNT, lambda path: path.unlink(), r"there is no S1_count\.csv in ST/gene_exp, Visium"),
    "no coordinates": (COORD, lambda path: path.unlink(), r"S1_coord\.csv does not exist"),
    "no image": (PNG, lambda path: path.unlink(), r"S1\.png does not exist"),
    "empty counts": (COUNT, lambda path: path.write_bytes(b""), r"S1_count\.csv is no readable table"),
    "empty coordinates": (COORD, lambda path: path.write_bytes(b""), r"S1_coord\.csv is no readable table"),
    "empty image": (PNG, lambda path: path.write_bytes(b""), r"S1\.png is no readable image"),
    "cut counts": (COUNT, lambda path: path.write_bytes(path.read_bytes()[:-9]), r"S1_count\.csv: .* is missing"),
    "cut coordinates": (COORD, lambda path: path.write_bytes(path.read_bytes()[:-40]), r"S1_coord\.csv: "),
    "not text": (COORD, lambda path: path.write_bytes(b"\xff\xfe\x00"), r"S1_coord\.csv is no readable table"),
    "no xaxis": (COORD, edit(lambda table: table.rename(columns={"xaxis": "x"})), "xaxis are missing; found"),
    "no radius": (COORD, edit(lambda table: table.drop(columns="r")), "r are missing"),
    "two radii": (COORD, edit(lambda table: table.assign(r=range(len(table)))), "radius r must be the same positive"),
    "a negative radius": (COORD, edit(lambda table: table.assign(r=-1.0)), "radius r must be the same positive"),
    "NaN": (COORD, edit(lambda table: table.assign(yaxis=np.nan)), "row 2, column yaxis is not a number"),
    "infinite": (COORD, edit(lambda table: table.assign(xaxis=np.inf)), "row 2, column xaxis is not a number"),
    "swapped": (
        COORD,
        edit(lambda table: table.rename(columns={"xaxis": "yaxis", "yaxis": "xaxis"})),
        "outside the image .*swapped",
    ),
    "a doubled spot": (COORD, edit(lambda table: pd.concat([table, table[:1]])), "'S1_3x8' occurs more than once"),
    "a spot less": (COORD, edit(lambda table: table[1:]), r"S1_coord\.csv: 1 spots are missing, first 'S1_3x8'"),
    "a spot more": (COUNT, edit(lambda table: table[1:]), r"S1_count\.csv: 1 spots are missing, first 'S1_3x8'"),
    "a doubled gene": (
        COUNT,
        lambda path: path.write_text(path.read_text().replace("G1", "G2", 1)),
        "'G2' occurs more",
    ),
    "negative": (COUNT, edit(lambda table: -table - 1), "the count of G0 in spot S1_3x8 is negative"),
    "normalised": (COUNT, edit(lambda table: np.log1p(table)), "not a whole number; raw counts are needed"),
    "words": (COUNT, edit(lambda table: table.assign(G2="many")), "gene 'G2' has values that are not numbers"),
    "at random": (
        COORD,
        edit(lambda table: table.assign(xaxis=np.random.default_rng(0).uniform(130, 320, len(table)))),
        "no regular array|does not lie on the array|array cannot be seen",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named(folder, case):
    file, change, message = BROKEN[case]
    change(folder / file)
    with pytest.raises((SectionError, ImageError), match=message):
        read_stimage(folder, "S1", patient="P")
