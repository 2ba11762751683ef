"""Trainings side by side learn what they learn one after the other."""

import os
import time

import numpy as np
import pytest
import torch

from stlearn_lib.errors import TrainingError
from stlearn_lib.training import TrainingSettings, fit, side_by_side
from tests.training.test_loop import Regression, settings, spots

SEEDS = {"first": {"seed": 0}, "second": {"seed": 1}, "third": {"seed": 2}}


def weights(seed):
    task = Regression()
    fit(task, spots(), settings(seed=seed), progress=False)
    return {name: value.detach().numpy() for name, value in task.state_dict().items()}


def later(wait_s, answer):
    time.sleep(wait_s)
    return answer


def meet(place, name):
    """Wait for another at a place, and say where one works."""
    (place / name).touch()
    until = time.monotonic() + 120
    while len(list(place.iterdir())) < 2:
        if time.monotonic() > until:
            raise TimeoutError(f"{name} was alone")
        time.sleep(0.05)
    return os.getpid(), torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def test_every_training_ends_with_the_weights_that_it_has_alone():
    together = side_by_side(weights, SEEDS)
    for name, seed in SEEDS.items():
        alone = weights(**seed)
        assert together[name].keys() == alone.keys()
        for parameter, value in alone.items():
            np.testing.assert_array_equal(together[name][parameter], value)


def test_results_come_in_the_order_in_which_they_were_wanted():
    seconds = {"slow": 0.5, "quick": 0, "other": 0}
    wanted = {name: {"wait_s": wait_s, "answer": name.upper()} for name, wait_s in seconds.items()}
    assert list(side_by_side(later, wanted).items()) == [("slow", "SLOW"), ("quick", "QUICK"), ("other", "OTHER")]


def test_two_work_at_a_time_each_on_one_core_in_a_process_of_its_own(tmp_path):
    found = side_by_side(meet, {name: {"place": tmp_path, "name": name} for name in ("one", "other")})
    processes = {process for process, _, _ in found.values()}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert {(threads, variable) for _, threads, variable in found.values()} == {(1, "1")}


def test_an_error_in_a_training_reaches_who_asked_for_it():
    with pytest.raises(TrainingError, match="epochs"):
        side_by_side(TrainingSettings, {"wrong": {"epochs": 0, "batch_size": 8, "learning_rate": 0.1}})
