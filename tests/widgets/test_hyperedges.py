import numpy as np
import pytest

from stlearn_lib.data.neighbourhoods import nearest_spots
from stlearn_lib.errors import SectionError
from stlearn_lib.widgets import hyperedge_explorer


def hypergraphs(section, k=5):
    """Neighbourhoods in which each node's hyperedge holds the next node, too."""
    return nearest_spots(section, k), np.tile(np.eye(k) + np.roll(np.eye(k), 1, axis=0), (section.n_obs, 1, 1))


def test_a_frame_shows_the_place_the_incidence_and_the_hyperedges(section, figures):
    neighbours, incidence = hypergraphs(section)
    incidence[7, 0, 3] = 1
    spot = section.obs_names[7]
    hyperedge_explorer(section, neighbours, incidence, [spot])
    (figure,) = figures
    place, matrix, own, every = figure.axes
    assert place.get_title().startswith(f"S1 {spot}")
    np.testing.assert_allclose(place.collections[-1].get_offsets(), section.obsm["spatial"][neighbours[7]])
    np.testing.assert_array_equal(matrix.images[0].get_array(), incidence[7])
    arrows = [[type(patch).__name__ for patch in ax.patches].count("FancyArrowPatch") for ax in (own, every)]
    assert arrows == [1, 6]


def test_the_hyperedges_are_told_in_words(section, figures):
    neighbours, incidence = hypergraphs(section)
    incidence[7, 0, 3] = 1
    del section.obs["label"]
    explorer = hyperedge_explorer(section, neighbours, incidence, section.obs_names[[7, 20]])
    first, second = (f"spot {section.obs_names[row]}" for row in (7, 20))
    assert list(explorer._frames) == [first, second]
    assert f"The 5 patches around {first} of section S1" in explorer._descriptions[first]
    assert explorer._descriptions[first].endswith("0: 1; 1: 2; 2: 3; 3: 0, 4; 4: 0.")
    assert explorer._descriptions[second].endswith("0: 1; 1: 2; 2: 3; 3: 4; 4: 0.")


def test_works_without_a_kernel(section):
    neighbours, incidence = hypergraphs(section)
    page = hyperedge_explorer(section, neighbours, incidence, section.obs_names[[0, 3]]).to_html()
    assert page.count("data:image/jpeg;base64,") == 2 and page.count(" hidden>") == 1


def test_what_does_not_fit_is_named(section):
    neighbours, incidence = hypergraphs(section)
    with pytest.raises(SectionError, match="S1 has no spot 99x99"):
        hyperedge_explorer(section, neighbours, incidence, ["99x99"])
    with pytest.raises(SectionError, match=r"\(5, 5\) and incidences \(168, 5, 5\) do not fit section S1"):
        hyperedge_explorer(section, neighbours[:5], incidence, section.obs_names[:1])
    with pytest.raises(SectionError, match=r"incidences \(168, 5, 4\) do not fit"):
        hyperedge_explorer(section, neighbours, incidence[:, :, :4], section.obs_names[:1])
