"""The commands, called in this process."""

import shutil

import pandas as pd
import pytest

from stlearn_lib import cli_reproduce
from stlearn_lib.errors import StlearnError
from stlearn_lib.reproduction import engines, prepared, tasks
from stlearn_lib.reproduction.catalogue import EXPERIMENTS
from stlearn_lib.reproduction.identity import key_of
from stlearn_lib.reproduction.store import Store

SKIN = ("run", "nh2st/skin", "--preset", "oracle")


@pytest.fixture
def reproduce(run, simulated_genes, tmp_path, small, monkeypatch):
    """Call a command on the small folder, with results of its own and lines wide enough to be read."""
    monkeypatch.setattr(cli_reproduce.out, "width", 400)

    def reproduce(command, *arguments, prepared=small):
        own = {"list": (), "show": ("--prepared", prepared), "table": ("--results", tmp_path / "results")}
        both = ("--results", tmp_path / "results", "--prepared", prepared)
        return run("reproduce", command, *arguments, *own.get(command, both))

    reproduce.store = Store(tmp_path / "results")
    return reproduce


def cells(text, name):
    """The cells of a table's line that begins with a name."""
    (line,) = (
        line
        for line in text.splitlines()
        if line.split("│")[1:2] == [f" {name.ljust(len(name))} "] or f"│ {name} " in line
    )
    return [cell.strip() for cell in line.split("│")[2:-1]]


def test_list_names_every_experiment(reproduce):
    listed = reproduce("list")
    assert listed.returncode == 0 and all(f"│ {name} " in listed.out for name in EXPERIMENTS)
    assert cells(listed.out, "mclstexp/cscc")[-2:] == ["cscc", "8"]
    assert "within-C/mean" not in reproduce("list", "nh2st/*", "mclstexp/cscc").out


def test_show_says_all_of_one(reproduce, tmp_path):
    shown = reproduce("show", "nh2st/skin")
    assert shown.returncode == 0
    for said in ("as released", "nh2st_skin", "select_on_test", "0.208", "secondary", "leaderboard"):
        assert said in shown.out
    lines = dict(line.split(maxsplit=1) for line in shown.out.splitlines() if len(line.split(maxsplit=1)) == 2)
    assert lines["missing"].strip() == "nothing" and lines["smooth"].strip() == "True"
    (tmp_path / "[empty]").mkdir()
    missing = reproduce("show", "nh2st/int", prepared=tmp_path / "[empty]")
    assert missing.returncode == 0 and "no sections in" in missing.out and "agreement" in missing.out
    assert "[empty]" in missing.out
    many = reproduce("show", "nh2st/*")
    assert many.returncode == 2 and "nh2st/* names 6 experiments: show one of them" in " ".join(many.err.split())


def test_run_status_and_table(reproduce, monkeypatch):
    nothing = reproduce("status", "nh2st/*")
    assert nothing.returncode == 0 and cells(nothing.out, "nh2st/skin") == ["0 of 12", "", ""]
    assert cells(nothing.out, "nh2st/int")[::2] == ["no data", "[4]"]
    assert "[4] no sections in" in nothing.out and "HEST-1k" in nothing.out

    some = reproduce(*SKIN, "--folds", "P2,P10", "--seeds", "0, 1")
    assert (some.returncode, some.out) == (0, "4 computed, 0 were there, 0 failed.\n")
    rows = pd.read_csv(reproduce.store.folder / "ledger.csv")
    assert len(rows) == 16 and set(rows["fold"]) == {"P2", "P10"} and set(rows["seed"]) == {0, 1}
    assert set(rows["preset"]) == {"oracle"} and rows["simulated"].all() and rows["peak_memory_gb"].gt(0.1).all()

    all_seeds = reproduce(*SKIN)
    assert all_seeds.out == "8 computed, 4 were there, 0 failed.\n"
    monkeypatch.setattr(engines, "_attempt", lambda task: pytest.fail("computed again"))
    (reproduce.store.folder / "ledger.csv").unlink()
    again = reproduce(*SKIN)
    assert (again.returncode, again.out) == (0, "0 computed, 12 were there, 0 failed.\n")
    assert len(pd.read_csv(reproduce.store.folder / "ledger.csv")) == 48, "whoever was stopped before gathering"

    status = reproduce("status", "nh2st/skin")
    assert cells(status.out, "nh2st/skin") == ["0 of 12", "12", ""], "of its own method nothing is done yet"


def test_status_counts_what_was_run_with_its_precision_and_devices(reproduce, small):
    for settings in ({"precision": "bf16-mixed"}, {"precision": "bf16-mixed", "devices": 2}):
        for task in tasks.plan(EXPERIMENTS["nh2st/skin"], seeds=[0], prepared=str(small), **settings):
            identity = tasks.identify(task)
            row = {"experiment": task.experiment, "key": key_of(identity), "test": task.fold}
            reproduce.store.write(tasks.Result(identity=identity, key=key_of(identity), rows=[row], genes={}))
    asked = ((), ("--precision", "bf16-mixed"), ("--precision", "bf16-mixed", "--devices", "2"))
    found = [cells(reproduce("status", "nh2st/skin", *words).out, "nh2st/skin") for words in asked]
    assert found == [["0 of 12", "8", ""], ["4 of 12", "4", ""], ["4 of 12", "4", ""]]


def test_a_table_has_a_line_for_each_measure(reproduce):
    before = reproduce("table", "nh2st/skin")
    assert before.returncode == 0 and cells(before.out, "nh2st/skin") == ["", "mse", "0.208", "", "", ""]
    reproduce(*SKIN, "--seeds", "0,1")
    after = [line.split("│") for line in reproduce("table", "nh2st/skin").out.splitlines() if "nh2st/skin" in line]
    found = {line[3].strip(): [cell.strip() for cell in line[4:-1]] for line in after}
    assert list(found) == ["acg", "heg", "mse", "mae"]
    rows = reproduce.store.rows()
    mse = rows.loc[(rows["test"] != "pooled") & (rows["seed"] == 0), "mse"].mean()
    assert found["mse"] == ["0.208", f"{mse:.3f} ({mse:.3f} to {mse:.3f})", "2", "12"]
    unknown = reproduce("table", "nh2st/skin", "--measures", "mse,agc")
    assert unknown.returncode == 1 and "neither the papers nor the ledger have a measure agc" in unknown.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "nh2st/brain"), 1, "no experiment is called 'nh2st/brain'"),
        (("show", "nh2st/brain"), 1, "no experiment is called 'nh2st/brain'"),
        (("status", "within-D/*"), 1, "no experiment is called 'within-D/*'"),
        (("table", "mine"), 1, "no experiment is called 'mine'"),
        (("list", "mine"), 1, "no experiment is called 'mine'"),
        ((*SKIN, "--folds", "P1"), 1, "nh2st/skin has no fold P1; it has P10, P2, P5, P9"),
        ((*SKIN, "--seeds", "one"), 2, "--seeds takes whole numbers with commas between, not 'one'"),
        ((*SKIN, "--seeds", "-1"), 1, "a seed is 0 or more, not -1"),
        ((*SKIN, "--engine", "slurm"), 2, "--engine is here or ray, not 'slurm'"),
        (("run", "nh2st/skin", "--preset", "lasso"), 1, "unknown method 'lasso'"),
        (("run", "tcga-luad/rna", "--preset", "mean"), 1, "about slides: no preset"),
        (("run",), 2, "Missing argument"),
    ],
)
def test_what_is_wrong_is_said(reproduce, arguments, code, message):
    done = reproduce(*arguments)
    assert done.returncode == code and message in " ".join(done.err.replace("│", " ").split())
    assert "Traceback" not in done.err and not reproduce.store.folder.exists()


def test_a_misspelt_device_is_an_error(reproduce, short_preset):
    short_preset("nh2st_skin_cpu", features=("colour_texture",))
    done = reproduce(
        "run", "nh2st/skin", "--preset", "nh2st_skin_cpu", "--seeds", "0", "--folds", "P2", "--device", "tpus"
    )
    assert done.returncode == 1 and "nh2st/skin P2 seed 0: cannot compute on" in done.out
    assert done.out.startswith("there are no results in")


def test_what_has_no_data_is_named_and_the_rest_is_run(reproduce, small, tmp_path):
    shutil.copytree(small / "cscc", tmp_path / "prepared" / "cscc")
    (tmp_path / "prepared" / "cscc" / "P2_ST_rep1.h5ad").unlink()
    done = reproduce(
        "run", "nh2st/*", "mclstexp/cscc", "--preset", "mean", "--seeds", "0", prepared=tmp_path / "prepared"
    )
    assert done.returncode == 1 and "4 computed, 0 were there, 0 failed." in done.out
    for name in ("stnet", "pcw", "mouse", "int", "zen"):
        assert f"\nnh2st/{name}: no sections in" in done.out
    assert "mclstexp/cscc: the sections in" in done.out and "divides 12 sections, and 11 are given" in done.out
    status = reproduce("status", "nh2st/skin", "mclstexp/cscc", prepared=tmp_path / "prepared")
    assert status.returncode == 0 and cells(status.out, "mclstexp/cscc") == ["no data", "", "[1]"]
    assert "and 11 are given" in status.out


def test_a_task_that_fails_does_not_stop_the_others(reproduce, monkeypatch):
    load = prepared.load_prepared

    def unreadable(data, names, folder):
        if names[-1].startswith("P5"):
            raise StlearnError("the disk is gone [/really]")
        return load(data, names, folder)

    monkeypatch.setattr(tasks, "load_prepared", unreadable)
    done = reproduce(*SKIN, "--seeds", "0")
    assert done.returncode == 1 and done.out.splitlines() == [
        "3 computed, 0 were there, 1 failed.",
        "nh2st/skin P5 seed 0: the disk is gone [/really]",
    ]


def test_a_mistake_of_ours_is_not_hidden(reproduce, monkeypatch):
    monkeypatch.setattr(tasks, "load_prepared", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reproduce(*SKIN)
