"""Figures of slides: survival curves, and attention over the tissue. Every function draws on one `Axes`."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
import seaborn as sns
from anndata import AnnData
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from stlearn_lib.errors import BagError, EvaluationError
from stlearn_lib.plotting import CLASS_PALETTE, plot_spots
from stlearn_lib.slides.bags import Bag

LINES = ("-", "--", "-.", ":")  # groups differ in more than colour


def log_rank_p(time: ArrayLike, event: ArrayLike, group: ArrayLike) -> float:
    """Test whether groups survive alike.

    Args:
        time: To the event or the end of follow-up, (N,).
        event: True where the event was seen, (N,).
        group: Each patient's group, (N,).

    Returns:
        The p value of the log-rank test: of curves so different if all groups had one hazard.

    Raises:
        EvaluationError: If the lengths differ, there is one group only, or no event.

    Example:
        >>> round(log_rank_p([1, 2, 3, 10, 11, 12], [1] * 6, ["a"] * 3 + ["b"] * 3), 3)
        0.025

    Reference:
        Mantel, Cancer Chemotherapy Reports 50 (1966) 163; lifelines, JOSS 4 (2019) 1317.
    """
    times, events, groups = np.asarray(time, dtype=float), np.asarray(event).astype(bool), np.asarray(group)
    if not times.shape == events.shape == groups.shape or times.ndim != 1:
        raise EvaluationError(f"time {times.shape}, event {events.shape} and group {groups.shape} are of one length.")
    if len(np.unique(groups)) < 2 or not events.any():
        raise EvaluationError(f"{len(np.unique(groups))} groups and {events.sum()} events: a test needs 2 and 1.")
    return float(multivariate_logrank_test(times, groups, events).p_value)


def plot_survival(
    time: ArrayLike,
    event: ArrayLike,
    group: ArrayLike,
    ax: Axes | None = None,
    *,
    names: Mapping[Any, str] | None = None,
    unit: str = "months",
    at_risk: bool = True,
) -> Axes:
    """Draw the Kaplan-Meier curve of each group with its 95% band, the log-rank p value, and the numbers at risk.

    Args:
        time: To the event or the end of follow-up, (N,).
        event: True where the event was seen, (N,).
        group: Each patient's group, (N,), such as ``high_risk`` of `cross_validate_slides`.
        ax: Where to draw.
        names: What groups are called in the legend.
        unit: Of the times.
        at_risk: Whether the numbers at risk stand below; they need room there.

    Returns:
        The axes.

    Raises:
        EvaluationError: As `log_rank_p`.

    Reference:
        Kaplan and Meier, JASA 53 (1958) 457.
    """
    p_value = log_rank_p(time, event, group)
    times, events, groups = np.asarray(time, dtype=float), np.asarray(event).astype(bool), np.asarray(group)
    ax = ax or plt.gca()
    curves, palette = [], sns.color_palette(CLASS_PALETTE)
    for value, colour, line in zip(np.unique(groups), cycle(palette), cycle(LINES), strict=False):
        label = (names or {}).get(value, str(value))
        curve = KaplanMeierFitter(label=label).fit(times[groups == value], events[groups == value])
        curve.plot_survival_function(ax=ax, color=colour, linestyle=line, show_censors=True, censor_styles={"ms": 4})
        curves.append(curve)
    ax.set(ylim=(0, 1.02), xlim=(0, None), xlabel=f"time ({unit})", ylabel="share alive", title=_p_text(p_value))
    if at_risk:
        _write_numbers_at_risk(ax, curves)
    return ax


def _write_numbers_at_risk(ax: Axes, curves: list[KaplanMeierFitter]) -> None:
    """Below each tick, how many of each group are still under observation: a row for each curve.

    Lifelines' own table is written into the labels of another axis, all lines of a tick in one centred text: its rows
    stand askew of their names, and of each other where numbers have another width.
    """
    low, high = ax.get_xlim()
    ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
    rows = [("at risk", [""] * len(ticks))]
    rows += [(curve.label, [str((curve.durations >= tick).sum()) for tick in ticks]) for curve in curves]
    for i, (label, numbers) in enumerate(rows):
        y = -0.16 - 0.08 * i
        ax.text(-0.05, y, label, transform=ax.transAxes, ha="right", va="top")
        for tick, number in zip(ticks, numbers, strict=True):
            ax.text(tick, y, number, transform=ax.get_xaxis_transform(), ha="center", va="top")


def plot_attention(tissue: AnnData | Bag, attention: ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw what a model looked at, in multiples of an equal share: 1 is what every patch would get from an average.

    Args:
        tissue: A section, whose image is drawn underneath, or a bag with coordinates.
        attention: Each spot's or patch's share, (N,), see `pooling.SlideModel.attention`.
        ax: Where to draw.

    Returns:
        The axes.

    Raises:
        BagError: If the shares do not fit the tissue, or a bag has no coordinates.
    """
    shares = np.asarray(attention, dtype=float)
    n = tissue.n_obs if isinstance(tissue, AnnData) else len(tissue)
    if shares.shape != (n,) or not np.isfinite(shares).all():
        raise BagError(f"attention is one finite share for each of {n} patches, not {shares.shape}.")
    label = "attention, in equal shares"
    if isinstance(tissue, AnnData):
        return plot_spots(tissue, shares * n, ax, label=label, cmap="magma")
    if tissue.coords is None:
        raise BagError(f"bag {tissue.slide} has no coordinates: nobody knows where its patches lie.")
    ax = ax or plt.gca()
    side = _patch_side(tissue.coords)
    squares = PatchCollection([Rectangle((x, y), side, side) for x, y in tissue.coords], cmap="magma", edgecolor="none")
    squares.set_array(shares * n)
    ax.add_collection(squares)
    ax.figure.colorbar(squares, ax=ax, label=label, shrink=0.75)
    ax.autoscale_view()
    ax.set(title=tissue.slide, xticks=[], yticks=[], aspect="equal")
    ax.invert_yaxis()  # image coordinates run downwards
    if tissue.provenance.get("simulated"):
        ax.text(0.99, -0.01, "simulated", transform=ax.transAxes, ha="right", va="top", fontsize=8)
    return ax


def _patch_side(coords: np.ndarray) -> float:
    """Side of a patch, as the distance to its nearest neighbour: patches lie side by side."""
    distances = cKDTree(coords).query(coords, k=min(2, len(coords)))[0]
    return float(np.median(distances[..., -1])) or 1.0


def _p_text(p_value: float) -> str:
    return "log-rank p < 0.001" if p_value < 0.001 else f"log-rank p = {p_value:.3f}"
