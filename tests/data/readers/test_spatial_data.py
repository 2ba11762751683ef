import shutil
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import spatialdata
from anndata import AnnData
from PIL import Image
from scipy import sparse
from spatialdata.models import Image2DModel, ShapesModel, TableModel
from spatialdata.transformations import Affine, Identity, Scale, Sequence, Translation, set_transformation

from stlearn_lib.data.readers import read_spatialdata
from stlearn_lib.data.sections import image_path_of, metadata_of, um_per_px_of
from stlearn_lib.errors import ImageError, SectionError
from tests.data.readers.written import GENE_IDS, HIRES, UM_PER_PX, tissue_image, truth


def circles(made, **transformations):
    """The spots in pixels of the full resolution, as spatialdata-io makes them."""
    return ShapesModel.parse(
        made.pixels,
        geometry=0,
        radius=65 / UM_PER_PX / 2,
        index=pd.RangeIndex(len(made.counts)),
        transformations=transformations or {"global": Identity()},
    )


def table(made, regions=("spots",)):
    parts = [
        AnnData(
            sparse.csr_matrix(made.counts.to_numpy(np.float32)),
            obs=made.positions.loc[made.counts.index, ["array_row", "array_col"]]
            .assign(region=region, spot_id=np.arange(len(made.counts)))
            .rename(index=lambda barcode, region=region: barcode if len(regions) == 1 else f"{region}-{barcode}"),
            var=pd.DataFrame({"gene_ids": GENE_IDS}, index=["ACTB", "TBCE", "GNAS", "TBCE-1", "FASN"]),
        )
        for region in regions
    ]
    whole = AnnData(
        sparse.vstack([p.X for p in parts], format="csr"), obs=pd.concat([p.obs for p in parts]), var=parts[0].var
    )
    whole.obs["region"] = pd.Categorical(whole.obs["region"])
    return TableModel.parse(whole, region=list(regions), region_key="region", instance_key="spot_id")


def image(made, scale, transformation, **kwargs):
    pixels = np.asarray(tissue_image(made, scale, 120))
    return Image2DModel.parse(
        pixels.transpose(2, 0, 1), dims=("c", "y", "x"), transformations={"global": transformation}, **kwargs
    )


def write(path, **elements):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's own, about its next release
        spatialdata.SpatialData(**elements).write(path)
    return path


@pytest.fixture(scope="module")
def made():
    return truth()


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    """One folder with an image of the full resolution and a table."""
    return write(
        tmp_path_factory.mktemp("sd") / "section.zarr",
        images={"scan": image(made, 1.0, Identity())},
        shapes={"spots": circles(made)},
        tables={"table": table(made)},
    )


@pytest.fixture
def copy(written, tmp_path):
    shutil.copytree(written, tmp_path / "section.zarr")
    return tmp_path / "section.zarr"


def test_section(written, made):
    section = read_spatialdata(written, name="V", patient="P")
    np.testing.assert_array_equal(section.X.toarray(), made.counts)
    assert section.obs_names.tolist() == made.counts.index.tolist()
    np.testing.assert_allclose(section.obsm["spatial"], made.pixels)
    np.testing.assert_array_equal(
        section.obs[["array_x", "array_y"]], made.positions.loc[section.obs_names, ["array_col", "array_row"]]
    )
    assert um_per_px_of(section) == pytest.approx(UM_PER_PX, rel=1e-3)
    assert section.var["gene_ids"].tolist() == GENE_IDS
    with Image.open(image_path_of(section)) as file:
        np.testing.assert_array_equal(np.asarray(file), np.asarray(tissue_image(made, 1.0, 120)))


def test_the_image_is_written_once(written):
    first = image_path_of(read_spatialdata(written, name="V", patient="P"))
    before = first.stat().st_mtime_ns
    assert image_path_of(read_spatialdata(written, name="W", patient="P")) == first
    assert first.stat().st_mtime_ns == before


# What carries pixels of the stored image to the system in which circles are given.
TRANSFORMATIONS = {
    "scale": (Scale([1 / HIRES, 1 / HIRES], axes=("x", "y")), lambda xy: xy * HIRES),
    "scale and shift": (
        Sequence([Scale([1 / HIRES, 1 / HIRES], axes=("x", "y")), Translation([-30, 70], axes=("x", "y"))]),
        lambda xy: (xy - [-30, 70]) * HIRES,
    ),
}


@pytest.mark.parametrize("case", TRANSFORMATIONS)
@pytest.mark.parametrize("pyramid", [None, [2]])
def test_a_reduced_image_with_a_transformation(made, tmp_path, case, pyramid):
    transformation, to_image = TRANSFORMATIONS[case]
    path = write(
        tmp_path / "s.zarr",
        images={"hires": image(made, HIRES, transformation, scale_factors=pyramid)},
        shapes={"spots": circles(made)},
        tables={"table": table(made)},
    )
    section = read_spatialdata(path, name="V", patient="P")
    np.testing.assert_allclose(section.obsm["spatial"], to_image(made.pixels))
    assert um_per_px_of(section) == pytest.approx(UM_PER_PX / HIRES, rel=1e-3)
    with Image.open(image_path_of(section)) as file:
        assert file.size == tissue_image(made, HIRES, 120).size


def test_circles_with_a_transformation_to_a_turned_image(made, tmp_path):
    pixels = np.asarray(tissue_image(made, HIRES, 120))
    turned = np.rot90(pixels, -1)  # clockwise: (x, y) comes to (height - y, x)
    to_turned = Affine(
        [[0, -HIRES, pixels.shape[0]], [HIRES, 0, 0], [0, 0, 1]], input_axes=("x", "y"), output_axes=("x", "y")
    )
    path = write(
        tmp_path / "s.zarr",
        images={"he": Image2DModel.parse(turned.transpose(2, 0, 1), dims=("c", "y", "x"))},
        shapes={"spots": circles(made, **{"global": to_turned})},
        tables={"table": table(made)},
    )
    section = read_spatialdata(path, name="V", patient="P")
    x, y = made.pixels.T * HIRES
    np.testing.assert_allclose(section.obsm["spatial"], np.column_stack([pixels.shape[0] - y, x]))


def test_a_transformation_that_was_forgotten_is_seen(made, tmp_path):
    path = write(
        tmp_path / "s.zarr",
        images={"hires": image(made, HIRES, Identity())},
        shapes={"spots": circles(made)},
        tables={"table": table(made)},
    )
    with pytest.raises(SectionError, match="lie outside the image"):
        read_spatialdata(path, name="V", patient="P")


def test_several_regions_and_images_are_chosen(made, tmp_path):
    path = write(
        tmp_path / "s.zarr",
        images={name: image(made, HIRES, Scale([10, 10], axes=("x", "y"))) for name in ("left", "right")},
        shapes={"a": circles(made), "b": circles(made)},
        tables={"table": table(made, ("a", "b"))},
    )
    with pytest.raises(SectionError, match=r"holds a, b; choose one with region="):
        read_spatialdata(path, name="V", patient="P")
    with pytest.raises(SectionError, match=r"images left, right; choose one with image="):
        read_spatialdata(path, name="V", patient="P", region="a")
    section = read_spatialdata(path, name="V", patient="P", region="b", image="right")
    assert all(spot.startswith("b-") for spot in section.obs_names)
    np.testing.assert_array_equal(section.X.toarray(), made.counts)
    with pytest.raises(SectionError, match="region 'c' is not among a, b"):
        read_spatialdata(path, name="V", patient="P", region="c")


def test_an_image_in_another_system_is_not_this_sections(made, tmp_path):
    other = image(made, HIRES, Identity())
    set_transformation(other, {"elsewhere": Identity()}, set_all=True)
    path = write(
        tmp_path / "s.zarr", images={"he": other}, shapes={"spots": circles(made)}, tables={"table": table(made)}
    )
    section = read_spatialdata(path, name="V", patient="P")
    assert "image_path" not in metadata_of(section)
    np.testing.assert_allclose(section.obsm["spatial"], made.pixels)
    with pytest.raises(SectionError, match="share no coordinate system"):
        read_spatialdata(path, name="V", patient="P", image="he")


def test_an_image_of_other_numbers_is_refused(made, tmp_path):
    grey = Image2DModel.parse(np.zeros((1, 50, 50), np.uint16), dims=("c", "y", "x"))
    path = write(
        tmp_path / "s.zarr", images={"dapi": grey}, shapes={"spots": circles(made)}, tables={"table": table(made)}
    )
    with pytest.raises(ImageError, match="'dapi' is uint16 with 1 channels"):
        read_spatialdata(path, name="V", patient="P")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "counts"}, "no table 'counts'; there is table"),
        ({"image": "dapi"}, "no image 'dapi'; there is scan"),
        ({"spot_diameter_um": 100.0}, "scale mismatch"),
    ],
)
def test_options_that_do_not_fit(written, options, message):
    with pytest.raises(SectionError, match=message) as caught:
        read_spatialdata(written, name="V", patient="P", **options)
    assert "section.zarr" in str(caught.value)


def test_the_library_is_asked_for(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(SectionError, match=r"pip install 'stlearn-lib\[spatialdata\]'"):
        read_spatialdata(written, name="V", patient="P")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.obs.drop(columns="array_row", inplace=True), "lacks the column.s. array_row"),
        (lambda t: t.X.data.__setitem__(0, -1), "is -1.0, which is no count"),
        (lambda t: t.X.data.__setitem__(0, 0.5), "is 0.5, which is no count"),
    ],
)
def test_tables_that_are_wrong(made, tmp_path, change, message):
    wrong = table(made)
    change(wrong)
    path = write(tmp_path / "s.zarr", shapes={"spots": circles(made)}, tables={"table": wrong})
    with pytest.raises(SectionError, match=message):
        read_spatialdata(path, name="V", patient="P")


def test_polygons_are_no_spots(made, tmp_path):
    squares = ShapesModel.parse(circles(made).buffer(10, cap_style="square").to_frame("geometry"))
    path = write(tmp_path / "s.zarr", shapes={"spots": squares}, tables={"table": table(made)})
    with pytest.raises(SectionError, match="no circles"):
        read_spatialdata(path, name="V", patient="P")


PARTS = ("zarr.json", "tables/table/zarr.json", "tables/table/X/data/zarr.json", "shapes/spots/shapes.parquet")


@pytest.mark.parametrize(
    ("part", "damage"),
    [(part, damage) for part in PARTS for damage in ("truncated", "empty", "other bytes", "missing")]
    # A chunk that is missing is zeros: that is zarr's format, and no reader can tell.
    + [
        (chunks, damage) for chunks in ("images/scan", "tables/table/X/data") for damage in ("truncated", "other bytes")
    ],
)
def test_broken_folders_are_named(copy, part, damage):
    path = copy / part
    if path.is_dir():
        path = max((f for f in path.rglob("*") if f.is_file() and f.suffix != ".json"), key=lambda f: f.stat().st_size)
    raw = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": raw[: len(raw) // 2], "empty": b"", "other bytes": b"\xff\xfe\0" * 9}[damage])
    with pytest.raises(SectionError, match=r"section\.zarr"):
        read_spatialdata(copy, name="V", patient="P")


@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_no_folder_is_named(tmp_path, what):
    if what == "a file":
        (tmp_path / "s.zarr").write_text("text")
    with pytest.raises(SectionError, match=r"s\.zarr does not exist, or is no folder"):
        read_spatialdata(tmp_path / "s.zarr", name="V", patient="P")
