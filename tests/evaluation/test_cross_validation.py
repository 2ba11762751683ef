from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.genes import select_genes
from stlearn_lib.data.sections import section_name
from stlearn_lib.data.splits import Fold
from stlearn_lib.errors import SplitError
from stlearn_lib.evaluation import MEASURES, POOLED, Protocol, cross_validate, score, summarise
from stlearn_lib.evaluation.cross_validation import data_hash
from stlearn_lib.methods.base import Method
from stlearn_lib.methods.baselines import Ridge, TotalCountOracle, TrainingMean

TARGET = Target(("ERBB2", "FASN", "COL1A1", "SIM020", "SIM100"), gene_list="five")
LEAKY = Fold("S2", train=("S1",), test=("S2",))
CLEAN = Fold("T", train=("S1", "S2"), test=("T1", "T2"))


class Spy(Method):
    """Records what it is given, and predicts zero."""

    seen: ClassVar[list] = []  # shared with the copies that cross-validation makes
    validated: ClassVar[list] = []

    @property
    def name(self):
        return "spy"

    def _fit(self, sections, truths, validation):
        self.seen.append(("fit", [s.obs["section"].iloc[0] for s in sections], self.target))
        self.validated.append([section_name(section) for section in validation or ()])
        return {}

    def _predict(self, section):
        self.seen.append(("predict", section.X.nnz, section.obs.columns.tolist()))
        return np.zeros((section.n_obs, len(self.target.genes)))


def run(method, cohort, *folds, target=TARGET):
    return cross_validate(method, cohort, Protocol("test", folds, target), progress=False)


def test_table_holds_what_score_says(cohort):
    table = run(Ridge(), cohort, CLEAN)
    assert table["test"].tolist() == ["T1", "T2", POOLED]
    fitted = Ridge(target=TARGET).fit(cohort[:2])
    truths = [expression(section, TARGET) for section in cohort[2:]]
    guesses = [fitted.predict(section).X for section in cohort[2:]]
    for row, truth, guess in zip(
        table.itertuples(), [*truths, np.concatenate(truths)], [*guesses, np.concatenate(guesses)], strict=True
    ):
        expected = score(truth, guess)
        for name in MEASURES[:-2]:
            assert getattr(row, name) == pytest.approx(getattr(expected, name), rel=1e-9), name
        assert (row.n_spots, row.n_genes) == (len(truth), 5)


def test_rows_say_by_which_sections_an_epoch_was_chosen(cohort):
    fold = Fold("T", train=("S1",), test=("T1",))
    folds = (fold, replace(fold, validation=("S2",)), replace(fold, select_on_test=True))
    Spy.validated.clear()
    table = run(Spy(), cohort, *folds)
    assert table["selected_on"].tolist() == ["", "S2", "T1"] and Spy.validated == [[], ["S2"], ["T1"]]
    assert table["leaked_patients"].tolist() == ["", "", "T"]


def test_rows_carry_their_provenance(cohort):
    row = run(TotalCountOracle(), cohort, LEAKY).iloc[0]
    assert (row.protocol, row.fold, row.test, row.patient, row.leaked_patients) == ("test", "S2", "S2", "S", "S")
    assert (row.space, row.smooth, row.gene_list, row.weights) == ("spot_log10_10k", False, "five", "none")
    assert row.trained_on == "S1" and row.simulated and row.fit_s > 0
    assert "torch" in row.versions and "cores" in row.hardware
    assert run(TotalCountOracle(), cohort, CLEAN)["leaked_patients"].eq("").all()


def test_methods_see_no_counts_of_test_sections(cohort):
    Spy.seen.clear()
    run(Spy(), cohort, LEAKY, CLEAN)
    assert [entry[1] for entry in Spy.seen if entry[0] == "fit"] == [["S1"], ["S1", "S2"]]
    assert all(nnz == 0 and "label" not in columns for kind, nnz, columns in Spy.seen if kind == "predict")


def test_genes_are_chosen_on_training_sections(cohort):
    Spy.seen.clear()
    asked = []

    def choose(sections):
        asked.append([section.obs["section"].iloc[0] for section in sections])
        return Target(select_genes(sections, n_top=10, min_spots=20))

    run(Spy(), cohort, LEAKY, CLEAN, target=choose)
    assert asked == [["S1"], ["S1", "S2"]]
    assert Spy.seen[0][2].genes == select_genes(cohort[:1], n_top=10, min_spots=20)


def test_the_method_is_left_as_it_was(cohort):
    method = TrainingMean()
    run(method, cohort, LEAKY)
    assert not method.trained_on and method.target is None


def test_a_constant_prediction_is_counted_not_warned_about(cohort):
    row = run(TrainingMean(), cohort, LEAKY).iloc[0]
    assert row.n_undefined_genes == 5 and np.isnan(row.acg) and np.isnan(row.moran_prediction)
    assert np.isfinite(row.moran_truth) and np.isfinite(row.mse)


def test_unknown_and_doubled_sections(cohort):
    with pytest.raises(SplitError, match="fold X: no section Z9 was given"):
        run(TrainingMean(), cohort, Fold("X", train=("S1",), test=("Z9",)))
    with pytest.raises(SplitError, match="two sections have one name"):
        run(TrainingMean(), [*cohort, cohort[0]], LEAKY)


def test_summary_averages_sections_not_pooled_rows(cohort):
    table = run(Ridge(), cohort, LEAKY, CLEAN)
    summary = summarise(table)
    own = table[table["test"] != POOLED]
    assert len(summary) == 1 and summary["n_sections"].iloc[0] == 3
    assert summary["acg"].iloc[0] == pytest.approx(own["acg"].mean())


def test_data_hash_changes_with_a_single_count(cohort):
    changed = cohort[0].copy()
    changed.X.data[0] += 1
    assert data_hash([cohort[0]]) == data_hash([cohort[0].copy()]) != data_hash([changed])
