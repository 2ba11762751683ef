"""Folds of sections: by section, by patient, or as published. Names in, names out; nothing here reads data.

``sections`` is always a mapping from a section's name to its patient. Sections of one patient are slices of the same
tumour, so a model tested on a section whose siblings it was trained on has seen the answer's neighbour. Splits are by
patient; those that are not say which patients leak. Folds follow the sorted names, never the order of the mapping.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, KFold

from stlearn_lib.errors import LeakyFoldWarning, SplitError


@dataclass(frozen=True)
class Fold:
    """Sections to train on, to test on, and perhaps to validate on; no section in two parts.

    The released code of NH2ST keeps the epoch whose predictions of the *test* sections are best. `select_on_test` does
    so, to see what it is worth: then the scores say little of new sections, and `leaks` names every test patient.

    Args:
        name: The fold's name in tables.
        train: Names of the sections to fit on.
        test: Names of the sections to score.
        validation: Names of the sections to stop early or choose settings by.
        select_on_test: Whether to do so by the test sections.

    Raises:
        SplitError: Nothing to train or test on, a section that occurs twice, or validation sections beside
            `select_on_test`.

    Example:
        >>> Fold("B", train=("A1", "A2"), test=("B1",)).test
        ('B1',)
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()
    select_on_test: bool = False

    @property
    def selected_on(self) -> tuple[str, ...]:
        """Names of the sections that an epoch is chosen by; none if the last is kept."""
        return self.test if self.select_on_test else self.validation

    def __post_init__(self) -> None:
        if self.select_on_test and self.validation:
            raise SplitError(
                f"fold {self.name} selects on its test sections: it cannot validate on {', '.join(self.validation)} too"
            )
        if not self.train or not self.test:
            raise SplitError(f"fold {self.name}: {len(self.train)} training and {len(self.test)} test sections")
        names = [*self.train, *self.test, *self.validation]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise SplitError(f"fold {self.name}: {', '.join(repeated)} occurs more than once")


def leaks(fold: Fold, sections: Mapping[str, str]) -> tuple[str, ...]:
    """Name the patients whom a fold is tested on after having seen them in training or validation.

    Args:
        fold: The fold.
        sections: Patient of each section.

    Returns:
        The leaked patients, sorted; empty for a clean fold.

    Raises:
        SplitError: The fold names a section without a known patient.

    Example:
        >>> leaks(Fold("A2", train=("A1", "B1"), test=("A2",)), {"A1": "A", "A2": "A", "B1": "B"})
        ('A',)
    """
    seen = _patients(fold.train + fold.selected_on, sections)
    return tuple(sorted(seen & _patients(fold.test, sections)))


def leave_one_patient_out(sections: Mapping[str, str]) -> tuple[Fold, ...]:
    """Test on all sections of one patient, train on everyone else's; a fold for each patient, named after them.

    Args:
        sections: Patient of each section.

    Returns:
        The folds, sorted by patient.

    Raises:
        SplitError: Fewer than two patients, or a section without one.

    Example:
        >>> [fold.test for fold in leave_one_patient_out({"A1": "A", "A2": "A", "B1": "B"})]
        [('A1', 'A2'), ('B1',)]
    """
    return _leave_one_out(sections, unit="patient")


def leave_one_section_out(sections: Mapping[str, str], *, allow_leak: bool = False) -> tuple[Fold, ...]:
    """Test on one section, train on all others, siblings of the same patient included; named after the section.

    Args:
        sections: Patient of each section.
        allow_leak: Whether the leak is meant, which silences the warning.

    Returns:
        The folds, sorted by section.

    Raises:
        SplitError: Fewer than two sections, or a section without a patient.

    Warns:
        LeakyFoldWarning: A patient is in training and test, and this was not allowed.

    Example:
        >>> [fold.test for fold in leave_one_section_out({"A1": "A", "B1": "B"})]
        [('A1',), ('B1',)]
    """
    return _warned(_leave_one_out(sections, unit="section"), sections, allow_leak)


def kfold_patients(sections: Mapping[str, str], *, n_splits: int, seed: int) -> tuple[Fold, ...]:
    """Divide the patients into folds at random; a patient's sections stay together.

    Args:
        sections: Patient of each section.
        n_splits: Number of folds, from 2 to the number of patients.
        seed: Seed of ``sklearn.model_selection.KFold``, which shuffles the sorted patients.

    Returns:
        The folds, named ``fold 1`` and so on.

    Raises:
        SplitError: Fewer patients than folds, fewer than two folds, or a section without a patient.

    Example:
        >>> folds = kfold_patients({"A1": "A", "A2": "A", "B1": "B", "C1": "C"}, n_splits=2, seed=0)
        >>> [(fold.name, fold.test) for fold in folds]
        [('fold 1', ('B1', 'C1')), ('fold 2', ('A1', 'A2'))]
    """
    return _kfold(sections, unit="patient", n_splits=n_splits, seed=seed)


def kfold_sections(
    sections: Mapping[str, str], *, n_splits: int, seed: int, allow_leak: bool = False
) -> tuple[Fold, ...]:
    """Divide the sections (slides) into folds at random, whoever they come from.

    Args:
        sections: Patient of each section.
        n_splits: Number of folds, from 2 to the number of sections.
        seed: Seed of ``sklearn.model_selection.KFold``, which shuffles the sorted sections.
        allow_leak: Whether the leak is meant, which silences the warning.

    Returns:
        The folds, named ``fold 1`` and so on.

    Raises:
        SplitError: Fewer sections than folds, fewer than two folds, or a section without a patient.

    Warns:
        LeakyFoldWarning: A patient is in training and test, and this was not allowed.

    Example:
        >>> folds = kfold_sections({"A1": "A", "B1": "B", "C1": "C"}, n_splits=3, seed=0)
        >>> sorted(fold.test for fold in folds)
        [('A1',), ('B1',), ('C1',)]
    """
    return _warned(_kfold(sections, unit="section", n_splits=n_splits, seed=seed), sections, allow_leak)


def held_out(
    sections: Mapping[str, str], *, test: Iterable[str], train: Iterable[str] | None = None, allow_leak: bool = False
) -> tuple[Fold, ...]:
    """Test on chosen sections, once.

    Args:
        sections: Patient of each section.
        test: Names of the sections to test on.
        train: Names of the sections to train on; without it, all the others.
        allow_leak: Whether a leak is meant, which silences the warning.

    Returns:
        A single fold, as a tuple like every other split, named after its test sections.

    Raises:
        SplitError: A section is unknown, occurs twice or has no patient, or nothing is left to train or test on.

    Warns:
        LeakyFoldWarning: A patient is in training and test, and this was not allowed.

    Example:
        >>> held_out({"B4": "B", "C2": "C", "C3": "C"}, test=["B4"])
        (Fold(name='B4', train=('C2', 'C3'), test=('B4',), validation=(), select_on_test=False),)
    """
    chosen = tuple(test)
    others = tuple(name for name in sorted(sections) if name not in chosen) if train is None else tuple(train)
    return _warned((Fold("+".join(chosen), train=others, test=chosen),), sections, allow_leak)


def validation_from_training(fold: Fold, sections: Mapping[str, str], *, fraction: float, seed: int) -> Fold:
    """Move part of a fold's training sections to validation, so that nothing is ever chosen on the test sections.

    Whole patients are moved. Where all training sections come from one patient, sections are, and stopping early on
    them judges slices of a tumour that training has seen: a weak judge, but the only one there.

    Args:
        fold: A fold without validation sections.
        sections: Patient of each section.
        fraction: Share of the training patients (or sections) to move, between 0 and 1; rounded up.
        seed: Seed of ``sklearn.model_selection.GroupShuffleSplit``.

    Returns:
        The fold with the same name and test sections.

    Raises:
        SplitError: There is a validation part already, a single training section, a section without a known patient,
            or a fraction that leaves nothing to train on.

    Example:
        >>> sections = {"A1": "A", "A2": "A", "B1": "B", "C1": "C"}
        >>> (fold,) = held_out(sections, test=["C1"])
        >>> validation_from_training(fold, sections, fraction=0.5, seed=0).validation
        ('B1',)
    """
    if fold.selected_on:
        raise SplitError(f"fold {fold.name} already validates on {', '.join(fold.selected_on)}")
    several_patients = len(_patients(fold.train, sections)) > 1
    groups = [sections[name] if several_patients else name for name in fold.train]
    n_groups = len(set(groups))
    if not 0 < fraction < 1 or np.ceil(fraction * n_groups) >= n_groups:
        what = "patients" if several_patients else "sections of one patient"
        raise SplitError(
            f"fold {fold.name}: a fraction {fraction} of {n_groups} training {what} leaves none to train on"
        )
    splitter = GroupShuffleSplit(n_splits=1, test_size=fraction, random_state=seed)
    kept, moved = next(splitter.split(fold.train, groups=groups))
    train, validation = (tuple(fold.train[i] for i in part) for part in (kept, moved))
    return replace(fold, train=train, validation=validation)


@dataclass(frozen=True)
class _Published:
    """A published split: what is divided, how many there must be, and into how many folds; without, one by one."""

    unit: str
    n_units: int | None
    n_splits: int | None = None
    seed: int = 42  # stated for nh2st_mouse, and ours for the two others that state none
    sections: tuple[str, ...] = ()


_HER2ST = sorted(f"{patient}{n}" for patient in "ABCDEFGH" for n in range(1, 7 if patient < "E" else 4))

_PUBLISHED = {
    "mclstexp_her2st": _Published("section", 32, sections=tuple(_HER2ST[1:33])),
    "mclstexp_cscc": _Published("section", 12),
    "nh2st_stnet": _Published("patient", 23, n_splits=8, seed=2021),
    "nh2st_skin": _Published("patient", 4),
    "nh2st_pcw": _Published("patient", 3),
    "nh2st_mouse": _Published("section", None, n_splits=4),
    "nh2st_int": _Published("section", None, n_splits=8),
    "nh2st_zen": _Published("section", 10, n_splits=3),
}


def published_split(name: str, sections: Mapping[str, str]) -> tuple[Fold, ...]:
    """Build the folds of a paper, leaks included: asking by name is taken as knowing; `leaks` still names them.

    ===============  ===============================================================  =========================
    name             folds                                                            not stated, our choice
    ===============  ===============================================================  =========================
    mclstexp_her2st  each of the 32 sections A2 to G3 of the sorted 36, others train  nothing
    mclstexp_cscc    each of 12 sections, others train                                nothing
    nh2st_stnet      KFold of 23 patients in 8, seed 2021                             order of patients: sorted
    nh2st_skin       each of 4 patients                                               nothing
    nh2st_pcw        each of 3 age groups, to be given as the "patients"              nothing
    nh2st_mouse      KFold of slides in 4, seed 42                                    order of slides: sorted
    nh2st_int        KFold in 8                                                       by slide, seed 42, sorted
    nh2st_zen        KFold of ZEN40 to ZEN49 in 3                                     by slide, seed 42, sorted
    ===============  ===============================================================  =========================

    A KFold with a seed is one that shuffles (inferred). Where order or seed is not stated, a fold need not hold the
    sections of the authors' fold. Neither method sets validation sections aside: mclSTExp keeps its last epoch, and
    NH2ST stops early on the test fold; `validation_from_training` does better.

    Args:
        name: One of the names above.
        sections: Patient of each section. ``mclstexp_her2st`` ignores sections beyond its 32.

    Returns:
        The folds.

    Raises:
        SplitError: The name is unknown, or the sections or patients are not those of the paper.

    Example:
        >>> skin = {f"P{patient}_rep{n}": f"P{patient}" for patient in (2, 5, 9, 10) for n in (1, 2, 3)}
        >>> len(published_split("mclstexp_cscc", skin)), len(published_split("nh2st_skin", skin))
        (12, 4)

    Reference:
        mclSTExp, arXiv:2407.08216, code shizhiceng/mclSTExp @ fdd3ab1; NH2ST, arXiv:2506.23827, code MCPathology/NH2ST
        @ e385a1c.
    """
    if name not in _PUBLISHED:
        raise SplitError(f"unknown split {name!r}: choose one of {', '.join(_PUBLISHED)}")
    split = _PUBLISHED[name]
    if missing := [section for section in split.sections if section not in sections]:
        raise SplitError(f"{name} needs the sections {', '.join(missing)}, which are not given")
    used = {section: sections[section] for section in split.sections or sections}
    n_units = len(_units(used, split.unit))
    if split.n_units not in (None, n_units):
        raise SplitError(f"{name} divides {split.n_units} {split.unit}s, and {n_units} are given")
    if split.n_splits is None:
        return _leave_one_out(used, split.unit)
    return _kfold(used, split.unit, split.n_splits, split.seed)


def _patients(names: Iterable[str], sections: Mapping[str, str]) -> set[str]:
    """Patients of the named sections."""
    if unknown := [name for name in names if not isinstance(sections.get(name), str) or not sections[name]]:
        raise SplitError(f"no patient is known for {', '.join(map(str, unknown))}")
    return {sections[name] for name in names}


def _units(sections: Mapping[str, str], unit: str) -> list[str]:
    """The sorted sections or patients that a split divides."""
    patients = _patients(sections, sections)
    return sorted(patients if unit == "patient" else sections)


def _leave_one_out(sections: Mapping[str, str], unit: str) -> tuple[Fold, ...]:
    units = _units(sections, unit)
    if len(units) < 2:
        raise SplitError(f"{len(units)} {unit}s cannot be left out one by one: at least two are needed")
    return tuple(_fold(one, {one}, sections, unit) for one in units)


def _kfold(sections: Mapping[str, str], unit: str, n_splits: int, seed: int) -> tuple[Fold, ...]:
    units = _units(sections, unit)
    if not 2 <= n_splits <= len(units):
        raise SplitError(f"{len(units)} {unit}s cannot be divided into {n_splits} folds: choose 2 to {len(units)}")
    divided = KFold(n_splits, shuffle=True, random_state=seed).split(units)
    return tuple(
        _fold(f"fold {i}", {units[j] for j in tested}, sections, unit) for i, (_, tested) in enumerate(divided, start=1)
    )


def _fold(name: str, tested: set[str], sections: Mapping[str, str], unit: str) -> Fold:
    """The fold that tests on some units and trains on all others."""
    test = [section for section in sorted(sections) if (sections[section] if unit == "patient" else section) in tested]
    return Fold(name, train=tuple(s for s in sorted(sections) if s not in test), test=tuple(test))


def _warned(folds: tuple[Fold, ...], sections: Mapping[str, str], allow_leak: bool) -> tuple[Fold, ...]:
    """The folds themselves, after a warning if patients leak and nobody said that they may."""
    leaked = sorted({patient for fold in folds for patient in leaks(fold, sections)})
    if leaked and not allow_leak:
        warnings.warn(
            f"patients {', '.join(leaked)} are trained and tested on: scores will be too good for new patients; "
            "use leave_one_patient_out, or allow_leak=True if this is meant",
            LeakyFoldWarning,
            stacklevel=3,
        )
    return folds
