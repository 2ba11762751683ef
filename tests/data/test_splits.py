"""Folds: disjoint, complete, by patient unless asked otherwise, and as published."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from stlearn_lib.data.splits import (
    Fold,
    held_out,
    kfold_patients,
    kfold_sections,
    leaks,
    leave_one_patient_out,
    leave_one_section_out,
    published_split,
    validation_from_training,
)
from stlearn_lib.errors import LeakyFoldWarning, SplitError

HER2ST = {f"{p}{i}": p for p, n in zip("ABCDEFGH", (6, 6, 6, 6, 3, 3, 3, 3), strict=True) for i in range(1, n + 1)}
SMALL = {"A1": "A", "A2": "A", "B1": "B", "C1": "C"}


@st.composite
def cohorts(draw, min_patients=2):
    """Sections of several patients, in any order."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=min_patients, max_size=7))
    pairs = [(f"{patient}_{i}", f"patient {patient}") for patient, size in enumerate(sizes) for i in range(size)]
    return dict(draw(st.permutations(pairs)))


def assert_partition(folds, sections):
    """Every section is tested once, and trained on whenever it is not tested."""
    assert sorted(name for fold in folds for name in fold.test) == sorted(sections)
    for fold in folds:
        assert sorted(fold.train + fold.test) == sorted(sections)
        assert fold.validation == ()
    assert len({fold.name for fold in folds}) == len(folds)


@given(cohorts())
def test_leaving_a_patient_out_is_clean_and_complete(sections):
    folds = leave_one_patient_out(sections)
    assert_partition(folds, sections)
    assert [fold.name for fold in folds] == sorted(set(sections.values()))
    assert all(leaks(fold, sections) == () for fold in folds)


@given(cohorts())
def test_leaving_a_section_out_leaks_the_patients_with_siblings(sections):
    folds = leave_one_section_out(sections, allow_leak=True)
    assert_partition(folds, sections)
    for fold in folds:
        patient = sections[fold.test[0]]
        has_siblings = list(sections.values()).count(patient) > 1
        assert leaks(fold, sections) == ((patient,) if has_siblings else ())


@given(cohorts(), st.integers(0, 2**32 - 1), st.data())
def test_kfold_by_patient_is_clean_and_complete(sections, seed, data):
    n_splits = data.draw(st.integers(2, len(set(sections.values()))))
    folds = kfold_patients(sections, n_splits=n_splits, seed=seed)
    assert_partition(folds, sections)
    assert len(folds) == n_splits
    assert all(leaks(fold, sections) == () for fold in folds)


@given(cohorts(), st.integers(0, 2**32 - 1), st.data())
def test_kfold_by_section_is_complete(sections, seed, data):
    n_splits = data.draw(st.integers(2, len(sections)))
    folds = kfold_sections(sections, n_splits=n_splits, seed=seed, allow_leak=True)
    assert_partition(folds, sections)
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


@given(cohorts(min_patients=3), st.floats(0.05, 0.5), st.integers(0, 99))
def test_validation_takes_whole_patients(sections, fraction, seed):
    for fold in leave_one_patient_out(sections):
        split = validation_from_training(fold, sections, fraction=fraction, seed=seed)
        patients = {sections[name] for name in fold.train}
        moved = {sections[name] for name in split.validation}
        assert (split.name, split.test) == (fold.name, fold.test)
        assert sorted(split.train + split.validation) == sorted(fold.train)
        assert moved.isdisjoint({sections[name] for name in split.train})
        assert len(moved) == np.ceil(fraction * len(patients))
        assert leaks(split, sections) == ()


def test_validation_takes_sections_of_a_single_patient():
    sections = {"A1": "A", "B1": "B", "B2": "B", "B3": "B"}
    (fold,) = held_out(sections, test=["A1"])
    split = validation_from_training(fold, sections, fraction=0.3, seed=0)
    assert len(split.validation) == 1 and len(split.train) == 2
    assert split == validation_from_training(fold, sections, fraction=0.3, seed=0)


def test_selection_on_the_test_sections_is_a_leak():
    fold = Fold("A1", train=("B1",), test=("A1", "C1"), select_on_test=True)
    assert fold.selected_on == ("A1", "C1") and leaks(fold, SMALL) == ("A", "C")
    with pytest.raises(SplitError, match="selects on its test sections: it cannot validate on A2 too"):
        Fold("A1", train=("B1",), test=("A1",), validation=("A2",), select_on_test=True)
    with pytest.raises(SplitError, match="already validates on A1, C1"):
        validation_from_training(fold, SMALL, fraction=0.5, seed=0)


def test_validation_is_part_of_what_was_seen():
    fold = Fold("A1", train=("B1",), test=("A1",), validation=("A2",))
    assert leaks(fold, SMALL) == ("A",)


@pytest.mark.parametrize(
    ("fold", "fraction", "message"),
    [
        (Fold("x", ("A1",), ("B1",)), 0.5, "of 1 training sections of one patient"),
        (Fold("x", ("A1", "B1"), ("C1",)), 0.6, "of 2 training patients leaves none"),
        (Fold("x", ("A1", "B1"), ("C1",)), 0.0, "fraction 0.0"),
        (Fold("x", ("A1",), ("C1",), ("B1",)), 0.5, "already validates on B1"),
        (Fold("x", ("A1", "Z1"), ("C1",)), 0.5, "no patient is known for Z1"),
    ],
)
def test_validation_that_cannot_be_had(fold, fraction, message):
    with pytest.raises(SplitError, match=message):
        validation_from_training(fold, SMALL, fraction=fraction, seed=0)


@pytest.mark.parametrize(
    "build",
    [
        lambda **how: leave_one_section_out(SMALL, **how),
        lambda **how: kfold_sections(SMALL, n_splits=4, seed=0, **how),
        lambda **how: held_out(SMALL, test=["A1"], **how),
    ],
)
def test_a_leak_is_said_unless_meant(build):
    with pytest.warns(
        LeakyFoldWarning, match="patients A are trained and tested on: .*leave_one_patient_out"
    ) as caught:
        folds = build()
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert build(allow_leak=True) == folds


def test_order_of_the_mapping_does_not_matter():
    turned = dict(reversed(HER2ST.items()))
    assert kfold_patients(HER2ST, n_splits=3, seed=1) == kfold_patients(turned, n_splits=3, seed=1)
    assert leave_one_patient_out(HER2ST) == leave_one_patient_out(turned)
    assert kfold_patients(HER2ST, n_splits=3, seed=1) != kfold_patients(HER2ST, n_splits=3, seed=2)


def test_held_out_takes_the_others_or_what_is_named():
    (fold,) = held_out(HER2ST, test=["B4"], train=["C2", "C3"])
    assert fold == Fold("B4", train=("C2", "C3"), test=("B4",))
    (fold,) = held_out(SMALL, test=["A1", "A2"])
    assert fold == Fold("A1+A2", train=("B1", "C1"), test=("A1", "A2"))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: leave_one_patient_out({"A1": "A", "A2": "A"}), "1 patients cannot be left out one by one"),
        (lambda: leave_one_section_out({"A1": "A"}), "1 sections cannot be left out"),
        (lambda: leave_one_patient_out({}), "0 patients"),
        (lambda: leave_one_patient_out({"A1": "A", "B1": None}), "no patient is known for B1"),
        (lambda: leave_one_patient_out({"A1": "A", "B1": ""}), "no patient is known for B1"),
        (lambda: kfold_patients(SMALL, n_splits=4, seed=0), "3 patients cannot be divided into 4 folds"),
        (lambda: kfold_sections(SMALL, n_splits=1, seed=0), "into 1 folds: choose 2 to 4"),
        (lambda: held_out(SMALL, test=["Z9"]), "no patient is known for Z9"),
        (lambda: held_out(SMALL, test=["B1"], train=["C1", "C1"]), "C1 occurs more than once"),
        (lambda: held_out(SMALL, test=["B1"], train=["B1"]), "B1 occurs more than once"),
        (lambda: held_out(SMALL, test=[]), "0 test sections"),
        (lambda: Fold("x", train=(), test=("A1",)), "0 training"),
        (lambda: published_split("hist2st", SMALL), "unknown split 'hist2st': choose one of mclstexp_her2st"),
        (lambda: published_split("mclstexp_her2st", {"A2": "A"}), "needs the sections A3, A4"),
        (lambda: published_split("mclstexp_cscc", SMALL), "divides 12 sections, and 4 are given"),
        (lambda: published_split("nh2st_stnet", HER2ST), "divides 23 patients, and 8 are given"),
    ],
)
def test_impossible_splits_are_named(build, message):
    with pytest.raises(SplitError, match=message):
        build()


def cohort_of(n_patients, n_each):
    return {f"P{p:02d}_{i}": f"P{p:02d}" for p in range(n_patients) for i in range(n_each)}


def test_mclstexp_leaves_out_each_of_its_32_sections():
    folds = published_split("mclstexp_her2st", HER2ST)
    assert [fold.name for fold in folds] == sorted(HER2ST)[1:33]
    assert (folds[0].name, folds[-1].name, len(folds)) == ("A2", "G3", 32)
    assert all(len(fold.train) == 31 for fold in folds)
    assert leaks(folds[0], HER2ST) == ("A",)


def test_nh2st_divides_stnet_patients_as_scikit_learn_does():
    sections = cohort_of(23, 3)
    folds = published_split("nh2st_stnet", sections)
    patients = np.array(sorted(set(sections.values())))
    expected = [set(patients[test]) for _, test in KFold(8, shuffle=True, random_state=2021).split(patients)]
    assert [{sections[name] for name in fold.test} for fold in folds] == expected
    assert_partition(folds, sections)


@pytest.mark.parametrize(
    ("name", "n_splits", "n_sections"), [("nh2st_mouse", 4, 14), ("nh2st_int", 8, 24), ("nh2st_zen", 3, 10)]
)
def test_nh2st_divides_slides_as_scikit_learn_does(name, n_splits, n_sections):
    sections = cohort_of(n_sections // 2, 2)
    folds = published_split(name, sections)
    names = np.array(sorted(sections))
    divided = KFold(n_splits, shuffle=True, random_state=42).split(names)
    assert [fold.test for fold in folds] == [tuple(names[test]) for _, test in divided]


@pytest.mark.parametrize(("name", "n_groups"), [("nh2st_skin", 4), ("nh2st_pcw", 3)])
def test_nh2st_leaves_out_whole_groups(name, n_groups):
    sections = cohort_of(n_groups, 3)
    assert published_split(name, sections) == leave_one_patient_out(sections)
