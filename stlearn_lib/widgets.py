"""Widgets that work with a kernel and without one.

In a rendered page no Python answers. Frames are therefore drawn beforehand and linked to the control in the browser
(`jslink`), so that choosing works on the static page too, and the first frame is a figure in its own right.
"""

from collections.abc import Callable, Sequence
from io import BytesIO

import numpy as np
from anndata import AnnData
from ipywidgets import Dropdown, Image, Layout, Stack, VBox, jslink
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.plotting import plot_spots

FRAME_DPI = 60
FRAME_WIDTH = "480px"


def frame_picker(names: Sequence[str], draw: Callable[[str], Figure], *, label: str) -> VBox:
    """Let the reader choose among figures that are drawn beforehand.

    Args:
        names: The choices; the first is shown first.
        draw: Makes the figure of one choice; it is closed here.
        label: What is chosen.

    Returns:
        A dropdown over its figure.
    """
    frames = [_frame(draw(name)) for name in names]
    picker = Dropdown(options=list(names), index=0, description=label)
    stack = Stack(frames, selected_index=0)
    jslink((picker, "index"), (stack, "selected_index"))
    return VBox([picker, stack])


def gene_picker(section: AnnData, target: Target, genes: Sequence[str], prediction: AnnData | None = None) -> VBox:
    """Let the reader choose a gene and see it over the tissue, and its prediction beside it where there is one.

    Args:
        section: The section.
        target: The expression space, and the genes that its library sizes run over.
        genes: The genes to choose from, about ten, since each is drawn.
        prediction: What a method predicted for the section.

    Returns:
        A dropdown over its figure.
    """
    truth = expression(section, target)

    def draw(gene: str) -> Figure:
        panels = [("measured", truth[:, target.genes.index(gene)])]
        if prediction is not None:
            panels.append(("predicted", np.asarray(prediction[:, gene].X).ravel()))
        figure, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 4.2), squeeze=False)
        for ax, (title, values) in zip(axes[0], panels, strict=True):
            plot_spots(section, values, ax, label=f"{gene}, {target.space}").set_title(f"{gene}, {title}")
        return figure

    return frame_picker(genes, draw, label="Gene")


def _frame(figure: Figure) -> Image:
    buffer = BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=FRAME_DPI, bbox_inches="tight", pil_kwargs={"quality": 80})
    plt.close(figure)
    return Image(value=buffer.getvalue(), format="jpeg", layout=Layout(max_width="100%", width=FRAME_WIDTH))
