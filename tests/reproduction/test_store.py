"""Results on disk: each computed once, none ever lost or overwritten."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from stlearn_lib.data.section_files import read_section, write_section
from stlearn_lib.data.synthetic import gene_names
from stlearn_lib.errors import ReproductionError
from stlearn_lib.reproduction import tasks
from stlearn_lib.reproduction.catalogue import EXPERIMENTS
from stlearn_lib.reproduction.store import Store, read_result
from stlearn_lib.reproduction.tasks import Task, identify, plan, run_task

SCRIPT = Path(__file__).with_name("killed.py")
OF_A_RUN = ["fit_s", "predict_s", "duration_s", "peak_memory_gb", "date"]
"""What differs between two runs of one task."""


@pytest.fixture
def skin(small, simulated_genes):
    """The four tasks of an experiment, computed in an instant."""
    return plan(EXPERIMENTS["nh2st/skin"], seeds=[0], preset="mean", prepared=str(small), device="cpu")


@pytest.fixture(scope="module")
def computed(small):
    """Their results."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "load_gene_list", lambda name, **_: gene_names())
        planned = plan(EXPERIMENTS["nh2st/skin"], seeds=[0], preset="mean", prepared=str(small), device="cpu")
        return [run_task(task) for task in planned]


@pytest.fixture
def full(skin, computed, store):
    """A store with these four."""
    for result in computed:
        store.write(result)
    return store


@pytest.fixture(scope="module")
def stores(tmp_path_factory, small):
    """The stores that the script fills."""
    folder = tmp_path_factory.mktemp("stores")
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "STLEARN_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(
        [sys.executable, SCRIPT, small, folder], env=environment, capture_output=True, text=True, timeout=300
    )
    assert not done.returncode, done.stderr
    return folder


@pytest.mark.parametrize("name", ["killed", "shared"])
def test_nothing_is_lost_or_doubled(stores, name):
    expected, found = (Store(stores / one) for one in ("undisturbed", name))
    results = list((found.folder / "tasks").rglob("[!.]*.json"))
    assert len(results) == 10 and len({path.stem.split("-seed")[0] for path in results}) == 5
    for path in results:
        assert read_result(path)["key"] in path.name
    for read in (lambda folder: pd.read_parquet(folder / "ledger.parquet"), lambda f: pd.read_csv(f / "ledger.csv")):
        ours, theirs = (read(one.folder).drop(columns=OF_A_RUN) for one in (found, expected))
        pd.testing.assert_frame_equal(ours, theirs)
    genes, theirs = (pd.read_parquet(one.folder / "genes.parquet") for one in (found, expected))
    pd.testing.assert_frame_equal(genes, theirs)
    assert len(genes) == 10 * 200


def test_a_result_is_one_file_that_stays_as_it_is(computed, store):
    result = computed[0]
    path = store.write(result)
    assert path == store.folder / f"tasks/nh2st/skin/P10-seed0-{result.key}.json"
    path.write_text(path.read_text() + " ")
    assert store.write(result) == path and path.read_text().endswith(" ")
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    read = read_result(path)
    assert (read["identity"], read["rows"]) == (result.identity, result.rows)


def test_what_is_done_is_not_computed_again(full, skin):
    assert full.done(skin) == set(skin)
    assert full.done([Task(**vars(skin[0]) | {"seed": 1})]) == set()
    for elsewhere in ({"device": "auto"}, {"runs": "somewhere"}):
        assert full.done([Task(**vars(skin[0]) | elsewhere)]), "where it was computed decides nothing"
    assert not full.done([Task(**vars(skin[0]) | {"devices": 2})]), "a process sees a share of the batch"


@pytest.mark.parametrize("change", ["preset", "code", "data", "image", "precision"])
def test_a_change_makes_new_rows_beside_the_old(full, skin, small, compute, tmp_path, monkeypatch, change):
    task = skin[0]
    before = full.gather()
    if change == "preset":
        task = Task(**vars(task) | {"preset": "ridge-colour"})
    elif change == "precision":
        task = Task(**vars(task) | {"precision": "bf16-mixed"})
    elif change == "code":
        monkeypatch.setattr(tasks, "code_version", lambda *_: "9.9+changed")
    else:
        shutil.copytree(small / "cscc", tmp_path / "prepared" / "cscc")
        task = Task(**vars(task) | {"prepared": str(tmp_path / "prepared")})
        assert full.done([task]), "a copy is the same data"
        path = tmp_path / "prepared" / "cscc" / "P2_ST_rep1.h5ad"
        if change == "data":
            section = read_section(path)
            section.X[0, 0] += 1
            write_section(section, path.parent)
        else:
            Image.new("RGB", (36, 36)).save(path.with_suffix(".png"))
    assert not full.done([task])
    (result,) = compute([task])
    full.write(result)
    after = full.gather()
    assert full.done([task]) and len(after) == len(before) + 4  # three sections, and all of them together
    columns = {"code": "code", "preset": "preset", "precision": "precision"}
    differing = {"preset": {"preset", "settings"}}.get(change, {columns.get(change, "data")})
    old = before[before["fold"] == task.fold].iloc[0]
    new = after[after["key"] == result.key].iloc[0]
    assert {name for name in ("preset", "settings", "code", "data", "precision") if old[name] != new[name]} == differing
    kept = after[after["key"] != result.key].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept[["key", "test", "mse", "date"]], before[["key", "test", "mse", "date"]])


def test_changed_data_is_read_anew(skin, small, compute, tmp_path):
    shutil.copytree(small / "cscc", tmp_path / "cscc")
    task = Task(**vars(skin[0]) | {"prepared": str(tmp_path)})
    (first,) = compute([task])
    section = read_section(tmp_path / "cscc" / "P2_ST_rep1.h5ad")
    section.X.data = section.X.data**2
    write_section(section, tmp_path / "cscc")
    (second,) = compute([task])
    assert first.rows[0]["mse"] != second.rows[0]["mse"]
    assert first.rows[0]["data_hash"] != second.rows[0]["data_hash"]


def test_the_command_of_a_row_computes_it_again(full, skin, run, small):
    rows = full.rows()
    words = shlex.split(rows["command"].iloc[0])
    assert words[0] == "stlearn-lib"
    done = run(*words[1:], "--results", full.folder, "--prepared", small)
    assert (done.returncode, done.out.strip()) == (0, "0 computed, 1 were there, 0 failed.")


@pytest.mark.parametrize("text", ["", '{"identity": {', "[]", '{"rows": []}', "\x00\x00"])
def test_a_broken_result_is_named(full, skin, text):
    path = next((full.folder / "tasks").rglob("P2-*.json"))
    path.write_text(text)
    for read in (full.rows, full.genes, full.gather):
        with pytest.raises(ReproductionError, match=r"is no result .*: delete it, and it is computed again") as caught:
            read()
        assert str(path) in str(caught.value)
    path.unlink()
    assert {task.fold for task in skin} - {task.fold for task in full.done(skin)} == {"P2"}


def test_a_broken_ledger_is_named(full):
    full.gather()
    (full.folder / "ledger.parquet").write_bytes(b"PAR1")
    with pytest.raises(ReproductionError, match=r"ledger\.parquet is no readable ledger"):
        full.rows()


def test_the_ledger_alone_is_enough(full, skin, compute):
    whole, genes = full.gather(), full.genes()
    shutil.rmtree(full.folder / "tasks")
    assert full.done(skin) == set(skin)
    pd.testing.assert_frame_equal(full.rows(), whole)
    pd.testing.assert_frame_equal(full.genes(), genes, check_dtype=False, rtol=1e-6)
    (more,) = compute([Task(**vars(skin[0]) | {"preset": "ridge-colour"})])
    full.write(more)
    both = full.gather()
    assert len(both) == len(whole) + 4 and set(whole["key"]) < set(both["key"])
    assert len(full.genes()) == len(genes) + 3 * 200
    pd.testing.assert_frame_equal(full.gather(), both)


def test_the_order_of_the_ledger_does_not_tell_its_history(computed, store, tmp_path):
    other = Store(tmp_path / "other")
    for result in computed:
        store.write(result)
    for result in reversed(computed):
        other.write(result)
        other.gather()
    pd.testing.assert_frame_equal(store.gather(), other.gather())
    pd.testing.assert_frame_equal(*(pd.read_parquet(one.folder / "genes.parquet") for one in (store, other)))


def test_an_undefined_number_is_missing(full):
    """The mean of training spots is the same everywhere and has no correlation."""
    for rows in (full.rows(), full.gather(), full.gather(), full.rows()):
        assert rows["acg"].isna().all() and rows["mse"].gt(0).all() and not rows["simulated"].isna().any()
    assert full.genes()["r"].isna().all() and full.genes()["mean"].notna().all()
    text = next((full.folder / "tasks").rglob("P2-*.json")).read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_of_nothing_there_is_no_ledger(store):
    assert store.rows().empty and store.genes().empty and store.keys() == set()
    with pytest.raises(ReproductionError, match="no results in"):
        store.gather()


def test_an_identity_is_plain_and_says_what_decides(skin):
    identity = identify(skin[0])
    assert json.loads(json.dumps(identity)) == identity
    assert set(identity) == {"code", "experiment", "fold", "seed", "precision", "preset", "data", "settings"}
    assert identity["settings"]["fold"]["select_on_test"] and identity["settings"]["smooth"]
