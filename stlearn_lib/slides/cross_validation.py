"""Models x folds -> one row for each slide, predicted by a model that never saw its patient."""

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from stlearn_lib.data.splits import Fold, leaks
from stlearn_lib.errors import SplitError

TRUTHS = ("patient", "label", "time", "event")


def cross_validate_slides(model: Any, cohort: Any, folds: Iterable[Fold]) -> pd.DataFrame:
    """Fit a model anew for each fold and predict its test slides.

    Args:
        model: `SlideClassifier`, `SlideSurvival` or `profiles.CoxRidge`; it stays as it is. Where it keeps runs in a
            folder, each fold has its own below.
        cohort: What it takes: a `Cohort`, or `profiles.Profiles`.
        folds: Folds of its slides, see `folds.stratified_folds`; validation slides are handed to the model.

    Returns:
        A row for each test slide: ``fold``, ``patient``, what is known of it (``label``, or ``time`` and ``event``) and
        the columns of the model's prediction. Beside a ``risk`` stands ``high_risk``: above the median risk of the
        fold's *training* slides, so that groups for a survival curve are chosen without looking at the tested.

    Raises:
        SplitError: If a fold tests on patients that it trains on.
        StlearnError: Whatever fitting raises.

    Example:
        >>> from stlearn_lib.slides.folds import stratified_folds
        >>> from stlearn_lib.slides.profiles import CoxRidge
        >>> from stlearn_lib.slides.simulated import simulate_profiles
        >>> patients = simulate_profiles(40, seed=0)
        >>> predictions = cross_validate_slides(CoxRidge(), patients, stratified_folds(patients.table, n_splits=2))
        >>> len(predictions), predictions.columns.tolist()
        (40, ['fold', 'patient', 'time', 'event', 'risk', 'high_risk'])
    """
    tables = []
    for fold in folds:
        if leaked := leaks(fold, cohort.table["patient"].astype(str).to_dict()):
            raise SplitError(f"{fold.name} tests on patients whom it trains on: {', '.join(leaked[:3])}")
        train, test = cohort.subset(fold.train), cohort.subset(fold.test)
        fitted = fit_anew(model, fold.name, train, cohort.subset(fold.validation) if fold.validation else None)
        known = test.table[[name for name in TRUTHS if name in test.table]]
        predicted = fitted.predict(test)
        if "risk" in predicted:
            predicted["high_risk"] = predicted["risk"] > fitted.predict(train)["risk"].median()
        table = pd.concat([known, predicted], axis=1)
        table.insert(0, "fold", fold.name)
        tables.append(table)
    return pd.concat(tables)


def fit_anew(model: Any, name: str, train: Any, validation: Any = None) -> Any:
    """Fit a copy of a model.

    Args:
        model: As of `cross_validate_slides`.
        name: Of the run; where the model keeps runs in a folder, this one's is below it.
        train: What to fit on.
        validation: Slides to stop early by.

    Returns:
        The fitted copy.

    Raises:
        StlearnError: Whatever fitting raises.
    """
    fitted = model.unfitted()
    if getattr(fitted, "folder", None) is not None:
        fitted.folder = fitted.folder / name
    return fitted.fit(train) if validation is None else fitted.fit(train, validation)


def scores_by_fold(predictions: pd.DataFrame, scores: Callable[[pd.DataFrame], dict[str, float]]) -> pd.DataFrame:
    """Score each fold by itself: risks of two models cannot be ordered among one another.

    Args:
        predictions: A table of `cross_validate_slides`.
        scores: `classification_scores` or `survival_scores`.

    Returns:
        A row for each fold, indexed by its name.

    Raises:
        EvaluationError: If a fold cannot be scored.
    """
    return pd.DataFrame.from_dict({fold: scores(rows) for fold, rows in predictions.groupby("fold")}, orient="index")
