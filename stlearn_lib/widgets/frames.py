"""A menu over figures, or a slider where the choices have an order.

In a rendered page no Python answers. Frames are therefore drawn beforehand: with a kernel they are ipywidgets, linked
in the browser; on a static page the same widget shows itself as plain HTML, a menu over pictures, that needs neither a
kernel nor a network.
"""

import base64
import html
import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

from ipywidgets import Dropdown, Image, Layout, SelectionSlider, Stack, VBox, jslink
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

FRAME_DPI = 60

_PAGE = """<div class="stlearn-picker">
<label>{label}: {control}
<div aria-live="polite">
{images}
</div>
</div>"""
_SHOW = (
    "const chosen = this.selectedIndex ?? Number(this.value), picker = this.closest('.stlearn-picker'); "
    "picker.querySelectorAll('img').forEach((frame, i) => frame.hidden = i !== chosen)"
)
_MENU = f'<select onchange="{_SHOW}">{{options}}</select></label>'
# The slider tells its value itself, so that the label beside it need not be read aloud, too.
_SLIDER = (
    '<input type="range" min="0" max="{last}" value="0" aria-valuetext="{first}" data-names="{names}" '
    f'oninput="{_SHOW}; const name = JSON.parse(this.dataset.names)[chosen]; '
    "this.setAttribute('aria-valuetext', name); picker.querySelector('output').value = name\"></label>\n"
    '<output aria-live="off">{first}</output>'
)


class FramePicker(VBox):
    """A menu, or a slider, over figures that were drawn beforehand.

    Args:
        frames: JPEG of each choice; the first is shown first.
        descriptions: Alternative text of each frame.
        label: What is chosen.
        ordered: Whether the choices have an order: then a slider runs through them.
    """

    def __init__(
        self, frames: Mapping[str, bytes], descriptions: Mapping[str, str], *, label: str, ordered: bool = False
    ) -> None:
        self._frames, self._descriptions, self._label = dict(frames), dict(descriptions), label
        self._ordered = ordered
        control = SelectionSlider if ordered else Dropdown
        picker = control(
            options=list(frames), index=0, description=label, layout=Layout(max_width="100%", width="36rem")
        )
        picker.style.description_width = "initial"  # else long labels are cut
        images = [Image(value=jpeg, format="jpeg", layout=Layout(max_width="100%")) for jpeg in frames.values()]
        stack = Stack(images, selected_index=0)
        jslink((picker, "index"), (stack, "selected_index"))
        super().__init__([picker, stack])

    def to_html(self) -> str:
        """Return the widget as HTML that needs no kernel and no network."""
        images = "\n".join(
            f'<img src="{data_uri(jpeg)}" alt="{html.escape(self._descriptions[name])}"{" hidden" if i else ""}>'
            for i, (name, jpeg) in enumerate(self._frames.items())
        )
        return _PAGE.format(label=html.escape(self._label), control=self._control(), images=images)

    def _control(self) -> str:
        names = list(self._frames)
        if self._ordered:
            first, encoded = html.escape(names[0]), html.escape(json.dumps(names, ensure_ascii=False))
            return _SLIDER.format(last=len(names) - 1, first=first, names=encoded)
        return _MENU.format(options="".join(f"<option>{html.escape(name)}</option>" for name in names))

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return super()._repr_mimebundle_(**kwargs) | {"text/html": self.to_html()}


def frame_picker(
    names: Sequence[str],
    draw: Callable[[str], Figure],
    describe: Callable[[str], str],
    *,
    label: str,
    ordered: bool = False,
) -> FramePicker:
    """Let the reader choose among figures.

    Args:
        names: The choices; the first is shown first.
        draw: Makes the figure of one choice; it is closed here.
        describe: Says in words what the figure of one choice shows, for readers who do not see it.
        label: What is chosen.
        ordered: Whether the choices have an order, such as settings or steps: then a slider runs through them.

    Returns:
        The widget.

    Example:
        >>> from matplotlib.figure import Figure
        >>> picker = frame_picker(["a", "b"], lambda name: Figure(), lambda name: f"empty figure {name}", label="Show")
        >>> picker.to_html().count("<img")
        2
    """
    return FramePicker(
        {name: figure_jpeg(draw(name)) for name in names},
        {name: describe(name) for name in names},
        label=label,
        ordered=ordered,
    )


def figure_jpeg(figure: Figure, *, crop: bool = True) -> bytes:
    """Return a figure as a small JPEG, and close it; without `crop` it has the figure's exact size."""
    buffer = BytesIO()
    figure.savefig(
        buffer,
        format="jpeg",
        dpi=FRAME_DPI,
        bbox_inches="tight" if crop else None,
        pil_kwargs={"quality": 80, "optimize": True, "progressive": True},
    )
    plt.close(figure)
    return buffer.getvalue()


def data_uri(jpeg: bytes) -> str:
    """Return the address under which a page that holds the JPEG itself shows it."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
