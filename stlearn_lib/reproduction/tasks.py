"""One fold of one experiment with one seed: the unit that runs, is stored, and is sent to another machine."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.sections import section_name
from stlearn_lib.data.splits import Fold
from stlearn_lib.datasets import load_gene_list
from stlearn_lib.errors import EvaluationError, ReproductionError
from stlearn_lib.evaluation import Protocol, cross_validate
from stlearn_lib.evaluation.clustering import agreement, cluster_spots, labelled_spots
from stlearn_lib.evaluation.weighted import pearson, uniform
from stlearn_lib.methods.base import Method
from stlearn_lib.methods.presets import PRESETS
from stlearn_lib.methods.registry import create_method
from stlearn_lib.reproduction.catalogue import EXPERIMENTS, SectionExperiment, SlideExperiment
from stlearn_lib.reproduction.identity import code_version, key_of
from stlearn_lib.reproduction.memory import peak_memory
from stlearn_lib.reproduction.prepared import fingerprint, load_prepared, patients_of
from stlearn_lib.reproduction.slide_tasks import N_FOLDS, cohort_fingerprint, run_slide_fold
from stlearn_lib.training import Compute


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is needed to compute one fold of an experiment, in plain values that travel to any machine.

    Args:
        experiment: Its name.
        fold: The fold's name.
        seed: Of training; of a slide experiment, of the folds too.
        preset: A method that takes the place of the experiment's; its own if None. A preset of the same method
            keeps the experiment's changes.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        devices: How many for the one task.
        nodes: How many machines for the one task.
        precision: See `training.Compute`.
        prepared: The folder of prepared data; the cache's if None.
        runs: Where training keeps checkpoints, so that a stopped one goes on; nowhere if None.
    """

    experiment: str
    fold: str
    seed: int
    preset: str | None = None
    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: str = "32-true"
    prepared: str | None = None
    runs: str | None = None

    @property
    def label(self) -> str:
        """How the task is called on the screen."""
        return f"{self.experiment} {self.fold} seed {self.seed}"

    @property
    def command(self) -> str:
        """The command that computes it again."""
        chosen = {name: getattr(self, name) for name in ("preset", "device", "devices", "nodes", "precision")}
        options = [f"--{name} {value}" for name, value in chosen.items() if value != getattr(Task, name)]
        words = ["stlearn-lib reproduce run", self.experiment, f"--folds '{self.fold}'", f"--seeds {self.seed}"]
        return " ".join([*words, *options])


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a task found.

    Args:
        identity: What it was computed from; see `identify`.
        key: Its hash, which names the result.
        rows: One for each test section, or one for the fold.
        genes: For each test section ``gene``, ``r``, and ``mean``, the gene's mean in the truth.
    """

    identity: dict[str, Any]
    key: str
    rows: list[dict[str, Any]]
    genes: dict[str, dict[str, list[Any]]]


def plan(
    experiment: SectionExperiment | SlideExperiment,
    *,
    folds: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    **settings: Any,
) -> list[Task]:
    """List an experiment's tasks, fold by fold within each seed.

    Args:
        experiment: The experiment.
        folds: Names of folds; all if None.
        seeds: Seeds; the experiment's if None.
        **settings: The other fields of `Task`.

    Raises:
        ReproductionError: If its data is not here, there is no such fold or seed, or slides are given a preset.
        SplitError: If the data's sections are not those that it divides.
    """
    known = fold_names(experiment, settings.get("prepared"))
    if unknown := [name for name in folds or () if name not in known]:
        raise ReproductionError(
            f"{experiment.name} has no fold {', '.join(unknown)}; it has {', '.join(known[:8])}"
            f"{' and others' * (len(known) > 8)}."
        )
    seeds = experiment.seeds if seeds is None else tuple(dict.fromkeys(seeds))
    if wrong := [seed for seed in seeds if seed < 0]:
        raise ReproductionError(f"a seed is 0 or more, not {wrong[0]}.")
    if settings.get("preset") and isinstance(experiment, SlideExperiment):
        raise ReproductionError(f"{experiment.name} is about slides: no preset takes its method's place.")
    chosen = [name for name in known if folds is None or name in folds]
    return [Task(experiment=experiment.name, fold=fold, seed=seed, **settings) for seed in seeds for fold in chosen]


def fold_names(experiment: SectionExperiment | SlideExperiment, prepared: str | None = None) -> list[str]:
    """Return the names of an experiment's folds.

    Raises:
        ReproductionError: If they depend on data that is not here.
    """
    if isinstance(experiment, SlideExperiment):
        return [f"fold {n}" for n in range(1, N_FOLDS + 1)]
    return [fold.name for fold in experiment.folds(patients_of(experiment.data, prepared))]


def run_task(task: Task) -> Result:
    """Compute a task.

    Raises:
        StlearnError: Whatever loading, fitting and scoring raise.
    """
    experiment, identity = EXPERIMENTS[task.experiment], identify(task)
    genes: dict[str, Any] = {}
    with peak_memory() as memory:
        start = time.perf_counter()
        if isinstance(experiment, SlideExperiment):
            rows = [run_slide_fold(experiment, task.fold, task.seed, task.prepared, _compute(task))]
        else:
            rows, genes = _run_section_fold(task, experiment)
        spent = time.perf_counter() - start
    facts = {
        "experiment": task.experiment,
        "preset": identity["preset"],
        "seed": task.seed,
        "settings": json.dumps(identity["settings"], sort_keys=True),
        "code": identity["code"],
        "data": identity["data"],
        "key": key_of(identity),
        "devices": task.devices * task.nodes,
        "precision": task.precision,
        "duration_s": spent,
        "peak_memory_gb": memory.gigabytes,
        "peak_gpu_memory_gb": memory.gpu_gigabytes,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": task.command,
    }
    return Result(identity=identity, key=key_of(identity), rows=[_plain(row | facts) for row in rows], genes=genes)


def identify(task: Task) -> dict[str, Any]:
    """Return what decides a task's result: experiment, fold, seed, settings, precision, code and data.

    Raises:
        StlearnError: If data or method cannot be had.
    """
    experiment = EXPERIMENTS[task.experiment]
    own: dict[str, Any]
    if isinstance(experiment, SlideExperiment):
        settings = {name: getattr(experiment, name) for name in ("data", "table", "layout", "label")}
        own = {"preset": experiment.layout, "data": cohort_fingerprint(experiment, task.prepared)}
        own["code"] = code_version("slides")
    else:
        fold, method = _fold(task, experiment), _method(task, experiment)
        chosen = {name: getattr(experiment, name) for name in ("gene_list", "space", "smooth", "n_top")}
        settings = {"method": type(method).__name__, **method.settings(), "fold": asdict(fold), **chosen}
        sections = [*fold.train, *fold.validation, *fold.test]
        own = {
            "preset": task.preset or experiment.method,
            "data": fingerprint(experiment.data, sections, task.prepared),
        }
    common = {name: getattr(task, name) for name in ("experiment", "fold", "seed", "precision")}
    if (devices := task.devices * task.nodes) > 1:  # mclSTExp's spots attend to those of their own process
        common["devices"] = devices
    return {"code": code_version()} | common | own | {"settings": json.loads(json.dumps(settings))}


def _fold(task: Task, experiment: SectionExperiment) -> Fold:
    folds = {fold.name: fold for fold in experiment.folds(patients_of(experiment.data, task.prepared))}
    if task.fold not in folds:
        raise ReproductionError(f"{experiment.name} has no fold {task.fold!r}.")
    return replace(folds[task.fold], select_on_test=experiment.select_on_test)


def _method(task: Task, experiment: SectionExperiment) -> Method:
    name = task.preset or experiment.method
    if name not in PRESETS:
        return create_method(name)
    own = PRESETS.get(experiment.method)
    changes = experiment.changes if own and own.method is PRESETS[name].method else {}
    folder = None if task.runs is None else Path(task.runs) / experiment.name / name / f"seed{task.seed}"
    return create_method(name, compute=_compute(task), folder=folder, seed=task.seed, changes=changes)


def _compute(task: Task) -> Compute:
    return Compute(task.device, task.devices, task.nodes, precision=task.precision)  # type: ignore[arg-type]


def _target(experiment: SectionExperiment) -> Target | Callable[[Sequence[AnnData]], Target]:
    genes = load_gene_list(experiment.gene_list, allow_simulated=False)
    name, n_top = experiment.gene_list, experiment.n_top
    whole = Target(genes, experiment.space, experiment.smooth, gene_list=name)
    if n_top is None:
        return whole

    def top(training: Sequence[AnnData]) -> Target:
        means = np.mean([expression(section, whole).mean(axis=0) for section in training], axis=0)
        chosen = np.sort(np.argsort(-means, kind="stable")[:n_top])
        return replace(whole, genes=tuple(genes[i] for i in chosen), gene_list=f"{name}, top {n_top}")

    return top


def _run_section_fold(task: Task, experiment: SectionExperiment) -> tuple[list[Any], dict[str, Any]]:
    fold = _fold(task, experiment)
    sections = load_prepared(experiment.data, [*fold.train, *fold.validation, *fold.test], task.prepared)
    genes: dict[str, dict[str, list[Any]]] = {}
    regions: dict[str, dict[str, float]] = {}

    def keep(_: Fold, section: AnnData, prediction: AnnData) -> None:
        target = Target(tuple(prediction.var_names), experiment.space, experiment.smooth)
        truth, values = expression(section, target), np.asarray(prediction.X, dtype=np.float64)
        r = pearson(truth, values, uniform(len(truth)))[0]
        genes[section_name(section)] = {
            "gene": list(target.genes),
            "r": [None if np.isnan(value) else round(float(value), 5) for value in r],
            "mean": [round(float(value), 5) for value in truth.mean(axis=0)],
        }
        regions[section_name(section)] = _regions(section, values, task.seed)

    table = cross_validate(
        _method(task, experiment),
        sections,
        Protocol(experiment.split, (fold,), _target(experiment)),
        progress=False,
        on_prediction=keep,
    )
    return [row | regions.get(row["test"], {}) for row in table.to_dict("records")], genes


def _regions(section: AnnData, prediction: np.ndarray, seed: int) -> dict[str, float]:
    """How well clusters of a prediction agree with a pathologist's regions, where there are some."""
    if "label" not in section.obs:
        return {}
    labels = section.obs["label"].astype(object).to_numpy()
    n_regions = len(set(labels[labelled_spots(labels)]))
    if n_regions < 2:
        return {}
    try:
        clusters = cluster_spots(prediction, n_clusters=n_regions, seed=seed)
    except EvaluationError:  # a prediction that is not finite everywhere has no clusters
        return {}
    found = agreement(labels, clusters)
    return {"ari": found.ari, "nmi": found.nmi}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them; a number that is undefined is missing."""
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in plain.items()}
