"""Every experiment runs, on data of the shape that it needs; without its data it says what is missing."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stlearn_lib.data.expression import SPACES
from stlearn_lib.data.splits import leaks
from stlearn_lib.datasets import GENE_LISTS
from stlearn_lib.errors import ReproductionError
from stlearn_lib.methods.presets import PRESETS
from stlearn_lib.methods.registry import METHODS, create_method
from stlearn_lib.protocols import PATIENT_OF
from stlearn_lib.reproduction.catalogue import EXPERIMENTS, SectionExperiment, experiments_of
from stlearn_lib.reproduction.engines import run_here
from stlearn_lib.reproduction.prepared import IN_REGISTRY, patients_of
from stlearn_lib.reproduction.status import missing_data
from stlearn_lib.reproduction.tasks import Task, identify, plan, run_task
from stlearn_lib.slides import pooling
from stlearn_lib.slides.bags import Bag, write_bag

OF_SECTIONS = [name for name, one in EXPERIMENTS.items() if isinstance(one, SectionExperiment)]
OF_SLIDES = [name for name in EXPERIMENTS if name not in OF_SECTIONS]
PREPARED = [name for name in OF_SECTIONS if EXPERIMENTS[name].data != IN_REGISTRY]
N_FOLDS = {
    "mclstexp/her2st": 32,
    "mclstexp/cscc": 12,
    "mclstexp/alex10x": 9,
    "nh2st/stnet": 8,
    "nh2st/skin": 4,
    "nh2st/pcw": 3,
    "nh2st/mouse": 4,
    "nh2st/int": 8,
    "nh2st/zen": 3,
    "rankbygene/breast-st1": 5,
    "rankbygene/lung-st-top250": 5,
    "within-C/mean": 5,
    "across-patients/mean": 1,
    "gene-wise/mean": 5,
}


@pytest.mark.parametrize("name", OF_SECTIONS)
def test_all_that_an_experiment_names_exists(name):
    experiment = EXPERIMENTS[name]
    assert experiment.method in METHODS and experiment.gene_list in GENE_LISTS and experiment.space in SPACES
    assert experiment.seeds and experiment.what
    if experiment.method in PRESETS:
        options = create_method(experiment.method, changes=experiment.changes).options
        own = PRESETS[experiment.method].create().options
        assert all(getattr(options, key) != getattr(own, key) for key in experiment.changes)
    else:
        assert not experiment.changes


def test_ours_are_the_same_comparison_within_a_tumour_and_across():
    within, across = (
        {one.name.split("/")[1]: one for one in experiments_of([f"{split}/*"])}
        for split in ("within-C", "across-patients")
    )
    assert {name: replace(one, name="", split="") for name, one in within.items()} == {
        name: replace(one, name="", split="") for name, one in across.items()
    }
    smoothed = {name for name, one in within.items() if one.smooth}
    assert smoothed == {"nh2st-released", "ridge-both-smoothed"}
    assert {name for name, one in within.items() if one.select_on_test} == {"nh2st-released"}


def test_patterns_name_experiments_in_order():
    names = list(EXPERIMENTS)
    assert [one.name for one in experiments_of(["*"])] == names
    assert [one.name for one in experiments_of(["within-C/mean", "nh2st/*"])] == [
        name for name in names if name.startswith("nh2st/") or name == "within-C/mean"
    ]
    with pytest.raises(ReproductionError, match=r"no experiment is called 'nh2st': see `stlearn-lib reproduce list`"):
        experiments_of(["nh2st/*", "nh2st"])


@pytest.mark.parametrize(("name", "n_folds"), N_FOLDS.items())
def test_splits_have_the_published_number_of_folds(prepared, name, n_folds):
    experiment = EXPERIMENTS[name]
    patients = patients_of(experiment.data, prepared)
    folds = experiment.folds(patients)
    assert len(folds) == n_folds == len({fold.name for fold in folds})
    tested = [section for fold in folds for section in fold.test]
    assert len(tested) == len(set(tested))
    if experiment.data != IN_REGISTRY:
        assert set(tested) == set(patients)
    leaking = any(leaks(fold, patients) for fold in folds)
    assert leaking == (name in ("mclstexp/her2st", "mclstexp/cscc", "within-C/mean", "gene-wise/mean"))


@pytest.mark.parametrize("name", OF_SECTIONS)
def test_every_experiment_runs(prepared, her2st, name):
    experiment = EXPERIMENTS[name]
    task = plan(experiment, preset="ridge-colour", prepared=str(prepared))[0]
    fold = experiment.folds(patients_of(experiment.data, prepared))[0]
    result = run_task(task)
    rows = pd.DataFrame(result.rows)
    tests = rows[rows["test"] != "pooled"]
    assert tuple(tests["test"]) == fold.test and (len(rows) > len(tests)) == (len(fold.test) > 1)
    n_genes = experiment.n_top or GENE_LISTS[experiment.gene_list][1]
    assert set(rows["n_genes"]) == {n_genes} and set(rows["space"]) == {experiment.space}
    assert set(rows["smooth"]) == {experiment.smooth} and set(rows["fold"]) == {fold.name}
    assert set(rows["trained_on"]) == {" ".join(fold.train)}
    assert set(rows["selected_on"]) == {" ".join(fold.test) if experiment.select_on_test else ""}
    assert np.isfinite(tests[["acg", "heg", "mse", "mae"]].to_numpy(float)).all()
    labelled = tests[tests["test"].str.endswith("1")]
    assert labelled.empty or labelled[["ari", "nmi"]].notna().all(axis=None)
    for row in tests.itertuples():
        genes = pd.DataFrame(result.genes[row.test])
        assert genes["r"].mean() == pytest.approx(row.acg, abs=1e-5)
        assert genes.nlargest(50, "mean")["r"].mean() == pytest.approx(row.heg, abs=1e-5)


def test_the_most_expressed_genes_are_those_of_training_sections(prepared):
    name = "rankbygene/breast-st1"
    whole, top = (
        run_task(plan(EXPERIMENTS[one], preset="mean", prepared=str(prepared))[0]) for one in (name, f"{name}-top250")
    )
    (row,), (test,) = [row for row in top.rows if row["test"] != "pooled"][:1], list(top.genes)[:1]
    fold = EXPERIMENTS[name].folds(patients_of("hest_1k/breast-st1", prepared))[0]
    others = [run_task(task) for task in plan(EXPERIMENTS[name], preset="mean", prepared=str(prepared))[1:]]
    means = {}
    for result in (whole, *others):
        means |= {section: found["mean"] for section, found in result.genes.items()}
    training = np.mean([means[section] for section in fold.train], axis=0)
    genes = np.array(whole.genes[test]["gene"])
    assert set(top.genes[test]["gene"]) == set(genes[np.argsort(-training)[:250]])
    assert row["gene_list"] == "rankbygene_breast, top 250"


@pytest.mark.parametrize("name", ["mclstexp/cscc-no-position", "nh2st/pcw", "rankbygene/breast-st1"])
def test_one_fold_of_each_paper_with_its_small_preset(prepared, short_preset, compute, name):
    experiment = EXPERIMENTS[name]
    preset = f"{experiment.method}_cpu"
    short_preset(preset)
    (task,) = plan(experiment, preset=preset, seeds=[1], prepared=str(prepared), device="cpu")[:1]
    (result,) = compute([task])
    assert {row["preset"] for row in result.rows} == {preset} and {row["seed"] for row in result.rows} == {1}
    assert all(np.isfinite(row["mse"]) for row in result.rows)
    settings = result.identity["settings"]
    assert settings["training"]["epochs"] == 1 and settings["training"]["seed"] == 1
    assert {key: settings[key] for key in experiment.changes} == experiment.changes


def test_changes_of_an_experiment_reach_its_method(prepared):
    tasks = [
        Task(experiment=name, fold="A2", seed=2, device="cpu") for name in ("mclstexp/her2st", "mclstexp/her2st-l2")
    ]
    plain, changed = (identify(task)["settings"] for task in tasks)
    assert {key for key in plain if plain[key] != changed[key]} == {"distance"}
    assert plain["training"]["seed"] == 2


CLINICAL = "case_submitter_id\tvital_status\tdays_to_death\tdays_to_last_follow_up\n"


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Bags and tables as a user puts them: TCGA's with two slides of a patient, BCNB's with its numbers."""
    folder, rng = tmp_path_factory.mktemp("cohorts"), np.random.default_rng(0)
    brca, bcnb = folder / "tcga_brca", folder / "bcnb"
    for home in (brca / "features", bcnb):
        home.mkdir(parents=True)
    lines = []
    for n in range(20):
        patient, days, dead = f"TCGA-A1-A{n:03d}", int(rng.integers(30, 3000)), n % 2
        lines.append(f"{patient}\tDead\t{days}\t'--" if dead else f"{patient}\tAlive\t'--\t{days}")
        for slide in range(1 + (n == 0)):
            name = f"{patient}-01Z-00-DX{slide + 1}.AB"
            write_bag(Bag(name, rng.normal(size=(4, 6)) + dead), brca / "features" / f"{name}.h5")
    (brca / "clinical.tsv").write_text(CLINICAL + "\n".join(lines))
    number = np.arange(1, 21)
    for n in number:
        write_bag(Bag(str(n), rng.normal(size=(4, 6))), bcnb / f"{n}.h5")
    pd.DataFrame(
        {
            "Patient ID": number,
            "ALN status": np.resize(["N0", "N+(1-2)", "N+(>2)"], 20),
            "HER2 status": np.resize(["Positive", "Negative"], 20),
            "ER": np.resize(["Positive", "Negative"], 20),
            "PR": np.resize(["Positive", "Negative"], 20),
        }
    ).to_csv(bcnb / "patient-clinical-data.csv", index=False)
    return folder


@pytest.mark.parametrize("name", [name for name in OF_SLIDES if name != "tcga-luad/rna"])
def test_every_experiment_on_slides_runs(cohorts, monkeypatch, compute, store, name):
    monkeypatch.setattr("stlearn_lib.reproduction.slide_tasks.TRAINING", replace(pooling.TRAINING, epochs=2))
    experiment = EXPERIMENTS[name]
    tasks = plan(experiment, prepared=str(cohorts), folds=["fold 2"], seeds=[0, 1], device="cpu")
    results = compute(tasks)
    measure = "auc" if "bcnb" in name else "c_index"
    assert all(0 <= result.rows[0][measure] <= 1 for result in results)
    assert results[0].rows[0]["trained_on"] in ("16 slides", "17 slides")
    for result in results:
        store.write(result)
    assert store.done(tasks) == set(tasks)
    assert len(store.gather()) == 2 and store.genes().empty


def test_a_changed_cohort_is_another(cohorts, tmp_path):
    shutil.copytree(cohorts / "bcnb", tmp_path / "bcnb")
    task = Task(experiment="rankbygene/bcnb-er", fold="fold 1", seed=0, prepared=str(tmp_path))
    first = identify(task)
    assert identify(task) == first
    write_bag(Bag("20", np.ones((5, 6))), tmp_path / "bcnb" / "20.h5")
    second = identify(task)
    table = tmp_path / "bcnb" / "patient-clinical-data.csv"
    table.write_text(table.read_text().replace("Positive", "positive"))
    third = identify(task)
    assert len({one["data"] for one in (first, second, third)}) == 3
    assert {key for key in first if first[key] != third[key]} == {"data"}


def test_survival_from_rna_on_the_real_table(mirror, compute):
    tasks = plan(EXPERIMENTS["tcga-luad/rna"], seeds=[0])
    results = compute(tasks)
    scores = [result.rows[0]["c_index"] for result in results]
    assert len(scores) == 5 and 0.55 < np.mean(scores) < 0.65  # as tests/slides has it, beside lifelines


@pytest.mark.parametrize(
    "name", [name for name in EXPERIMENTS if EXPERIMENTS[name].data not in (IN_REGISTRY, "tcga_luad")]
)
def test_without_its_data_an_experiment_says_what_and_how(tmp_path, name):
    experiment = EXPERIMENTS[name]
    said = missing_data(experiment, tmp_path)
    assert str(tmp_path / experiment.data) in said
    assert any(how in said for how in ("stlearn-lib data fetch", "by hand", "agreement", "on request"))
    if isinstance(experiment, SectionExperiment):
        form = {"cscc": "cscc", "stnet": "plain", "hest_1k": "hest", "stimage_1k4m": "stimage", "alex_10x": "visium"}
        command = f"stlearn-lib data section {form[experiment.data.split('/')[0]]} SOURCE SECTION"
        assert command in said and f"-o {tmp_path / experiment.data}" in said


def test_her2st_and_rna_are_fetched_when_they_are_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path))
    monkeypatch.delenv("STLEARN_DATA_MIRROR", raising=False)
    monkeypatch.setattr("stlearn_lib.reproduction.prepared._HERE", set())
    for name, command in (
        ("within-C/mean", "stlearn-lib data fetch her2st"),
        ("tcga-luad/rna", "data fetch tcga_luad"),
    ):
        assert command in missing_data(EXPERIMENTS[name])
        assert not missing_data(EXPERIMENTS[name], fetchable=False)
    assert "5 sections are not here yet, C2, C3, C4, C5, C6" in missing_data(EXPERIMENTS["within-C/mean"])
    assert "32 sections" in missing_data(EXPERIMENTS["mclstexp/her2st"])


def test_folds_that_cannot_be_made_are_named(small, tmp_path):
    shutil.copytree(small / "cscc", tmp_path / "cscc")
    assert not missing_data(EXPERIMENTS["mclstexp/cscc"], tmp_path)
    (tmp_path / "cscc" / "P2_ST_rep1.h5ad").unlink()
    said = missing_data(EXPERIMENTS["mclstexp/cscc"], tmp_path)
    assert str(tmp_path / "cscc") in said and "divides 12 sections, and 11 are given" in said
    assert not missing_data(EXPERIMENTS["nh2st/skin"], tmp_path), "four patients still"
    broken = tmp_path / "cscc" / "P9_ST_rep1.h5ad"
    broken.write_bytes(b"")
    assert str(broken) in missing_data(EXPERIMENTS["nh2st/skin"], tmp_path)


def test_files_that_a_killed_process_left_are_no_sections(small, tmp_path):
    shutil.copytree(small / "cscc", tmp_path / "cscc")
    (tmp_path / "cscc" / ".P2_ST_rep4-0123.h5ad").write_bytes(b"half")
    assert patients_of("cscc", tmp_path) == patients_of("cscc", small)
    assert len(patients_of("cscc", tmp_path)) == 12 and set(patients_of("her2st")) == set(PATIENT_OF)


def test_plans_are_checked(small):
    experiment = EXPERIMENTS["nh2st/skin"]
    assert [
        (task.fold, task.seed) for task in plan(experiment, folds=["P9", "P2"], seeds=[1, 1, 0], prepared=str(small))
    ] == [
        ("P2", 1),
        ("P9", 1),
        ("P2", 0),
        ("P9", 0),
    ]
    with pytest.raises(ReproductionError, match="has no fold P1; it has P10, P2, P5, P9"):
        plan(experiment, folds=["P1", "P2"], prepared=str(small))
    with pytest.raises(ReproductionError, match="a seed is 0 or more, not -1"):
        plan(experiment, seeds=[-1], prepared=str(small))
    with pytest.raises(ReproductionError, match="is about slides: no preset"):
        plan(EXPERIMENTS["tcga-luad/rna"], preset="mean")
    (outcome,) = run_here([Task(experiment="nh2st/skin", fold="P1", seed=0, prepared=str(small))])
    assert outcome.result is None and "nh2st/skin has no fold 'P1'" in outcome.error
