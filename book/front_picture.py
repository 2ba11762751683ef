"""Draw the picture of the landing page and the README: ``python book/front_picture.py``, a minute on real sections.

A ridge on colour and texture, as in chapter 5, is fitted on patient C and predicts B4, a patient that it never saw. Of
the most highly expressed genes, those that it predicts best, in the middle and worst are shown.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.sections import image_size, metadata_of, read_image, um_per_px_of, without_counts
from stlearn_lib.datasets import load_gene_list, load_sections
from stlearn_lib.evaluation import pearson_per_gene
from stlearn_lib.methods.baselines import Ridge

PICTURE = Path(__file__).parent / "images" / "prediction_B4.jpg"
TRAIN, TEST = ["C2", "C3", "C4", "C5", "C6"], "B4"
CONSIDERED = 50  # genes, the most highly expressed ones
PITCH_UM = 200
DISC = 0.82  # of the pitch: spots cover half of it, which is too little to be seen on a telephone


def well_middle_badly(truth: np.ndarray, predicted: np.ndarray, genes: pd.Index) -> pd.Series:
    """Return three genes with their correlations: of the most highly expressed, the best, the middle and the worst.

    Args:
        truth: Measured expression (N, G).
        predicted: Predicted expression (N, G).
        genes: Names, (G,).
    """
    highest = np.argsort(-truth.mean(axis=0))[:CONSIDERED]
    r = pd.Series(pearson_per_gene(truth, predicted), genes).iloc[highest].sort_values(ascending=False)
    return r.iloc[[0, len(r) // 2, -1]]


def draw_discs(section: AnnData, values: np.ndarray, ax: Axes) -> None:
    """Draw a disc for each spot, from dark for the lowest value to bright for the highest."""
    width = DISC * PITCH_UM / um_per_px_of(section)
    place = {"units": "xy", "offsets": section.obsm["spatial"], "offset_transform": ax.transData}
    discs = EllipseCollection(width, width, 0, array=values, cmap="viridis", linewidths=0, **place)
    discs.set_clim(*np.percentile(values, (2, 98)))
    ax.add_collection(discs)


def draw(section: AnnData, truth: np.ndarray, predicted: AnnData) -> plt.Figure:
    """Draw the tissue, and beside it three genes as measured and as predicted.

    Args:
        section: The section, with its image.
        truth: Measured expression (N, G).
        predicted: The prediction, its genes in the same order.
    """
    spots, margin = section.obsm["spatial"], 1.2 * PITCH_UM / um_per_px_of(section)
    (left, top), (right, bottom) = spots.min(axis=0) - margin, spots.max(axis=0) + margin
    figure = plt.figure(figsize=(10, 3.9), dpi=140)
    places = figure.subplot_mosaic("tt012;tt345", gridspec_kw={"wspace": 0.14, "hspace": 0.2})
    figure.subplots_adjust(left=0, right=1, bottom=0.01, top=0.9)
    width, height = image_size(section)
    places["t"].imshow(read_image(section, 1400), extent=(0, width, height, 0))
    three = well_middle_badly(truth, predicted.X, predicted.var_names)
    for place, (gene, r) in enumerate(three.items()):
        column = predicted.var_names.get_loc(gene)
        draw_discs(section, truth[:, column], places[str(place)])
        draw_discs(section, predicted.X[:, column], places[str(place + 3)])
        places[str(place)].set_title(gene, fontsize=17, pad=4)
        places[str(place + 3)].set_title(f"r = {r:.2f}".replace("-", "\N{MINUS SIGN}"), fontsize=16, pad=3)
    for place, row in (("0", "measured"), ("3", "predicted")):
        places[place].text(
            -0.03, 0.5, row, fontsize=15, rotation=90, ha="right", va="center", transform=places[place].transAxes
        )
    for ax in places.values():
        ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        ax.axis("off")
    return figure


def main() -> None:
    """Fit, predict, draw and save."""
    *train, test = load_sections([*TRAIN, TEST])
    if metadata_of(test)["simulated"]:
        sys.exit("The picture shows real tissue: set STLEARN_DATA_MIRROR, or connect to the network.")
    target = Target(load_gene_list("mclstexp_her2st"), "spot_log10_10k", gene_list="mclstexp_her2st")
    predicted = Ridge(target=target).fit(train).predict(without_counts(test))
    draw(test, expression(test, target), predicted).savefig(PICTURE, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    main()
