"""A bag seen in the simplest way, as the average of its features, by a linear model: what attention should beat."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stlearn_lib.errors import BagError, NotFittedError
from stlearn_lib.slides.classification import PROBABILITY
from stlearn_lib.slides.cohorts import Cohort
from stlearn_lib.slides.pooling import check_widths
from stlearn_lib.slides.profiles import CoxRidge, Profiles


def average_bags(cohort: Cohort) -> pd.DataFrame:
    """Average the features of each bag.

    Returns:
        A row for each slide, (slides, D).

    Raises:
        BagError: If bags cannot be read, or are of different widths.

    Example:
        >>> from stlearn_lib.slides.simulated import simulate_cohort
        >>> average_bags(simulate_cohort(5, seed=0)).shape
        (5, 16)
    """
    rows: list[np.ndarray] = []
    for slide in cohort.table.index:
        bag = cohort.bag(slide)
        check_widths([bag], len(rows[0]) if rows else bag.features.shape[1])
        rows.append(bag.features.mean(axis=0, dtype=np.float64))
    return pd.DataFrame(np.stack(rows), index=cohort.table.index)


class AverageClassifier:
    """Logistic regression on average features, standardised, each class with the same say.

    Example:
        >>> from stlearn_lib.slides.simulated import simulate_cohort
        >>> cohort = simulate_cohort(20, seed=0)
        >>> AverageClassifier().fit(cohort).predict(cohort).columns.tolist()
        ['predicted', 'p_high', 'p_low']
    """

    def fit(self, cohort: Cohort, validation: Cohort | None = None) -> "AverageClassifier":
        """Learn from a cohort; there is nothing to stop early, so validation slides are not looked at.

        Raises:
            BagError: If there are no labels, or one class only.
        """
        if "label" not in cohort.table or cohort.table["label"].nunique() < 2:
            raise BagError("classification needs the column label, with two classes or more.")
        model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
        self._model = make_pipeline(StandardScaler(), model).fit(
            average_bags(cohort), cohort.table["label"].astype(str)
        )
        return self

    def predict(self, cohort: Cohort) -> pd.DataFrame:
        """Return ``predicted`` and ``p_CLASS`` of each slide.

        Raises:
            NotFittedError: Before `fit`.
        """
        if not hasattr(self, "_model"):
            raise NotFittedError("AverageClassifier has to be fitted first: fit(cohort).")
        shares, classes = self._model.predict_proba(average_bags(cohort)), self._model.classes_
        predicted = pd.DataFrame({"predicted": classes[shares.argmax(axis=1)]}, index=cohort.table.index)
        return predicted.assign(**{f"{PROBABILITY}{name}": shares[:, i] for i, name in enumerate(classes)})

    def unfitted(self) -> "AverageClassifier":
        """Return a copy that has learnt nothing."""
        return AverageClassifier()


class AverageSurvival:
    """`profiles.CoxRidge` on average features.

    Example:
        >>> from stlearn_lib.slides.simulated import simulate_cohort
        >>> cohort = simulate_cohort(20, seed=0)
        >>> AverageSurvival().fit(cohort).predict(cohort).columns.tolist()
        ['risk']
    """

    def __init__(self) -> None:
        self._model = CoxRidge()

    def fit(self, cohort: Cohort, validation: Cohort | None = None) -> "AverageSurvival":
        """Learn from a cohort; there is nothing to stop early, so validation slides are not looked at.

        Raises:
            BagError: If there is no survival, or no event.
        """
        self._model = CoxRidge().fit(Profiles(cohort.table, average_bags(cohort)))
        return self

    def predict(self, cohort: Cohort) -> pd.DataFrame:
        """Return the ``risk`` of each slide.

        Raises:
            NotFittedError: Before `fit`.
        """
        return self._model.predict(Profiles(cohort.table, average_bags(cohort)))

    def unfitted(self) -> "AverageSurvival":
        """Return a copy that has learnt nothing."""
        return AverageSurvival()
