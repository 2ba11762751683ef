"""Two processes learn what one learns."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import pandas as pd
import pytest
import torch

from stlearn_lib.training import Compute

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """What a single process finds."""
    script, compute = run_path(str(SCRIPT)), Compute(accelerator="cpu")
    return {**script["train"](compute, tmp_path_factory.mktemp("one")), "NH2ST": script["train_nh2st"](compute)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two processes leave their runs."""
    folder = tmp_path_factory.mktemp("two")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, SCRIPT, folder], env=environment, capture_output=True, text=True, timeout=300
    )
    assert not done.returncode, done.stderr
    return folder


@pytest.fixture(scope="module")
def both(folder):
    """What each of them finds."""
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", ["clipped", "in parts", "in parts, together", "again: clipped", "NH2ST"])
def test_weights_and_history_are_those_of_one_process(one, both, name):
    first, second = (result[name] for result in both)
    assert first["history"] == second["history"]
    torch.testing.assert_close(first["weights"], second["weights"], rtol=0, atol=0)
    rounding = 1e-5 if name == "NH2ST" else 1e-6  # Adam, whose steps of .01 repeat what rounding a small gradient has
    torch.testing.assert_close(first["weights"], one[name]["weights"], rtol=0, atol=rounding)
    pd.testing.assert_frame_equal(
        *(pd.DataFrame(found["history"]) for found in (first, one[name])), rtol=1e-5, atol=1e-5
    )


def test_parts_that_are_compared_together_take_the_steps_of_an_undivided_batch(both):
    script = run_path(str(SCRIPT))
    settings = replace(script["SETTINGS"]["in parts, together"], accumulate=1)
    task = script["Contrast"]()
    script["fit"](task, script["spots"](0, 26), settings, validation=script["spots"](1, 18), compute=Compute("cpu"))
    torch.testing.assert_close(both[0]["in parts, together"]["weights"], task.state_dict(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "share"), [("clipped", 4), ("in parts", 2)])
def test_each_process_reads_its_share_of_every_part(one, both, name, share):
    first, second = (result[name]["read"] for result in both)
    assert {len(rows) for rows in [*first, *second]} == {share}
    assert [mine + yours for mine, yours in zip(first, second, strict=True)] == one[name]["read"]


def test_each_process_draws_its_own_numbers(both):
    first, second = (result["clipped"]["drawn"] for result in both)
    assert first and not set(first) & set(second)


def test_a_finished_run_is_read_by_both(both):
    assert [result["again: clipped"]["read"] for result in both] == [[], []]


def test_one_of_them_writes(folder):
    for name in ("clipped", "in parts"):
        found = sorted(path.name for path in (folder / name).iterdir())
        assert found == ["best.ckpt", "history.csv", "last.ckpt", "tensorboard"]
        assert len(list((folder / name / "tensorboard").iterdir())) == 1


def test_a_batch_has_to_be_divisible_among_processes(both):
    message = "a batch of 10 spots cannot be divided among 2 processes and 2 parts each: choose a multiple of 4."
    assert [result["error"] for result in both] == [message, message]
