"""A task on several devices: two processes compute what one does, and one of them writes."""

import os
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pandas as pd
import pytest

from stlearn_lib.data.synthetic import gene_names
from stlearn_lib.methods.registry import METHODS
from stlearn_lib.reproduction import tasks
from stlearn_lib.reproduction.store import Store
from stlearn_lib.reproduction.tasks import Task, run_task

SCRIPT = Path(__file__).with_name("two_devices.py")
ROUNDED = ["acg", "heg", "best", "spearman", "per_spot", "mse", "mae", "r2", "moran_prediction"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory, small):
    """What one process finds, and what two do."""
    folder = tmp_path_factory.mktemp("stores")
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONWARNINGS": "error",
        "STLEARN_CACHE": str(folder / "cache"),
    }
    own = ["run", "nh2st/skin", "--preset", "nh2st_skin_cpu", "--folds", "P2", "--seeds", "0", "--device", "cpu"]
    where = ["--devices", "2", "--prepared", small, "--results", folder / "two"]
    command = [sys.executable, SCRIPT, "reproduce", *own, *where]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert not done.returncode and "Traceback" not in done.stderr, done.stderr
    assert done.stdout == "1 computed, 0 were there, 0 failed.\n", "one of them speaks"
    script, one = run_path(str(SCRIPT)), Store(folder / "one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, script["NAME"], script["METHOD"])
        patch.setattr(tasks, "load_gene_list", lambda name, **_: gene_names())
        task = Task(
            experiment="nh2st/skin", fold="P2", seed=0, preset=script["NAME"], device="cpu", prepared=str(small)
        )
        one.write(run_task(task))
    one.gather()
    return one, Store(folder / "two")


def test_the_result_is_written_once(stores):
    one, two = (sorted(path.relative_to(store.folder) for path in store.folder.rglob("*.*")) for store in stores)
    assert one[:3] == two[:3] and len(one) == len(two) == 4
    assert one[3] != two[3]  # on how many it was computed is a part of its name
    assert [store.rows()["devices"].unique().tolist() for store in stores] == [[1], [2]]


def test_two_processes_find_what_one_finds(stores):
    one, two = (store.rows() for store in stores)
    pd.testing.assert_frame_equal(one[["test", "n_spots"]], two[["test", "n_spots"]])
    pd.testing.assert_frame_equal(one[ROUNDED], two[ROUNDED], rtol=1e-3, atol=1e-4)
    genes, theirs = (store.genes() for store in stores)
    pd.testing.assert_frame_equal(genes[["test", "gene", "mean"]], theirs[["test", "gene", "mean"]])
    assert (genes["r"] - theirs["r"]).abs().max() < 1e-3
