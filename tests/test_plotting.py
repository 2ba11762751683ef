import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import PatchCollection
from matplotlib.patches import FancyArrowPatch, Rectangle

from stlearn_lib import plotting
from stlearn_lib.data.neighbourhoods import grid_spots, nearest_spots
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.errors import SectionError


@pytest.fixture(autouse=True)
def _no_window():
    mpl.use("agg")
    yield
    plt.close("all")


def circles(ax) -> PatchCollection:
    return next(c for c in ax.collections if isinstance(c, PatchCollection))


def test_spots_are_circles_of_their_true_size_at_their_place(section):
    values = np.arange(section.n_obs, dtype=float)
    ax = plotting.plot_spots(section, values, label="rank")
    boxes = [path.get_extents() for path in circles(ax).get_paths()]
    np.testing.assert_allclose(
        [((b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2) for b in boxes], section.obsm["spatial"], atol=1e-6
    )
    assert boxes[0].width == pytest.approx(75, rel=1e-3)  # 100 µm at 200/150 µm per pixel
    np.testing.assert_array_equal(circles(ax).get_array(), values)
    assert circles(ax).get_clim() == tuple(np.percentile(values, (1, 99)))
    assert "rank" in {other.get_ylabel() for other in ax.figure.axes}


def test_rows_run_downwards_like_the_image(section):
    bottom, top = plotting.plot_spots(section, tissue=False).get_ylim()
    assert bottom > top


def test_scale_bar_is_a_millimetre_and_simulated_tissue_says_so(section):
    ax = plotting.plot_tissue(section)
    (bar,) = ax.lines
    assert np.ptp(bar.get_xdata()) == pytest.approx(1000 / (200 / 150))
    assert {"1 mm", "simulated"} <= {text.get_text() for text in ax.texts}


def test_labels_have_a_legend_of_all_classes(section):
    ax = plotting.plot_labels(section, tissue=False)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(section.obs["label"].cat.categories)
    colours = {label: tuple(c) for label, c in zip(section.obs["label"], circles(ax).get_facecolors(), strict=True)}
    assert len(set(colours.values())) == len(colours)


def test_windows_are_those_that_are_cut(section):
    ax = plotting.plot_windows(section, 224, [0, 5])
    corners = [patch.get_xy() for patch in ax.patches if isinstance(patch, Rectangle)]
    np.testing.assert_allclose(corners, section.obsm["spatial"][[0, 5]] - 112)


def numbers(ax) -> dict[str, tuple[float, float]]:
    return {text.get_text(): text.get_position() for text in ax.texts if text.get_text().isdigit()}


def stars(ax, centres) -> set[tuple[int, int]]:
    """Return the (edge, node) pairs that arrows join, by the nodes' places."""
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    at = {tuple(np.round(centre, 6)): node for node, centre in reversed(list(enumerate(centres)))}
    return {tuple(at[tuple(np.round(end, 6))] for end in arrow._posA_posB) for arrow in arrows}


def test_a_neighbourhood_has_its_patches_in_their_places(section):
    spots = nearest_spots(section)[80]
    ax = plotting.plot_neighbourhood(section, spots)
    centres = section.obsm["spatial"][spots]
    np.testing.assert_allclose([numbers(ax)[str(node)] for node in range(9)], centres)
    _, *patches = ax.images  # the first is the section
    extents = np.array([image.get_extent() for image in patches])  # left, right, bottom, top
    np.testing.assert_allclose(extents[:, [0, 3]], centres - 112)
    np.testing.assert_array_equal(patches[4].get_array(), cut_patches(section)[spots[4]])
    left, right, bottom, top = *ax.get_xlim(), *ax.get_ylim()
    assert left < extents[:, 0].min() and right > extents[:, 1].max() and top < bottom


def test_a_star_joins_a_node_with_those_of_its_hyperedge(section):
    spots, incidence = nearest_spots(section)[80], np.eye(9)
    incidence[[2, 5], 0] = incidence[[0, 2, 7], 4] = 1  # columns are hyperedges
    ax = plotting.plot_hyperedges(section, spots, incidence)
    centres = section.obsm["spatial"][spots]
    assert stars(ax, centres) == {(0, 2), (0, 5), (4, 0), (4, 2), (4, 7)}
    plt.figure()
    assert stars(plotting.plot_hyperedges(section, spots, incidence, edges=[0]), centres) == {(0, 2), (0, 5)}


def test_a_spot_that_fills_several_places_is_one_node(section):
    spots = next(row for row in grid_spots(section) if len(set(row)) < 9)
    ax = plotting.plot_hyperedges(section, spots, np.ones((9, 9)))
    assert len(numbers(ax)) == len(set(spots)) and "0" in numbers(ax)
    assert all(edge != node for edge, node in stars(ax, section.obsm["spatial"][spots]))


def test_an_incidence_of_other_spots_is_refused(section):
    with pytest.raises(SectionError, match=r"\(4, 4\) does not fit a neighbourhood of 9"):
        plotting.plot_hyperedges(section, nearest_spots(section)[0], np.eye(4))


def test_patches_side_by_side(section):
    axes = plotting.plot_patches(cut_patches(section)[:7], titles=list("abcdefg"), columns=3)
    assert [ax.get_title() for ax in axes] == list("abcdefg")


def test_scores_show_every_fold():
    table = pd.DataFrame({"method": ["a", "a", "b", "b"], "test": ["C2", "C3"] * 2, "acg": [0.1, 0.2, 0.3, 0.4]})
    ax = plotting.plot_scores(table, "acg", label="ACG")
    drawn = np.concatenate([c.get_offsets()[:, 0] for c in ax.collections if len(c.get_offsets())])
    np.testing.assert_allclose(sorted(drawn), [0.1, 0.2, 0.3, 0.4])
    assert ax.get_xlabel() == "ACG"
