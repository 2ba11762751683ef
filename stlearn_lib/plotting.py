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
from matplotlib.patches import Circle, Patch, Rectangle

from stlearn_lib.data.sections import image_size, metadata_of, read_image, section_name, um_per_px_of

IMAGE_PX = 1000
CLASS_PALETTE = "colorblind"


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
    ax = ax or plt.gca()
    width, height = image_size(section)
    ax.imshow(read_image(section, IMAGE_PX), extent=(0, width, height, 0))
    ax.set(title=section_name(section), xticks=[], yticks=[])
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


def _scale_bar(section: AnnData, ax: Axes) -> None:
    length = 1000 / um_per_px_of(section)
    left, bottom = ax.get_xlim()[0], ax.get_ylim()[0]
    x, y = left + 0.3 * length, bottom - 0.15 * length
    ax.plot([x, x + length], [y, y], color="black", linewidth=3, solid_capstyle="butt")
    ax.text(x + length / 2, y - 0.08 * length, "1 mm", ha="center", va="bottom", fontsize=8)
    if metadata_of(section)["simulated"]:
        ax.text(0.99, 0.99, "simulated", transform=ax.transAxes, ha="right", va="top", fontsize=8)


def _circles(section: AnnData) -> PatchCollection:
    return PatchCollection([Circle((x, y), _diameter(section) / 2) for x, y in section.obsm["spatial"]])


def _diameter(section: AnnData) -> float:
    return float(section.uns["spatial"][section_name(section)]["scalefactors"]["spot_diameter_fullres"])
