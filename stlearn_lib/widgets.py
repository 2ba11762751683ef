"""Widgets that work with a kernel and without one.

In a rendered page no Python answers. Frames are therefore drawn beforehand: with a kernel they are ipywidgets, linked
in the browser; on a static page the same widget shows itself as plain HTML, a menu over pictures, that needs neither a
kernel nor a network.
"""

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any
from uuid import uuid4

import numpy as np
from anndata import AnnData
from ipywidgets import Dropdown, Image, Layout, Stack, VBox, jslink
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.plotting import plot_spots

FRAME_DPI = 60

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


def _jpeg(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=FRAME_DPI, bbox_inches="tight", pil_kwargs={"quality": 80})
    plt.close(figure)
    return buffer.getvalue()
