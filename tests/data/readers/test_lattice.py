"""An array is found again wherever it lies on the image, and nothing else is taken for one."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stlearn_lib.data.readers.lattice import fit_lattice
from stlearn_lib.errors import SectionError


def turned(points, degrees):
    angle = np.radians(degrees)
    return points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def neighbours(array, steps):
    """The pairs of spots that are one of the steps apart on an array."""
    places = {tuple(place): i for i, place in enumerate(array.tolist())}
    return {
        frozenset((i, places[x + dx, y + dy]))
        for (x, y), i in places.items()
        for dx, dy in steps
        if (x + dx, y + dy) in places
    }


SQUARE = ((1, 0), (0, 1))
HEXAGONAL = ((2, 0), (1, 1), (1, -1))


def test_all_real_arrays_are_found_by_their_pixels_alone(mirror):
    files = sorted((mirror / "her2st/ST-spotfiles").glob("*.tsv"))
    assert len(files) == 36
    for path in files:
        table = pd.read_csv(path, sep="\t")
        found = fit_lattice(table[["pixel_x", "pixel_y"]].to_numpy(), path.name)
        for axis, own in (("x", found.array_x), ("y", found.array_y)):
            shift = own - table[axis].to_numpy()
            assert own.min() == 0 and np.ptp(shift) == 0, (path.name, axis)
        pitch = [np.polyfit(table[f"new_{axis}"], table[f"pixel_{axis}"], 1)[0] for axis in "xy"]
        assert found.pitch_px == pytest.approx(np.mean(pitch), rel=0.01)


@settings(max_examples=40, deadline=None)
@given(
    degrees=st.floats(-40, 40),
    pitch=st.floats(2, 500),
    hexagonal=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_turned_torn_and_jittered_array_is_found(degrees, pitch, hexagonal, seed):
    rng = np.random.default_rng(seed)
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(14), np.arange(12)))
    array = np.column_stack([2 * x + y % 2, y]) if hexagonal else np.column_stack([x, y])
    kept = (rng.random(len(array)) < 0.9) & (y != 7)  # torn in two, with holes
    array = array[kept]
    step = np.array([0.5, np.sqrt(3) / 2]) if hexagonal else np.ones(2)
    pixels = turned(array * step * pitch, degrees) + rng.normal(0, 0.03 * pitch, (len(array), 2)) + 1000
    found = fit_lattice(pixels, "here")
    steps = HEXAGONAL if hexagonal else SQUARE
    assert neighbours(np.column_stack([found.array_x, found.array_y]), steps) == neighbours(array, steps)
    assert found.pitch_px == pytest.approx(pitch, rel=0.02)


def test_columns_run_along_x():
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(5), np.arange(4)))
    found = fit_lattice(np.column_stack([x * 10.0 + y, y * 10.0 - x]), "here")
    np.testing.assert_array_equal(found.array_x, x)
    np.testing.assert_array_equal(found.array_y, y)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((3, 2)), "3 spots are too few"),
        (np.zeros((9, 2)), "spots lie on one another"),
        (np.random.default_rng(0).uniform(0, 100, (200, 2)), "no regular array"),
        (np.column_stack([np.arange(9.0), np.zeros(9)]), "on one line"),
        ([*np.ndindex(9, 9), (1.5, 1.4)], "does not lie on the array of the others"),
        ([*np.ndindex(9, 9), (1.1, 1.1)], "does not lie on the array of the others"),
    ],
)
def test_what_is_no_array_is_an_error(pixels, message):
    with pytest.raises(SectionError, match=message) as caught:
        fit_lattice(np.array(pixels, float), "spots.csv")
    assert str(caught.value).startswith("spots.csv: ")
