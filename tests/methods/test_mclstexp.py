import json
import zlib
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.errors import (
    ModelError,
    NotFittedError,
    StlearnError,
    TrainingError,
)
from stlearn_lib.methods import mclstexp as methods_mclstexp
from stlearn_lib.methods.mclstexp import MclSTExp
from stlearn_lib.methods.registry import create_method
from stlearn_lib.retrieval import retrieve
from stlearn_lib.training import TrainingSettings

N = 24  # spots of each of the sections
SHORT = TrainingSettings(epochs=2, batch_size=16, learning_rate=1e-3)
FROZEN = {"features": ["colour_texture"], "training": SHORT, "k": 10}
TRAINED = {"encoder": "mobilenetv3_small_050", "encoder_weights": None, "training": SHORT, "k": 10}


@pytest.fixture(scope="module")
def frozen(sections, target):
    return MclSTExp(target=target, **FROZEN).fit(sections[:2])


@pytest.fixture(scope="module")
def trained(sections, target):
    return MclSTExp(target=target, **TRAINED).fit(sections[:2])


def test_the_image_tower_learns_what_the_simulated_image_shows(cohort):
    """On whole sections the loss falls below guessing, and predictions correlate with what was drawn."""
    target = Target(tuple(cohort[0].var_names))
    training = TrainingSettings(epochs=15, batch_size=64, learning_rate=1e-3)
    method = MclSTExp(features=["colour_texture"], training=training, k=30, target=target).fit(cohort[:2])
    assert method.history["train_loss"].iloc[-1] < np.log(64)
    prediction, truth = method.predict(cohort[2]).X, expression(cohort[2], target)
    varying = (truth.std(axis=0) > 0) & (prediction.std(axis=0) > 0)
    r = [np.corrcoef(prediction[:, g], truth[:, g])[0, 1] for g in np.flatnonzero(varying)]
    assert np.mean(r) > 0.1


# -------------------------------------------------------------------------------------------------- keys and queries


def read(sections, target, space="spot_log10_10k"):
    """What the spot tower reads, put together by hand."""
    values = np.concatenate([expression(s, Target(target.genes, space)) for s in sections]).astype(np.float32)
    position = np.concatenate([s.obs[["array_x", "array_y"]].to_numpy() for s in sections]).round().astype(int)
    return torch.from_numpy(values), torch.from_numpy(position)


def embed(method, values, position):
    with torch.no_grad():
        return method._fitted_model().embed_spots(values, position)[1].numpy()


def refit(sections, target, **changes):
    return MclSTExp(target=target, **(FROZEN | changes)).fit(sections)


def test_released_keys_are_read_in_batches_of_32_across_sections(frozen, sections, target):
    values, position = read(sections[:2], target)
    expected = [embed(frozen, values[i : i + 32], position[i : i + 32]) for i in (0, 32)]
    np.testing.assert_allclose(frozen.state["keys"], np.concatenate(expected), rtol=1e-4, atol=1e-5)


def test_section_keys_are_read_section_by_section(sections, target):
    method = refit(sections[:2], target, keys="section")
    values, position = read(sections[:2], target)
    expected = [embed(method, values[i : i + N], position[i : i + N]) for i in (0, N)]
    np.testing.assert_allclose(method.state["keys"], np.concatenate(expected), rtol=1e-4, atol=1e-5)


def test_spot_keys_depend_on_their_own_spot_alone(sections, target):
    method = refit(sections[:2], target, keys="spot")
    values, position = read(sections[:2], target)
    expected = [embed(method, values[i : i + 1], position[i : i + 1]) for i in range(2 * N)]
    np.testing.assert_allclose(method.state["keys"], np.concatenate(expected), rtol=1e-4, atol=1e-5)


def test_released_keys_do_depend_on_batch_mates(frozen, sections, target):
    """The row of the ledger: the same spot, another order of the training sections, another key."""
    other = refit(sections[1::-1], target)
    other._model = frozen._model
    other.state["keys"] = other._embed_spots(frozen._model, other._spots(sections[1::-1], other.state))
    moved = np.abs(other.state["keys"][N : 2 * N] - frozen.state["keys"][:N]).max()
    assert moved > 1e-3


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("distance", "weighting"), [("l1", "inverse_square"), ("l2", "inverse_square"), ("l2", "uniform")]
)
def test_prediction_is_retrieval_of_the_training_truth(sections, target, normalize, distance, weighting):
    method = refit(sections[:2], target, normalize=normalize, distance=distance, weighting=weighting)
    query, keys = torch.from_numpy(method._embed_images(sections[2])), torch.from_numpy(method.state["keys"])
    if normalize:
        query, keys = F.normalize(query, dim=1), F.normalize(keys, dim=1)
    truth = np.concatenate([expression(section, target) for section in sections[:2]])
    chosen = F.cosine_similarity(query[:, None], keys[None], dim=-1).topk(10).indices.numpy()
    for i in range(N):
        d = torch.cdist(query[i : i + 1].double(), keys[chosen[i]].double(), p=float(distance[1])).numpy().ravel()
        weights = d**-2.0 if weighting == "inverse_square" else np.ones(10)
        expected = weights @ truth[chosen[i]] / weights.sum()
        np.testing.assert_allclose(method.predict(sections[2]).X[i], expected, rtol=1e-3, atol=1e-4)


def test_the_evidence_behind_a_prediction_can_be_named(frozen, sections, target):
    found = frozen.neighbours(sections[2])
    truth = {"S1": expression(sections[0], target), "S2": expression(sections[1], target)}
    borrowed = [frozen.key_spot(index) for index in found.indices[0]]
    expected = sum(w * truth[name][row] for w, (name, row) in zip(found.weights[0], borrowed, strict=True))
    np.testing.assert_allclose(frozen.predict(sections[2]).X[0], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(StlearnError, match=f"{2 * N} training spots only"):
        frozen.key_spot(2 * N)


def test_values_are_in_the_targets_space_and_inputs_in_the_variants(sections, target):
    gene_wise = target.in_space("gene_log10_10k")
    method = refit(sections[:2], gene_wise, variant="paper", keys="spot")
    values, position = read(sections[:2], target, "spot_ln_1m")
    np.testing.assert_allclose(
        embed(method, values[:1], position[:1])[0], method.state["keys"][0], rtol=1e-4, atol=1e-5
    )
    expected = np.concatenate([expression(section, gene_wise) for section in sections[:2]])
    np.testing.assert_allclose(method.state["values"], expected)


def test_position_tables_are_as_large_as_the_coordinates_or_absent(frozen, sections, target):
    largest = max(int(s.obs[["array_x", "array_y"]].to_numpy().round().max()) for s in sections[:2])
    assert frozen.state["model.x_position.weight"].shape == (largest + 1, 32)
    without = refit(sections[:2], target, position=False)
    assert "model.x_position.weight" not in without.state
    assert np.isfinite(without.predict(sections[2]).X).all()


def test_validation_sections_may_be_larger_than_training_sections(sections, target):
    far = sections[2].copy()
    far.obs["array_y"] += 50
    training = TrainingSettings(epochs=2, batch_size=16, learning_rate=1e-3, patience=1)
    method = MclSTExp(target=target, **(FROZEN | {"training": training})).fit(sections[:2], validation=[far])
    assert np.isfinite(method.history["validation_loss"]).all()


def test_patches_reach_the_encoder_as_they_are_on_the_page(trained, sections):
    patches = torch.from_numpy(np.array(cut_patches(sections[2]))).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = trained._fitted_model().embed_images(patches)[1].numpy()
    np.testing.assert_allclose(trained._embed_images(sections[2]), expected, rtol=1e-3, atol=1e-4)


def test_augmented_test_images_are_drawn_from_the_seed(sections, target):
    settings = TRAINED | {"augmentation": "right_angles", "augment_test": True}
    method = MclSTExp(target=target, **settings).fit(sections[:2])
    first, second = (method.predict(sections[2]).X for _ in range(2))
    np.testing.assert_array_equal(first, second)
    plain = MclSTExp(target=target, **(settings | {"augment_test": False}))
    plain.state, plain.learnt, plain._model = method.state, method.learnt, method._model
    assert not np.array_equal(plain._embed_images(sections[2]), method._embed_images(sections[2]))


# ------------------------------------------------------------------------------------------- checkpoints and training


def released_checkpoint(reference_folder, path, prefix=""):
    shapes = json.loads((reference_folder / "mclstexp_state_dict.json").read_text())

    def draw(name, shape):
        values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape) * 0.05
        return torch.from_numpy(np.asarray(abs(values) if name.endswith("running_var") else values, np.float32))

    torch.save({prefix + name: draw(name, shape) for name, shape in shapes.items()}, path)
    return str(path)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_an_authors_checkpoint_predicts_without_training(reference_folder, sections, target, tmp_path, prefix):
    path = released_checkpoint(reference_folder, tmp_path / "best_0.pt", prefix)
    method = MclSTExp(checkpoint=path, encoder_weights=None, k=10, target=target).fit([sections[0]])
    assert method.history.empty and np.isfinite(method.predict(sections[2][:4].copy()).X).all()
    theirs = torch.load(path, weights_only=True)[f"{prefix}spot_projection.fc.weight"]
    np.testing.assert_array_equal(method.state["model.spot_projection.fc.weight"], theirs)
    assert "best_0.pt" in method.weights_id


def test_a_foreign_checkpoint_is_refused(reference_folder, sections, target, cohort, tmp_path):
    path = released_checkpoint(reference_folder, tmp_path / "best_0.pt")
    more = Target(tuple(cohort[0].var_names[:40]))
    with pytest.raises(ModelError, match=r"of another shape, first spot_encoder|of another shape, first"):
        MclSTExp(checkpoint=path, encoder_weights=None, k=10, target=more).fit([sections[0]])
    torch.save({"epoch": torch.tensor(3)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match=r"missing.*1 unknown, first epoch"):
        MclSTExp(checkpoint=str(tmp_path / "other.pt"), encoder_weights=None, k=10, target=target).fit([sections[0]])
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match=r"broken\.pt is no checkpoint that can be read"):
        MclSTExp(checkpoint=str(tmp_path / "broken.pt"), encoder_weights=None, k=10, target=target).fit([sections[0]])


def test_a_stopped_run_goes_on_in_its_folder(sections, target, tmp_path, monkeypatch):
    whole = MclSTExp(target=target, folder=tmp_path / "whole", **FROZEN).fit(sections[:2])
    real = methods_mclstexp.ContrastTask.forward
    calls = []

    def stops_in_the_second_epoch(self, batch):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(methods_mclstexp.ContrastTask, "forward", stops_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        MclSTExp(target=target, folder=tmp_path / "stopped", **FROZEN).fit(sections[:2])
    monkeypatch.undo()
    resumed = MclSTExp(target=target, folder=tmp_path / "stopped", **FROZEN).fit(sections[:2])
    assert all(np.array_equal(whole.state[name], resumed.state[name]) for name in whole.state)
    with pytest.raises(TrainingError, match=r"temperature 1\.0, not 0\.5"):
        MclSTExp(target=target, folder=tmp_path / "stopped", temperature=0.5, **FROZEN).fit(sections[:2])
    other_k = MclSTExp(target=target, folder=tmp_path / "stopped", **(FROZEN | {"k": 5})).fit(sections[:2])
    assert all(np.array_equal(whole.state[name], other_k.state[name]) for name in whole.state)


# ------------------------------------------------------------------------------------------------------------ presets


@pytest.mark.parametrize(
    ("name", "k", "distance", "epochs"),
    [
        ("mclstexp_her2st", 200, "l1", 90),
        ("mclstexp_cscc", 600, "l2", 90),
        ("mclstexp_alex10x", 200, "l2", 15),
        ("mclstexp_her2st_paper", 200, "l2", 90),
        ("mclstexp_cscc_paper", 200, "l2", 90),
        ("mclstexp_alex10x_paper", 2400, "l2", 15),
    ],
)
def test_presets_hold_the_published_settings(name, k, distance, epochs):
    options = create_method(name).options
    assert (options.k, options.distance, options.training.epochs) == (k, distance, epochs)
    assert (options.encoder, options.projection_dim, options.n_heads, options.head_dim) == ("densenet121", 256, 8, 64)
    assert (options.temperature, options.normalize, options.loss_weight) == (1.0, False, 0.5)
    training = asdict(options.training)
    assert (training["batch_size"], training["learning_rate"], training["weight_decay"]) == (128, 1e-4, 1e-3)
    paper = name.endswith("paper")
    assert training["optimizer"] == ("adamw" if paper else "adam")
    assert (options.variant, options.keys) == (("paper", "spot") if paper else ("released", "batches"))


# ---------------------------------------------------------------------------------------------------------- bad input


def test_too_few_spots_to_borrow_from(sections, target):
    with pytest.raises(StlearnError, match=f"k = 200 spots to borrow from, but {2 * N} to train on"):
        MclSTExp(target=target, **(FROZEN | {"k": 200})).fit(sections[:2])


def test_unknown_choices_are_refused(target):
    with pytest.raises(StlearnError, match="keys must be one of batches, section, spot, not 'alone'"):
        MclSTExp(keys="alone")
    with pytest.raises(NotFittedError):
        MclSTExp(target=target).neighbours(None)


def test_retrieval_is_the_librarys(frozen, sections):
    query = frozen._embed_images(sections[2])
    expected = retrieve(query, frozen.state["keys"], frozen.state["values"], k=10, distance="l1")
    np.testing.assert_allclose(frozen.predict(sections[2]).X, expected, rtol=1e-5)
