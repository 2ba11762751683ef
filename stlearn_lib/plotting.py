"""Figures: spots over tissue, patches, and scores. Every function draws on one `Axes` and returns it.

Palettes are safe for colour-blind readers: viridis and magma for quantities, seaborn's "colorblind" for classes.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from anndata import AnnData
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Circle, FancyArrowPatch, Patch, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.sections import image_size, metadata_of, read_image, section_name, um_per_px_of
from stlearn_lib.errors import SectionError

IMAGE_PX = 1000
CLASS_PALETTE = "colorblind"
_NODE_PT = 11  # radius of a numbered disc


def plot_tissue(section: AnnData, ax: Axes | None = None) -> Axes:
    """Draw the section's image, with axes in pixels of the full image and a bar of one millimetre.

    Args:
        section: The section, with an image.
        ax: Where to draw.

    Returns:
        The axes.

    Raises:
        ImageError: If there is no image or it cannot be read.
    """
    ax = _image(section, ax)
    _frame_spots(section, ax)
    _scale_bar(section, ax)
    return ax


def plot_spots(
    section: AnnData,
    values: np.ndarray | None = None,
    ax: Axes | None = None,
    *,
    label: str = "",
    cmap: str = "viridis",
    limits: tuple[float, float] | None = None,
    tissue: bool = True,
    colorbar: bool = True,
) -> Axes:
    """Draw the spots, each a circle of its true size, coloured by a quantity.

    Args:
        section: The section.
        values: One value for each spot, (N,); without values the circles are outlines.
        ax: Where to draw.
        label: What the values are, with their unit; named on the colour bar.
        cmap: A perceptually uniform colour map.
        limits: Smallest and largest value of the colour map; without them the 1st and 99th percentile.
        tissue: Whether to draw the image under the spots.
        colorbar: Whether to draw a colour bar.

    Returns:
        The axes.
    """
    ax = plot_tissue(section, ax) if tissue else _bare(section, ax)
    circles = _circles(section)
    if values is None:
        circles.set(facecolor="none", edgecolor="black", linewidth=0.6)
    else:
        values = np.asarray(values, dtype=float)
        circles.set_array(values)
        circles.set(cmap=cmap, edgecolor="none")
        circles.set_clim(*(limits or np.nanpercentile(values, (1, 99))))
    ax.add_collection(circles)
    if values is not None and colorbar:
        ax.figure.colorbar(circles, ax=ax, label=label, shrink=0.75)
    return ax


def plot_labels(section: AnnData, ax: Axes | None = None, *, column: str = "label", tissue: bool = True) -> Axes:
    """Draw the spots coloured by class, with a legend.

    Args:
        section: The section.
        ax: Where to draw.
        column: The column of ``obs`` that holds the classes.
        tissue: Whether to draw the image under the spots.

    Returns:
        The axes.
    """
    ax = plot_tissue(section, ax) if tissue else _bare(section, ax)
    classes = pd.Categorical(section.obs[column])
    palette = sns.color_palette(CLASS_PALETTE, len(classes.categories))
    circles = _circles(section)
    circles.set(facecolor=[palette[code] for code in classes.codes], edgecolor="white", linewidth=0.3)
    ax.add_collection(circles)
    handles = [Patch(color=colour, label=name) for colour, name in zip(palette, classes.categories, strict=True)]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return ax


def plot_windows(section: AnnData, window_px: int, spots: Sequence[int], ax: Axes | None = None) -> Axes:
    """Outline the windows that patches are cut from.

    Args:
        section: The section, with an image.
        window_px: Side of a window, in pixels of the image.
        spots: Indices of the spots.
        ax: Where to draw.

    Returns:
        The axes.
    """
    ax = plot_tissue(section, ax)
    for x, y in section.obsm["spatial"][list(spots)] - window_px / 2:
        ax.add_patch(Rectangle((x, y), window_px, window_px, fill=False, edgecolor="black", linewidth=1.2))
    return ax


def plot_neighbourhood(section: AnnData, spots: Sequence[int] | np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw a neighbourhood from near: each spot's patch where it was cut from, and its number among the nodes.

    A number stands in a disc of its node's colour. A spot that fills several places of a neighbourhood, at the border
    of the tissue, has the number of the first.

    Args:
        section: The section, with an image.
        spots: Spot numbers of the neighbourhood, (K,), the own spot first: it becomes node 0.
        ax: Where to draw.

    Returns:
        The axes.
    """
    ax, nodes = _image(section, ax), _nodes(spots)
    centres, patches = section.obsm["spatial"][list(nodes)], cut_patches(section)
    half = patches.shape[1] / 2
    ax.images[0].set_alpha(0.5)  # what lies between the patches is not seen by any model
    for spot, (x, y) in zip(nodes, centres, strict=True):
        ax.imshow(patches[spot], extent=(x - half, x + half, y + half, y - half), zorder=1)
        ax.add_patch(Rectangle((x - half, y - half), 2 * half, 2 * half, fill=False, linewidth=0.6, zorder=2))
        colour = _node_colour(nodes[spot])
        disc = {"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": colour, "linewidth": 2.5}
        ax.text(x, y, str(nodes[spot]), ha="center", va="center", fontsize=9, bbox=disc, zorder=4)
    (left, top), (right, bottom) = centres.min(axis=0) - 1.3 * half, centres.max(axis=0) + 1.3 * half
    ax.set(xlim=(left, right), ylim=(bottom, top))
    _scale_bar(section, ax, length_um=200)
    return ax


def plot_hyperedges(
    section: AnnData,
    spots: Sequence[int] | np.ndarray,
    incidence: ArrayLike,
    ax: Axes | None = None,
    *,
    edges: Sequence[int] | None = None,
) -> Axes:
    """Draw hyperedges over a neighbourhood, each as a star: arrows from its own node to the others that it joins.

    A star has the colour of its node. Stars and not hulls, since the hull of a hyperedge covers nodes that are not in
    it; and arrows that bend, since a straight one to the node after next would cross the node between.

    Args:
        section: The section, with an image.
        spots: Spot numbers of the neighbourhood, (K,), the own spot first, as of `plot_neighbourhood`.
        incidence: Its hyperedges H, (K, K): rows are nodes, columns hyperedges; column e belongs to node e.
        ax: Where to draw.
        edges: The hyperedges to draw; all if None.

    Returns:
        The axes.

    Raises:
        SectionError: If the incidence does not fit the neighbourhood.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from stlearn_lib.data.synthetic import simulate_section
        >>> incidence = [[1, 0, 0], [1, 1, 0], [1, 0, 1]]  # node 0 joins all three, the others only themselves
        >>> ax = plot_hyperedges(simulate_section("S1", Path(mkdtemp())), [5, 6, 7], incidence)
        >>> len([patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)])
        2
    """
    ax = plot_neighbourhood(section, spots, ax)
    joined, spots = np.asarray(incidence) != 0, np.asarray(spots)
    centres = section.obsm["spatial"][spots]
    if joined.shape != (len(centres), len(centres)):
        raise SectionError(f"an incidence {joined.shape} does not fit a neighbourhood of {len(centres)} spots.")
    for edge in range(len(centres)) if edges is None else edges:
        for node in np.flatnonzero(joined[:, edge]):
            if spots[node] != spots[edge]:
                ax.add_patch(_arrow(centres[edge], centres[node], _node_colour(edge)))
    return ax


def plot_patches(patches: np.ndarray, titles: Sequence[str] | None = None, columns: int = 6) -> list[Axes]:
    """Draw patches side by side.

    Args:
        patches: Patches, (N, H, W, 3) uint8.
        titles: One title for each patch.
        columns: Patches in a row.

    Returns:
        One axes for each patch.
    """
    rows = -(-len(patches) // columns)
    _, grid = plt.subplots(rows, columns, figsize=(1.5 * columns, 1.7 * rows), squeeze=False)
    for ax in grid.ravel():
        ax.axis("off")
    for i, patch in enumerate(patches):
        grid.flat[i].imshow(patch)
        grid.flat[i].set_title("" if titles is None else titles[i], fontsize=8)
    return list(grid.ravel()[: len(patches)])


def plot_scores(
    table: pd.DataFrame, measure: str, ax: Axes | None = None, *, label: str = "", order: Sequence[str] | None = None
) -> Axes:
    """Draw one point for each fold and method, so that no fold hides behind a mean.

    Args:
        table: A table of `evaluation.cross_validate`, with the columns ``method``, ``test`` and the measure.
        measure: The column to draw.
        ax: Where to draw.
        label: The measure's name on the axis.
        order: Methods from top to bottom.

    Returns:
        The axes.
    """
    ax = ax or plt.gca()
    sns.stripplot(
        table,
        x=measure,
        y="method",
        hue="test",
        order=order,
        palette=CLASS_PALETTE,
        jitter=False,
        dodge=True,
        size=6,
        ax=ax,
    )
    ax.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    ax.set(xlabel=label or measure, ylabel="")
    ax.grid(axis="y", color="0.92")
    ax.legend(title="test section", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return ax


def _nodes(spots: Sequence[int] | np.ndarray) -> dict[int, int]:
    """The number of each spot among the nodes of a neighbourhood."""
    numbers: dict[int, int] = {}
    for node, spot in enumerate(spots):
        numbers.setdefault(int(spot), node)
    return numbers


def _node_colour(node: int) -> tuple[float, float, float]:
    palette = sns.color_palette(CLASS_PALETTE)
    colour: tuple[float, float, float] = palette[node % len(palette)]
    return colour


def _arrow(start: np.ndarray, end: np.ndarray, colour: tuple[float, float, float]) -> FancyArrowPatch:
    """A bent arrow between the discs of two nodes, with a white rim that keeps it legible on tissue."""
    return FancyArrowPatch(
        tuple(start),
        tuple(end),
        connectionstyle="arc3,rad=0.22",
        arrowstyle="-|>,head_length=5,head_width=3",
        shrinkA=_NODE_PT,
        shrinkB=_NODE_PT,
        color=colour,
        linewidth=2,
        path_effects=[withStroke(linewidth=4, foreground="white")],
        zorder=3,
    )


def _image(section: AnnData, ax: Axes | None) -> Axes:
    ax = ax or plt.gca()
    width, height = image_size(section)
    ax.imshow(read_image(section, IMAGE_PX), extent=(0, width, height, 0))
    ax.set(title=section_name(section), xticks=[], yticks=[])
    return ax


def _bare(section: AnnData, ax: Axes | None) -> Axes:
    ax = ax or plt.gca()
    ax.set(title=section_name(section), xticks=[], yticks=[], aspect="equal")
    _frame_spots(section, ax)
    return ax


def _frame_spots(section: AnnData, ax: Axes) -> None:
    """Show the spots and a margin of two diameters; image coordinates run downwards."""
    margin = 2 * _diameter(section)
    (left, top), (right, bottom) = section.obsm["spatial"].min(axis=0), section.obsm["spatial"].max(axis=0)
    ax.set(xlim=(left - margin, right + margin), ylim=(bottom + margin, top - margin))


def _scale_bar(section: AnnData, ax: Axes, length_um: float = 1000) -> None:
    """Draw a bar near the lower left corner of what the axes show."""
    length, name = length_um / um_per_px_of(section), "1 mm" if length_um == 1000 else f"{length_um:g} µm"
    left, bottom = ax.get_xlim()[0], ax.get_ylim()[0]
    x, y = left + 0.3 * length, bottom - 0.15 * length
    ax.plot([x, x + length], [y, y], color="black", linewidth=3, solid_capstyle="butt")
    ax.text(x + length / 2, y - 0.08 * length, name, ha="center", va="bottom", fontsize=8)
    if metadata_of(section)["simulated"]:
        ax.text(0.99, 0.99, "simulated", transform=ax.transAxes, ha="right", va="top", fontsize=8)


def _circles(section: AnnData) -> PatchCollection:
    return PatchCollection([Circle((x, y), _diameter(section) / 2) for x, y in section.obsm["spatial"]])


def _diameter(section: AnnData) -> float:
    return float(section.uns["spatial"][section_name(section)]["scalefactors"]["spot_diameter_fullres"])
