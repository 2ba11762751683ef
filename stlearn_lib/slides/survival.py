"""Survival of patients from bags of features: attention pooling with Cox's loss, or with hazards in discrete time."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stlearn_lib.errors import BagError, EvaluationError
from stlearn_lib.slides.cohorts import Cohort, check_survival
from stlearn_lib.slides.hazards import concordance_index, cox_loss, discrete_hazard_loss, intervals_of
from stlearn_lib.slides.pooling import AttentionPooling, PoolingTask, SlideModel


class SlideSurvival(SlideModel):
    """Predicts how soon a patient dies, as a risk that orders patients.

    With Cox's loss the risk is the log-hazard against an unnamed baseline; with discrete time it is minus the expected
    number of intervals survived, the sum of the survival function over them.

    Args:
        loss: ``"cox"``, which compares the patients of a batch, or ``"discrete"``, which judges each by himself: for
            bags so large that only few fit into memory.
        n_intervals: Of discrete time; their edges are quantiles of the training events' times.
        **arguments: Those of `SlideModel`.

    Raises:
        BagError: If the loss is unknown or there are fewer than two intervals.

    Example:
        >>> from stlearn_lib.slides.simulated import simulate_cohort
        >>> cohort = simulate_cohort(24, seed=0)
        >>> SlideSurvival(progress=False).fit(cohort).predict(cohort).columns.tolist()
        ['risk']

    Reference:
        Cox, JRSS B 34 (1972) 187; Gensheimer and Narasimhan, PeerJ 7 (2019) e6257.
    """

    def __init__(self, *, loss: str = "cox", n_intervals: int = 4, **arguments: Any) -> None:
        super().__init__(**arguments)
        if loss not in ("cox", "discrete") or n_intervals < 2:
            raise BagError(f"loss is cox or discrete, with 2 intervals or more; not {loss!r} with {n_intervals}.")
        self.loss, self.n_intervals = loss, n_intervals

    def settings(self) -> dict[str, Any]:
        """Return the arguments that build this model again."""
        return {"loss": self.loss, "n_intervals": self.n_intervals, **super().settings()}

    def _learn_targets(self, cohort: Cohort) -> dict[str, Any]:
        check_survival(cohort.table)
        seen = cohort.table["event"].astype(bool)
        if not seen.any():
            raise BagError(f"none of {len(cohort)} slides has an event: there is nothing to learn.")
        quantiles = np.linspace(0, 1, self.n_intervals + 1)[1:-1]
        return {"edges": np.quantile(cohort.table.loc[seen, "time"].to_numpy(float), quantiles).tolist()}

    def _targets(self, cohort: Cohort) -> dict[str, np.ndarray]:
        check_survival(cohort.table)
        times = cohort.table["time"].to_numpy(np.float32)
        events = cohort.table["event"].to_numpy(np.int64)
        return {"time": times, "event": events, "interval": intervals_of(times, self.learnt["edges"])}

    def _task(self, network: AttentionPooling) -> PoolingTask:
        return _SurvivalTask(network, self.loss)

    @property
    def _n_outputs(self) -> int:
        return 1 if self.loss == "cox" else self.n_intervals

    def _describe(self, outputs: np.ndarray) -> pd.DataFrame:
        if self.loss == "cox":
            return pd.DataFrame({"risk": outputs[:, 0]})
        survival = torch.from_numpy(outputs).neg().sigmoid().cumprod(dim=1)  # of 1 - h
        return pd.DataFrame({"risk": -survival.sum(dim=1).numpy()})


class _SurvivalTask(PoolingTask):
    def __init__(self, network: AttentionPooling, loss: str) -> None:
        super().__init__(network)
        self.loss = loss

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "loss": self.loss}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        output = self.network(batch["features"], batch["mask"]).output
        if self.loss == "cox":
            return {"loss": cox_loss(output[:, 0], batch["time"], batch["event"])}
        return {"loss": discrete_hazard_loss(output, batch["interval"], batch["event"])}


def survival_scores(predictions: pd.DataFrame) -> dict[str, float]:
    """Score predicted risks, patient by patient: a patient's risk is the mean over his slides.

    Args:
        predictions: A row for each slide: ``patient``, ``time``, ``event`` and ``risk``.

    Returns:
        ``c_index``, see `hazards.concordance_index`, with ``n_patients`` and ``n_events``.

    Raises:
        EvaluationError: If a column is missing, or no two patients can be compared.

    Example:
        >>> table = pd.DataFrame({"patient": list("PPQ"), "time": [1, 1, 2], "event": [1, 1, 0], "risk": [2, 0, 0]})
        >>> survival_scores(table)
        {'c_index': 1.0, 'n_patients': 2, 'n_events': 1}
    """
    if missing := [name for name in ("patient", "time", "event", "risk") if name not in predictions]:
        raise EvaluationError(f"survival scores need the column(s) {', '.join(missing)}.")
    patients = predictions.groupby("patient").agg({"time": "first", "event": "first", "risk": "mean"})
    c_index = concordance_index(patients["risk"], patients["time"], patients["event"])
    return {"c_index": c_index, "n_patients": len(patients), "n_events": int(patients["event"].sum())}
