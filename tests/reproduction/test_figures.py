import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from stlearn_lib.errors import ReproductionError
from stlearn_lib.evaluation.cross_validation import POOLED
from stlearn_lib.reproduction.comparison import Difference
from stlearn_lib.reproduction.figures import plot_differences, plot_methods
from stlearn_lib.reproduction.ledger import seed_averages


@pytest.fixture
def ax():
    return Figure().subplots()


def ledger(*rows):
    """Rows of (experiment, seed, test, acg), a fold for each section."""
    table = pd.DataFrame(rows, columns=["experiment", "seed", "test", "acg"])
    return table.assign(preset="p", fold=table["test"], date=[f"2026-01-{day:02}" for day in range(1, len(table) + 1)])


TWO_SEEDS = ledger(
    ("a", 0, "S1", 0.1), ("a", 0, "S2", 0.3), ("a", 1, "S1", 0.2), ("a", 1, "S2", 0.6), ("b", 0, "S1", 0.5)
)


def test_a_seed_counts_with_all_its_sections_only():
    assert seed_averages(TWO_SEEDS, "a", "acg").to_dict() == pytest.approx({0: 0.2, 1: 0.4})
    lacking = TWO_SEEDS.drop(index=3)
    assert seed_averages(lacking, "a", "acg").to_dict() == pytest.approx({0: 0.2})
    assert seed_averages(TWO_SEEDS, "never run", "acg").empty
    with pytest.raises(ReproductionError, match="no measure 'beauty'"):
        seed_averages(TWO_SEEDS, "a", "beauty")


def test_the_newest_row_of_a_section_and_not_the_pooled_one():
    twice = ledger(("a", 0, "S1", 0.1), ("a", 0, "S1", 0.7), ("a", 0, POOLED, 0.9))
    assert seed_averages(twice, "a", "acg").to_dict() == pytest.approx({0: 0.7})


def test_an_undefined_measure_has_no_average():
    assert seed_averages(ledger(("a", 0, "S1", np.nan)), "a", "acg").empty


def test_a_large_dot_for_the_mean_small_ones_for_seeds_and_lines_for_references(ax):
    plot_methods(TWO_SEEDS, {"a": "method A", "none": "not run"}, "acg", ax, lines={"b": "ridge", "none": "gone"})
    mean, seeds = ax.collections
    np.testing.assert_allclose(mean.get_offsets(), [[0.3, 0]])
    np.testing.assert_allclose(seeds.get_offsets(), [[0.2, 0], [0.4, 0]])
    assert mean.get_sizes() > seeds.get_sizes()
    (line,) = ax.lines
    assert line.get_label() == "ridge" and set(line.get_xdata()) == {0.5}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["method A", "not run"] and ax.yaxis_inverted()


def test_an_interval_that_leaves_out_0_is_filled(ax):
    clear, unclear = Difference(0.02, 0.01, 0.03, 5, 9, (3, 1)), Difference(0.01, -0.01, 0.03, 5, 9, (3, 1))
    plot_differences({"clear": clear, "unclear": unclear}, ax)
    assert [segment.get_segments()[0][:, 0].tolist() for segment in ax.collections] == [[0.01, 0.03], [-0.01, 0.03]]
    zero, *dots = ax.lines
    assert list(zero.get_xdata()) == [0, 0]
    assert [dot.get_xdata()[0] for dot in dots] == [0.02, 0.01]
    assert dots[0].get_markerfacecolor() == dots[0].get_color() and dots[1].get_markerfacecolor() == "white"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["clear", "unclear"]
