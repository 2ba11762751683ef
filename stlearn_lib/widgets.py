"""Widgets that work with a kernel and without one.

In a rendered page no Python answers. Frames are therefore drawn beforehand: with a kernel they are ipywidgets, linked
in the browser; on a static page the same widget shows itself as plain HTML, a menu over pictures, that needs neither a
kernel nor a network.
"""

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import uuid4

import numpy as np
import pandas as pd
from anndata import AnnData
from ipywidgets import Dropdown, Image, Layout, Stack, VBox, jslink
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.sections import section_name
from stlearn_lib.errors import GeneError, RetrievalError, SectionError
from stlearn_lib.plotting import plot_spots

if TYPE_CHECKING:  # a page without retrieval does without PyTorch
    import stlearn_lib.methods.mclstexp

FRAME_DPI = 60
_BLUE, _ORANGE, _PALE, _BLACK = "#0173b2", "#de8f05", "#a8cfe8", "#222222"  # of seaborn's "colorblind", and a tint

_PAGE = """<div class="stlearn-picker" id="{id}">
<label>{label}: <select onchange="document.querySelectorAll('#{id} img').forEach((frame, i) => \
frame.hidden = i !== this.selectedIndex)">{options}</select></label>
{images}
</div>"""


class FramePicker(VBox):
    """A menu over figures that were drawn beforehand.

    Args:
        frames: JPEG of each choice; the first is shown first.
        descriptions: Alternative text of each frame.
        label: What is chosen.
    """

    def __init__(self, frames: Mapping[str, bytes], descriptions: Mapping[str, str], *, label: str) -> None:
        self._frames, self._descriptions, self._label = dict(frames), dict(descriptions), label
        picker = Dropdown(options=list(frames), index=0, description=label)
        images = [Image(value=jpeg, format="jpeg", layout=Layout(max_width="100%")) for jpeg in frames.values()]
        stack = Stack(images, selected_index=0)
        jslink((picker, "index"), (stack, "selected_index"))
        super().__init__([picker, stack])

    def to_html(self) -> str:
        """Return the widget as HTML that needs no kernel and no network."""
        options = "".join(f"<option>{html.escape(name)}</option>" for name in self._frames)
        images = "\n".join(
            f'<img src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" '
            f'alt="{html.escape(self._descriptions[name])}"{" hidden" if i else ""}>'
            for i, (name, jpeg) in enumerate(self._frames.items())
        )
        return _PAGE.format(id=f"picker-{uuid4().hex}", label=html.escape(self._label), options=options, images=images)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return super()._repr_mimebundle_(**kwargs) | {"text/html": self.to_html()}


def frame_picker(
    names: Sequence[str], draw: Callable[[str], Figure], describe: Callable[[str], str], *, label: str
) -> FramePicker:
    """Let the reader choose among figures.

    Args:
        names: The choices; the first is shown first.
        draw: Makes the figure of one choice; it is closed here.
        describe: Says in words what the figure of one choice shows, for readers who do not see it.
        label: What is chosen.

    Returns:
        The widget.

    Example:
        >>> from matplotlib.figure import Figure
        >>> picker = frame_picker(["a", "b"], lambda name: Figure(), lambda name: f"empty figure {name}", label="Show")
        >>> picker.to_html().count("<img")
        2
    """
    return FramePicker(
        {name: _jpeg(draw(name)) for name in names}, {name: describe(name) for name in names}, label=label
    )


def gene_picker(
    section: AnnData, target: Target, genes: Sequence[str], prediction: AnnData | None = None
) -> FramePicker:
    """Let the reader choose a gene and see it over the tissue, and its prediction beside it where there is one.

    Args:
        section: The section.
        target: The expression space, and the genes that its library sizes run over.
        genes: The genes to choose from, about ten, since each is drawn.
        prediction: What a method predicted for the section.

    Returns:
        The widget.
    """
    truth = expression(section, target)

    def panels(gene: str) -> dict[str, np.ndarray]:
        measured = {"measured": truth[:, target.genes.index(gene)]}
        return measured if prediction is None else measured | {"predicted": np.asarray(prediction[:, gene].X).ravel()}

    def draw(gene: str) -> Figure:
        figure, axes = plt.subplots(1, len(panels(gene)), figsize=(5 * len(panels(gene)), 4.2), squeeze=False)
        for ax, (title, values) in zip(axes[0], panels(gene).items(), strict=True):
            plot_spots(section, values, ax, label=f"{gene}, {target.space}").set_title(f"{gene}, {title}")
        return figure

    def describe(gene: str) -> str:
        measured, *predicted = panels(gene).values()
        present = np.mean(measured > 0)
        text = f"{gene} measured in {section.n_obs} spots: mean {measured.mean():.2f}, present in {present:.0%} of them"
        if not predicted:
            return text + "."
        return text + f"; the prediction correlates with r = {np.corrcoef(measured, predicted[0])[0, 1]:.2f}."

    return frame_picker(genes, draw, describe, label="Gene")


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
    if unknown := [spot for spot in spots if spot not in section.obs_names]:
        raise SectionError(f"section {section_name(section)} has no spot {', '.join(unknown)}: see obs_names.")
    if gene not in target.genes:
        raise GeneError(f"{gene} is none of the {len(target.genes)} genes that {method.name} predicts.")
    if not 1 <= n <= indices.shape[1]:
        raise RetrievalError(f"n = {n} patches of {indices.shape[1]} borrowed spots: choose a number in between.")
    values = {name: expression(other, target)[:, target.genes.index(gene)] for name, other in trained.items()}
    measured = expression(section, target)[:, target.genes.index(gene)]

    def evidence(spot: str) -> _Evidence:
        row = int(section.obs_names.get_loc(spot))
        order = np.argsort(-weights[row], kind="stable")
        keys = [method.key_spot(int(index)) for index in indices[row, order]]
        borrowed = pd.DataFrame(keys, columns=["section", "row"]).assign(weight=weights[row, order])
        borrowed["spot"] = [trained[name].obs_names[i] for name, i in keys]
        borrowed["value"] = [values[name][i] for name, i in keys]
        return _Evidence(row, borrowed, n, float(measured[row]), float(prediction[row, gene].X.item()))

    of = {_spot_title(section, spot): evidence(spot) for spot in spots}
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
    _mark(places[0], section, [row], _BLACK).set_title(f"{section_name(section)}: the spot")
    for ax, (name, other) in zip(places[1:], trained.items(), strict=True):
        here = borrowed[borrowed["section"] == name]
        _mark(ax, other, here["row"], _PALE).set_title(f"{name}: {len(here)} borrowed")
        _mark(ax, other, here["row"][here.index < n], _BLUE)
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


def _spot_title(section: AnnData, spot: str) -> str:
    label = section.obs["label"].get(spot) if "label" in section.obs else None
    return f"spot {spot}" if label is None or pd.isna(label) else f"spot {spot} ({label})"


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


def _mark(ax: Axes, section: AnnData, rows: ArrayLike, colour: str) -> Axes:
    """Colour some spots of a section; the others are grey, where nothing has been drawn yet."""
    if not ax.collections:
        plot_spots(section, np.zeros(section.n_obs), ax, cmap="Greys", limits=(-1, 6), tissue=False, colorbar=False)
        ax.set_frame_on(False)
    x, y = section.obsm["spatial"][np.asarray(rows, dtype=int)].T
    ax.scatter(x, y, s=34, color=colour, zorder=3)
    return ax


def _jpeg(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=FRAME_DPI, bbox_inches="tight", pil_kwargs={"quality": 80})
    plt.close(figure)
    return buffer.getvalue()
