"""What has been run, and what is missing to run the rest."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stlearn_lib.errors import SectionError, SplitError
from stlearn_lib.reproduction.catalogue import Experiment, SlideExperiment
from stlearn_lib.reproduction.identity import key_of
from stlearn_lib.reproduction.prepared import IN_REGISTRY, missing_sections, patients_of, prepared_folder
from stlearn_lib.reproduction.slide_tasks import missing_cohort
from stlearn_lib.reproduction.store import Store
from stlearn_lib.reproduction.tasks import identify, plan


class Progress(NamedTuple):
    """How far an experiment is."""

    name: str
    done: int
    tasks: int
    """0 where they depend on data that is not here."""
    others: int
    """Results of other settings, code or data."""
    missing: str
    """What is missing, and how to get it; empty if nothing is."""


def missing_data(experiment: Experiment, prepared: Path | str | None = None, *, fetchable: bool = True) -> str:
    """Say what is missing of an experiment's data, and how to get it; empty if nothing is.

    Args:
        experiment: The experiment.
        prepared: The folder of prepared data; the cache's if None.
        fetchable: Whether what a run would download by itself is missing, too.
    """
    folder = None if prepared is None else str(prepared)
    if isinstance(experiment, SlideExperiment):
        return missing_cohort(experiment, folder) if fetchable or experiment.layout != "rna" else ""
    if experiment.data == IN_REGISTRY and not fetchable:
        return ""
    if experiment.data == IN_REGISTRY:
        folds = experiment.folds({})
        return missing_sections(IN_REGISTRY, sections={name for fold in folds for name in (*fold.train, *fold.test)})
    if missing := missing_sections(experiment.data, folder):
        return missing
    try:
        experiment.folds(patients_of(experiment.data, folder))
    except (SectionError, SplitError) as error:
        return f"the sections in {prepared_folder(folder) / experiment.data} do not make the folds: {error}"
    return ""


def progress_of(
    experiments: Iterable[Experiment], store: Store, prepared: Path | str | None = None, **settings: Any
) -> Iterator[Progress]:
    """Say how far experiments are.

    Args:
        experiments: The experiments.
        store: Where results are.
        prepared: The folder of prepared data; the cache's if None.
        **settings: How they were run, where it is part of a result's name: ``precision``, ``devices``, ``nodes``.

    Yields:
        One for each, in order.
    """
    folder = None if prepared is None else str(prepared)
    rows = store.rows()
    here = rows.groupby("experiment")["key"].unique().to_dict() if len(rows) else {}
    for experiment in experiments:
        missing = missing_data(experiment, prepared)
        found = set(here.get(experiment.name, ()))
        if missing_data(experiment, prepared, fetchable=False):
            yield Progress(experiment.name, 0, 0, len(found), missing)
            continue
        keys = {key_of(identify(task)) for task in plan(experiment, prepared=folder, **settings)}
        yield Progress(experiment.name, len(keys & found), len(keys), len(found - keys), missing)
