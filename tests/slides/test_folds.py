import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stlearn_lib.data.splits import leaks
from stlearn_lib.errors import SplitError
from stlearn_lib.slides.folds import stratified_folds, with_validation


def slides(patients, column="label", values=("a", "b")):
    """Return a table of one or two slides of each patient, every other of the second value."""
    rows = [(f"s{p}.{i}", f"P{p}", values[p % 2]) for p in range(patients) for i in range(1 + p % 3 // 2)]
    return pd.DataFrame(rows, columns=["slide", "patient", column]).set_index("slide")


@settings(deadline=None, max_examples=30)
@given(
    patients=st.integers(12, 40),
    n_splits=st.integers(2, 5),
    seed=st.integers(0, 99),
    kind=st.sampled_from([("label", ("a", "b")), ("event", (0, 1))]),
)
def test_folds_divide_whole_patients_alike(patients, n_splits, seed, kind):
    table = slides(patients, *kind)
    folds = stratified_folds(table, n_splits=n_splits, seed=seed)
    assert sorted(slide for fold in folds for slide in fold.test) == sorted(table.index)
    for fold in folds:
        assert not leaks(fold, table["patient"].to_dict()) and len(fold.train + fold.test) == len(table)
        shares = table.loc[list(fold.test), kind[0]].value_counts(normalize=True)
        assert len(shares) == 2 and shares.min() > 0.15, "both in every fold, neither rare"
    assert folds == stratified_folds(table.sample(frac=1, random_state=0), n_splits=n_splits, seed=seed)


@pytest.mark.parametrize(
    ("table", "n_splits", "message"),
    [
        (slides(3), 4, "3 patients cannot be divided into 4 folds"),
        (slides(10), 1, "cannot be divided into 1 folds"),
        (slides(10, values=("a", "a")), 3, "all slides have the same label, 'a'"),
        (slides(10, "event", (0, 0)), 3, "all slides have the same event, 'not seen'"),
        (slides(10).assign(label=["c"] + ["a"] * 12), 3, "label 'c' occurs in 1 patients, fewer than 3 folds"),
        (slides(10)[["patient"]], 3, "neither a label nor an event"),
    ],
)
def test_impossible_folds(table, n_splits, message):
    with pytest.raises(SplitError, match=message):
        stratified_folds(table, n_splits=n_splits)


def test_validation_is_taken_from_training():
    table = slides(30)
    folds = stratified_folds(table, n_splits=3)
    for before, fold in zip(folds, with_validation(folds, table, n_splits=4), strict=True):
        assert fold.test == before.test and sorted(fold.train + fold.validation) == sorted(before.train)
        owners = [set(table.loc[list(part), "patient"]) for part in (fold.train, fold.validation, fold.test)]
        assert (
            not (owners[0] & owners[1] or owners[1] & owners[2])
            and 0.15 < len(fold.validation) / len(before.train) < 0.4
        )
        assert set(np.unique(table.loc[list(fold.validation), "label"])) == {"a", "b"}
