"""A section as a file: what is written is read back, wherever the folder has gone, and what is broken is named."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from stlearn_lib.data.section_files import read_section, write_section
from stlearn_lib.data.sections import (
    image_path_of,
    make_section,
    metadata_of,
    patient_of,
    read_image,
    section_name,
    um_per_px_of,
    without_counts,
)
from stlearn_lib.data.synthetic import simulate_section
from stlearn_lib.datasets import load_sections
from stlearn_lib.errors import ImageError, SectionError


def spots(n):
    places = np.arange(n)
    return pd.DataFrame(
        {"array_x": places, "array_y": 1, "pixel_x": places + 0.5, "pixel_y": 1.25}, index=[f"{i}x1" for i in places]
    )


def make(n=3, counts=None, table=None, **options):
    counts = np.arange(2 * n).reshape(n, 2) if counts is None else counts
    table = spots(n) if table is None else table
    genes = [f"G{i}" for i in range(counts.shape[1])]
    facts = {"name": "X1", "patient": "X", "image_path": None, "um_per_px": 2.0} | options
    return make_section(counts, genes, table, **facts)


def assert_same(first, second):
    """Compare all but the place of the image."""
    assert second.X.format == "csr" and second.X.dtype == np.float32 and (first.X != second.X).nnz == 0
    assert first.X.shape == second.X.shape
    pd.testing.assert_frame_equal(first.obs, second.obs, check_dtype=False, check_categorical=False)
    assert first.var_names.tolist() == second.var_names.tolist()
    np.testing.assert_array_equal(first.obsm["spatial"], second.obsm["spatial"])
    assert (section_name(first), patient_of(first)) == (section_name(second), patient_of(second))
    ours, theirs = metadata_of(first), metadata_of(second)
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"image_path"}:
        np.testing.assert_array_equal(ours[name], theirs[name])
    entries = (one.uns["spatial"][section_name(one)] for one in (first, second))
    assert len({entry["scalefactors"]["spot_diameter_fullres"] for entry in entries}) == 1


counts = st.integers(1, 5).flatmap(
    lambda n: arrays(np.float32, (n, 3), elements=st.floats(0, 2**20, width=32).map(np.float32))
)
facts = st.dictionaries(
    st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda name: name not in ("image_path", "um_per_px")),
    st.booleans()
    | st.integers(-(2**31), 2**31)
    | st.floats(allow_nan=False)
    | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
    | st.lists(st.lists(st.integers(0, 9999), min_size=4, max_size=4), min_size=1, max_size=3),
    max_size=4,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(counts=counts, metadata=facts, labels=st.lists(st.sampled_from(["a b", "é", ""]), min_size=5, max_size=5))
def test_what_is_written_is_read(counts, metadata, labels):
    table = spots(len(counts)).assign(label=pd.Categorical(labels[: len(counts)]))
    section = make(len(counts), counts, metadata=metadata, table=table)
    before = section.copy()
    with TemporaryDirectory() as folder:
        path = write_section(section, folder)
        assert [file.name for file in Path(folder).iterdir()] == ["X1.h5ad"]
        assert_same(section, read_section(path))
    assert_same(before, section)


def test_labels_may_be_missing(tmp_path):
    for labels in (["tumour", None, "stroma"], [None] * 3):
        section = make(table=spots(3).assign(label=pd.Categorical(labels)))
        read = read_section(write_section(section, tmp_path))
        assert [label if isinstance(label, str) else None for label in read.obs["label"]] == labels


def test_a_folder_can_be_moved(section, tmp_path):
    image = np.asarray(read_image(section))
    path = write_section(section, tmp_path / "here" / "data")
    assert {file.name for file in path.parent.iterdir()} == {"S1.h5ad", "S1.png"}
    assert metadata_of(anndata.read_h5ad(path))["image_path"] == "S1.png"
    (tmp_path / "here").rename(tmp_path / "there")
    moved = read_section(tmp_path / "there" / "data" / "S1.h5ad")
    assert_same(section, moved)
    assert image_path_of(moved) == tmp_path / "there" / "data" / "S1.png"
    np.testing.assert_array_equal(np.asarray(read_image(moved)), image)
    assert image_path_of(section).parent != tmp_path / "there", "the section itself stays as it was"
    again = write_section(moved, tmp_path / "there" / "data")
    assert_same(moved, read_section(again)), "onto itself"
    assert_same(without_counts(section), without_counts(moved))


def test_masks_of_an_image_survive(tmp_path):
    """As HER2+ A1 has them: a black background, and a thumbnail in a corner."""
    pixels = np.full((40, 60, 3), 100, np.uint8)
    pixels[:, :10] = 0
    Image.fromarray(pixels).save(tmp_path / "scan.png")
    facts = {"black_background": True, "white_boxes": [[50, 0, 60, 20]], "pixel_scale": 0.2876, "source": "here"}
    section = make(image_path=tmp_path / "scan.png", metadata=facts)
    read = read_section(write_section(section, tmp_path / "prepared"))
    assert image_path_of(read).name == "X1.png" and um_per_px_of(read) == 2.0
    np.testing.assert_array_equal(np.asarray(read_image(read)), np.asarray(read_image(section)))
    assert_same(section, read)


def test_a_real_section_with_masks(mirror, tmp_path):
    (section,) = load_sections(["A1"])
    read = read_section(write_section(section, tmp_path))
    assert_same(section, read)
    assert np.array_equal(metadata_of(read)["white_boxes"], [[1500, 0, 2000, 535]])


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return simulate_section("S1", tmp_path_factory.mktemp("one"))


@pytest.fixture
def section(one):
    """Return a simulated section, free to be changed; one is enough here."""
    return one.copy()


def broken(path, how):
    if how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "text":
        path.write_text("spot\tgene")
    elif how == "damaged":
        with h5py.File(path, "a") as file:
            del file["obs"]["array_x"], file["X"]["indptr"]
    elif how == "gone":
        path.unlink()


@pytest.mark.parametrize("how", ["empty", "truncated", "text", "damaged", "gone"])
def test_a_broken_file_is_named(section, tmp_path, how):
    path = write_section(section, tmp_path)
    broken(path, how)
    with pytest.raises(SectionError, match=r"is no readable \.h5ad file|does not exist") as caught:
        read_section(path)
    assert str(path) in str(caught.value)


def test_a_file_that_holds_no_section_is_refused(tmp_path):
    anndata.AnnData(np.ones((2, 2), np.float32)).write_h5ad(tmp_path / "x.h5ad")
    h5py.File(tmp_path / "y.h5ad", "w").close()
    for name, spatial in {"z1": {"X1": 3}, "z2": {"X1": {}, "X2": {}}, "z3": np.zeros(3)}.items():
        other = make()
        other.uns["spatial"] = spatial
        other.write_h5ad(tmp_path / f"{name}.h5ad")
    for path in tmp_path.glob("*.h5ad"):
        with pytest.raises(SectionError) as caught:
            read_section(path)
        assert str(path) in str(caught.value)


def test_a_slide_of_several_files_is_not_copied_in_part(tmp_path):
    for name in ("scan.mrxs", "scan.DCM"):
        Image.new("RGB", (40, 40)).save(tmp_path / name, "PNG")
        with pytest.raises(ImageError, match=rf"{name} is one of several files. Make one of them first: vips"):
            write_section(make(image_path=tmp_path / name), tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()


def test_a_missing_image_is_named(section, tmp_path):
    path = write_section(section, tmp_path)
    (tmp_path / "S1.png").unlink()
    with pytest.raises(ImageError, match="does not exist") as caught:
        read_section(path)
    assert str(tmp_path / "S1.png") in str(caught.value)
    shutil.copy(path, tmp_path / "alone.h5ad")
    lost = make(image_path=None)
    metadata_of(lost)["image_path"] = str(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match=r"nowhere\.png does not exist"):
        write_section(lost, tmp_path)


@pytest.mark.parametrize("name", ["P2/rep1", "../P2", "/P2"])
def test_a_name_that_names_no_file_is_refused(tmp_path, name):
    with pytest.raises(SectionError, match="its name cannot name a file"):
        write_section(make(name=name), tmp_path / "prepared")
    assert not list(tmp_path.rglob("*"))


def test_what_is_no_section_is_not_written(tmp_path):
    with pytest.raises(SectionError, match="not a section"):
        write_section(anndata.AnnData(np.ones((2, 2), np.float32)), tmp_path)
    assert not list(tmp_path.iterdir())
