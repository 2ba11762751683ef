"""Spots in a frame: by name in its menu, marked on a map."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from stlearn_lib.data.sections import section_name
from stlearn_lib.errors import SectionError
from stlearn_lib.plotting import plot_spots


def rows_of(section: AnnData, spots: Sequence[str]) -> list[int]:
    """Return the rows of spots that are given by name.

    Raises:
        SectionError: If a spot is not in the section.
    """
    if unknown := [spot for spot in spots if spot not in section.obs_names]:
        raise SectionError(f"section {section_name(section)} has no spot {', '.join(unknown)}: see obs_names.")
    return [int(section.obs_names.get_loc(spot)) for spot in spots]


def spot_title(section: AnnData, spot: str) -> str:
    """Name a spot by its place, and by its label where a pathologist gave one."""
    label = section.obs["label"].get(spot) if "label" in section.obs else None
    return f"spot {spot}" if label is None or pd.isna(label) else f"spot {spot} ({label})"


def mark_spots(ax: Axes, section: AnnData, rows: ArrayLike, colour: str) -> Axes:
    """Colour some spots of a section; the others are grey, where nothing has been drawn yet."""
    if not ax.collections:
        plot_spots(section, np.zeros(section.n_obs), ax, cmap="Greys", limits=(-1, 6), tissue=False, colorbar=False)
        ax.set_frame_on(False)
    x, y = section.obsm["spatial"][np.asarray(rows, dtype=int)].T
    ax.scatter(x, y, s=34, color=colour, zorder=3)
    return ax
