import json

import pytest
import torch

from stlearn_lib.datasets import GENE_LISTS
from stlearn_lib.errors import StlearnError
from stlearn_lib.methods.presets import PRESETS, preset_here
from stlearn_lib.methods.registry import create_method
from stlearn_lib.training import Compute


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_made_and_written_down(name):
    method, preset = create_method(name, compute=Compute(devices=1)), PRESETS[name]
    again = type(method)(**json.loads(json.dumps(method.settings())))
    assert again.settings() == method.settings()
    assert preset.cost and preset.expected and preset.source
    assert preset.gene_list in GENE_LISTS and name.startswith(preset.gene_list)


@pytest.mark.parametrize(
    ("name", "depth", "mlp_ratio", "dropout", "learning_rate"),
    [("nh2st_stnet", 1, 1.0, 0.5, 5e-4), ("nh2st_stnet_defaults", 2, 2.0, 0.1, 1e-4)],
)
def test_nh2st_presets_hold_readme_and_defaults(name, depth, mlp_ratio, dropout, learning_rate):
    options = create_method(name).options
    assert (options.depth, options.mlp_ratio, options.dropout) == (depth, mlp_ratio, dropout)
    training = options.training
    assert (training.learning_rate, training.batch_size, training.epochs) == (learning_rate, 8, 200)
    assert (training.schedule, training.decay, training.decay_epochs, training.patience) == ("step", 0.9, 50, 20)
    assert (options.patch_weight, options.neighbor_weight, options.k) == (1.0, 0.5, 9)
    assert (options.temperature, options.negative_weight) == (0.05, 0.1)


@pytest.mark.parametrize(("data", "batch_size", "rank_weight"), [("breast", 32, 5.0), ("lung", 64, 10.0)])
def test_rankbygene_presets_hold_what_was_published(data, batch_size, rank_weight):
    options = create_method(f"rankbygene_{data}").options
    training = options.training
    assert (training.batch_size, training.batch_size // training.accumulate, training.epochs) == (batch_size, 8, 100)
    assert (training.learning_rate, training.learning_rate * options.gene_rate) == (1e-4, 1e-3)
    assert (options.rank_weight, options.teacher_weight, options.temperature) == (rank_weight, 1.0, 0.1)
    assert (options.variant, options.teacher_update, options.width) == ("released", "epoch", 1024)
    predictor = options.predictor
    assert (predictor.batch_size, predictor.learning_rate, predictor.epochs) == (64, 1e-4, 20)
    assert create_method(f"rankbygene_{data}_whole").options.training.compare == "batch"


@pytest.mark.parametrize(("gpu", "name"), [(True, "mclstexp_her2st"), (False, "mclstexp_her2st_cpu")])
def test_the_published_settings_are_taken_where_there_is_a_gpu(monkeypatch, gpu, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert preset_here("mclstexp_her2st") == name


def test_a_preset_without_a_small_version_is_refused():
    with pytest.raises(StlearnError, match="choose one of mclstexp_her2st, mclstexp_cscc"):
        preset_here("mclstexp_her2st_paper")
