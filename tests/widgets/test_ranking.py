import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, rankdata

from stlearn_lib.errors import LossError
from stlearn_lib.losses.ranking import order_loss, similarity_rows
from stlearn_lib.widgets import ranking_explorer

SPOT = 4


def similarities(seed, n=12):
    rows = similarity_rows(torch.randn(n, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return rows.numpy()


def others(matrix):
    return np.delete(matrix[SPOT], SPOT)


def in_units_of_d(values, targets, variant):
    """What the library's loss charges one row: of a matrix in which every row is that row, all shifts."""
    t, v = (torch.from_numpy(np.tile(others(x), (len(x) - 1, 1))) for x in (targets, values))
    settings = {"shifts": None, "permutation": torch.arange(len(t))}
    unit = order_loss(torch.zeros_like(t), t, variant="ordered", **settings)  # the mean difference of the targets
    return (order_loss(v, t, variant=variant, **settings) / unit).item()


@pytest.mark.parametrize(
    ("case", "order", "tau", "released", "ordered"),
    [
        (lambda t: t, "100%", "1.00", 0, 0),
        (lambda t: 2 * t, "100%", "1.00", 1, 0),
        (lambda t: t / 2, "100%", "1.00", 0, 0.5),
        (lambda t: np.full_like(t, 0.1), "0%", "undefined", 0, 1),
        (lambda t: -t, "0%", "-1.00", 0, 2),
        (lambda t: -2 * t, "0%", "-1.00", 1, 3),
    ],
)
def test_cases_with_known_answers(figures, case, order, tau, released, ordered):
    targets = similarities(0)
    (text,) = ranking_explorer(targets, {"case": case(targets)}, SPOT)._descriptions.values()
    assert text.startswith(f"case: {order} of 55 pairs are in order, Kendall's tau {tau};")
    assert f"the released loss charges {released:.2f} D a pair" in text
    assert f"the ordered loss charges {ordered:.2f} D a pair" in text


def test_order_and_charges_are_those_of_scipy_and_the_losses(figures):
    targets, values = similarities(0), similarities(1)
    (text,) = ranking_explorer(targets, {"case": values}, SPOT)._descriptions.values()
    tau = kendalltau(others(targets), others(values)).statistic
    assert f"{(1 + tau) / 2:.0%} of 55 pairs are in order, Kendall's tau {tau:.2f}" in text
    for variant in ("released", "ordered"):
        assert f"the {variant} loss charges {in_units_of_d(values, targets, variant):.2f} D a pair" in text


def test_a_frame_shows_the_ranks_and_the_charged_pairs(figures):
    targets, values = similarities(0), similarities(1)
    ranking_explorer(targets, {"case": values}, SPOT)
    ranks, released, ordered = figures[0].axes
    drawn = np.array([line.get_ydata() for line in ranks.lines])
    np.testing.assert_array_equal(drawn.T, [rankdata(-others(targets)), rankdata(-others(values))])
    for ax, is_charged in ((released, lambda dt, dv: abs(dv) > dt), (ordered, lambda dt, dv: dv < dt)):
        free, charged = (np.asarray(dots.get_offsets()) for dots in ax.collections)
        assert len(free) + len(charged) == 55 and not is_charged(*free.T).any() and is_charged(*charged.T).all()
        assert np.concatenate([free, charged])[:, 0].min() >= 0, "each pair once, so that ΔT is not negative"


def test_the_first_version_is_shown_without_a_kernel():
    targets = similarities(0)
    explorer = ranking_explorer(targets, {"right": targets, "reversed": -targets}, SPOT)
    page = explorer.to_html()
    assert page.count("<option>") == 2 and page.count(" hidden>") == 1
    assert page.index("right: 100%") < page.index("reversed: 0%")


def test_what_does_not_fit_is_named():
    targets = similarities(0)
    with pytest.raises(LossError, match=r"'half': \(6, 12\)"):
        ranking_explorer(targets, {"half": targets[:6]}, SPOT)
    with pytest.raises(LossError, match="row 12"):
        ranking_explorer(targets, {"right": targets}, 12)
    with pytest.raises(LossError, match="B > 2"):
        ranking_explorer(targets[:2, :2], {"right": targets[:2, :2]}, 0)
