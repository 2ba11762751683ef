"""A run whose process is killed, wherever in it, ends as if nothing had happened."""

import os
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SCRIPT = Path(__file__).with_name("killed.py")
MOMENTS = list(run_path(str(SCRIPT))["MOMENTS"])

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks processes")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of all runs."""
    folder = tmp_path_factory.mktemp("runs")
    root = str(Path(__file__).parents[2])
    # A process with threads of its own must not fork.
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment = os.environ | single | {"PYTHONPATH": root, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, SCRIPT, folder], env=environment, capture_output=True, text=True, timeout=300
    )
    assert not done.returncode, done.stderr
    return folder


def result(runs, moment):
    return torch.load(runs / f"{moment}.pt", weights_only=True)


def without_seconds(history):
    return pd.DataFrame(history).drop(columns="seconds")


def test_the_uninterrupted_run_is_worth_comparing_with(runs):
    """Its best epoch is not its last, and the second is better than the first: what is killed then is at stake."""
    history = pd.DataFrame(result(runs, "never")["history"])
    assert history["validation_loss"].idxmin() == 1 and len(history) == 5


@pytest.mark.parametrize("moment", MOMENTS)
def test_weights_and_history_are_those_of_the_uninterrupted_run(runs, moment):
    expected, found = result(runs, "never"), result(runs, moment)
    torch.testing.assert_close(found["weights"], expected["weights"], rtol=0, atol=0)
    pd.testing.assert_frame_equal(*map(without_seconds, (found["history"], expected["history"])), check_exact=True)


@pytest.mark.parametrize("moment", MOMENTS)
def test_every_epoch_is_written_down_once(runs, moment):
    history = pd.DataFrame(result(runs, moment)["history"])
    written = pd.read_csv(runs / moment / "history.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(written, history, check_exact=True)
    events = EventAccumulator(str(runs / moment / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == set(history) - {"epoch"}
    for name in events.Tags()["scalars"]:
        assert [event.step for event in events.Scalars(name)] == list(history["epoch"])
        assert [event.value for event in events.Scalars(name)] == pytest.approx(list(history[name]), rel=1e-6)


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_last_files_are_whole_and_alone(runs, moment):
    folder = runs / moment
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "history.csv", "last.ckpt", "tensorboard"]
    best = torch.load(folder / "best.ckpt", weights_only=True)["task"]
    torch.testing.assert_close(best, result(runs, "never")["weights"], rtol=0, atol=0)
    last = torch.load(folder / "last.ckpt", weights_only=True)
    assert [row["epoch"] for row in last["history"]] == [1, 2, 3, 4, 5]
