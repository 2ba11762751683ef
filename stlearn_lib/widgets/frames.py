"""A menu over figures.

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

from ipywidgets import Dropdown, Image, Layout, Stack, VBox, jslink
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

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


def _jpeg(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=FRAME_DPI, bbox_inches="tight", pil_kwargs={"quality": 80})
    plt.close(figure)
    return buffer.getvalue()
