import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stlearn_lib.data import images
from stlearn_lib.data.images import PlainImage, Slide, open_image, resolution_of
from stlearn_lib.errors import ImageError
from tests.slide_files import write_slide

UM_PER_PX = 0.5
JPEG_LOSS = 4.0  # grey levels, root mean square, at quality 90 with halved colours


def rms(difference):
    return np.sqrt((difference**2).mean())


@pytest.fixture(scope="session")
def tissue_like() -> Image.Image:
    """Return an image with structure at all scales in the colours of H&E, 1200 x 1000."""
    rng, light = np.random.default_rng(0), np.ones((1000, 1200, 3))
    for step, stain in ((4, (0.6, 0.7, 0.3)), (20, (0.1, 0.9, 0.1)), (100, (0.6, 0.7, 0.3))):
        noise = Image.fromarray(rng.integers(0, 256, (1000 // step, 1200 // step), dtype=np.uint8))
        density = np.asarray(noise.resize((1200, 1000), Image.Resampling.BICUBIC)) / 255
        light *= np.exp(-density[..., None] * stain)
    return Image.fromarray((255 * light).astype(np.uint8))


@pytest.fixture(scope="session")
def plain(tissue_like, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "image.png"
    tissue_like.save(path)
    return open_image(path)


@pytest.fixture(scope="session")
def lossless(tissue_like, tmp_path_factory):
    return open_image(write_slide(tmp_path_factory.mktemp("tif") / "slide.tif", tissue_like, UM_PER_PX))


@pytest.fixture(scope="session")
def aperio(tissue_like, tmp_path_factory):
    path = tmp_path_factory.mktemp("svs") / "slide.svs"
    return open_image(write_slide(path, tissue_like, UM_PER_PX, quality=90))


def test_backends_sizes_and_resolutions(plain, lossless, aperio):
    assert isinstance(plain, PlainImage) and isinstance(lossless, Slide) and isinstance(aperio, Slide)
    assert {image.size for image in (plain, lossless, aperio)} == {(1200, 1000)}
    assert plain.um_per_px is None
    assert lossless.um_per_px == pytest.approx(UM_PER_PX) == aperio.um_per_px


windows = given(left=st.integers(-300, 1200), top=st.integers(-300, 1000), side=st.integers(1, 300))
few = settings(max_examples=60, deadline=None, derandomize=True)


def padded(image, left, top, side):
    """Cut with NumPy from an image with a white frame."""
    frame = np.pad(np.asarray(image), ((300, 300), (300, 300), (0, 0)), constant_values=255)
    return frame[top + 300 :, left + 300 :][:side, :side]


@few
@windows
def test_windows_at_full_resolution_are_exact(tissue_like, plain, lossless, left, top, side):
    expected = np.full((side, side, 3), 255, np.uint8)
    inside = padded(tissue_like, left, top, side)
    expected[: inside.shape[0], : inside.shape[1]] = inside
    np.testing.assert_array_equal(plain.window(left, top, side, side), expected)
    np.testing.assert_array_equal(lossless.window(left, top, side, side), expected)


@pytest.mark.parametrize("out_px", [40, 77, 100, 224, 300])
@pytest.mark.parametrize(("left", "top", "side"), [(100, 200, 400), (101, 203, 399), (-50, 700, 400), (7, 3, 224)])
def test_windows_of_a_pyramid_show_what_the_image_shows(plain, lossless, aperio, left, top, side, out_px):
    """But for the difference between reducing by halves and at once, and for what a JPEG loses."""
    expected = plain.window(left, top, side, out_px).astype(float)
    for image, lost in ((lossless, 0.0), (aperio, JPEG_LOSS)):
        assert rms(image.window(left, top, side, out_px) - expected) < 0.08 * expected.std() + lost
    # Nothing is shifted: moved by a pixel it fits worse.
    moved = lossless.window(left + max(1, side // out_px), top, side, out_px) - expected
    assert rms(moved) > 2 * rms(lossless.window(left, top, side, out_px) - expected)


def test_a_coarse_window_is_read_from_a_coarse_level(tissue_like, tmp_path):
    """Levels of one colour each tell from which one a window came."""
    path = tmp_path / "levels.tif"
    with tifffile.TiffWriter(path) as file:
        for level, grey in enumerate((10, 20, 30)):
            pixels = np.full((1024 >> level, 1024 >> level, 3), grey, np.uint8)
            file.write(pixels, tile=(256, 256), photometric="rgb", subfiletype=int(level > 0), metadata=None)
    slide = open_image(path)
    seen = {step: int(slide.window(0, 0, int(100 * step), 100).max()) for step in (0.5, 1, 1.9, 2, 3.9, 4, 8)}
    assert seen == {0.5: 10, 1: 10, 1.9: 10, 2: 20, 3.9: 20, 4: 30, 8: 30}
    assert np.asarray(slide.thumbnail(256)).max() == 30


def test_what_was_never_scanned_is_white(lossless):
    np.testing.assert_array_equal(lossless.window(5000, 5000, 64, 32), np.full((32, 32, 3), 255))
    assert lossless.window(-64, -64, 64, 64).min() == 255


@pytest.mark.parametrize("max_px", [1200, 600, 333, 100])
def test_thumbnails(tissue_like, plain, lossless, aperio, max_px, monkeypatch):
    monkeypatch.setattr(images, "BLOCK_PX", 256)  # several blocks
    expected = plain.thumbnail(max_px)
    for image, lost in ((lossless, 0.0), (aperio, JPEG_LOSS)):
        seen = image.thumbnail(max_px)
        assert seen.size == expected.size and seen.mode == "RGB"
        assert rms(np.asarray(seen, float) - np.asarray(expected)) < 0.1 * np.asarray(expected).std() + lost
    assert lossless.thumbnail(5000).size == (1200, 1000), "nothing is enlarged"
    np.testing.assert_array_equal(np.asarray(lossless.thumbnail()), np.asarray(tissue_like))


def test_resolution_given_and_stated(plain, lossless):
    assert resolution_of(plain, 2.0) == 2.0
    assert resolution_of(lossless) == pytest.approx(0.5)
    assert resolution_of(lossless, 0.51) == 0.51
    with pytest.raises(ImageError, match=r"image\.png does not say its resolution: pass um_per_px \(--um-per-px\)"):
        resolution_of(plain)
    with pytest.raises(ImageError, match=r"slide\.tif says 0\.5 µm per pixel, but 0\.25 was passed"):
        resolution_of(lossless, 0.25)
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ImageError, match="a resolution is a positive number"):
            resolution_of(plain, wrong)


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((20_000, 20_000), "CENTIMETER", 0.5),
        ((50_800, 50_800), "INCH", 0.5),
        ((300, 300), "INCH", None),  # a printer's
        ((72, 72), "INCH", None),  # a screen's
        ((20_000, 20_000), "NONE", None),
    ],
)
@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_resolution_of_a_tiff(tmp_path, resolution, unit, expected, tile):
    path, pixels = tmp_path / "image.tif", np.zeros((128, 128, 3), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", resolution=resolution, resolutionunit=unit, tile=tile)
    image = open_image(path)
    assert isinstance(image, PlainImage if tile is None else Slide)
    assert image.um_per_px == (expected and pytest.approx(expected, rel=1e-4))


@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_oblong_pixels(tmp_path, tile):
    path, pixels = tmp_path / "image.tif", np.zeros((128, 128, 3), np.uint8)
    options = {"photometric": "rgb", "resolutionunit": "CENTIMETER", "tile": tile}
    tifffile.imwrite(path, pixels, resolution=(20_000, 20_100), **options)
    assert open_image(path).um_per_px == pytest.approx(0.5)
    tifffile.imwrite(path, pixels, resolution=(20_000, 21_000), **options)
    with pytest.raises(ImageError, match=r"image\.tif: a pixel is 0\.5 µm wide and 0\.4762 µm high"):
        open_image(path)


def test_an_image_too_large_to_decode_says_how_to_convert_it(tmp_path, tissue_like, lossless, monkeypatch):
    monkeypatch.setattr(images, "MAX_DECODED_PX", 1_000_000)
    path = tmp_path / "strips.tif"
    tifffile.imwrite(path, np.asarray(tissue_like), photometric="rgb")
    image = open_image(path)
    assert image.size == (1200, 1000)
    for read in (lambda: image.window(0, 0, 10, 10), lambda: image.thumbnail(100), lambda: lossless.thumbnail()):
        with pytest.raises(ImageError, match=r"1200 x 1000 pixels do not fit .*vips tiffsave IMAGE SLIDE\.tif --tile"):
            read()
    assert lossless.thumbnail(100).size == (100, 83)
    tissue_like.save(tmp_path / "photo.jpg")
    assert open_image(tmp_path / "photo.jpg").thumbnail(300).size == (300, 250), "a JPEG is decoded reduced"


def test_broken_and_missing_files(tmp_path, aperio, plain):
    with pytest.raises(ImageError, match=r"nowhere\.svs does not exist"):
        open_image(tmp_path / "nowhere.svs")
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(ImageError, match=r"text\.tif is no readable image"):
        open_image(tmp_path / "text.tif")
    half = tmp_path / "half.png"
    half.write_bytes(plain.path.read_bytes()[:100_000])
    with pytest.raises(ImageError, match=r"half\.png is broken"):
        open_image(half).window(0, 0, 10, 10)
    raw = aperio.path.read_bytes()
    (tmp_path / "cut.svs").write_bytes(raw[: len(raw) // 3])  # the directories lie at the end, or point there
    with pytest.raises(ImageError, match=r"cut\.svs is"):
        open_image(tmp_path / "cut.svs").thumbnail(100)
    holes = bytearray(raw)
    holes[2000:60_000] = bytes(58_000)
    (tmp_path / "holes.svs").write_bytes(holes)
    with pytest.raises(ImageError, match=r"holes\.svs is broken at x=0, y=0"):
        open_image(tmp_path / "holes.svs").window(0, 0, 256, 256)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged tags that it skips
@settings(max_examples=40, deadline=None, derandomize=True)
@given(start=st.integers(0, 4000), noise=st.binary(min_size=1, max_size=64))
def test_damage_is_an_image_error_or_pixels(tmp_path_factory, aperio, start, noise):
    raw = bytearray(aperio.path.read_bytes())
    raw[start : start + len(noise)] = noise
    path = tmp_path_factory.mktemp("damage") / "slide.svs"
    path.write_bytes(raw)
    try:
        assert open_image(path).window(0, 0, 300, 100).shape == (100, 100, 3)
    except ImageError as error:
        assert "slide.svs" in str(error)


def test_areas_are_masked_in_ordinary_images_only(plain, lossless):
    masked = open_image(plain.path, white_boxes=[(0, 0, 50, 60)])
    assert masked.window(0, 0, 50, 50).min() == 255 and masked.window(60, 0, 50, 50).min() < 255
    with pytest.raises(ImageError, match=r"slide\.tif is a whole slide: areas can be masked"):
        open_image(lossless.path, black_background=True)
