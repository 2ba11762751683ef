"""Neighbourhoods and their hyperedges, one spot at a time."""

from collections.abc import Sequence

import numpy as np
from anndata import AnnData
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from stlearn_lib.data.sections import section_name
from stlearn_lib.errors import SectionError
from stlearn_lib.plotting import plot_hyperedges
from stlearn_lib.widgets.frames import FramePicker, frame_picker
from stlearn_lib.widgets.spots import mark_spots, rows_of, spot_title


def hyperedge_explorer(
    section: AnnData, neighbours: ArrayLike, incidence: ArrayLike, spots: Sequence[str]
) -> FramePicker:
    """Let the reader choose a spot and see its neighbourhood as a hypergraph on the tissue.

    A frame shows where in the section the neighbourhood lies and its incidence matrix; from near, the patches with the
    hyperedge of the chosen spot; and the same with the hyperedges of all spots.

    Args:
        section: The section, with an image.
        neighbours: Spot numbers of each spot's neighbourhood, (N, K), the own spot first, as of
            `data.neighbourhoods.nearest_spots`.
        incidence: Hyperedges of each neighbourhood, (N, K, K), as of `models.hypergraph.nearest_hyperedges`.
        spots: Names of the spots to choose from, as in ``section.obs_names``; about five, since each is drawn.

    Returns:
        The widget. A spot's entry is its place, ``"spot 12x17"``, and its label where a pathologist gave one.

    Raises:
        SectionError: If a spot is not in the section, or neighbourhoods or incidences do not fit it.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from stlearn_lib.data.neighbourhoods import nearest_spots
        >>> from stlearn_lib.data.synthetic import simulate_section
        >>> section = simulate_section("S1", Path(mkdtemp()))
        >>> edges = np.tile(np.eye(4), (section.n_obs, 1, 1))  # hyperedges that hold their own node only
        >>> explorer = hyperedge_explorer(section, nearest_spots(section, k=4), edges, section.obs_names[:2])
        >>> explorer.to_html().count("<img")
        2
    """
    around, edges = np.asarray(neighbours), np.asarray(incidence)
    if around.ndim != 2 or len(around) != section.n_obs or edges.shape != (*around.shape, around.shape[1]):
        raise SectionError(
            f"neighbourhoods {around.shape} and incidences {edges.shape} do not fit section {section_name(section)} "
            f"with {section.n_obs} spots: (N, K) and (N, K, K)."
        )
    row_of = {spot_title(section, spot): row for spot, row in zip(spots, rows_of(section, spots), strict=True)}
    return frame_picker(
        list(row_of),
        lambda title: _draw(section, around[row_of[title]], edges[row_of[title]], title),
        lambda title: _describe(section, edges[row_of[title]], title),
        label="Spot",
    )


def _draw(section: AnnData, spots: np.ndarray, incidence: np.ndarray, title: str) -> Figure:
    figure = plt.figure(figsize=(12.4, 4.7), layout="constrained")
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 4))
    place, matrix = left.subplots(2, 1)
    mark_spots(place, section, spots, "#0173b2").set_title(f"{section_name(section)} {title.removeprefix('spot ')}")
    _show_incidence(matrix, incidence)
    own, all_edges = right.subplots(1, 2)
    plot_hyperedges(section, spots, incidence, own, edges=[0]).set_title("its own hyperedge")
    plot_hyperedges(section, spots, incidence, all_edges).set_title("the hyperedges of all nodes")
    return figure


def _show_incidence(ax: Axes, incidence: np.ndarray) -> None:
    ax.imshow(incidence, cmap="Greys", vmin=0, vmax=1.3)
    nodes = range(len(incidence))
    ax.set(xticks=nodes, yticks=nodes, xlabel="hyperedge", ylabel="node")


def _describe(section: AnnData, incidence: np.ndarray, title: str) -> str:
    joined = "; ".join(
        f"{edge}: {', '.join(str(node) for node in np.flatnonzero(members) if node != edge)}"
        for edge, members in enumerate(incidence.T)
    )
    return (
        f"The {len(incidence)} patches around {title} of section {section_name(section)}; node 0 is the spot itself. "
        f"Arrows run from each node to those that its hyperedge joins it with. {joined}."
    )
