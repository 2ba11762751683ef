"""Look behind a prediction that was borrowed: from whom, and what."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.sections import section_name
from stlearn_lib.errors import GeneError, RetrievalError, SectionError
from stlearn_lib.widgets.frames import FramePicker, frame_picker
from stlearn_lib.widgets.spots import mark_spots, rows_of, spot_title

if TYPE_CHECKING:  # a page without retrieval does without PyTorch
    import stlearn_lib.methods.mclstexp

_BLUE, _ORANGE, _PALE, _BLACK = "#0173b2", "#de8f05", "#a8cfe8", "#222222"  # of seaborn's "colorblind", and a tint


def retrieval_viewer(
    method: "stlearn_lib.methods.mclstexp.MclSTExp",
    section: AnnData,
    training_sections: Sequence[AnnData],
    spots: Sequence[str],
    gene: str,
    *,
    n: int = 8,
) -> FramePicker:
    """Let the reader choose a spot and see whose expression is borrowed for it.

    A frame shows the spot's patch, the n training patches of largest weight with their sections, places and weights,
    for one gene what was measured, borrowed and predicted, and on a map of each section where the spot and all
    borrowed spots lie.

    Args:
        method: A fitted method that predicts by retrieval; it looks at the section's image only.
        section: The section that is predicted, with counts to compare with.
        training_sections: The sections that the method was fitted on, in any order.
        spots: Names of the spots to choose from, as in ``section.obs_names``; about six, since each is drawn.
        gene: The gene to show, one of the method's target.
        n: How many training patches to show.

    Returns:
        The widget. A spot's entry is its place, ``"spot 12x17"``, and its label where a pathologist gave one.

    Raises:
        NotFittedError: If the method was not fitted.
        SectionError: If a spot is not in the section, or a section that the method was fitted on is missing or has
            another number of spots.
        GeneError: If the gene is not in the method's target.
        RetrievalError: If n is not in 1 to the number of spots that the method borrows from.
    """
    prediction, found = method.predict(section), method.neighbours(section)
    indices, weights = np.asarray(found.indices), np.asarray(found.weights)
    trained, target = _trained_on(method, training_sections), cast(Target, method.target)
    rows = rows_of(section, spots)
    if gene not in target.genes:
        raise GeneError(f"{gene} is none of the {len(target.genes)} genes that {method.name} predicts.")
    if not 1 <= n <= indices.shape[1]:
        raise RetrievalError(f"n = {n} patches of {indices.shape[1]} borrowed spots: choose a number in between.")
    values = {name: expression(other, target)[:, target.genes.index(gene)] for name, other in trained.items()}
    measured = expression(section, target)[:, target.genes.index(gene)]

    def evidence(row: int) -> _Evidence:
        order = np.argsort(-weights[row], kind="stable")
        keys = [method.key_spot(int(index)) for index in indices[row, order]]
        borrowed = pd.DataFrame(keys, columns=["section", "row"]).assign(weight=weights[row, order])
        borrowed["spot"] = [trained[name].obs_names[i] for name, i in keys]
        borrowed["value"] = [values[name][i] for name, i in keys]
        return _Evidence(row, borrowed, n, float(measured[row]), float(prediction[row, gene].X.item()))

    of = {spot_title(section, spot): evidence(row) for spot, row in zip(spots, rows, strict=True)}
    label = f"{gene}, {target.space}"
    return frame_picker(
        list(of),
        lambda title: _draw_evidence(of[title], title, section, trained, label),
        lambda title: _describe_evidence(of[title], title, section, trained, gene),
        label="Spot",
    )


class _Evidence(NamedTuple):
    """What stands behind the prediction of one gene in one spot; `borrowed` is sorted by weight, heaviest first."""

    row: int
    borrowed: pd.DataFrame
    n: int
    measured: float
    predicted: float


def _draw_evidence(
    evidence: _Evidence, title: str, section: AnnData, trained: Mapping[str, AnnData], label: str
) -> Figure:
    row, borrowed, n, *_ = evidence
    figure = plt.figure(figsize=(10.5, 7.4), layout="constrained")
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.25, 1))
    columns = -(-n // 2)
    ((left, middle, right),) = above.subfigures(1, 3, squeeze=False, width_ratios=(1.1, columns / 2, 1.1))
    where = f"{section_name(section)} {title.removeprefix('spot ')}"
    _show_patch(left.subplots(), cut_patches(section)[row], where, 13)
    grid = middle.subplots(2, columns, squeeze=False).flat
    for ax, name, i, spot, weight in zip(
        grid, borrowed["section"], borrowed["row"], borrowed["spot"], borrowed["weight"], strict=False
    ):
        _show_patch(ax, cut_patches(trained[name])[i], f"{name} {spot}\n{weight:.2%}", 11)
    for ax in middle.axes[n:]:
        ax.remove()
    _show_values(right.subplots(), evidence, label)
    places = np.atleast_1d(below.subplots(1, 1 + len(trained)))
    mark_spots(places[0], section, [row], _BLACK).set_title(f"{section_name(section)}: the spot")
    for ax, (name, other) in zip(places[1:], trained.items(), strict=True):
        here = borrowed[borrowed["section"] == name]
        mark_spots(ax, other, here["row"], _PALE).set_title(f"{name}: {len(here)} borrowed")
        mark_spots(ax, other, here["row"][here.index < n], _BLUE)
    return figure


def _describe_evidence(
    evidence: _Evidence, title: str, section: AnnData, trained: Mapping[str, AnnData], gene: str
) -> str:
    _, borrowed, n, measured, predicted = evidence
    shown = borrowed.head(n)
    heaviest = ", ".join(
        f"{name} {spot} ({value:.2f})"
        for name, spot, value in zip(shown["section"], shown["spot"], shown["value"], strict=True)
    )
    shares = ", ".join(f"{(borrowed['section'] == name).sum()} of {name}" for name in trained)
    return (
        f"Patch of {title} of section {section_name(section)} beside the {n} training patches of largest weight. "
        f"{gene}: measured {measured:.2f}, predicted {predicted:.2f} from {len(borrowed)} training spots, {shares}. "
        f"The heaviest, with their values: {heaviest}; their weights run from {shown['weight'].min():.2%} to "
        f"{shown['weight'].max():.2%}."
    )


def _trained_on(method: "stlearn_lib.methods.mclstexp.MclSTExp", sections: Sequence[AnnData]) -> dict[str, AnnData]:
    """The sections that a method was fitted on, by name, in its order; they must be the same ones."""
    by_name = {section_name(section): section for section in sections}
    for name, n_spots in method.learnt["key_sections"]:
        if name not in by_name:
            raise SectionError(f"{method.name} was fitted on section {name} too: pass it with the training sections.")
        if by_name[name].n_obs != n_spots:
            raise SectionError(f"{method.name} was fitted on {n_spots} spots of {name}, not on {by_name[name].n_obs}.")
    return {name: by_name[name] for name, _ in method.learnt["key_sections"]}


def _show_patch(ax: Axes, patch: np.ndarray, title: str, fontsize: int) -> None:
    ax.imshow(patch)
    ax.set_title(title, fontsize=fontsize)
    ax.set(xticks=[], yticks=[])


def _show_values(ax: Axes, evidence: _Evidence, label: str) -> None:
    """Draw borrowed values as dots, the heaviest dark, between the lines of prediction and measurement."""
    values, n = evidence.borrowed["value"].to_numpy(), evidence.n
    across = np.random.default_rng(0).uniform(-0.3, 0.3, len(values))  # so that equal values stay apart
    ax.scatter(across, values, s=16, color=_PALE, label=f"all {len(values)}")
    ax.scatter(across[:n], values[:n], s=36, color=_BLUE, label=f"the {n} heaviest")
    ax.axhline(evidence.predicted, color=_ORANGE, linewidth=2.5, label="prediction")
    ax.axhline(evidence.measured, color=_BLACK, linewidth=2.5, linestyle="--", label="measured")
    ax.set(xlim=(-0.5, 0.5), xticks=[], ylabel=label)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, frameon=False)
