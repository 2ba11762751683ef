"""Genes over the tissue, one at a time."""

from collections.abc import Sequence

import numpy as np
from anndata import AnnData
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.plotting import plot_spots
from stlearn_lib.widgets.frames import FramePicker, frame_picker


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
