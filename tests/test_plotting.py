import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from stlearn_lib import plotting
from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.methods.baselines import Ridge
from stlearn_lib.widgets import gene_picker

TARGET = Target(("ERBB2", "FASN", "COL1A1"))


@pytest.fixture(autouse=True)
def _no_window():
    mpl.use("agg")
    yield
    plt.close("all")


def circles(ax) -> PatchCollection:
    return next(c for c in ax.collections if isinstance(c, PatchCollection))


def test_spots_are_circles_of_their_true_size_at_their_place(section):
    values = np.arange(section.n_obs, dtype=float)
    ax = plotting.plot_spots(section, values, label="rank")
    boxes = [path.get_extents() for path in circles(ax).get_paths()]
    np.testing.assert_allclose(
        [((b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2) for b in boxes], section.obsm["spatial"], atol=1e-6
    )
    assert boxes[0].width == pytest.approx(75, rel=1e-3)  # 100 µm at 200/150 µm per pixel
    np.testing.assert_array_equal(circles(ax).get_array(), values)
    assert circles(ax).get_clim() == tuple(np.percentile(values, (1, 99)))
    assert "rank" in {other.get_ylabel() for other in ax.figure.axes}


def test_rows_run_downwards_like_the_image(section):
    bottom, top = plotting.plot_spots(section, tissue=False).get_ylim()
    assert bottom > top


def test_scale_bar_is_a_millimetre_and_simulated_tissue_says_so(section):
    ax = plotting.plot_tissue(section)
    (bar,) = ax.lines
    assert np.ptp(bar.get_xdata()) == pytest.approx(1000 / (200 / 150))
    assert {"1 mm", "simulated"} <= {text.get_text() for text in ax.texts}


def test_labels_have_a_legend_of_all_classes(section):
    ax = plotting.plot_labels(section, tissue=False)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(section.obs["label"].cat.categories)
    colours = {label: tuple(c) for label, c in zip(section.obs["label"], circles(ax).get_facecolors(), strict=True)}
    assert len(set(colours.values())) == len(colours)


def test_windows_are_those_that_are_cut(section):
    ax = plotting.plot_windows(section, 224, [0, 5])
    corners = [patch.get_xy() for patch in ax.patches if isinstance(patch, Rectangle)]
    np.testing.assert_allclose(corners, section.obsm["spatial"][[0, 5]] - 112)


def test_patches_side_by_side(section):
    axes = plotting.plot_patches(cut_patches(section)[:7], titles=list("abcdefg"), columns=3)
    assert [ax.get_title() for ax in axes] == list("abcdefg")


def test_scores_show_every_fold():
    table = pd.DataFrame({"method": ["a", "a", "b", "b"], "test": ["C2", "C3"] * 2, "acg": [0.1, 0.2, 0.3, 0.4]})
    ax = plotting.plot_scores(table, "acg", label="ACG")
    drawn = np.concatenate([c.get_offsets()[:, 0] for c in ax.collections if len(c.get_offsets())])
    np.testing.assert_allclose(sorted(drawn), [0.1, 0.2, 0.3, 0.4])
    assert ax.get_xlabel() == "ACG"


def test_gene_picker_has_a_state_without_a_kernel(cohort):
    prediction = Ridge(target=TARGET).fit(cohort[1:2]).predict(cohort[0])
    widget = gene_picker(cohort[0], TARGET, ["FASN", "ERBB2"], prediction)
    picker, stack = widget.children
    assert picker.options == ("FASN", "ERBB2") and stack.selected_index == 0
    page = widget.to_html()
    assert page.count("<option>") == 2 and page.count("data:image/jpeg;base64,") == 2
    assert page.count(" hidden>") == 1, "the first frame is shown"
    truth = expression(cohort[0], TARGET)[:, 1]
    r = np.corrcoef(truth, prediction.X[:, 1])[0, 1]
    assert f"FASN measured in 168 spots: mean {truth.mean():.2f}" in page and f"r = {r:.2f}" in page
    assert widget._repr_mimebundle_()["text/html"]
