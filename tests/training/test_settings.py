"""Settings and devices: the rules, and the learning rate against PyTorch's own schedulers."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, StepLR

from stlearn_lib.errors import TrainingError
from stlearn_lib.training import Compute, TrainingSettings, is_first_process

EPOCHS, STEPS = 12, 5  # steps of an epoch


def settings(**kwargs):
    return TrainingSettings(**{"epochs": EPOCHS, "batch_size": 8, "learning_rate": 0.1} | kwargs)


def factors(**kwargs):
    """The factor of each step, (EPOCHS, STEPS)."""
    factor = settings(**kwargs).learning_rate_factor
    return np.array([[factor(epoch + step / STEPS) for step in range(STEPS)] for epoch in range(EPOCHS)])


def of_pytorch(scheduler_type, n, **kwargs):
    """The learning rates that a scheduler gives to n steps, from 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = scheduler_type(optimizer, **kwargs)
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant():
    assert (factors() == 1).all()


def test_cosine_is_that_of_pytorch():
    expected = of_pytorch(CosineAnnealingLR, EPOCHS * STEPS, T_max=EPOCHS * STEPS)
    np.testing.assert_allclose(factors(schedule="cosine").ravel(), expected, atol=1e-12)


def test_step_is_that_of_pytorch_in_every_step_of_an_epoch():
    expected = of_pytorch(StepLR, EPOCHS, step_size=3, gamma=0.5)
    found = factors(schedule="step", decay=0.5, decay_epochs=3)
    np.testing.assert_allclose(found, np.repeat(expected, STEPS).reshape(EPOCHS, STEPS), rtol=1e-12)


@pytest.mark.parametrize("warmup_epochs", [2, 1.4])
def test_warm_up_is_a_straight_line_and_the_cosine_begins_where_it_ends(warmup_epochs):
    n = round(warmup_epochs * STEPS)
    rising = of_pytorch(LinearLR, n, start_factor=1e-15, total_iters=n)  # which must not be 0
    falling = of_pytorch(CosineAnnealingLR, EPOCHS * STEPS - n, T_max=EPOCHS * STEPS - n)
    found = factors(schedule="cosine", warmup_epochs=warmup_epochs).ravel()
    np.testing.assert_allclose(found, [*rising, *falling], atol=1e-12)


@given(
    epochs=st.integers(1, 200),
    schedule=st.sampled_from(["constant", "cosine", "step"]),
    warmup=st.floats(0, 1, exclude_max=True),
    decay=st.floats(0, 1, exclude_min=True),
    decay_epochs=st.integers(1, 60),
    times=st.lists(st.floats(0, 1), min_size=2),
)
def test_the_factor_stays_between_0_and_1_and_falls_after_the_warm_up(
    epochs, schedule, warmup, decay, decay_epochs, times
):
    chosen = TrainingSettings(
        epochs=epochs,
        batch_size=2,
        learning_rate=1.0,
        schedule=schedule,
        warmup_epochs=warmup * epochs * 0.99,
        decay=decay,
        decay_epochs=decay_epochs,
    )
    times = sorted(time * epochs for time in times)
    found = [chosen.learning_rate_factor(time) for time in times]
    assert all(0 <= factor <= 1 for factor in found)
    later = [factor for time, factor in zip(times, found, strict=True) if time >= chosen.warmup_epochs]
    assert later == sorted(later, reverse=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"batch_size": 1}, "batch_size must be at least 2, since a contrastive loss compares spots, not 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, not 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive, not nan"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more, not -0.1"),
        ({"optimizer": "sgd"}, "optimizer must be one of adam, adamw, not 'sgd'"),
        ({"schedule": "linear"}, "schedule must be one of constant, cosine, step, not 'linear'"),
        ({"warmup_epochs": -1}, "warmup_epochs must be 0 or more, and less than epochs, not -1"),
        ({"warmup_epochs": EPOCHS}, f"warmup_epochs must be 0 or more, and less than epochs, not {EPOCHS}"),
        ({"decay": 0.0}, "decay must be above 0 and at most 1, not 0.0"),
        ({"decay": 1.1}, "decay must be above 0 and at most 1, not 1.1"),
        ({"decay_epochs": 0}, "decay_epochs must be at least 1, not 0"),
        ({"accumulate": 0}, "accumulate must be at least 1, not 0"),
        ({"clip_norm": 0.0}, "clip_norm must be positive or None, not 0.0"),
        ({"patience": 0}, "patience must be at least 1 or None, not 0"),
        ({"seed": -1}, "seed must be 0 or more, not -1"),
    ],
)
def test_rules(wrong, message):
    with pytest.raises(TrainingError, match=f"^{message}"):
        settings(**wrong)


def test_settings_of_a_grid_are_plain_values():
    chosen = settings(learning_rate=np.logspace(-3, -1, 3)[0], epochs=np.arange(5)[4])
    assert json.loads(json.dumps(asdict(chosen))) == asdict(settings(learning_rate=1e-3, epochs=4))
    assert {type(value) for value in asdict(chosen).values()} == {int, float, str, type(None)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"accelerator": "abacus"}, "invalid accelerator name"),
        ({"accelerator": "cpu", "devices": 0}, "devices=0"),
        ({"strategy": "abacus"}, "invalid strategy name"),
        ({"precision": "8-true"}, "'8-true' is invalid"),
        ({"accelerator": "cpu", "strategy": "fsdp"}, "only available on GPU"),
    ],
)
def test_devices_that_there_are_not(wrong, message):
    with pytest.raises(TrainingError, match=rf"^cannot compute on Compute\(.*: .*{message}"):
        Compute(**wrong).fabric()


def test_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TrainingError, match=r"(?s)devices=3.*your machine only has: \[0\]"):
        Compute(accelerator="cuda", devices=3).fabric()


@pytest.mark.parametrize(
    ("environment", "first"),
    [({}, True), ({"LOCAL_RANK": "0"}, True), ({"LOCAL_RANK": "1"}, False), ({"RANK": "8", "LOCAL_RANK": "0"}, False)],
    ids=str,
)
def test_one_process_prints_and_writes(environment, first, monkeypatch):
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() == first
