import anndata
import numpy as np
import pytest
import scanpy
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import sparse

from stlearn_lib.data.placement import check_placement
from stlearn_lib.data.readers import read_visium_h5ad
from stlearn_lib.data.sections import image_path_of, metadata_of, um_per_px_of
from stlearn_lib.errors import ImageError, SectionError
from tests.data.readers.written import GENE_IDS, HIRES, UM_PER_PX, truth, visium_table, write_visium_h5ad


@pytest.fixture
def crop(mirror):
    return mirror / "visium_mouse_brain_crop"


def test_mouse_brain(crop):
    section = read_visium_h5ad(
        crop / "test_data.h5ad", name="brain", patient="mouse", image=crop / "test_img.jpg", undo_log1p=True
    )
    stored = anndata.read_h5ad(crop / "test_data.h5ad")
    np.testing.assert_array_equal(section.obsm["spatial"], stored.obsm["spatial"])
    # Of the whole section 10x writes 89.44 px for its "theoretical 65 µm spot".
    assert um_per_px_of(section) == pytest.approx(65 / 89.44476048022638, rel=0.005)
    assert check_placement(section).on_tissue == 1
    assert ((section.obs["array_x"] + section.obs["array_y"]) % 2).nunique() == 1
    # What was stored is log1p of these counts, each spot times one factor.
    factor = np.expm1(stored.X.toarray()).sum(axis=1) / np.asarray(section.X.sum(axis=1)).ravel()
    np.testing.assert_allclose(np.log1p(section.X.toarray() * factor[:, None]), stored.X.toarray(), atol=1e-4)


def test_normalised_values_are_no_counts(crop):
    with pytest.raises(SectionError, match=r"Cspp1 in AAATTGCGGCGGTTCT-1 is 1\.06.*undo_log1p=True"):
        read_visium_h5ad(crop / "test_data.h5ad", name="brain", patient="mouse", image=crop / "test_img.jpg")


def test_the_stored_image_becomes_a_file(tmp_path):
    made = write_visium_h5ad(tmp_path)
    section = read_visium_h5ad(tmp_path / "section.h5ad", name="V", patient="P")
    np.testing.assert_array_equal(section.X.toarray(), made.counts)
    np.testing.assert_allclose(section.obsm["spatial"], made.pixels * HIRES)
    assert um_per_px_of(section) * HIRES == pytest.approx(UM_PER_PX, rel=1e-3)
    assert metadata_of(section)["pixel_scale"] == HIRES
    assert section.var["gene_ids"].tolist() == GENE_IDS
    stored = anndata.read_h5ad(tmp_path / "section.h5ad").uns["spatial"]["library"]["images"]["hires"]
    with Image.open(image_path_of(section)) as image:
        np.testing.assert_allclose(np.asarray(image), stored * 255, atol=0.51)
    again = read_visium_h5ad(tmp_path / "section.h5ad", name="W", patient="P")
    assert image_path_of(again) == image_path_of(section)


def test_array_coordinates_are_found_again(tmp_path):
    made = truth()
    table = visium_table(made)
    known = table.obs[["array_col", "array_row"]].to_numpy()
    del table.obs["array_col"], table.obs["array_row"]
    table.write_h5ad(tmp_path / "section.h5ad")
    section = read_visium_h5ad(tmp_path / "section.h5ad", name="V", patient="P")
    found = section.obs[["array_x", "array_y"]].to_numpy()
    np.testing.assert_array_equal(found - found[0], known - known[0])


def test_counts_in_a_layer(tmp_path):
    made = truth()
    table = visium_table(made)
    table.layers["counts"] = table.X.copy()
    table.X = table.X * 0.3
    table.write_h5ad(tmp_path / "section.h5ad")
    section = read_visium_h5ad(tmp_path / "section.h5ad", name="V", patient="P", layer="counts")
    np.testing.assert_array_equal(section.X.toarray(), made.counts)
    with pytest.raises(SectionError, match="no layer 'raw'; there is counts"):
        read_visium_h5ad(tmp_path / "section.h5ad", name="V", patient="P", layer="raw")


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5000), min_size=4, max_size=4), min_size=33, max_size=33),
    st.floats(1e2, 1e6),
)
def test_log1p_is_undone(tmp_path_factory, counts, target):
    path = tmp_path_factory.mktemp("log1p") / "section.h5ad"
    counts = np.column_stack([np.ones(33), counts]).astype(np.float32)  # one gene was counted once in every spot
    table = visium_table(truth())
    table.X = sparse.csr_matrix(counts)
    scanpy.pp.normalize_total(table, target_sum=target)
    scanpy.pp.log1p(table)
    table.write_h5ad(path)
    section = read_visium_h5ad(path, name="V", patient="P", undo_log1p=True)
    np.testing.assert_array_equal(section.X.toarray(), counts)


def _without(key):
    def change(table):
        del table.uns["spatial"]["library"]["scalefactors"][key]

    return change


def _set(path, value):
    def change(table):
        *parents, last = path
        entry = table.uns["spatial"]["library"]
        for parent in parents:
            entry = entry[parent]
        entry[last] = value

    return change


def test_doubled_symbols_get_their_ids(tmp_path):
    table = visium_table(truth())
    table.var_names = ["ACTB", "TBCE", "GNAS", "TBCE", "FASN"]
    table.write_h5ad(tmp_path / "section.h5ad")
    section = read_visium_h5ad(tmp_path / "section.h5ad", name="V", patient="P")
    assert section.var_names.tolist() == ["ACTB", "TBCE", "GNAS", "TBCE-ENSG00000285053", "FASN"]


BROKEN = {
    "no spatial": (lambda t: t.uns.pop("spatial"), r"uns\['spatial'\]"),
    "two sections": (lambda t: t.uns["spatial"].update(other={"images": {}}), "the sections library, other"),
    "no scale factors": (lambda t: t.uns["spatial"]["library"].pop("scalefactors"), "no scalefactors"),
    "no spot diameter": (_without("spot_diameter_fullres"), "spot_diameter_fullres must be a positive number"),
    "no image scale": (_without("tissue_hires_scalef"), "tissue_hires_scalef must be a positive number"),
    "words for numbers": (_set(["scalefactors", "tissue_hires_scalef"], "0.1"), "not '0.1'"),
    "other scale": (_set(["scalefactors", "spot_diameter_fullres"], 20.0), "scale mismatch"),
    "no coordinates": (lambda t: t.obsm.pop("spatial"), r"obsm\['spatial'\] must hold x and y"),
    "three coordinates": (lambda t: t.obsm.update(spatial=np.zeros((33, 3))), r"not float64 \(33, 3\)"),
    "no spot under tissue": (lambda t: t.obs.__setitem__("in_tissue", 0), "no spot under the tissue"),
    "infinite position": (lambda t: t.obsm.update(spatial=np.where(np.eye(33, 2), np.inf, 1.0)), "no position"),
    "one line": (lambda t: t.obs.__setitem__("array_row", 0), "span no array"),
    "huge": (lambda t: t.X.data.__setitem__(0, 1e30), "no count"),
    "not a number": (lambda t: t.X.data.__setitem__(0, np.nan), "is nan, which is no count"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_is_named(tmp_path, case):
    change, message = BROKEN[case]
    table = visium_table(truth())
    change(table)
    table.write_h5ad(tmp_path / "section.h5ad")
    with pytest.raises(SectionError, match=message) as caught:
        read_visium_h5ad(tmp_path / "section.h5ad", name="V", patient="P")
    assert "section.h5ad" in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "message"), [(np.full((9, 9, 3), 7.0), "7.0 to 7.0"), (np.zeros((9, 9), np.uint8), r"\(9, 9\)")]
)
def test_a_stored_image_that_is_none(tmp_path, pixels, message):
    table = visium_table(truth())
    table.uns["spatial"]["library"]["images"]["hires"] = pixels
    table.write_h5ad(tmp_path / "section.h5ad")
    with pytest.raises(ImageError, match=message):
        read_visium_h5ad(tmp_path / "section.h5ad", name="V", patient="P")
