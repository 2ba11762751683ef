"""What a temperature does to the certainty of one spot."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from anndata import AnnData
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.special import log_softmax
from scipy.stats import entropy
from sklearn.preprocessing import normalize

from stlearn_lib.data.sections import section_name
from stlearn_lib.errors import SectionError
from stlearn_lib.plotting import plot_spots
from stlearn_lib.widgets.frames import FramePicker, frame_picker
from stlearn_lib.widgets.spots import rows_of, spot_title

TEMPERATURES: Mapping[str, float] = MappingProxyType(
    {
        "1": 1.0,
        "0.5": 0.5,
        "0.1": 0.1,
        "0.07 (CLIP's start)": 0.07,
        "0.05": 0.05,
        "0.02": 0.02,
        "1/256 (mclSTExp's code)": 1 / 256,
    }
)
"""Temperatures for embeddings of length 1. mclSTExp's τ = 1 is 1/256, as its 256 numbers keep a length of 16."""
_BLUE, _PALE, _BLACK = "#0173b2", "#c8c8c8", "#222222"


def temperature_explorer(
    section: AnnData,
    queries: ArrayLike,
    keys: ArrayLike,
    spot: str,
    temperatures: Mapping[str, float] = TEMPERATURES,
) -> FramePicker:
    r"""Let the reader turn the temperature of a contrastive loss and see how certain one spot's image becomes.

    With the cosines $s_j$ of the spot's query and the keys of all N spots of the section, a frame shows the
    probabilities $p = \mathrm{softmax}(s / \tau)$, over the tissue and sorted; how many spots share them, $e^H$ with
    the entropy $H = -\sum_j p_j \ln p_j$; and the loss $-\ln p$ of the spot's own key, with its mean over the section.
    The embeddings are the same in all frames: only the temperature turns.

    Args:
        section: The section, N spots.
        queries: Embeddings that look, such as those of the images, (N, D).
        keys: Embeddings of the same spots that are to be found, such as those of their expression, (N, D).
        spot: The spot that looks, as in ``section.obs_names``.
        temperatures: Temperatures by the name that the slider shows, from flat to sharp; the first is shown first.

    Returns:
        The widget.

    Raises:
        SectionError: If the spot is not in the section, or the embeddings do not fit it.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from stlearn_lib.data.synthetic import simulate_section
        >>> section = simulate_section("S1", Path(mkdtemp()))
        >>> same = np.ones((section.n_obs, 2))  # nothing can be told apart
        >>> explorer = temperature_explorer(section, same, same, section.obs_names[0], {"1": 1.0, "0.1": 0.1})
        >>> "168.0 of 168 spots" in explorer.to_html()
        True
    """
    looking, found = np.asarray(queries, dtype=float), np.asarray(keys, dtype=float)
    if looking.ndim != 2 or looking.shape != found.shape or len(looking) != section.n_obs:
        raise SectionError(
            f"queries {looking.shape} and keys {found.shape} do not fit section {section_name(section)} "
            f"with {section.n_obs} spots: (N, D) both."
        )
    (row,) = rows_of(section, [spot])
    cosines = normalize(looking) @ normalize(found).T
    frames = {name: _certainty(cosines, row, tau) for name, tau in temperatures.items()}
    return frame_picker(
        list(frames),
        lambda name: _draw(section, row, frames, name),
        lambda name: (
            f"{spot_title(section, spot)} of section {section_name(section)}, τ = {name}: {_describe(frames[name])}"
        ),
        label="Temperature τ",
        ordered=True,
    )


class _Certainty(NamedTuple):
    """Log probabilities of the keys (N,), seen from one spot; its own key's rank; and the loss."""

    log_p: np.ndarray
    rank: int
    effective: float
    loss: float
    mean_loss: float


def _certainty(cosines: np.ndarray, row: int, tau: float) -> _Certainty:
    losses = 0 - np.diag(log_softmax(cosines / tau, axis=1))  # of certainty 0, and not -0
    log_p = log_softmax(cosines[row] / tau)
    rank = int((cosines[row] >= cosines[row, row]).sum())
    return _Certainty(log_p, rank, float(np.exp(entropy(np.exp(log_p)))), float(losses[row]), float(losses.mean()))


def _draw(section: AnnData, row: int, frames: Mapping[str, _Certainty], name: str) -> Figure:
    now = frames[name]
    with plt.rc_context({"font.size": 13}):
        figure, (place, ranks) = plt.subplots(1, 2, figsize=(9.6, 4), layout="constrained")
        times_guessing = (now.log_p + np.log(len(now.log_p))) / np.log(10)
        label = "log10 of probability / guessing"
        plot_spots(section, times_guessing, place, label=label, limits=(-2, 2), tissue=False)
        place.scatter(*section.obsm["spatial"][row], s=190, facecolor="none", edgecolor=_BLACK, linewidth=2)
        place.set_title(f"τ = {name}")
        _draw_ranks(ranks, now, [other.log_p for other in frames.values()])
    return figure


def _draw_ranks(ax: Axes, now: _Certainty, ladder: list[np.ndarray]) -> None:
    """Draw sorted probabilities, those of the other temperatures in grey behind."""
    n = len(now.log_p)
    for log_p, colour, width in [*((log_p, _PALE, 1) for log_p in ladder), (now.log_p, _BLUE, 3)]:
        ax.plot(np.arange(1, n + 1), np.exp(np.sort(log_p)[::-1]), color=colour, linewidth=width)
    ax.axhline(1 / n, color=_BLACK, linestyle="--", linewidth=1)
    ax.text(1, 0.8 / n, "guessing", va="top", fontsize=11)
    ax.axvline(now.effective, color=_BLUE, linestyle=":", linewidth=2)
    ax.plot(now.rank, np.exp(-now.loss), "o", markersize=11, color="none", markeredgecolor=_BLACK, markeredgewidth=2)
    ax.set(xscale="log", yscale="log", xlim=(0.85, 1.15 * n), ylim=(1e-5, 2))
    ax.set(xlabel="spots, most probable first", ylabel="probability")
    ax.set_title(
        f"exp(H) = {now.effective:.1f} of {n} spots\n"
        f"loss {now.loss:.2f}; section {now.mean_loss:.2f}, guessing {np.log(n):.2f}"
    )


def _describe(now: _Certainty) -> str:
    n = len(now.log_p)
    return (
        f"exp(H) = {now.effective:.1f} of {n} spots share the probability. The heaviest has "
        f"{np.exp(now.log_p.max()):.2%}, the spot itself {np.exp(-now.loss):.2%}, at rank {now.rank}. "
        f"Loss {now.loss:.2f}; mean over the section {now.mean_loss:.2f}, guessing costs {np.log(n):.2f}."
    )
