import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from stlearn_lib import datasets, evaluation
from stlearn_lib.data.expression import SPACES
from stlearn_lib.datasets import GENE_LISTS
from stlearn_lib.errors import StlearnError
from stlearn_lib.methods.presets import PRESETS
from stlearn_lib.methods.registry import METHODS
from stlearn_lib.protocols import PROTOCOLS


def test_the_installed_command_starts():
    command = [Path(sys.executable).parent / "stlearn-lib", "data", "info", "her2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.startswith("error:") and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [[], ["data"], ["data", "fetch"], ["evaluate"]])
def test_help_teaches(run, command):
    done = run(*command, "--help")
    assert done.returncode == 0
    if command == ["evaluate"]:
        words = set(re.split(r"[\s,;.():]+", done.out))
        assert words >= {*PROTOCOLS, *SPACES, *GENE_LISTS, *(name for name in METHODS if name not in PRESETS)}


def test_presets_are_listed_with_cost_and_expected_scores(run):
    listed = run("presets")
    assert listed.returncode == 0 and set(listed.out.split()) >= set(PRESETS)
    assert "published" in listed.out and "two cores" in listed.out


def test_a_method_that_trains_nothing_takes_no_devices(run):
    refused = run("evaluate", "ridge-colour", "--devices", "2")
    assert refused.returncode == 1 and "ridge-colour trains no network: leave out compute" in refused.err


def test_list_and_info(run):
    listed = run("data", "list")
    assert listed.returncode == 0 and "her2st" in listed.out and "hest_1k" in listed.out
    shown = run("data", "info", "hest_1k")
    assert shown.returncode == 0 and "agreement" in shown.out and "CC BY-NC-SA" in shown.out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["data", "info", "her2"], "Did you mean 'her2st'"),
        (["data", "fetch", "her2st", "ST-cnts/Z9.tsv.gz"], "no file 'ST-cnts/Z9.tsv.gz'"),
        (["data", "fetch", "hest_1k"], "cannot be fetched by a program alone"),
        (["evaluate", "lasso"], "unknown method 'lasso'; known: mean"),
        (["evaluate", "mean", "--protocol", "mine"], "unknown protocol 'mine'; known: within-C"),
        (["evaluate", "mean", "--genes", "mine"], "unknown gene list 'mine'"),
        (["evaluate", "mean", "--space", "log"], "unknown expression space 'log'"),
        (["evaluate", "mean", "--validation", "1"], "a fraction 1.0 of 4 training sections of one patient"),
        (["evaluate", "mean", "--protocol", "her2st_by_patient", "--validation", "0"], "of 7 training patients"),
    ],
)
def test_user_errors_are_one_line_and_exit_code_1(run, command, message, mirror):
    done = run(*command)
    assert done.returncode == 1
    assert done.err.startswith("error:") and message in done.err
    assert "Traceback" not in done.err


def test_wrong_usage_is_exit_code_2(run):
    done = run("evaluate")
    assert done.returncode == 2 and "Missing argument" in done.err


def test_scores_are_never_simulated(run, tmp_path, monkeypatch):
    monkeypatch.delenv("STLEARN_DATA_MIRROR", raising=False)
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    done = run("evaluate", "mean")
    assert done.returncode == 1 and "real data is required" in done.err and "Traceback" not in done.err


def test_fetch_prints_paths_and_verify_finds_damage(run, mirror, tmp_path, monkeypatch):
    done = run("data", "fetch", "gene_lists", "nh2st/*")
    paths = done.out.split()
    assert done.returncode == 0 and len(paths) == 6 and all(Path(path).is_file() for path in paths)
    assert run("data", "verify", "gene_lists").returncode == 0

    broken = tmp_path / "gene_lists/nh2st/genes_INT.npy"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"damaged")
    monkeypatch.setenv("STLEARN_DATA_MIRROR", str(tmp_path))
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path))
    done = run("data", "verify", "gene_lists", "nh2st/*")
    assert done.returncode == 1 and "corrupt  nh2st/genes_INT.npy" in done.out


def test_evaluate_writes_the_table(run, mirror, tmp_path):
    done = run("evaluate", "mean", "--protocol", "C-to-B4", "--output", str(tmp_path / "scores.csv"))
    assert done.returncode == 0 and "B4" in done.out
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table["test"].tolist() == ["B4"] and not table["simulated"].any() and table["mse"].iloc[0] < 1


@pytest.fixture
def asked(monkeypatch):
    """What the command hands to `load_gene_list`, `load_sections` and `cross_validate`, which are not run."""
    seen = {}

    def load_gene_list(name, **_):
        seen["genes"] = name
        return ("GNAS",)

    def cross_validate(method, sections, protocol):
        seen["protocol"] = protocol
        raise StlearnError("far enough")

    monkeypatch.setattr(datasets, "load_gene_list", load_gene_list)
    monkeypatch.setattr(datasets, "load_sections", lambda names, **_: seen.update(sections=names))
    monkeypatch.setattr(evaluation, "cross_validate", cross_validate)
    return seen


@pytest.mark.parametrize("name", PROTOCOLS)
def test_space_and_genes_are_the_protocols_unless_asked_otherwise(run, asked, name):
    assert run("evaluate", "mean", "--protocol", name).err == "error: far enough\n"
    named, handed = PROTOCOLS[name], asked["protocol"]
    assert (handed.name, handed.folds) == (name, named.folds)
    assert (handed.target.space, asked["genes"], handed.target.gene_list) == (named.space, *[named.gene_list] * 2)
    run("evaluate", "mean", "--protocol", name, "--space", "spot_ln_1m", "--genes", "nh2st_stnet")
    assert (asked["protocol"].target.space, asked["genes"]) == ("spot_ln_1m", "nh2st_stnet")


def test_validation_is_held_back_from_training_patients(run, asked):
    run("evaluate", "mean", "--protocol", "her2st_by_patient", "--validation", "0.1")
    for before, fold in zip(PROTOCOLS["her2st_by_patient"].folds, asked["protocol"].folds, strict=True):
        assert fold.test == before.test and sorted(fold.train + fold.validation) == list(before.train)
        assert len({name[0] for name in fold.validation}) == 1 and len({name[0] for name in fold.train}) == 6
    assert len(asked["sections"]) == 36


def test_selection_on_the_test_sections_has_to_be_asked_for(run, asked):
    for arguments in ([], ["--select-on-test"]):
        run("evaluate", "mean", *arguments)
        assert {fold.select_on_test for fold in asked["protocol"].folds} == {bool(arguments)}


def test_validation_sections_are_not_trained_on(run, mirror, tmp_path):
    done = run("evaluate", "mean", "--protocol", "C-to-B4", "--validation", "0.2", "--output", str(tmp_path / "t.csv"))
    assert done.returncode == 0
    assert len(pd.read_csv(tmp_path / "t.csv")["trained_on"].iloc[0].split()) == 4


def test_images_that_cannot_be_had_are_named(run, mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    done = run("evaluate", "mean", "--protocol", "her2st_by_patient")
    assert done.returncode == 1 and "real data is required" in done.err and "Traceback" not in done.err
