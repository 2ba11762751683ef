"""Slide experiments: a cohort, its folds, and one fold of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import data_registry
from stlearn_lib.errors import ReproductionError
from stlearn_lib.evaluation.cross_validation import hardware, versions
from stlearn_lib.reproduction.catalogue import SlideExperiment
from stlearn_lib.reproduction.identity import key_of
from stlearn_lib.reproduction.prepared import content_hash, how_to_get, pins_hash, prepared_folder
from stlearn_lib.slides.classification import SlideClassifier, classification_scores
from stlearn_lib.slides.cohorts import Cohort, layout_of, read_cohort, read_tcga_cohort
from stlearn_lib.slides.cross_validation import cross_validate_slides
from stlearn_lib.slides.folds import stratified_folds
from stlearn_lib.slides.pooling import TRAINING
from stlearn_lib.slides.profiles import CoxRidge, read_mcat_profiles
from stlearn_lib.slides.survival import SlideSurvival, survival_scores
from stlearn_lib.training import Compute

N_FOLDS = 5
_BAGS = "[!.]*.h5"


def missing_cohort(experiment: SlideExperiment, prepared: str | None = None) -> str:
    """Say what is missing of a cohort, and how to get it; empty if nothing is."""
    if experiment.layout == "rna":
        statuses = data_registry.verify(experiment.data).values()
        return how_to_get(experiment.data) if any(status.state == "missing" for status in statuses) else ""
    home = _home(experiment, prepared)
    if (home / experiment.table).is_file() and any(home.rglob(_BAGS)):
        return ""
    return (
        f"no {experiment.table} with bags SLIDE.h5 in {home}. {how_to_get(experiment.data)} Then put table and "
        "features there."
    )


def cohort_fingerprint(experiment: SlideExperiment, prepared: str | None = None) -> str:
    """Hash a cohort: what the registry pins, or the bytes of table and bags.

    Raises:
        ReproductionError: If it is not here.
    """
    if experiment.layout == "rna":
        return pins_hash(experiment.data, None)
    if missing := missing_cohort(experiment, prepared):
        raise ReproductionError(missing)
    home = _home(experiment, prepared)
    files = [home / experiment.table, *sorted(home.rglob(_BAGS))]
    return key_of({path.relative_to(home).as_posix(): content_hash(path) for path in files})


def run_slide_fold(
    experiment: SlideExperiment, fold: str, seed: int, prepared: str | None = None, compute: Compute | None = None
) -> dict[str, Any]:
    """Fit a fold's training patients and score its test patients: a row of the ledger.

    Raises:
        ReproductionError: If the cohort is not here.
        BagError: If table or bags are malformed.
    """
    cohort = _cohort(experiment, prepared)
    (chosen,) = (one for one in stratified_folds(cohort.table, n_splits=N_FOLDS, seed=seed) if one.name == fold)
    model, scores = _model(experiment, seed, compute)
    predictions = cross_validate_slides(model, cohort, [chosen])
    return {
        "protocol": f"{N_FOLDS} folds of patients",
        "fold": fold,
        "test": fold,
        "method": type(model).__name__,
        "weights": "none",
        "simulated": any(_is_simulated(cohort, slide) for slide in chosen.test),
        "trained_on": f"{len(chosen.train)} slides",
        "hardware": hardware(),
        "versions": versions(),
        **scores(predictions),
    }


def _model(experiment: SlideExperiment, seed: int, compute: Compute | None) -> tuple[Any, Any]:
    options: dict[str, Any] = {"training": replace(TRAINING, seed=seed), "compute": compute, "progress": False}
    if experiment.label:
        return SlideClassifier(**options), classification_scores
    if experiment.layout == "rna":
        return CoxRidge(), survival_scores
    return SlideSurvival(**options), survival_scores


def _cohort(experiment: SlideExperiment, prepared: str | None) -> Any:
    if experiment.layout == "rna":
        (table,) = data_registry.fetch(experiment.data).values()
        return read_mcat_profiles(table)
    if missing := missing_cohort(experiment, prepared):
        raise ReproductionError(missing)
    home = _home(experiment, prepared)
    if experiment.layout == "tcga":
        return read_tcga_cohort(home / experiment.table, home)
    return read_cohort(home / experiment.table, home, label=experiment.label, **layout_of(experiment.layout)._asdict())


def _is_simulated(cohort: Any, slide: str) -> bool:
    return isinstance(cohort, Cohort) and (cohort.simulated or bool(cohort.bag(slide).provenance.get("simulated")))


def _home(experiment: SlideExperiment, prepared: str | None) -> Path:
    return prepared_folder(prepared) / experiment.data
