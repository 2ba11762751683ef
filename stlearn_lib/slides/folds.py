"""Folds of a cohort: whole patients, and as many of each class, or of each kind of follow-up, in one as in another."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from stlearn_lib.data.splits import Fold
from stlearn_lib.errors import SplitError


def stratified_folds(table: pd.DataFrame, *, n_splits: int = 5, seed: int = 0) -> tuple[Fold, ...]:
    """Divide the patients into folds, alike in their classes or in their share of events.

    Args:
        table: A cohort's table, indexed by slide: ``patient``, and ``label`` or ``event``.
        n_splits: Number of folds.
        seed: Of ``sklearn.model_selection.StratifiedGroupKFold``, which meets the sorted slides.

    Returns:
        The folds, named ``fold 1`` and so on; their names are slides. All slides of a patient are in one part.

    Raises:
        SplitError: Fewer patients than folds, fewer than two folds, one class or no event, or a class of fewer patients
            than folds: one fold at least could not be judged by it.

    Example:
        >>> table = pd.DataFrame({"patient": list("PQRSTU"), "label": list("aaabbb")}, index=list("123456"))
        >>> [fold.test for fold in stratified_folds(table, n_splits=3)]
        [('1', '6'), ('3', '4'), ('2', '5')]
    """
    table = table.sort_index()
    strata = _strata(table)
    n_patients = table["patient"].nunique()
    if not 2 <= n_splits <= n_patients:
        raise SplitError(f"{n_patients} patients cannot be divided into {n_splits} folds: choose 2 to {n_patients}")
    counts = table.groupby(strata)["patient"].nunique()
    if len(counts) < 2:
        raise SplitError(f"all slides have the same {strata.name}, {counts.index[0]!r}: there is nothing to learn")
    if counts.min() < n_splits:
        raise SplitError(
            f"{strata.name} {counts.idxmin()!r} occurs in {counts.min()} patients, fewer than {n_splits} folds: choose "
            "fewer folds, or leave its slides out"
        )
    splitter = StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed)
    folds = []
    for i, (train, test) in enumerate(splitter.split(np.zeros(len(table)), strata, table["patient"]), start=1):
        if unseen := sorted(set(strata.iloc[test]) - set(strata.iloc[train])):
            raise SplitError(f"fold {i} tests on {strata.name} {unseen[0]!r}, and no other patient has it to train on")
        folds.append(Fold(f"fold {i}", train=tuple(table.index[train]), test=tuple(table.index[test])))
    return tuple(folds)


def with_validation(
    folds: Sequence[Fold], table: pd.DataFrame, *, n_splits: int = 5, seed: int = 0
) -> tuple[Fold, ...]:
    """Move a share of each fold's training patients to validation, stratified too; the test slides are not looked at.

    Args:
        folds: Folds without validation.
        table: The cohort's table.
        n_splits: The share is one of so many.
        seed: As of `stratified_folds`.

    Returns:
        The folds with the same names and test slides.

    Raises:
        SplitError: As `stratified_folds`, of the training slides.

    Example:
        >>> table = pd.DataFrame({"patient": list("PQRSTU"), "label": list("aaabbb")}, index=list("123456"))
        >>> fold = with_validation(stratified_folds(table, n_splits=3), table, n_splits=2)[0]
        >>> fold.train, fold.validation, fold.test
        (('2', '5'), ('3', '4'), ('1', '6'))
    """
    inner = [stratified_folds(table.loc[list(fold.train)], n_splits=n_splits, seed=seed)[0] for fold in folds]
    return tuple(replace(fold, train=part.train, validation=part.test) for fold, part in zip(folds, inner, strict=True))


def _strata(table: pd.DataFrame) -> pd.Series:
    if "label" in table:
        return table["label"].astype(str).rename("label")
    if "event" in table:
        return table["event"].astype(bool).map({True: "seen", False: "not seen"}).rename("event")
    raise SplitError("the table has neither a label nor an event to stratify by")
