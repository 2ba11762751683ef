"""Survival from a table of numbers, such as the RNA of TCGA-LUAD: a ridge-penalised linear Cox model.

Where no slides are at hand this is a real survival problem; where they are, it is the baseline that images should beat.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from stlearn_lib.errors import BagError
from stlearn_lib.slides.bags import unknown_slides
from stlearn_lib.slides.cohorts import check_survival
from stlearn_lib.slides.hazards import cox_loss
from stlearn_lib.slides.saving import SavedModel

RNA = "_rnaseq"
CLIP = 3.0  # spreads from the mean; the table's z-scores go up to thousands
COLUMNS = {"case_id": "patient", "survival_months": "time", "censorship": "censored"}


@dataclass(frozen=True)
class Profiles:
    """Patients with survival and a row of numbers each.

    Args:
        table: Indexed by patient: ``patient``, ``time``, ``event``.
        values: (patients, features), with the same index.

    Raises:
        BagError: If the indices differ, a patient is doubled, a number is not finite, or survival is not as it should
            be.
    """

    table: pd.DataFrame
    values: pd.DataFrame

    def __post_init__(self) -> None:
        check_survival(self.table)
        if not self.table.index.equals(self.values.index) or self.table.index.has_duplicates:
            raise BagError("profiles and survival are of the same patients, each once and in one order.")
        wrong = self.values.columns[~np.isfinite(self.values.to_numpy(float)).all(axis=0)]
        if len(wrong):
            raise BagError(f"{len(wrong)} columns hold numbers that are not finite, first {wrong[0]}.")

    def __len__(self) -> int:
        return len(self.table)

    def subset(self, patients: Sequence[str]) -> "Profiles":
        """Return some of the patients.

        Raises:
            BagError: If a patient is unknown.
        """
        if missing := unknown_slides(patients, self.table.index):
            raise BagError(f"there are no profiles of {missing}.")
        return replace(self, table=self.table.loc[list(patients)], values=self.values.loc[list(patients)])


def read_mcat_profiles(path: Path | str) -> Profiles:
    """Read the RNA and the survival of a table of MCAT, such as the registry's ``tcga_luad``.

    The table has a row for each slide, and one patient may have ten: each is kept once.

    Args:
        path: A CSV, or a zip that holds one.

    Returns:
        The RNA columns (z-scores over the study's patients), and survival in months.

    Raises:
        BagError: If the table cannot be read, or columns are missing.

    Reference:
        Chen et al., Multimodal co-attention transformer for survival prediction, ICCV 2021.
    """
    try:
        rows = pd.read_csv(path, low_memory=False)
    except (ValueError, OSError) as error:
        raise BagError(f"{path} is no readable table ({error}).") from error
    if missing := [name for name in COLUMNS if name not in rows]:
        raise BagError(f"{path} has no column {', '.join(missing)}: is it a table of MCAT?")
    rows = rows.drop_duplicates("case_id").rename(columns=COLUMNS).set_index("patient", drop=False).rename_axis(None)
    if rows["censored"].isna().any():
        raise BagError(f"{path}: nobody knows whether {rows.index[rows['censored'].isna()][0]} died.")
    table = rows[["patient", "time"]].assign(event=rows["censored"] == 0)
    return Profiles(table, rows[[name for name in rows if str(name).endswith(RNA)]])


class CoxRidge(SavedModel):
    r"""A linear Cox model on principal components, penalised by the square of its weights.

    $$\min_\beta\; \frac{n_e}{n} L_{cox}(X\beta) + \frac{\lambda}{2} \lVert\beta\rVert^2$$

    with $L_{cox}$ of `hazards.cox_loss` summed and divided by the n patients. All that is learnt is learnt from the
    training patients: mean and spread of each column (values beyond 3 spreads are clipped), the components, their
    spreads, and the weights.

    Args:
        n_components: Principal components kept; all columns as they are if None.
        penalty: λ.

    Raises:
        BagError: If a value is out of its range.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> values = pd.DataFrame(rng.standard_normal((60, 5)))
        >>> table = pd.DataFrame({"patient": values.index, "time": rng.exponential(np.exp(-values[0])), "event": 1})
        >>> model = CoxRidge(n_components=None, penalty=0.01).fit(Profiles(table, values))
        >>> int(abs(model.weights).argmax()), bool(model.weights[0] > 0)
        (0, True)

    Reference:
        Verweij and van Houwelingen, Penalized likelihood in Cox regression, Statistics in Medicine 13 (1994) 2427.
    """

    def __init__(self, *, n_components: int | None = 20, penalty: float = 0.1) -> None:
        if penalty < 0 or (n_components is not None and n_components < 1):
            raise BagError(f"a penalty is 0 or more and components 1 or more, not {penalty} and {n_components}.")
        super().__init__()
        self.n_components, self.penalty = n_components, penalty

    @property
    def weights(self) -> np.ndarray:
        """β, one for each component; empty before `fit`."""
        return self.state.get("weights", np.empty(0))

    def settings(self) -> dict[str, Any]:
        """Return the arguments that build this model again."""
        return {"n_components": self.n_components, "penalty": self.penalty}

    def fit(self, profiles: Profiles) -> Self:
        """Learn from patients.

        Raises:
            BagError: If none of them has an event.
        """
        if not profiles.table["event"].any():
            raise BagError(f"none of {len(profiles)} patients has an event: there is nothing to learn.")
        values = profiles.values.to_numpy(float)
        spread = values.std(axis=0)
        self.learnt = {"columns": [str(name) for name in profiles.values]}
        self.state = {"mean": values.mean(axis=0), "spread": np.where(spread > 0, spread, 1)}
        self.trained_on = tuple(map(str, profiles.table.index))
        if self.n_components is not None:
            pca = PCA(min(self.n_components, *values.shape), random_state=0).fit(self._inputs(profiles.values))
            spreads = np.maximum(np.sqrt(pca.explained_variance_), np.finfo(float).eps)
            self.state |= {"centre": pca.mean_, "axes": pca.components_.T / spreads}
        self.state["weights"] = _minimise(self.inputs(profiles), profiles.table, self.penalty)
        return self

    def inputs(self, profiles: Profiles) -> np.ndarray:
        """Return what the linear model sees of patients, (N, K)."""
        return self._inputs(profiles.values)

    def predict(self, profiles: Profiles) -> pd.DataFrame:
        """Return ``risk``, the log-hazard, of each patient.

        Raises:
            NotFittedError: Before `fit`.
            BagError: If the columns are not those of training.
        """
        return self.risks(profiles.values)

    def risks(self, values: pd.DataFrame) -> pd.DataFrame:
        """Return ``risk`` of rows whose survival nobody knows yet, (patients, features).

        Raises:
            NotFittedError: Before `fit`.
            BagError: If the columns are not those of training.
        """
        return pd.DataFrame({"risk": self._inputs(values) @ self.weights}, index=values.index)

    def _inputs(self, values: pd.DataFrame) -> np.ndarray:
        self._check_fitted()
        if (columns := [str(name) for name in values]) != self.learnt["columns"]:
            wanted = self.learnt["columns"]
            raise BagError(
                f"the model was fitted on {len(wanted)} columns, {wanted[0]} to {wanted[-1]}, not on these "
                f"{len(columns)}: pass the same in the same order."
            )
        scaled = np.clip((values.to_numpy(float) - self.state["mean"]) / self.state["spread"], -CLIP, CLIP)
        return (scaled - self.state["centre"]) @ self.state["axes"] if "axes" in self.state else scaled


def _minimise(inputs: np.ndarray, table: pd.DataFrame, penalty: float) -> np.ndarray:
    """Find β by L-BFGS; the problem is convex."""
    columns = torch.from_numpy(inputs).float()
    time = torch.from_numpy(table["time"].rank(method="dense").to_numpy(np.float32))  # only the order matters
    event = torch.from_numpy(table["event"].to_numpy(bool))
    n_terms = int(table.loc[event.numpy(), "time"].nunique())  # tied deaths are one term of the loss's average
    weights = torch.zeros(columns.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, tolerance_change=1e-9, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = cox_loss(columns @ weights, time, event) * n_terms / len(table) + penalty / 2 * (weights**2).sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return weights.detach().numpy().astype(float)
