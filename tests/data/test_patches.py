import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stlearn_lib.cache import cache_in
from stlearn_lib.data.patches import cut_patches, fingerprint
from stlearn_lib.data.sections import make_section, metadata_of
from stlearn_lib.errors import ImageError
from tests.slide_files import write_slide


@pytest.fixture
def small(tmp_path):
    """A section on a noise image whose spots lie in the middle, on the border and in a corner."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")

    def build(um_per_px=2.0, **metadata):
        spots = pd.DataFrame(
            {"array_x": [1, 2, 3], "array_y": [1, 2, 3], "pixel_x": [80.7, 0.0, 159.0], "pixel_y": [60.2, 60.0, 119.9]},
            index=["1x1", "2x2", "3x3"],
        )
        return make_section(
            np.ones((3, 2)),
            ("a", "b"),
            spots,
            name="X1",
            patient="X",
            image_path=tmp_path / "noise.png",
            um_per_px=um_per_px,
            metadata=metadata,
        )

    return build, pixels


def padded(pixels, x, y, side):
    """Cut with NumPy from an image with a white frame: an independent way to the same patch."""
    frame = np.pad(pixels, ((side, side), (side, side), (0, 0)), constant_values=255)
    left, top = int(x) - side // 2 + side, int(y) - side // 2 + side
    return frame[top : top + side, left : left + side]


@pytest.mark.parametrize("side", [32, 33, 224])
def test_patches_lie_around_floored_centres_on_white(small, side):
    build, pixels = small
    section = build()
    patches = cut_patches(section, side)
    assert patches.shape == (3, side, side, 3) and patches.dtype == np.uint8
    for patch, (x, y) in zip(patches, section.obsm["spatial"], strict=True):
        np.testing.assert_array_equal(patch, padded(pixels, x, y, side))


def test_patches_are_memory_mapped_and_read_only(small):
    patches = cut_patches(small[0](), 32)
    assert isinstance(patches, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        patches[0] = 0


def test_micrometres_decide_the_window(small):
    build, pixels = small
    section = build(um_per_px=2.0)
    np.testing.assert_array_equal(cut_patches(section, 40, patch_um=80), cut_patches(section, 40))
    wide = cut_patches(section, 40, patch_um=160)
    expected = Image.fromarray(padded(pixels, 80.7, 60.2, 80)).resize((40, 40))
    np.testing.assert_array_equal(wide[0], np.asarray(expected))


def test_reduced_copy_shows_the_same_tissue(small):
    build, pixels = small
    patches = cut_patches(build(pixel_scale=0.25), 64)
    expected = Image.fromarray(padded(pixels, 80.7, 60.2, 16)).resize((64, 64))
    np.testing.assert_array_equal(patches[0], np.asarray(expected))


def cache_files():
    return {path.name: path.stat().st_mtime_ns for path in Path(os.environ["STLEARN_CACHE"], "patches").iterdir()}


def test_patches_are_reused_until_something_changes(small, tmp_path, monkeypatch):
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path / "cache"))
    section = small[0]()
    cut_patches(section, 32)
    first = cache_files()
    cut_patches(section, 32)
    assert cache_files() == first and len(first) == 1

    cut_patches(section, 40)
    moved = section.copy()
    moved.obsm["spatial"] = moved.obsm["spatial"] - [1, 0]
    cut_patches(moved, 32)
    assert len(cache_files()) == 3

    other = np.random.default_rng(1).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(other).save(tmp_path / "noise.png")
    np.testing.assert_array_equal(cut_patches(section, 32)[0], padded(other, 80.7, 60.2, 32))


def test_a_failed_cut_leaves_nothing(small, tmp_path, monkeypatch):
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path / "cache"))
    section = small[0]()
    monkeypatch.setattr("stlearn_lib.data.images.PlainImage.window", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cut_patches(section, 32)
    assert not list((tmp_path / "cache/patches").iterdir())


@pytest.mark.parametrize("sizes", [{"patch_px": 0}, {"patch_um": 0.0}])
def test_sizes_must_be_positive(small, sizes):
    with pytest.raises(ValueError, match="must be positive"):
        cut_patches(small[0](), **sizes)


def test_no_image(small, tmp_path):
    section = small[0]()
    (tmp_path / "noise.png").unlink()
    with pytest.raises(ImageError, match="does not exist"):
        cut_patches(section)


def test_patches_of_a_slide_are_those_of_its_image(small, tmp_path):
    section = small[0]()
    write_slide(tmp_path / "slide.tif", Image.open(tmp_path / "noise.png"), 2.0)
    slide = section.copy()
    metadata_of(slide)["image_path"] = str(tmp_path / "slide.tif")
    for sizes in ({"patch_px": 32}, {"patch_px": 64, "patch_um": 80.0}):
        np.testing.assert_array_equal(cut_patches(slide, **sizes), cut_patches(section, **sizes))


def test_a_finer_scan_is_reduced(small):
    build, pixels = small
    patches = cut_patches(build(pixel_scale=2.0), 16)
    expected = Image.fromarray(padded(pixels, 80.7, 60.2, 32)).resize((16, 16))
    np.testing.assert_array_equal(patches[0], np.asarray(expected))


def test_an_image_is_hashed_once_and_never_held_as_a_whole(small, tmp_path, monkeypatch):
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path / "cache"))
    section, hashed = small[0](), []
    original = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *of: hashed.append(of[0].name) or original(*of))
    names = {Path(cut_patches(section[[i]], 32).filename).name for i in range(3)}
    assert len(names) == 3 and len(hashed) == 1
    digest = hashlib.blake2b((tmp_path / "noise.png").read_bytes(), digest_size=12)
    digest.update(section.obsm["spatial"].tobytes())
    digest.update(b'[32, null, {"simulated": false, "um_per_px": 2.0}]')
    assert fingerprint(section, 32) == digest.hexdigest()


def test_patches_of_a_block_can_be_thrown_away(small, tmp_path, monkeypatch):
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path / "cache"))
    with cache_in(tmp_path / "block"):
        cut_patches(small[0](), 32)
    assert len(list((tmp_path / "block/patches").glob("*.npy"))) == 1 and not (tmp_path / "cache").exists()
    cut_patches(small[0](), 32)
    assert len(cache_files()) == 1
