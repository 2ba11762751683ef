import numpy as np
import pytest

from stlearn_lib.data.statistics import STATISTIC_NAMES, colour_texture_statistics


@pytest.fixture(scope="module")
def measured():
    patch = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
    density = -np.log10((patch[0].astype(float) + 1) / 256)
    return dict(zip(STATISTIC_NAMES, colour_texture_statistics(patch)[0], strict=True)), density


def test_colour_equals_numpy(measured):
    values, density = measured
    for c, channel in enumerate(("red", "green", "blue")):
        assert values[f"{channel} mean"] == pytest.approx(density[..., c].mean())
        assert values[f"{channel} spread"] == pytest.approx(density[..., c].std())
        for q in (0.05, 0.25, 0.5, 0.75, 0.95):
            expected = np.quantile(density[..., c], q, method="inverted_cdf")
            assert values[f"{channel} q{int(100 * q):02d}"] == pytest.approx(expected)


def test_texture_equals_numpy(measured):
    values, density = measured
    grey = density.mean(axis=-1)
    expected = (np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / 2
    assert values["gradient"] == pytest.approx(expected, rel=1e-5)
    for block in (4, 8, 16, 32):
        means = [grey[y : y + block, x : x + block].mean() for y in range(0, 64, block) for x in range(0, 96, block)]
        assert values[f"spread at {block} px"] == pytest.approx(np.std(means), rel=1e-4)


def test_turned_and_mirrored_patches_measure_the_same():
    patch = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    both = colour_texture_statistics(np.stack([patch, np.rot90(patch), patch[:, ::-1]]))
    np.testing.assert_allclose(both, both[[0, 0, 0]], rtol=1e-5)


@pytest.mark.parametrize(
    "patches", [np.zeros((2, 64, 64), np.uint8), np.zeros((2, 64, 64, 3)), np.zeros((2, 16, 16, 3), np.uint8)]
)
def test_other_arrays_are_refused(patches):
    with pytest.raises(ValueError, match=r"must be \(N, H, W, 3\) uint8 of 32 px or more"):
        colour_texture_statistics(patches)


def test_no_patches():
    assert colour_texture_statistics(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, 26)
