"""A simulated cohort whose hazard is known: what tests and pages run on where no slides can be had.

Nobody ever had these tumours. Each bag is a square of patches, of which a small round region is "tumour": its features
are shifted along one direction, and along another by the tumour's grade, which sets the hazard. An average over the
slide dilutes the grade; attention can find where it is written.
"""

import numpy as np
import pandas as pd

from stlearn_lib.slides.bags import Bag
from stlearn_lib.slides.cohorts import Cohort
from stlearn_lib.slides.profiles import Profiles

SIDE = 8
PATCH_PX = 256
EFFECT = 4.0  # log-hazard per grade: from 0 to 1, 55 times the hazard


def simulate_cohort(n_patients: int, *, n_features: int = 16, effect: float = EFFECT, seed: int) -> Cohort:
    r"""Simulate bags, survival and classes.

    $$\lambda_i = \lambda_0 e^{\beta g_i}, \qquad T_i \sim \mathrm{Exp}(\lambda_i), \qquad C_i \sim U(0, c)$$

    with g the grade, uniform between 0 and 1, and follow-up that ends at C.

    Args:
        n_patients: Patients, of one slide each.
        n_features: D.
        effect: β.
        seed: Of everything.

    Returns:
        A cohort with ``time`` (months), ``event``, the true ``log_hazard``, and ``label``: whether the grade is
        ``high``, above one half, or ``low``. It says of itself that it is simulated.

    Example:
        >>> cohort = simulate_cohort(10, seed=0)
        >>> cohort.simulated, cohort.bag("simulated 1").features.shape
        (True, (64, 16))
    """
    rng = np.random.default_rng(seed)
    of_tumour, of_grade = np.linalg.qr(rng.standard_normal((n_features, 2)))[0].T
    rows, bags = {}, {}
    for i in range(1, n_patients + 1):
        slide, patient = f"simulated {i}", f"patient {i}"
        tumour, grade = _tumour(rng), rng.uniform()
        shift = 4 * of_tumour + 4 * (grade - 0.5) * of_grade
        features = rng.standard_normal((SIDE * SIDE, n_features)) + tumour[:, None] * shift
        death, end = rng.exponential(60 * np.exp(-effect * grade)), rng.uniform(0, 120)
        rows[slide] = {
            "patient": patient,
            "time": min(death, end),
            "event": death <= end,
            "log_hazard": effect * grade,
            "label": "high" if grade > 0.5 else "low",
        }
        bags[slide] = Bag(slide, features, _coords() * PATCH_PX, patient, {"simulated": True})
    return Cohort(pd.DataFrame.from_dict(rows, orient="index"), bags, simulated=True)


def simulate_profiles(n_patients: int, *, n_features: int = 10, effect: float = 1.0, seed: int) -> Profiles:
    """Simulate patients with a row of numbers, the first of which is their log-hazard divided by `effect`.

    Args:
        n_patients: Patients.
        n_features: Columns, all standard normal.
        effect: Weight of the first column.
        seed: Of everything.

    Returns:
        The patients; about three in four events are seen.
    """
    rng = np.random.default_rng(seed)
    names = [f"simulated {i}" for i in range(1, n_patients + 1)]
    values = pd.DataFrame(rng.standard_normal((n_patients, n_features)), index=names)
    death, end = rng.exponential(60 * np.exp(-effect * values[0])), rng.uniform(0, 400, n_patients)
    table = pd.DataFrame({"patient": names, "time": np.minimum(death, end), "event": death <= end}, index=names)
    return Profiles(table, values)


def _coords() -> np.ndarray:
    """Column and row of each patch, (patches, 2)."""
    row, column = np.mgrid[:SIDE, :SIDE]
    return np.column_stack([column.ravel(), row.ravel()])


def _tumour(rng: np.random.Generator) -> np.ndarray:
    """Which patches are tumour: a disc of 9 to 37 of 64."""
    centre, radius = rng.uniform(2, SIDE - 3, 2), rng.uniform(1.5, 3.5)
    return np.hypot(*(_coords() - centre).T) < radius
