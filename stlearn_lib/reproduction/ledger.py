"""The ledger read: what we found beside what was published, and which differences are larger than the noise."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stlearn_lib.errors import ReproductionError
from stlearn_lib.evaluation.cross_validation import POOLED
from stlearn_lib.reproduction.published import read_published, results_folder
from stlearn_lib.reproduction.store import Store


def read_ledger(folder: Path | str | None = None) -> pd.DataFrame:
    """Return the ledger: a row for each test section of each fold, experiment and seed, with its provenance.

    Args:
        folder: The folder of results; the project's own if None.

    Returns:
        Newest first within an experiment's fold and seed. Columns: those of `evaluation.cross_validate`, ``ari`` and
        ``nmi`` of clusters where a pathologist labelled the section, and ``experiment``, ``preset``, ``settings``,
        ``code``, ``data``, ``key``, ``devices``, ``precision``, ``duration_s``, ``peak_memory_gb``, ``date`` and the
        ``command`` that computes the row again.
    """
    rows = Store(results_folder() if folder is None else folder).rows()
    return rows.sort_values("date", ascending=False, kind="stable") if len(rows) else rows


def read_genes(folder: Path | str | None = None) -> pd.DataFrame:
    """Return the correlation of each gene in each test section.

    Args:
        folder: The folder of results; the project's own if None.

    Returns:
        ``key``, ``experiment``, ``seed``, ``test``, ``gene``, ``r``, and ``mean``, the gene's mean in the truth.
    """
    return Store(results_folder() if folder is None else folder).genes()


def newest(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep of each experiment, method, fold, test section and seed the newest row.

    Args:
        rows: A ledger.

    Returns:
        Some of its rows.
    """
    by_date = rows.sort_values("date", kind="stable")
    return by_date.drop_duplicates(["experiment", "preset", "fold", "test", "seed"], keep="last")


def keys_of(rows: pd.DataFrame, experiment: str, preset: str | None = None) -> list[str]:
    """Return the keys of the newest results of an experiment, a key for each fold and seed.

    Args:
        rows: A ledger.
        experiment: Its name.
        preset: With which method or preset; the one that most of its rows have if None.

    Raises:
        ReproductionError: If there are none.
    """
    own = rows[rows["experiment"] == experiment] if len(rows) else rows
    if len(own):
        own = own[own["preset"] == (preset or own["preset"].mode().iloc[0])]
    if not len(own):
        raise ReproductionError(f"there are no results of {experiment}{f' with {preset}' if preset else ''}.")
    return sorted(set(newest(own)["key"]))


def seed_averages(rows: pd.DataFrame, experiment: str, measure: str) -> pd.Series:
    """Average a measure over an experiment's test sections, for each seed that has all of them.

    Args:
        rows: A ledger, or those rows of it whose test sections are meant.
        experiment: Its name; with several presets, the one that most of its rows have.
        measure: A column of the ledger.

    Returns:
        The averages by seed, empty if there are none.

    Raises:
        ReproductionError: If there is no such measure.

    Example:
        >>> shared = {"experiment": "a", "preset": "p", "fold": "S1", "test": "S1", "date": "2026-01-01"}
        >>> rows = pd.DataFrame([shared | {"seed": seed, "acg": seed / 10} for seed in (1, 2)])
        >>> seed_averages(rows, "a", "acg").to_dict()
        {1: 0.1, 2: 0.2}
    """
    if measure not in rows:
        raise ReproductionError(f"the ledger has no measure {measure!r}.")
    own = rows[(rows["experiment"] == experiment) & (rows["test"] != POOLED)]
    if own.empty:
        return pd.Series(dtype=float)
    own = newest(own[own["preset"] == own["preset"].mode().iloc[0]])
    by_test = own.pivot_table(index="seed", columns="test", values=measure, aggfunc="first", dropna=False)
    return by_test.dropna(axis=1, how="all").dropna().mean(axis=1).dropna()


def summarise_seeds(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Average a measure over the test sections of each seed, then look at the seeds.

    Args:
        rows: A ledger; the newest rows are taken, and the pooled ones left out.
        measure: A column of it.

    Returns:
        One row for each ``experiment`` and ``preset``: ``mean``, ``low`` and ``high`` of the seeds' averages,
        ``n_seeds`` and ``n_tests``. A seed counts when it has every test section that any seed has.

    Raises:
        ReproductionError: If there is no such measure.
    """
    if measure not in rows:
        raise ReproductionError(f"the ledger has no measure {measure!r}.")
    found = []
    for (experiment, preset), own in rows[rows["test"] != POOLED].groupby(["experiment", "preset"], sort=False):
        seeds = seed_averages(own, str(experiment), measure)
        if len(seeds):
            values = {"mean": seeds.mean(), "low": seeds.min(), "high": seeds.max()}
            counts = {"n_seeds": len(seeds), "n_tests": own.dropna(subset=measure)["test"].nunique()}
            found.append({"experiment": experiment, "preset": preset} | values | counts)
    columns = ["experiment", "preset", "mean", "low", "high", "n_seeds", "n_tests"]
    return pd.DataFrame(found, columns=columns)


def compare_published(rows: pd.DataFrame, experiments: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    """Set what we found beside what was published.

    Args:
        rows: A ledger, perhaps empty.
        experiments: Names of experiments.
        measures: Names of measures.

    Returns:
        One row for each experiment, preset and measure that is published or found: ``published`` (text, several
        numbers where the paper has several), ``mean``, ``low``, ``high``, ``n_seeds`` (0 if nothing was found) and
        ``n_tests``.

    Raises:
        ReproductionError: If there is no such measure.
    """
    published = read_published()
    if unknown := [name for name in measures if name not in rows and name not in set(published["measure"])]:
        raise ReproductionError(f"neither the papers nor the ledger have a measure {', '.join(unknown)}.")
    parts = []
    for measure in measures:
        own = published[(published["measure"] == measure) & published["experiment"].isin(experiments)]
        said = own.groupby("experiment")["value"].agg(lambda values: " ".join(f"{value:g}" for value in values))
        known = measure in rows
        found = summarise_seeds(rows[rows["experiment"].isin(experiments)], measure) if known else pd.DataFrame()
        both = said.rename("published").reset_index()
        if len(found):
            both = both.merge(found, on="experiment", how="outer")
        parts.append(both.assign(measure=measure))
    columns = ["experiment", "preset", "measure", "published", "mean", "low", "high", "n_seeds", "n_tests"]
    table = pd.concat(parts, ignore_index=True).reindex(columns=columns)
    table = table.fillna({"preset": "", "published": "", "n_seeds": 0, "n_tests": 0})
    order = {name: position for position, name in enumerate(experiments)}
    table = table.sort_values("experiment", key=lambda names: names.map(order), kind="stable")
    return table.astype({"n_seeds": int, "n_tests": int}).reset_index(drop=True)
