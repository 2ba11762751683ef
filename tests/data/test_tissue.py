import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stlearn_lib.data.sections import image_path_of, um_per_px_of
from stlearn_lib.data.tissue import find_tissue
from stlearn_lib.datasets import load_sections
from stlearn_lib.errors import ImageError, StlearnError
from tests.slide_files import write_slide

UM_PER_PX = 2.0
PIECES = ((300, 300, 900, 1000), (1100, 200, 1700, 700))  # left, top, right, bottom
HOLE = (450, 500, 750, 800)


@pytest.fixture(scope="session")
def two_pieces() -> Image.Image:
    """Return two ellipses of noise in the colours of H&E on glass, a hole in one of them; 2000 x 1200."""
    rng = np.random.default_rng(0)
    cells = Image.fromarray(rng.integers(0, 256, (300, 500), dtype=np.uint8)).resize((2000, 1200))
    density = np.asarray(cells)[..., None] / 255
    tissue = Image.fromarray((255 * np.exp(-density * (0.9, 1.4, 0.4) - (0.1, 0.4, 0.1))).astype(np.uint8))
    mask = Image.new("L", tissue.size, 0)
    for box, value in ((PIECES[0], 255), (PIECES[1], 255), (HOLE, 0)):
        ImageDraw.Draw(mask).ellipse(box, value)
    glass = Image.fromarray((243 + rng.normal(0, 1, (1200, 2000, 3))).astype(np.uint8))
    glass.paste(tissue, mask=mask)
    return glass


def in_ellipse(points, box, grow):
    left, top, right, bottom = box
    x, y = points[:, 0] - (left + right) / 2, points[:, 1] - (top + bottom) / 2
    return (x / ((right - left) / 2 + grow)) ** 2 + (y / ((bottom - top) / 2 + grow)) ** 2 < 1


@pytest.mark.parametrize("kind", ["slide.png", "slide.tif", "slide.svs"])
def test_known_tissue_is_found(two_pieces, tmp_path, kind):
    path = tmp_path / kind
    if kind == "slide.png":
        two_pieces.save(path)
        tissue = find_tissue(path, UM_PER_PX)
    else:
        tissue = find_tissue(write_slide(path, two_pieces, UM_PER_PX, quality=90))
    points = np.random.default_rng(1).uniform((0, 0), two_pieces.size, (20_000, 2))
    found, blur = tissue.contains(points), 40  # px; 80 µm, two of the disks in which texture is measured
    outside = ~(in_ellipse(points, PIECES[0], blur) | in_ellipse(points, PIECES[1], blur))
    inside = (in_ellipse(points, PIECES[0], -blur) & ~in_ellipse(points, HOLE, blur)) | in_ellipse(
        points, PIECES[1], -blur
    )
    assert found[inside].all() and not found[outside].any() and not found[in_ellipse(points, HOLE, -blur)].any()
    area = np.pi / 4 * (600 * 700 + 600 * 500 - 300 * 300)
    assert 0.95 * area < tissue.outline.area < 1.25 * area
    assert sorted(len(piece.interiors) for piece in tissue.outline.geoms) == [0, 1]


@pytest.mark.parametrize("name", ["B4", "C2", "C3"])
def test_measured_spots_lie_in_tissue(mirror, name):
    """Spots were chosen by eye under the tissue; C3's and B4's glass is stained."""
    (section,) = load_sections([name], allow_simulated=False)
    tissue = find_tissue(image_path_of(section), um_per_px_of(section))
    assert tissue.contains(section.obsm["spatial"]).mean() >= 0.95
    spot_area_px = (200 / um_per_px_of(section)) ** 2
    assert tissue.outline.area < 1.25 * section.n_obs * spot_area_px, "not the glass"


def test_no_tissue(tmp_path, caplog):
    Image.new("RGB", (600, 500), (243, 242, 245)).save(tmp_path / "glass.png")
    with pytest.raises(ImageError, match=r"glass\.png: no tissue was found"):
        find_tissue(tmp_path / "glass.png", 4.0)
    assert not caplog.records, "LazySlide does not say it again"


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    Image.new("RGB", (60, 50)).save(tmp_path / "image.png")
    with pytest.raises(ImageError, match="does not say its resolution"):
        find_tissue(tmp_path / "image.png")
    monkeypatch.setitem(sys.modules, "lazyslide", None)
    monkeypatch.setitem(sys.modules, "lazyslide.preprocess", None)
    with pytest.raises(StlearnError, match=r"pip install 'stlearn-lib\[slides\]'"):
        find_tissue(tmp_path / "image.png", 4.0)
