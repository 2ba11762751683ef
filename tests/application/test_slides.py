from dataclasses import replace

import numpy as np
import pytest

from stlearn_lib.application.slides import nearest_grid, open_slide
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.section_files import write_section
from stlearn_lib.data.sections import image_path_of, metadata_of, section_name, um_per_px_of
from stlearn_lib.errors import ImageError, SectionError


def test_the_grid_is_the_one_nearest_to_training(ridge, section):
    """Spots of Spatial Transcriptomics are 100 µm wide, those of Visium 55 µm; between them the ratio decides."""
    assert nearest_grid(None) == "st"
    diameters = {100: "st", 300: "st", 76: "st", 73: "visium", 55: "visium", 2: "visium"}
    assert {d: nearest_grid(replace(ridge.training, spot_diameter_um=d)) for d in diameters} == diameters
    visium = replace(ridge.training, spot_diameter_um=55.0)
    assert metadata_of(open_slide(image_path_of(section), visium, um_per_px=4 / 3))["source"] == "visium grid"
    asked = open_slide(image_path_of(section), visium, um_per_px=4 / 3, grid="st", name="mine")
    assert metadata_of(asked)["source"] == "st grid" and section_name(asked) == "mine"


def test_patches_show_as_much_tissue_as_in_training(ridge, section, tmp_path):
    """Of a section, and of an image with spots: 224 px of a scan of 2/3 µm are 112 px of this image."""
    finer = replace(ridge.training, scan_um_per_px=2 / 3)
    file = write_section(section, tmp_path)
    for slide in (open_slide(file, finer), open_slide(image_path_of(section), finer, spots=file)):
        assert um_per_px_of(slide) == pytest.approx(4 / 3) and metadata_of(slide)["pixel_scale"] == pytest.approx(0.5)
        np.testing.assert_array_equal(slide.obsm["spatial"], section.obsm["spatial"])
        np.testing.assert_array_equal(cut_patches(slide), cut_patches(section, patch_um=224 * 2 / 3))
    np.testing.assert_array_equal(cut_patches(open_slide(file, ridge.training)), cut_patches(section))
    assert "pixel_scale" not in metadata_of(open_slide(file, None)), "nobody knows what training saw"


def test_counts_of_a_section_are_not_there(ridge, section, tmp_path):
    slide = open_slide(write_section(section, tmp_path), ridge.training)
    assert not slide.X.nnz and "label" not in slide.obs


def test_what_cannot_be_opened(ridge, section, tmp_path):
    image, training = image_path_of(section), ridge.training
    with pytest.raises(ImageError, match="does not say its resolution: pass um_per_px"):
        open_slide(image, training)
    with pytest.raises(SectionError, match="a section with spots of its own: leave out grid, name"):
        open_slide(write_section(section, tmp_path), training, grid="st", name="mine")
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    with pytest.raises(ImageError, match=r"notes\.txt is no readable image"):
        open_slide(text, training, um_per_px=1.0)
    with pytest.raises(ImageError, match="does not exist"):
        open_slide(tmp_path / "none.svs", training)
    with pytest.raises(SectionError, match=r"none\.h5ad does not exist"):
        open_slide(tmp_path / "none.h5ad", training)
