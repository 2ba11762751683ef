"""A bag seen in the simplest way, as the average of its features, by a linear model: what attention should beat."""

from typing import Self

import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from stlearn_lib.errors import BagError
from stlearn_lib.slides.classification import PROBABILITY
from stlearn_lib.slides.cohorts import Cohort
from stlearn_lib.slides.pooling import check_widths
from stlearn_lib.slides.profiles import CoxRidge, Profiles
from stlearn_lib.slides.saving import SavedModel


def average_bags(cohort: Cohort, n_features: int | None = None) -> pd.DataFrame:
    """Average the features of each bag.

    Args:
        cohort: The slides.
        n_features: D that is expected; that of the first bag if None.

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
        n_features = n_features or bag.features.shape[1]
        check_widths([bag], n_features)
        rows.append(bag.features.mean(axis=0, dtype=np.float64))
    return pd.DataFrame(np.stack(rows), index=cohort.table.index)


class AverageClassifier(SavedModel):
    """Logistic regression on average features, standardised, each class with the same say.

    Example:
        >>> from stlearn_lib.slides.simulated import simulate_cohort
        >>> cohort = simulate_cohort(20, seed=0)
        >>> AverageClassifier().fit(cohort).predict(cohort).columns.tolist()
        ['predicted', 'p_high', 'p_low']
    """

    def fit(self, cohort: Cohort, validation: Cohort | None = None) -> Self:
        """Learn from a cohort; there is nothing to stop early, so validation slides are not looked at.

        Raises:
            BagError: If there are no labels, or one class only.
        """
        if "label" not in cohort.table or cohort.table["label"].nunique() < 2:
            raise BagError("classification needs the column label, with two classes or more.")
        scaler = StandardScaler()
        inputs = scaler.fit_transform(average_bags(cohort).to_numpy())
        model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
        model.fit(inputs, cohort.table["label"].astype(str))
        weights, bias = model.coef_, model.intercept_
        if len(weights) == 1:  # of two classes sklearn says how far the second is above the first
            weights, bias = np.vstack([0 * weights, weights]), np.append(0, bias)
        state = {"mean": scaler.mean_, "spread": scaler.scale_, "weights": weights, "bias": bias}
        self._set_learnt(state, {"classes": model.classes_.tolist()}, cohort.table.index)
        return self

    def predict(self, cohort: Cohort) -> pd.DataFrame:
        """Return ``predicted`` and ``p_CLASS`` of each slide.

        Raises:
            NotFittedError: Before `fit`.
            BagError: If a bag cannot be read, or is of another width.
        """
        self._check_fitted()
        learnt, classes = self.state, self.learnt["classes"]
        averages = average_bags(cohort, len(learnt["mean"])).to_numpy()
        inputs = (averages - learnt["mean"]) / learnt["spread"]
        shares = softmax(inputs @ learnt["weights"].T + learnt["bias"], axis=1)
        predicted = pd.DataFrame({"predicted": np.array(classes)[shares.argmax(axis=1)]}, index=cohort.table.index)
        return predicted.assign(**{f"{PROBABILITY}{name}": shares[:, i] for i, name in enumerate(classes)})


class AverageSurvival(SavedModel):
    """`profiles.CoxRidge` on average features.

    Example:
        >>> from stlearn_lib.slides.simulated import simulate_cohort
        >>> cohort = simulate_cohort(20, seed=0)
        >>> AverageSurvival().fit(cohort).predict(cohort).columns.tolist()
        ['risk']
    """

    def fit(self, cohort: Cohort, validation: Cohort | None = None) -> Self:
        """Learn from a cohort; there is nothing to stop early, so validation slides are not looked at.

        Raises:
            BagError: If there is no survival, or no event.
        """
        model = CoxRidge().fit(Profiles(cohort.table, average_bags(cohort)))
        self._set_learnt(model.state, model.learnt, model.trained_on)
        return self

    def predict(self, cohort: Cohort) -> pd.DataFrame:
        """Return the ``risk`` of each slide.

        Raises:
            NotFittedError: Before `fit`.
            BagError: If a bag cannot be read, or is of another width.
        """
        self._check_fitted()
        model = CoxRidge()
        model._set_learnt(self.state, self.learnt, self.trained_on)
        return model.risks(average_bags(cohort, len(self.state["mean"])))
