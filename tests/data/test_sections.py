import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from PIL import Image

from stlearn_lib.data.sections import (
    attach_image,
    check_section,
    image_path_of,
    image_size,
    make_section,
    metadata_of,
    patient_of,
    read_image,
    section_name,
    um_per_px_of,
    without_counts,
)
from stlearn_lib.errors import ImageError, SectionError


def spots(n=3):
    return pd.DataFrame(
        {
            "array_x": range(n),
            "array_y": [1] * n,
            "pixel_x": np.arange(n) * 10.0 + 5,
            "pixel_y": np.arange(n) * 10.0 + 5,
        },
        index=[f"{i}x1" for i in range(n)],
    )


def make(counts=None, genes=("a", "b"), table=None, **kwargs):
    table = spots() if table is None else table
    counts = np.ones((len(table), len(genes))) if counts is None else counts
    return make_section(
        counts,
        genes,
        table,
        **{"name": "X1", "patient": "X", "image_path": None, "um_per_px": 2.0} | kwargs,
    )


def test_section_keeps_the_contract():
    made = make()
    assert made.X.format == "csr" and made.X.dtype == np.float32
    assert list(made.obs.columns) == ["array_x", "array_y", "section", "patient"]
    assert (section_name(made), patient_of(made), um_per_px_of(made)) == ("X1", "X", 2.0)
    assert made.uns["spatial"]["X1"]["scalefactors"]["spot_diameter_fullres"] == 50.0
    np.testing.assert_array_equal(made.obsm["spatial"], [[5, 5], [15, 15], [25, 25]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": np.ones((2, 2))}, "shape"),
        ({"counts": np.full((3, 2), -1.0)}, "not negative"),
        ({"counts": np.full((3, 2), np.nan)}, "finite"),
        ({"genes": ("a", "a")}, "gene 'a' occurs more than once"),
        ({"table": spots().drop(columns="pixel_x")}, "pixel_x"),
        ({"table": spots().assign(pixel_x=np.nan)}, "no pixel coordinates"),
        ({"table": spots().set_axis(["0x1"] * 3)}, "spot '0x1' occurs more than once"),
        ({"table": spots(0)}, "empty"),
        ({"um_per_px": -1.0}, "um_per_px"),
    ],
)
def test_malformed_section_is_named(change, message):
    with pytest.raises(SectionError, match=message) as caught:
        make(**change)
    assert "X1" in str(caught.value)


def test_no_section_at_all():
    with pytest.raises(SectionError, match="not a section"):
        check_section(sc.AnnData(np.ones((2, 2), np.float32)))


def test_spot_outside_the_image_is_named(tmp_path):
    Image.new("RGB", (20, 40)).save(tmp_path / "small.png")
    with pytest.raises(SectionError, match=r"1 of 3 spots lie outside the image \(20 x 40 px\), first 2x1") as caught:
        make(image_path=tmp_path / "small.png")
    assert "swapped" in str(caught.value)


def test_missing_and_broken_images(tmp_path):
    with pytest.raises(ImageError, match="has no image"):
        image_path_of(make())
    with pytest.raises(ImageError, match="does not exist"):
        make(image_path=tmp_path / "nowhere.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ImageError, match="no readable image"):
        make(image_path=tmp_path / "text.png")
    Image.effect_noise((300, 300), 50).convert("RGB").save(tmp_path / "half.jpg")
    whole = (tmp_path / "half.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match="broken"):
        read_image(make(image_path=tmp_path / "half.jpg"))


def test_masked_areas_become_white(tmp_path):
    pixels = np.full((40, 60, 3), 100, np.uint8)
    pixels[:, :10] = 0
    Image.fromarray(pixels).save(tmp_path / "masked.png")
    masked = make(
        image_path=tmp_path / "masked.png",
        metadata={"black_background": True, "white_boxes": [[50, 0, 60, 20]]},
    )
    image = np.asarray(read_image(masked))
    assert (image[:, :10] == 255).all() and (image[:20, 50:] == 255).all()
    assert (image[20:, 10:] == 100).all()
    small = np.asarray(read_image(masked, max_px=30))
    assert small.shape == (20, 30, 3)
    assert (small[:8, 26:] == 255).all()


def test_attached_image_is_what_scanpy_plots(section):
    attach_image(section, max_px=300)
    entry = section.uns["spatial"][section_name(section)]
    height, width = entry["images"]["hires"].shape[:2]
    assert max(height, width) == 300
    scale = entry["scalefactors"]["tissue_hires_scalef"]
    assert scale == pytest.approx(width / image_size(section)[0])
    assert (section.obsm["spatial"] * scale < (width, height)).all()


def test_without_counts_hides_the_answer(section):
    blank = without_counts(section)
    assert blank.X.nnz == 0 and section.X.nnz > 0
    assert "label" not in blank.obs
    np.testing.assert_array_equal(blank.obsm["spatial"], section.obsm["spatial"])
    assert metadata_of(blank) == metadata_of(section)
    check_section(blank)


def test_section_survives_a_round_trip_through_h5ad(section, tmp_path):
    section.write_h5ad(tmp_path / "section.h5ad")
    back = sc.read_h5ad(tmp_path / "section.h5ad")
    check_section(back)
    assert metadata_of(back)["um_per_px"] == um_per_px_of(section)
    assert image_path_of(back) == image_path_of(section)
