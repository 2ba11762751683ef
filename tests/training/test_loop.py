"""The training loop against loops written out in plain PyTorch, closed forms, and scripted losses."""

import copy
import math
import random
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.optim.optimizer import register_optimizer_step_pre_hook

from stlearn_lib.data.spots import SpotTable
from stlearn_lib.errors import TrainingError
from stlearn_lib.losses import clip_loss, gather_embeddings
from stlearn_lib.training import Compute, Task, TrainingSettings, fit

CPU = Compute(accelerator="cpu")
N_SPOTS = 27  # of which batches of 8 leave 3 out


class Regression(Task):
    """Least squares; the mean over spots is a mean over parts."""

    def __init__(self, d=4):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(d, 2)

    def forward(self, batch):
        return {"loss": F.mse_loss(self.linear(batch["x"]), batch["y"]), "mean_y": batch["y"].mean()}


class Contrast(Task):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, batch):
        return {"loss": clip_loss(gather_embeddings(self.a(batch["x"])), gather_embeddings(self.b(batch["y"])))}


class Scripted(Task):
    """Its weight falls by the learning rate in each step, and its validation losses are given."""

    def __init__(self, validation=()):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.validation = iter(validation)

    def forward(self, batch):
        return {"loss": self.weight.sum() if self.training else torch.tensor(next(self.validation))}


class Drawing(Task):
    """Keeps what it draws at random in each step."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.drawn = []

    def forward(self, batch):
        self.drawn.append(torch.rand(1).item())
        return {"loss": self.weight.sum()}


def settings(**kwargs):
    return TrainingSettings(**{"epochs": 3, "batch_size": 8, "learning_rate": 0.05} | kwargs)


def spots(seed=0, n=N_SPOTS, noise=0.3):
    """Points about the plane y = 2 x[:2] - 1."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    y = x[:, :2] * 2 - 1 + noise * rng.normal(size=(n, 2)).astype(np.float32)
    return SpotTable({"x": [x[:10], x[10:]], "y": [y[:10], y[10:]]})


def five_steps(task, **kwargs):
    """Five steps, each with the same 16 spots."""
    fit(task, spots(n=16), settings(epochs=5, batch_size=16, **kwargs), compute=CPU)
    return task


def order_of(settings, epoch):
    return np.random.default_rng([settings.seed, epoch]).permutation(N_SPOTS)


def assert_same_weights(task, other, **tolerance):
    torch.testing.assert_close(dict(task.state_dict()), dict(other.state_dict()), **tolerance)


# ----------------------------------------------------------------------------------------------- steps of the optimiser


@pytest.mark.parametrize(
    ("chosen", "optimizer_type", "clip_norm"),
    [
        (settings(weight_decay=0.1, seed=3), torch.optim.Adam, None),
        (settings(weight_decay=0.1, optimizer="adamw"), torch.optim.AdamW, None),
        (settings(schedule="cosine", clip_norm=0.5), torch.optim.Adam, 0.5),
    ],
    ids=["adam", "adamw", "clipped, cosine"],
)
def test_equals_a_loop_in_plain_pytorch(chosen, optimizer_type, clip_norm):
    task, plain = Regression(), Regression()
    history = fit(task, spots(), chosen, compute=CPU)

    table, n_batches = spots().rows(np.arange(N_SPOTS)), N_SPOTS // 8
    optimizer = optimizer_type(plain.parameters(), lr=0.05, weight_decay=chosen.weight_decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3 * n_batches)
    losses = []
    for epoch in range(3):
        order = order_of(chosen, epoch)
        for step in range(n_batches):
            rows = order[8 * step : 8 * (step + 1)]
            loss = F.mse_loss(plain.linear(table["x"][rows]), table["y"][rows])
            optimizer.zero_grad()
            loss.backward()
            if clip_norm is not None:
                assert clip_grad_norm_(plain.parameters(), clip_norm) > clip_norm  # so that it does something
            optimizer.step()
            if chosen.schedule == "cosine":
                scheduler.step()
            losses.append(loss.item())
    assert_same_weights(task, plain, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(history["train_loss"], np.reshape(losses, (3, -1)).mean(axis=1), rtol=1e-6)


def test_every_step_has_its_learning_rate():
    rates = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    try:
        history = fit(Regression(), spots(), settings(schedule="step", decay=0.5, decay_epochs=2), compute=CPU)
    finally:
        hook.remove()
    assert rates == pytest.approx([0.05] * 6 + [0.025] * 3)
    assert list(history["learning_rate"]) == pytest.approx([0.05, 0.05, 0.025])


def test_history():
    validation = spots(seed=1, n=16)
    history = fit(Regression(), spots(), settings(epochs=2), validation=validation, compute=CPU)
    terms = ["train_loss", "train_mean_y", "validation_loss", "validation_mean_y"]
    assert list(history) == ["epoch", "learning_rate", *terms, "seconds"]
    assert list(history["epoch"]) == [1, 2]
    expected = validation.rows(np.arange(16))["y"].mean().item()
    assert list(history["validation_mean_y"]) == pytest.approx([expected] * 2)


def test_a_batch_in_parts_gives_the_same_step_where_the_loss_is_a_mean_over_spots():
    for clip_norm in (None, 1.0):  # which lies between the gradients' norms
        whole, divided = (five_steps(Regression(), clip_norm=clip_norm, accumulate=parts) for parts in (1, 4))
        assert_same_weights(whole, divided, rtol=0, atol=1e-6)


def test_a_contrastive_loss_compares_the_spots_of_a_part_only():
    """Embeddings that are all alike cost the logarithm of how many there are."""
    for parts, compared in ((1, 16), (4, 4)):
        task = Contrast()
        for parameter in task.parameters():
            nn.init.zeros_(parameter)
        history = fit(task, spots(n=16), settings(epochs=1, batch_size=16, accumulate=parts), compute=CPU)
        assert history["train_loss"].item() == pytest.approx(math.log(compared))
    whole, divided = five_steps(Contrast()), five_steps(Contrast(), accumulate=4)
    assert (whole.a.weight - divided.a.weight).abs().max() > 1e-3


def test_a_contrastive_loss_may_compare_the_spots_of_the_whole_batch():
    """Part by part, with the weights of a batch that was never divided."""
    validation = spots(seed=1, n=16)
    whole, divided = Contrast(), Contrast()
    histories = [
        fit(task, spots(n=48), settings(epochs=2, batch_size=16, **parts), validation=validation, compute=CPU)
        for task, parts in ((whole, {}), (divided, {"accumulate": 4, "compare": "batch"}))
    ]
    assert_same_weights(whole, divided, rtol=0, atol=1e-5)
    pd.testing.assert_frame_equal(*(history.drop(columns="seconds") for history in histories), rtol=1e-4)


def test_frozen_weights_stay():
    task = Regression()
    task.linear.bias.requires_grad_(False)
    before = copy.deepcopy(task)
    five_steps(task)
    assert torch.equal(task.linear.bias, before.linear.bias)
    assert not torch.equal(task.linear.weight, before.linear.weight)


@pytest.mark.parametrize(
    ("precision", "dtype", "tolerance"), [("32-true", torch.float32, 1e-3), ("bf16-mixed", torch.bfloat16, 2e-2)]
)
def test_half_precision_finds_the_plane_too(precision, dtype, tolerance):
    task, computed_in = Regression(), set()
    task.linear.register_forward_hook(lambda module, inputs, output: computed_in.add(output.dtype))
    chosen = settings(epochs=6, batch_size=32, learning_rate=0.2, schedule="cosine")
    fit(task, spots(n=1024, noise=0), chosen, compute=Compute(accelerator="cpu", precision=precision))
    assert computed_in == {dtype} and task.linear.weight.dtype == torch.float32
    torch.testing.assert_close(task.linear.weight, 2 * torch.eye(2, 4), rtol=0, atol=tolerance)
    torch.testing.assert_close(task.linear.bias, -torch.ones(2), rtol=0, atol=tolerance)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(tmp_path):
    task, half = Regression(), Regression()
    fit(task, spots(), settings(), compute=Compute(accelerator="cuda"))
    assert task.linear.weight.device.type == "cuda"
    expected = Regression()
    fit(expected, spots(), settings(), compute=CPU)
    assert_same_weights(task.cpu(), expected, rtol=1e-4, atol=1e-5)

    compute = Compute(accelerator="cuda", precision="16-mixed")
    fit(half, spots(), settings(clip_norm=1.0), compute=compute, folder=tmp_path)
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert last["precision"]["scale"] > 0
    again = Regression()
    fit(again, spots(), settings(clip_norm=1.0), compute=compute, folder=tmp_path)
    assert_same_weights(again, half, rtol=0, atol=0)


# ----------------------------------------------------------------------------------------------------------- randomness


def test_every_step_draws_anew_and_the_global_state_is_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first, second, other = Drawing(), Drawing(), Drawing()
    fit(first, spots(), settings(), compute=CPU)
    after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0]) and (before[1] == after[1]).all() and before[2] == after[2]

    torch.manual_seed(99)
    fit(second, spots(), settings(), compute=CPU)
    fit(other, spots(), settings(seed=1), compute=CPU)
    assert len(set(first.drawn)) == 9 and first.drawn == second.drawn
    assert not set(first.drawn) & set(other.drawn)


def test_each_epoch_has_its_own_order_and_leaves_the_rest_out():
    class Reading(Scripted):
        def forward(self, batch):
            read.append(batch["row"])
            return super().forward(batch)

    read = []
    fit(Reading(), SpotTable({"row": [np.arange(N_SPOTS)]}), settings(), compute=CPU)
    epochs = torch.stack(read).reshape(3, -1).numpy()
    assert [len(set(epoch)) for epoch in epochs] == [24, 24, 24]
    assert len({tuple(epoch) for epoch in epochs}) == 3


# --------------------------------------------------------------------------------------------------------- when to stop


@pytest.mark.parametrize(
    ("validation", "patience", "best", "n"),
    [
        ([3.0, 2.0, 4.0, 5.0, 1.0], 2, 2, 4),
        ([3.0, 2.0, 2.0, 1.0, 9.0], 2, 4, 5),
        ([3.0, 3.0, 1.0, 1.0, 1.0], 1, 1, 2),
        ([3.0, 4.0, 1.0, 2.0, 2.0], None, 3, 5),
    ],
)
def test_stops_after_its_patience_and_ends_with_the_best_weights(validation, patience, best, n):
    task = Scripted(validation)
    chosen = settings(epochs=5, patience=patience)
    history = fit(task, spots(n=8), chosen, validation=spots(n=8), compute=CPU)
    assert list(history["validation_loss"]) == validation[:n]
    # Where the gradient stays the same, Adam's step is the learning rate, and there is one step in an epoch.
    assert task.weight.item() == pytest.approx(-0.05 * best, rel=1e-5)
    assert not task.training


def test_ends_with_the_last_weights_without_validation():
    task = Scripted()
    fit(task, spots(n=8), settings(epochs=5), compute=CPU)
    assert task.weight.item() == pytest.approx(-0.25, rel=1e-5)
    assert not task.training


def test_patience_needs_validation():
    with pytest.raises(TrainingError, match=r"patience needs validation spots"):
        fit(Scripted(), spots(), settings(patience=1), compute=CPU)


# ------------------------------------------------------------------------------------------------------- a run's folder


@pytest.fixture
def finished(tmp_path):
    """A folder with a finished run, and its task."""
    task = Regression()
    fit(task, spots(), settings(), validation=spots(seed=1), compute=CPU, folder=tmp_path / "run")
    return tmp_path / "run", task


def go_on(folder, task=None, table=None, validation=None, **kwargs):
    chosen = settings(**kwargs)
    return fit(
        task or Regression(),
        table or spots(),
        chosen,
        validation=validation or spots(seed=1),
        compute=CPU,
        folder=folder,
    )


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folder_holds_history_and_events_of_every_epoch(finished):
    folder, task = finished
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "history.csv", "last.ckpt", "tensorboard"]
    history = pd.read_csv(folder / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3]
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == set(history) - {"epoch"}
    for name in events.Tags()["scalars"]:
        assert [event.step for event in events.Scalars(name)] == [1, 2, 3]
        assert [event.value for event in events.Scalars(name)] == pytest.approx(list(history[name]), rel=1e-6)
    best = torch.load(folder / "best.ckpt", weights_only=True)["task"]
    assert all(torch.equal(best[name], tensor) for name, tensor in task.state_dict().items())


def test_a_finished_run_is_loaded(finished):
    folder, task = finished
    before = contents(folder)
    again = Regression()
    with torch.no_grad():
        again.linear.weight.zero_()
    again.register_forward_hook(lambda *_: pytest.fail("nothing is left to be done"))
    history = go_on(folder, again)
    assert_same_weights(again, task, rtol=0, atol=0)
    assert list(history["epoch"]) == [1, 2, 3] and contents(folder) == before


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"epochs": 4, "learning_rate": 0.1}, r"\(epochs 3, not 4; learning_rate 0\.05, not 0\.1\)"),
        ({"table": spots(seed=2)}, r"\(spots '\w+', not '\w+'\)"),
        ({"validation": spots(seed=2)}, r"\(validation spots '\w+', not '\w+'\)"),
        ({"task": Contrast()}, r"\(task 'Regression', not 'Contrast'\)"),
        ({"task": Regression(d=5)}, "holds a run of another model.*size mismatch for linear.weight"),
    ],
    ids=["settings", "spots", "validation", "task", "model"],
)
def test_another_run_in_the_folder(finished, other, message):
    folder, _ = finished
    before = contents(folder)
    with pytest.raises(TrainingError, match=rf"(?s){folder} .*{message}"):
        go_on(folder, **other)
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
@pytest.mark.parametrize("damage", ["cut off", "empty", "text"])
def test_a_damaged_checkpoint(finished, name, damage):
    path = finished[0] / name
    whole = path.read_bytes()
    path.write_bytes({"cut off": whole[: len(whole) // 2], "empty": b"", "text": b"weights"}[damage])
    with pytest.raises(TrainingError, match=f"{path} is no checkpoint that can be read"):
        go_on(finished[0])


def test_a_missing_or_foreign_checkpoint(finished):
    folder, task = finished
    (folder / "best.ckpt").unlink()
    with pytest.raises(TrainingError, match=r"best\.ckpt is no checkpoint that can be read"):
        go_on(folder)
    torch.save(task.state_dict(), folder / "last.ckpt")
    with pytest.raises(TrainingError, match="holds another run"):
        go_on(folder)


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("n", "chosen", "message"),
    [
        (27, {"batch_size": 9, "accumulate": 2}, "a batch of 9 spots cannot be divided among 1 processes and 2 parts"),
        (7, {"batch_size": 16, "accumulate": 4}, "7 spots leave less than 2 to each of 4 parts"),
        (1, {}, "1 spots leave less than 2 to each of 1 parts"),
    ],
)
def test_batches_that_cannot_be_made(n, chosen, message):
    with pytest.raises(TrainingError, match=message):
        fit(Scripted(), SpotTable({"x": [np.zeros(n)]}), settings(**chosen), compute=CPU)
    with pytest.raises(TrainingError, match=message):
        table = SpotTable({"x": [np.zeros(n)]})
        fit(Scripted(), spots(), settings(**chosen), validation=table, compute=CPU)


def test_a_loss_that_is_not_finite_names_its_epoch(tmp_path):
    validation = [2.0, math.nan, 1.0]
    with pytest.raises(TrainingError, match=r"validation_loss of epoch 2 is not finite"):
        fit(Scripted(validation), spots(n=8), settings(), validation=spots(n=8), compute=CPU, folder=tmp_path)
    assert list(pd.read_csv(tmp_path / "history.csv")["epoch"]) == [1]
    with pytest.raises(TrainingError, match=r"train_loss, train_mean_y of epoch 1 is not finite"):
        fit(
            Regression(),
            SpotTable({"x": [np.ones((8, 4), np.float32)], "y": [np.full((8, 2), np.inf, np.float32)]}),
            settings(),
            compute=CPU,
        )


def test_errors_of_a_task_and_of_reading_are_not_hidden():
    class Breaking(Scripted):
        def forward(self, batch):
            if "x" in batch:
                raise ZeroDivisionError
            return super().forward(batch)

    with pytest.raises(ZeroDivisionError):
        fit(Breaking(), spots(), settings(), compute=CPU)

    class Torn(SpotTable):
        def rows(self, index):
            if N_SPOTS - 1 in index:
                raise OSError("torn")
            return super().rows(index)

    with pytest.raises(OSError, match="torn"):
        fit(Scripted(), Torn({"z": [np.zeros(N_SPOTS)]}), settings(epochs=9), compute=CPU)


@pytest.mark.parametrize(
    ("terminal", "progress", "shown"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_bar_is_for_terminals(capsys, monkeypatch, terminal, progress, shown):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    fit(Scripted(), spots(n=8), settings(), compute=CPU, progress=progress)
    output = capsys.readouterr()
    assert not output.out and ("3/3" in output.err) == shown == bool(output.err)
