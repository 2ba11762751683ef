import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from stlearn_lib.data.neighbourhoods import grid_spots, nearest_spots, spots_within
from stlearn_lib.data.sections import um_per_px_of
from stlearn_lib.errors import SectionError


@pytest.fixture
def scattered(section):
    """No two distances alike, so that every library agrees."""
    moved = np.random.default_rng(0).uniform(-9, 9, section.obsm["spatial"].shape)
    section.obsm["spatial"] = section.obsm["spatial"] + moved
    return section


def test_nearest_spots_are_scikit_learns(scattered):
    centres = scattered.obsm["spatial"]
    expected = NearestNeighbors(n_neighbors=9).fit(centres).kneighbors(centres, return_distance=False)
    np.testing.assert_array_equal(nearest_spots(scattered), expected)


def test_equal_distances_go_by_number(section):
    """On a perfect grid four neighbours are equally near: the result must not depend on a tree's order."""
    centres = section.obsm["spatial"]
    distances = cdist(centres, centres).round(6)
    found = nearest_spots(section, k=4)
    for i, row in enumerate(found):
        order = np.lexsort((np.arange(len(centres)), distances[i]))
        assert row[0] == i and list(row[1:]) == [j for j in order if j != i][:3]


def test_a_small_section_is_filled_with_the_own_spot(section):
    few = section[:4].copy()
    found = nearest_spots(few, k=9)
    assert found.shape == (4, 9)
    for i, row in enumerate(found):
        assert row[0] == i and set(row[:4]) == {0, 1, 2, 3} and (row[4:] == i).all()


def test_the_grid_holds_those_one_step_away(section):
    grid = section.obs[["array_x", "array_y"]].to_numpy().round()
    for i, row in enumerate(grid_spots(section)):
        expected = np.flatnonzero(np.abs(grid - grid[i]).max(axis=1) <= 1)
        assert row[0] == i and set(row) == set(expected) and len(row) == 9


def test_a_radius_is_in_micrometres(section):
    metres = section.obsm["spatial"] * um_per_px_of(section)
    radius = np.median(np.sort(cdist(metres, metres))[:, 3]) + 1
    within = cdist(metres, metres) <= radius
    found = spots_within(section, radius)
    assert found.shape[1] == within.sum(axis=1).max()
    assert all(set(row) == set(np.flatnonzero(within[i])) and row[0] == i for i, row in enumerate(found))


def test_impossible_neighbourhoods_are_refused(section):
    with pytest.raises(SectionError, match="at least 1 spot, not 0"):
        nearest_spots(section, k=0)
    with pytest.raises(SectionError, match="positive, not -5"):
        spots_within(section, -5)
