import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.sections import image_path_of, read_image
from stlearn_lib.data.statistics import colour_texture_statistics
from stlearn_lib.data.whole_slides import slide_section
from stlearn_lib.errors import BagError
from stlearn_lib.models.encoders import create_encoder, extract_features
from stlearn_lib.slides import export
from stlearn_lib.slides.bags import read_bag
from stlearn_lib.slides.export import export_features
from tests.slide_files import write_slide


@pytest.fixture
def small(section):
    """Return twenty spots of a section."""
    return section[:20].copy()


def test_features_coordinates_and_provenance(small, tmp_path):
    path = export_features(small, "colour_texture", tmp_path, progress=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["S1.h5"]
    bag, patches = read_bag(path), cut_patches(small)
    np.testing.assert_allclose(bag.features, colour_texture_statistics(patches), rtol=1e-5)
    np.testing.assert_array_equal(bag.coords, np.floor(small.obsm["spatial"]) - 112)
    facts = {
        "encoder": "colour_texture",
        "patch_size": 224,
        "patch_size_level0": 224,
        "simulated": True,
        "image": "S1.png",
    }
    assert facts.items() <= dict(bag.provenance).items() and (bag.slide, bag.patient) == ("S1", "S")
    with h5py.File(path) as file:
        assert set(file) == {"features", "coords"} and file["features"].dtype == np.float32


def test_an_encoder_and_its_weights_are_named(small, tmp_path):
    path = export_features(small, "deep:mobilenetv3_small_050", tmp_path, weights=None, chunk=7, progress=False)
    encoder = create_encoder("mobilenetv3_small_050", None)
    expected = extract_features(cut_patches(small), encoder, progress=False)
    bag = read_bag(path)
    np.testing.assert_allclose(bag.features, expected, rtol=1e-3, atol=1e-5)
    assert bag.provenance["weights"] == "random(seed=0)" and bag.provenance["weights_hash"] == encoder.fingerprint()


def test_a_stopped_export_goes_on(small, tmp_path, monkeypatch):
    seen = []

    def measure(patches):
        seen.append(len(patches))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return colour_texture_statistics(patches)

    monkeypatch.setattr(export, "colour_texture_statistics", measure)
    with pytest.raises(KeyboardInterrupt):
        export_features(small, "colour_texture", tmp_path, chunk=8, progress=False)
    assert seen == [8, 8, 4] and not list(tmp_path.glob("*.h5"))
    path = export_features(small, "colour_texture", tmp_path, chunk=8, progress=False)
    assert seen == [8, 8, 4, 4], "two chunks were kept"
    np.testing.assert_allclose(read_bag(path).features, colour_texture_statistics(cut_patches(small)), rtol=1e-5)
    assert export_features(small, "colour_texture", tmp_path, chunk=8, progress=False) == path and len(seen) == 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["S1.h5"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_export_goes_on(tmp_path):
    """Killed in every moment that matters, the file is that of an undisturbed run, and nothing lies beside it."""
    script = Path(__file__).with_name("killed_export.py")
    subprocess.run([sys.executable, script, tmp_path], check=True, timeout=120)
    left = {moment.name: {file.name: file.read_bytes() for file in moment.iterdir()} for moment in tmp_path.iterdir()}
    assert len(left) == 7 and set(left["never"]) == {"S1.h5"}
    for moment, files in left.items():
        assert files == left["never"], moment


def test_other_features_are_not_overwritten(small, tmp_path):
    export_features(small, "colour_texture", tmp_path, progress=False)
    with pytest.raises(BagError, match=r"S1\.h5 holds other features"):
        export_features(small, "deep:mobilenetv3_small_050", tmp_path, weights=None, progress=False)
    (tmp_path / "S1.h5").write_bytes(b"damaged")
    with pytest.raises(BagError, match="holds other features"):
        export_features(small, "colour_texture", tmp_path, progress=False)


def test_an_image_with_a_table_of_spots(section, tmp_path):
    spots = tmp_path / "spots.csv"
    spots.write_text("pixel_x,pixel_y\n300.5,300\n450,300\n")
    read = slide_section(image_path_of(section), spots=spots, um_per_px=0.5)
    bag = read_bag(export_features(read, "colour_texture", tmp_path, progress=False))
    assert (bag.slide, bag.coords.tolist(), bag.provenance["um_per_px"]) == ("S1", [[188, 188], [338, 188]], 0.5)


@pytest.fixture
def slide(section, tmp_path):
    """Return 24 spots of a whole slide at half the resolution that patches stand for."""
    path = write_slide(tmp_path / "slide.svs", read_image(section).crop((0, 0, 1200, 800)), 0.5)
    return slide_section(path, grid="dense", pitch_um=100, scan_um_per_px=0.25, tissue=False)


def test_a_whole_slide_is_cut_in_chunks_that_are_not_kept(slide, tmp_path, monkeypatch):
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path / "cache"))
    cut = []
    monkeypatch.setattr(export, "cut_patches", lambda part, px: cut.append(part.n_obs) or cut_patches(part, px))
    bag = read_bag(export_features(slide, "colour_texture", tmp_path, chunk=10, progress=False))
    assert cut == [10, 10, 4] and not list((tmp_path / "cache").rglob("*.npy"))
    np.testing.assert_allclose(bag.features, colour_texture_statistics(cut_patches(slide)), rtol=1e-5)
    np.testing.assert_array_equal(bag.coords, slide.obsm["spatial"] - 56)
    assert bag.provenance["patch_size_level0"] == 112 and bag.provenance["image"] == "slide.svs"


def test_a_stopped_export_of_a_whole_slide_goes_on(slide, tmp_path, monkeypatch):
    cut = []

    def dying(part, px):
        cut.append(part.n_obs)
        if len(cut) == 2:
            raise KeyboardInterrupt
        return cut_patches(part, px)

    monkeypatch.setattr(export, "cut_patches", dying)
    with pytest.raises(KeyboardInterrupt):
        export_features(slide, "colour_texture", tmp_path, chunk=10, progress=False)
    bag = read_bag(export_features(slide, "colour_texture", tmp_path, chunk=10, progress=False))
    assert cut == [10, 10, 10, 4], "the first chunk was kept"
    np.testing.assert_allclose(bag.features, colour_texture_statistics(cut_patches(slide)), rtol=1e-5)


def test_unknown_features_and_chunks(small, tmp_path):
    with pytest.raises(BagError, match="unknown features 'colour'"):
        export_features(small, "colour", tmp_path)
    with pytest.raises(BagError, match="a chunk has 1 patch or more"):
        export_features(small, "colour_texture", tmp_path, chunk=0)
    with pytest.raises(BagError, match="timm has no backbone"):
        export_features(small, "deep:no_such_net", tmp_path)
