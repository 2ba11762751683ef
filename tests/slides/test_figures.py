import numpy as np
import pytest
from lifelines.datasets import load_waltons
from lifelines.statistics import logrank_test
from matplotlib.figure import Figure

from stlearn_lib.datasets import load_sections
from stlearn_lib.errors import BagError, EvaluationError
from stlearn_lib.slides.bags import Bag
from stlearn_lib.slides.figures import log_rank_p, plot_attention, plot_survival


@pytest.fixture
def ax():
    return Figure().subplots()


def test_the_log_rank_test_is_that_of_two_groups_by_hand():
    waltons = load_waltons()
    control = waltons[waltons["group"] == "control"]
    treated = waltons[waltons["group"] != "control"]
    expected = logrank_test(control["T"], treated["T"], control["E"], treated["E"]).p_value
    assert log_rank_p(waltons["T"], waltons["E"], waltons["group"]) == pytest.approx(expected)


def test_curves_are_kaplan_and_meiers_with_bands_p_value_and_numbers_at_risk(ax):
    time, event = [1, 2, 3, 4, 2, 4, 6, 8], [1, 1, 0, 1, 1, 1, 1, 0]
    plot_survival(time, event, [True] * 4 + [False] * 4, ax, names={True: "high", False: "low"})
    low, high = (line for line in ax.lines if line.get_label() in ("low", "high"))
    assert (low.get_label(), high.get_label()) == ("low", "high") and low.get_linestyle() != high.get_linestyle()
    drops = dict(zip(*high.get_data(), strict=True))
    assert [drops[t] for t in (1, 2, 3, 4)] == pytest.approx([3 / 4, 2 / 4, 2 / 4, 0])
    assert len(ax.collections) == 2, "two bands"
    assert ax.get_title().startswith("log-rank p = 0.") and ax.get_xlabel() == "time (months)"
    at_risk = {(text.get_position()[0], round(text.get_position()[1], 2)): text.get_text() for text in ax.texts}
    height = {text.get_text(): round(text.get_position()[1], 2) for text in ax.texts}
    for tick in (0, 2, 4):
        assert at_risk[tick, height["high"]] == str(sum(t >= tick for t in time[:4]))
        assert at_risk[tick, height["low"]] == str(sum(t >= tick for t in time[4:]))


@pytest.mark.parametrize(
    ("time", "event", "group", "message"),
    [
        ([1, 2], [1, 1], ["a"], "of one length"),
        ([1, 2], [1, 1], ["a", "a"], "1 groups and 2 events"),
        ([1, 2], [0, 0], ["a", "b"], "2 groups and 0 events"),
    ],
)
def test_groups_that_cannot_be_compared(ax, time, event, group, message):
    with pytest.raises(EvaluationError, match=message):
        plot_survival(time, event, group, ax)


def test_attention_over_a_section_and_over_a_bag(section, simulated):
    bag, shares = simulated.bag("simulated 1"), np.full(64, 1 / 64)
    ax = plot_attention(bag, shares, Figure().subplots())
    (squares,) = ax.collections
    np.testing.assert_allclose(squares.get_array(), 1)
    boxes = [path.get_extents() for path in squares.get_paths()]
    assert {(box.width, box.height) for box in boxes} == {(256, 256)} and ax.yaxis_inverted()
    assert "simulated" in [text.get_text() for text in ax.texts]
    ax = plot_attention(section, np.arange(168) / np.arange(168).sum(), Figure().subplots())
    np.testing.assert_allclose(ax.collections[0].get_array().mean(), 1)


def test_attention_over_a_real_section_lies_on_its_tissue(mirror):
    (section,) = load_sections(["A1"], allow_simulated=False)
    ax = plot_attention(section, np.full(346, 1 / 346), Figure().subplots())
    (tissue,), (circles,) = ax.images, ax.collections
    left, right, bottom, top = tissue.get_extent()
    image = np.asarray(tissue.get_array())
    rows, columns = image.shape[:2]
    x, y = section.obsm["spatial"].T
    at = ((y - top) / (bottom - top) * rows).astype(int), ((x - left) / (right - left) * columns).astype(int)
    corner = image[: rows // 50, : columns // 50]
    assert len(circles.get_paths()) == 346 and image[at].mean() < corner.mean() - 40, "stained, where glass is bright"


def test_attention_that_does_not_fit(section, ax):
    with pytest.raises(BagError, match=r"each of 168 patches, not \(3,\)"):
        plot_attention(section, np.ones(3), ax)
    with pytest.raises(BagError, match="no coordinates"):
        plot_attention(Bag("S", np.ones((3, 2))), np.ones(3), ax)
