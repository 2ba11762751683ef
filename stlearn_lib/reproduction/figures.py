"""Figures of the ledger: methods with each of their seeds, and differences with their intervals, each on one `Axes`."""

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from stlearn_lib.plotting import CLASS_PALETTE
from stlearn_lib.reproduction.comparison import Difference
from stlearn_lib.reproduction.ledger import seed_averages

DASHES = ("--", ":", "-.")  # lines differ in more than colour


def plot_methods(
    rows: pd.DataFrame,
    experiments: Mapping[str, str],
    measure: str,
    ax: Axes | None = None,
    *,
    lines: Mapping[str, str] | None = None,
) -> Axes:
    """Draw a row for each experiment: a large dot for the mean of its seeds, and a small one for each of them.

    Args:
        rows: A ledger, or those rows of it whose test sections are meant.
        experiments: Names of experiments, and how the axis calls them, from top to bottom. One without results keeps
            its row, empty.
        measure: A column of the ledger.
        ax: Where to draw.
        lines: Names of experiments that become a vertical line each, and how the legend calls them.

    Returns:
        The axes.

    Raises:
        ReproductionError: If there is no such measure.

    Example:
        >>> row = {"experiment": "a", "preset": "p", "fold": "S1", "test": "S1", "seed": 0, "acg": 0.2, "date": ""}
        >>> ax = plot_methods(pd.DataFrame([row]), {"a": "method A", "b": "not run"}, "acg", plt.figure().gca())
        >>> [label.get_text() for label in ax.get_yticklabels()], len(ax.collections)
        (['method A', 'not run'], 2)
    """
    ax, colours = ax or plt.gca(), sns.color_palette(CLASS_PALETTE)
    for number, (name, label) in enumerate((lines or {}).items()):
        seeds = seed_averages(rows, name, measure)
        if len(seeds):
            style = {"color": colours[3 + 4 * number % 8], "linestyle": DASHES[number % len(DASHES)]}
            ax.axvline(seeds.mean(), linewidth=1.6, zorder=0, label=label, **style)
    for height, name in enumerate(experiments):
        seeds = seed_averages(rows, name, measure)
        if len(seeds):
            ax.scatter([seeds.mean()], [height], s=75, color=colours[0], zorder=2)
            ax.scatter(seeds, [height] * len(seeds), s=14, color=colours[1], edgecolor="white", linewidth=0.5, zorder=3)
    ax.set_yticks(range(len(experiments)), list(experiments.values()))
    ax.set(xlabel=measure, ylim=(len(experiments) - 0.4, -0.6))
    ax.grid(axis="y", color="0.92")
    ax.set_axisbelow(True)
    return ax


def plot_differences(differences: Mapping[str, Difference], ax: Axes | None = None) -> Axes:
    """Draw a row for each difference: a dot, filled if its interval leaves out 0, and the interval as a line.

    Args:
        differences: The differences, each under its name, from top to bottom.
        ax: Where to draw.

    Returns:
        The axes.

    Example:
        >>> ax = plot_differences({"A - B": Difference(0.02, 0.01, 0.03, 5, 785, (3, 3))}, plt.figure().gca())
        >>> ax.get_lines()[-1].get_markerfacecolor() == ax.get_lines()[-1].get_color()
        True
    """
    ax = ax or plt.gca()
    clear, unclear = (sns.color_palette(CLASS_PALETTE)[number] for number in (0, 7))
    ax.axvline(0, color="0.3", linewidth=0.9, zorder=0)
    for height, found in enumerate(differences.values()):
        colour = clear if found.clear else unclear
        ax.hlines(height, found.low, found.high, color=colour, linewidth=2)
        ax.plot(found.estimate, height, "o", color=colour, markerfacecolor=colour if found.clear else "white")
    ax.set_yticks(range(len(differences)), list(differences))
    ax.set(ylim=(len(differences) - 0.4, -0.6))
    ax.grid(axis="y", color="0.92")
    ax.set_axisbelow(True)
    return ax
