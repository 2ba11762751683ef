"""A prediction at a glance: the tissue, the genes that vary most, and how sure the model is."""

from pathlib import Path
from textwrap import fill

import numpy as np
from anndata import AnnData
from matplotlib.figure import Figure

from stlearn_lib.cache import written_whole
from stlearn_lib.data.sections import section_name
from stlearn_lib.plotting import plot_spots, plot_tissue

N_GENES = 3


def draw_preview(prediction: AnnData, path: Path) -> Path:
    """Draw a prediction: tissue, the most variable predicted genes, and the spread where there is one.

    Args:
        prediction: What `application.prediction.predict_slide` wrote, its image at hand.
        path: The picture, ``.png``.

    Returns:
        The path.

    Raises:
        ImageError: If the image cannot be read.
    """
    facts = prediction.uns["prediction"]
    genes = most_variable(prediction, N_GENES)
    n_panels = 1 + len(genes) + ("spread" in prediction.layers)
    page = Figure(figsize=(4 * n_panels, 4.4), layout="constrained")
    tissue, *others = np.atleast_1d(page.subplots(1, n_panels))
    plot_tissue(prediction, tissue).set_title("tissue")
    for gene, ax in zip(genes, others, strict=False):
        plot_spots(prediction, prediction.obs_vector(gene), ax, label=facts["space"], tissue=False).set_title(gene)
    if "spread" in prediction.layers:
        spread = prediction.layers["spread"].mean(axis=1)
        plot_spots(prediction, spread, others[-1], label="mean over genes", cmap="magma", tissue=False)
        others[-1].set_title("spread")
    title = (
        f"{section_name(prediction)}: expression predicted by {facts['method']}, trained on "
        f"{', '.join(facts['trained_on'])}. Nobody measured it here."
    )
    if facts["spread_kind"]:
        title += f" Spread: {facts['spread_kind']}."
    page.suptitle(fill(title, 35 * n_panels))
    with written_whole(path) as temporary:
        page.savefig(temporary, dpi=110)
    return path


def most_variable(prediction: AnnData, n: int) -> list[str]:
    """Return the n genes whose prediction varies most over the spots, the most variable first."""
    order = np.argsort(-np.asarray(prediction.X).var(axis=0, dtype=np.float64), kind="stable")
    return list(prediction.var_names[order[:n]])
