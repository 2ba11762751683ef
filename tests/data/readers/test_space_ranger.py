import csv
import json
import shutil
import stat

import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy
from PIL import Image

from stlearn_lib.data.patches import window_px
from stlearn_lib.data.readers import read_visium, read_visium_hd
from stlearn_lib.data.readers.feature_matrix import read_feature_matrix
from stlearn_lib.data.sections import image_path_of, metadata_of, um_per_px_of
from stlearn_lib.errors import ImageError, SectionError
from tests.data.readers.written import (
    GENE_IDS,
    HIRES,
    UM_PER_PX,
    tissue_image,
    write_hdf5_matrix,
    write_visium,
    write_visium_hd,
)


@pytest.fixture
def fixture_folder(mirror, tmp_path):
    """The published fixture, whose large image was painted black: its small one takes the place, enlarged."""
    folder = tmp_path / "outs"
    shutil.copytree(mirror / "visium_1.0.0_fixture", folder, copy_function=shutil.copyfile)
    for path in (folder, folder / "spatial"):
        path.chmod(stat.S_IRWXU)
    with Image.open(folder / "spatial/tissue_lowres_image.png") as small:
        small.resize((2000, 2000)).save(folder / "spatial/tissue_hires_image.png")
    return folder


def test_version_1_fixture(fixture_folder):
    section = read_visium(fixture_folder, name="V1", patient="P")
    expected = scanpy.read_10x_h5(fixture_folder / "filtered_feature_bc_matrix.h5")
    assert section.obs_names.tolist() == expected.obs_names.tolist()
    assert (section.X != expected.X).nnz == 0
    assert section.var["gene_ids"].tolist() == expected.var["gene_ids"].tolist()
    with (fixture_folder / "spatial/tissue_positions_list.csv").open() as file:
        rows = {row[0]: row[1:] for row in csv.reader(file)}
    scale = json.loads((fixture_folder / "spatial/scalefactors_json.json").read_text())["tissue_hires_scalef"]
    for spot, x, y, centre in zip(
        section.obs_names, section.obs["array_x"], section.obs["array_y"], section.obsm["spatial"], strict=True
    ):
        _, row, column, pixel_row, pixel_column = map(int, rows[spot])
        assert (x, y) == (column, row)
        np.testing.assert_allclose(centre, np.array([pixel_column, pixel_row]) * scale)
    # 10x's own estimate: "a theoretical 65 µm spot" is 89.43 px wide.
    assert um_per_px_of(section) * scale == pytest.approx(65 / 89.42751063343188, rel=0.005)


def test_the_reduced_image_is_said_to_be_one(fixture_folder):
    section = read_visium(fixture_folder, name="V1", patient="P")
    assert metadata_of(section)["pixel_scale"] == 0.150015
    assert image_path_of(section).name == "tissue_hires_image.png"
    assert window_px(section, 224) == round(224 * 0.150015)


def test_an_image_painted_black_is_named(mirror):
    with pytest.raises(ImageError, match=r"tissue_hires_image\.png shows no tissue"):
        read_visium(mirror / "visium_1.0.0_fixture", name="V1", patient="P")


@pytest.mark.parametrize("hdf5", [True, False])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_all_layouts_say_the_same(tmp_path, version, hdf5):
    made = write_visium(tmp_path, version, hdf5)
    section = read_visium(tmp_path, name="V", patient="P", metadata={"organ": "breast"})
    np.testing.assert_array_equal(section.X.toarray(), made.counts)
    assert section.obs_names.tolist() == made.counts.index.tolist()
    np.testing.assert_allclose(section.obsm["spatial"], made.pixels * HIRES)
    assert um_per_px_of(section) * HIRES == pytest.approx(UM_PER_PX, rel=1e-3)
    assert metadata_of(section)["organ"] == "breast"


def test_only_spots_under_the_tissue(tmp_path):
    made = write_visium(tmp_path, version=2)
    positions = made.positions.copy()
    left_out = made.counts.index[3]
    positions.loc[left_out, "in_tissue"] = 0
    positions.to_csv(tmp_path / "spatial/tissue_positions.csv")
    section = read_visium(tmp_path, name="V", patient="P")
    assert section.obs_names.tolist() == made.counts.index.drop(left_out).tolist()
    np.testing.assert_array_equal(section.X.toarray(), made.counts.drop(left_out))


def test_positions_in_any_order(tmp_path):
    made = write_visium(tmp_path, version=2)
    made.positions.sample(frac=1, random_state=0).to_csv(tmp_path / "spatial/tissue_positions.csv")
    section = read_visium(tmp_path, name="V", patient="P")
    np.testing.assert_array_equal(section.X.toarray(), made.counts)
    np.testing.assert_allclose(section.obsm["spatial"], made.pixels * HIRES)


def test_doubled_symbols_stay_two_genes_and_antibodies_are_left_out(tmp_path):
    made = write_visium(tmp_path)
    write_hdf5_matrix(tmp_path / "filtered_feature_bc_matrix.h5", made, antibodies=3)
    section = read_visium(tmp_path, name="V", patient="P")
    assert section.var_names.tolist() == ["ACTB", "TBCE", "GNAS", "TBCE-ENSG00000285053", "FASN"]
    assert section.var["gene_ids"].tolist() == GENE_IDS
    np.testing.assert_array_equal(section.X.toarray(), made.counts)


@pytest.mark.parametrize("dtype", ["int64", "uint16", "float64"])
def test_counts_of_any_type(tmp_path, dtype):
    made = write_visium(tmp_path)
    write_hdf5_matrix(tmp_path / "filtered_feature_bc_matrix.h5", made, dtype=dtype)
    matrix = read_feature_matrix(tmp_path)
    assert matrix.counts.dtype == np.float32
    np.testing.assert_array_equal(matrix.counts.toarray(), made.counts)


def test_files_with_the_sample_as_prefix(tmp_path):
    write_visium(tmp_path)
    matrix = tmp_path / "filtered_feature_bc_matrix.h5"
    matrix.rename(tmp_path / "V1_Breast_filtered_feature_bc_matrix.h5")
    assert read_visium(tmp_path, name="V", patient="P").n_obs
    shutil.copy(tmp_path / "V1_Breast_filtered_feature_bc_matrix.h5", matrix)
    with pytest.raises(SectionError, match="several matrices"):
        read_visium(tmp_path, name="V", patient="P")


def test_full_resolution_image_or_none(tmp_path):
    made = write_visium(tmp_path)
    tissue_image(made, 1.0, 120).save(tmp_path / "scan.png")
    section = read_visium(tmp_path, name="V", patient="P", image=tmp_path / "scan.png")
    assert "pixel_scale" not in metadata_of(section)
    np.testing.assert_allclose(section.obsm["spatial"], made.pixels)
    (tmp_path / "spatial/tissue_hires_image.png").unlink()
    assert "image_path" not in metadata_of(read_visium(tmp_path, name="V", patient="P"))


def test_the_reduced_image_passed_as_the_full_one_is_seen(tmp_path):
    write_visium(tmp_path)
    with pytest.raises(SectionError, match="lie outside the image"):
        read_visium(tmp_path, name="V", patient="P", image=tmp_path / "spatial/tissue_hires_image.png")


def test_rows_and_columns_exchanged_are_seen(tmp_path):
    made = write_visium(tmp_path)
    swapped = made.positions.rename(
        columns={"pxl_row_in_fullres": "pxl_col_in_fullres", "pxl_col_in_fullres": "pxl_row_in_fullres"}
    )
    swapped.to_csv(tmp_path / "spatial/tissue_positions.csv")
    with pytest.raises(SectionError, match="swapped"):
        read_visium(tmp_path, name="V", patient="P")


@pytest.mark.parametrize("factor", [0.1, 0.7, 1.3, 10])
def test_scale_factors_of_another_image_are_seen(tmp_path, factor):
    write_visium(tmp_path)
    path = tmp_path / "spatial/scalefactors_json.json"
    factors = json.loads(path.read_text())
    path.write_text(json.dumps(factors | {"spot_diameter_fullres": factors["spot_diameter_fullres"] * factor}))
    with pytest.raises(SectionError, match=r"scalefactors_json\.json: scale mismatch"):
        read_visium(tmp_path, name="V", patient="P")


def test_a_nominal_diameter_of_55_is_right_too(tmp_path):
    write_visium(tmp_path)
    path = tmp_path / "spatial/scalefactors_json.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"spot_diameter_fullres": 55 / UM_PER_PX}))
    assert read_visium(tmp_path, name="V", patient="P").n_obs


def test_visium_hd(tmp_path):
    made = write_visium_hd(tmp_path)
    section = read_visium_hd(tmp_path, name="HD", patient="P")
    np.testing.assert_array_equal(section.X.toarray(), made.counts)
    np.testing.assert_allclose(section.obsm["spatial"], made.pixels * HIRES)
    assert um_per_px_of(section) == 0.25 / HIRES
    assert section.uns["spatial"]["HD"]["scalefactors"]["spot_diameter_fullres"] == pytest.approx(8 / 0.25 * HIRES)


def test_bins_that_are_not_there(tmp_path):
    write_visium_hd(tmp_path)
    with pytest.raises(SectionError, match=r"square_016um does not exist; .* there is square_008um"):
        read_visium_hd(tmp_path, name="HD", patient="P", bin_um=16)


@pytest.mark.parametrize(
    "change",
    [{"bin_size_um": 16.0}, {"microns_per_pixel": 0.5}, {"microns_per_pixel": 0.5, "spot_diameter_fullres": 16}],
)
def test_hd_scales_that_disagree(tmp_path, change):
    write_visium_hd(tmp_path)
    path = tmp_path / "binned_outputs/square_008um/spatial/scalefactors_json.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SectionError, match="scale mismatch"):
        read_visium_hd(tmp_path, name="HD", patient="P")


def test_a_wrong_count_is_named(tmp_path):
    made = write_visium(tmp_path)
    with h5py.File(tmp_path / "filtered_feature_bc_matrix.h5", "r+") as file:
        data = file["matrix/data"][()]
        data[-1] = -3
        file["matrix/data"][...] = data
    spot = made.counts.index[-1]
    gene = pd.Index(["ACTB", "TBCE", "GNAS", "TBCE", "FASN"])[np.flatnonzero(made.counts.loc[spot])[-1]]
    with pytest.raises(SectionError, match=rf"filtered_feature_bc_matrix\.h5: {gene} in {spot} is -3"):
        read_visium(tmp_path, name="V", patient="P")
