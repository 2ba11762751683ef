"""What ranking losses charge for, seen from one spot."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.stats import kendalltau, rankdata

from stlearn_lib.errors import LossError
from stlearn_lib.widgets.frames import FramePicker, frame_picker

_ORANGE, _PALE, _SHADE = "#de8f05", "#8fb8d6", "#eeeeee"
_NOTHING = 1e-9  # of D: what rounding leaves


def ranking_explorer(targets: ArrayLike, versions: Mapping[str, ArrayLike], spot: int) -> FramePicker:
    r"""Let the reader choose image similarities and see what the two ranking losses charge them for.

    A frame looks from one spot at the others. On the left a line for each of them runs from its rank by expression to
    its rank by image: where two lines cross, the two orders contradict each other. On the right a dot for each pair
    of others shows how much its image similarities differ, $\Delta V$, against how much those of the genes do,
    $\Delta T \ge 0$: below zero is contradiction. Orange pairs are charged, above by the released formula, below by
    the ordered one (`losses.ranking.order_loss`). Differences and charges are in units of D, the mean $\Delta T$.

    Args:
        targets: Similarities of the spots by expression, (B, B), such as `losses.ranking.similarity_rows`.
        versions: Similarities by image, (B, B), by name; the first is shown first.
        spot: The row to look at.

    Returns:
        The widget.

    Raises:
        LossError: If the similarities do not fit one another, or there is no such row.

    Example:
        >>> order = np.tile([0.0, 3.0, 2.0, 1.0], (4, 1))  # seen from spot 0, the others in this order
        >>> explorer = ranking_explorer(order, {"right": order, "reversed": -order}, 0)
        >>> [text.split(",")[0] for text in explorer.to_html().split('alt="')[1:]]
        ['right: 100% of 3 pairs are in order', 'reversed: 0% of 3 pairs are in order']
    """
    wanted = np.asarray(targets, dtype=float)
    n = len(wanted)
    shapes = {name: np.shape(matrix) for name, matrix in {"targets": targets, **versions}.items()}
    if n < 3 or any(shape != (n, n) for shape in shapes.values()) or not 0 <= spot < n:
        raise LossError(f"similarities (B, B) of B > 2 spots and a row of them are needed, not {shapes}, row {spot}.")
    t = np.delete(wanted[spot], spot)
    views = {
        name: _View.of(t, np.delete(np.asarray(matrix, dtype=float)[spot], spot)) for name, matrix in versions.items()
    }
    return frame_picker(
        list(views),
        lambda name: _draw(views[name], name),
        lambda name: f"{name}: {views[name].describe()}",
        label="Similarities by image",
    )


class _View(NamedTuple):
    """The others' ranks by expression and by image, (B - 1,), and their pairs, (P,), in units of the mean ΔT."""

    ranks: tuple[np.ndarray, np.ndarray]
    tau: float
    dt: np.ndarray
    dv: np.ndarray

    @classmethod
    def of(cls, t: np.ndarray, v: np.ndarray) -> "_View":
        one, other = np.triu_indices(len(t), 1)
        turned = np.where(t[one] < t[other], -1, 1)  # each pair so that ΔT is not negative
        dt, dv = (turned * (x[one] - x[other]) for x in (t, v))
        return cls((rankdata(-t), rankdata(-v)), float(kendalltau(t, v).statistic), dt / dt.mean(), dv / dt.mean())

    @property
    def charges(self) -> dict[str, np.ndarray]:
        """What each loss charges each pair."""
        return {
            "released": np.maximum(0, np.abs(self.dv) - self.dt),
            "ordered": np.maximum(0, self.dt - np.sign(self.dt) * self.dv),
        }

    @property
    def in_order(self) -> float:
        """Share of pairs in the same order; a tie on one side counts as wrong."""
        return float((np.sign(self.dt) == np.sign(self.dv)).mean())

    @property
    def tau_text(self) -> str:
        """Kendall's tau in words."""
        return "tau undefined" if np.isnan(self.tau) else f"tau {self.tau:.2f}"

    def describe(self) -> str:
        charged = "; ".join(
            f"the {loss} loss charges {cost.mean():.2f} D a pair, and {(cost > _NOTHING).mean():.0%} of the pairs"
            for loss, cost in self.charges.items()
        )
        return f"{self.in_order:.0%} of {len(self.dt)} pairs are in order, Kendall's {self.tau_text}; {charged}."


def _draw(view: _View, name: str) -> Figure:
    with plt.rc_context({"font.size": 13}):
        figure = plt.figure(figsize=(9.6, 5.2), layout="constrained")
        axes = figure.subplot_mosaic([["ranks", "released"], ["ranks", "ordered"]], width_ratios=(1, 1.25))
        _draw_ranks(axes["ranks"], view, name)
        for loss, cost in view.charges.items():
            _draw_pairs(axes[loss], view, cost)
            axes[loss].set_title(f"{loss} charges {cost.mean():.2f} D a pair")
        axes["ordered"].set_xlabel("genes differ by ΔT, in D")
    return figure


def _draw_ranks(ax: Axes, view: _View, name: str) -> None:
    colours = plt.get_cmap("viridis")((view.ranks[0] - 1) / len(view.ranks[0]))
    for by_gene, by_image, colour in zip(*view.ranks, colours, strict=True):
        ax.plot((0, 1), (by_gene, by_image), color=colour, linewidth=1.4)
    ax.set(xticks=(0, 1), xticklabels=("by expression", "by image"), yticks=(1, len(colours)), xlim=(-0.05, 1.05))
    ax.set_yticklabels(("most\nalike", "least"))
    ax.invert_yaxis()
    ax.set_frame_on(False)
    ax.set_title(f"{name}\n{view.in_order:.0%} of pairs in order, {view.tau_text}")


def _draw_pairs(ax: Axes, view: _View, cost: np.ndarray) -> None:
    charged = cost > _NOTHING
    reach = max(np.abs(view.dv).max(), view.dt.max())
    ax.axhspan(-reach, 0, color=_SHADE, zorder=0)
    for some, colour in ((~charged, _PALE), (charged, _ORANGE)):
        ax.scatter(view.dt[some], view.dv[some], s=9, color=colour, linewidth=0)
    ax.axline((0, 0), slope=1, color="black", linewidth=1)
    ax.set(xlim=(0, view.dt.max()), ylim=(-reach, reach), ylabel="images by ΔV")
