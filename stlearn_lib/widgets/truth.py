"""What was measured against what was predicted, with a border to move between them."""

import html

import numpy as np
from anndata import AnnData
from IPython.display import HTML
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.sections import section_name
from stlearn_lib.errors import GeneError
from stlearn_lib.plotting import plot_spots
from stlearn_lib.widgets.frames import FRAME_DPI, data_uri, figure_jpeg

# The style is in the element: a notebook has no style sheet of ours.
_PAGE = """<div class="stlearn-slider" style="--border: 50%; max-width: {width_px}px">
<div style="position: relative">
<img src="{measured}" alt="{measured_alt}" style="display: block; width: 100%">
<img src="{predicted}" alt="{predicted_alt}" style="position: absolute; inset: 0; width: 100%; \
height: 100%; clip-path: inset(0 0 0 var(--border))">
<div style="position: absolute; top: 0; bottom: 0; left: var(--border); border-left: 2px solid #222222"></div>
</div>
<label style="display: block">{gene}: measured left of the border, predicted right of it
<input type="range" min="0" max="100" value="50" style="display: block; width: 100%; margin: 0" \
oninput="this.closest('.stlearn-slider').style.setProperty('--border', this.value + '%')"></label>
</div>"""
_WIDTH_IN, _HEIGHT_IN = 10.0, 5.6


def truth_slider(section: AnnData, target: Target, gene: str, prediction: AnnData) -> HTML:
    """Lay the prediction of a gene over its measurement, with a border that the reader moves between them.

    Both pictures have the same tissue in the same place, and each its own colour scale: that of the measurement
    stands left, that of the prediction right. The slider is plain HTML with an inline handler, so a static page and a
    notebook show the same, without a kernel or a network. It was checked on pages in Chromium. JupyterLab, VS Code and
    Colab run inline handlers in outputs of the session; JupyterLab strips them where a notebook is not trusted.

    Args:
        section: The section, with counts and an image.
        target: The expression space, and the genes that its library sizes run over.
        gene: The gene, one of the target's.
        prediction: What a method predicted for the section's spots.

    Returns:
        The slider, which a notebook shows.

    Raises:
        GeneError: If the gene was not measured and predicted.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from stlearn_lib.data.synthetic import simulate_section
        >>> section = simulate_section("S1", Path(mkdtemp()))
        >>> truth_slider(section, Target(("FASN", "ERBB2")), "FASN", section).data.count("<img")
        2
    """
    if gene not in target.genes or gene not in prediction.var_names:
        raise GeneError(f"{gene} is not among the genes of target and prediction.")
    measured = expression(section, target)[:, target.genes.index(gene)]
    predicted = np.asarray(prediction[:, gene].to_df()).ravel()
    r = np.corrcoef(measured, predicted)[0, 1]
    where = f"{section.n_obs} spots of section {section_name(section)}"
    figures = {
        "measured": _draw(section, measured, f"{gene}, measured", target.space, "left"),
        "predicted": _draw(section, predicted, f"{gene}, predicted", target.space, "right"),
    }
    pictures = {kind: data_uri(figure_jpeg(figure, crop=False)) for kind, figure in figures.items()}
    page = _PAGE.format(
        **pictures,
        gene=html.escape(gene),
        width_px=round(_WIDTH_IN * FRAME_DPI),
        measured_alt=html.escape(f"{gene} measured in {where}: mean {measured.mean():.2f}, {_spread(measured)}."),
        predicted_alt=html.escape(
            f"{gene} predicted in the same spots: mean {predicted.mean():.2f}, {_spread(predicted)}; "
            f"it correlates with the measurement with r = {r:.2f}."
        ),
    )
    return HTML(page)


def _spread(values: np.ndarray) -> str:
    low, high = np.percentile(values, (1, 99))
    return f"colour scale from {low:.2f} to {high:.2f}"


def _draw(section: AnnData, values: np.ndarray, title: str, unit: str, side: str) -> Figure:
    """Draw spots in the same place whatever the title; title and colour bar stand on their side of the border."""
    with plt.rc_context({"font.size": 13}):
        figure = plt.figure(figsize=(_WIDTH_IN, _HEIGHT_IN))
        ax = figure.add_axes((0.14, 0.02, 0.72, 0.88))
        plot_spots(section, values, ax, colorbar=False).set_title("")
        ax.set_title(title, loc="left" if side == "left" else "right")
        bar = figure.add_axes((0.1 if side == "left" else 0.88, 0.15, 0.02, 0.6))
        figure.colorbar(ax.collections[-1], cax=bar, label=unit, ticklocation=side)
    return figure
