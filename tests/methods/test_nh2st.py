import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.neighbourhoods import NeighbourhoodTable, nearest_spots
from stlearn_lib.errors import SectionError, StlearnError, TrainingError
from stlearn_lib.evaluation import score
from stlearn_lib.methods.nh2st import NH2ST, DualScaleTask, best_correlation, moments
from stlearn_lib.training import TrainingSettings

SHORT = TrainingSettings(epochs=2, batch_size=8, learning_rate=1e-3)
FROZEN = {"features": ["colour_texture"], "training": SHORT, "width": 32}
TRAINED = {"encoder": "mobilenetv3_small_050", "encoder_weights": None, "training": SHORT, "width": 16}


@pytest.fixture(scope="module")
def frozen(sections, target):
    return NH2ST(target=target, **FROZEN).fit(sections[:2])


@pytest.fixture(scope="module")
def trained(sections, target):
    return NH2ST(target=target, **TRAINED).fit(sections[:2])


def test_it_learns_what_the_simulated_image_shows(cohort):
    target = Target(tuple(cohort[0].var_names))
    training = TrainingSettings(epochs=30, batch_size=32, learning_rate=1e-3)
    settings = {"features": ["colour_texture"], "width": 64, "sharing": True, "training": training}
    method = NH2ST(target=target, **settings).fit(cohort[:2])
    prediction, truth = method.predict(cohort[2]).X, expression(cohort[2], target)
    varying = truth.std(axis=0) > 0
    r = [np.corrcoef(prediction[:, g], truth[:, g])[0, 1] for g in np.flatnonzero(varying)]
    assert np.mean(r) > 0.15
    assert {"train_patch", "train_neighbor", "train_error"} <= set(method.history.columns)


def test_sharing_changes_nothing_in_evaluation(trained, sections, target):
    """Ten patches a spot, or each once: the same outputs, as long as nothing is drawn or estimated from the batch."""
    table = trained._spots(sections[:1], {}, smooth=False)
    batch = table.rows([0, 1, 5])
    images = batch["image"].permute(0, 3, 1, 2)
    task = DualScaleTask(trained._fitted_model(), trained.options).eval()
    with torch.no_grad():
        once = task.embed_each_once(images, batch["expression"], batch["neighbours"])
        anew = task.embed_each_anew(images, batch["expression"], batch["neighbours"])
    for ours, theirs in zip(once, anew, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_training_labels_may_be_smoothed_alone(frozen, sections, target):
    plain, smooth = (frozen._spots(sections[:1], frozen.state, smooth=smooth) for smooth in (False, True))
    np.testing.assert_allclose(plain.columns["expression"][0], expression(sections[0], target), rtol=1e-6)
    smoothed = Target(target.genes, smooth=True)
    np.testing.assert_allclose(smooth.columns["expression"][0], expression(sections[0], smoothed), rtol=1e-6)


@pytest.mark.parametrize("stop_by", ["error", "correlation"])
def test_the_best_epoch_is_that_of_the_prediction(sections, cohort, stop_by):
    """By its error, or by what `score` calls the best genes, over all validation spots."""
    varying = expression(sections[2], Target(tuple(cohort[0].var_names))).std(axis=0) > 0
    target = Target(tuple(cohort[0].var_names[varying][:64]))  # of which 50 are the best
    training = TrainingSettings(epochs=6, batch_size=12, learning_rate=3e-3, patience=6)
    options = FROZEN | {"training": training, "stop_by": stop_by}
    method = NH2ST(target=target, **options).fit(sections[:2], validation=sections[2:3])
    loss = {"error": method.history["validation_error"], "correlation": 1 - method.history["validation_correlation"]}
    np.testing.assert_allclose(method.history["validation_loss"], loss[stop_by], rtol=1e-6)
    prediction, truth = method.predict(sections[2]).X, expression(sections[2], target)
    found = {"error": np.mean((prediction - truth) ** 2), "correlation": 1 - score(truth, prediction).best}
    assert found[stop_by] == pytest.approx(loss[stop_by].min(), rel=1e-4)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 5))
def test_best_correlation_is_scipys(seed, n_genes, n_batches):
    rng = np.random.default_rng(seed)
    truth, noise = rng.normal(2, 0.5, size=(2, n_batches * 8, n_genes)).astype(np.float32)
    guess = truth + noise
    truth[:, 0] = 1.0  # a constant gene
    r = np.array([0.0, *(pearsonr(truth[:, g], guess[:, g])[0] for g in range(1, n_genes))])
    batches = zip(np.split(truth, n_batches), np.split(guess, n_batches), strict=True)
    means = torch.stack([moments(*map(torch.from_numpy, batch)) for batch in batches]).mean(dim=0)
    assert best_correlation(means).item() == pytest.approx(np.sort(r)[-50:].mean(), abs=1e-3)


# ------------------------------------------------------------------------------------------------- tables of spots


def table_of(sections, adjacent=True):
    centres = [section.obsm["spatial"] for section in sections]
    rows = [np.arange(section.n_obs, dtype=np.float32)[:, None] for section in sections]
    neighbours = [nearest_spots(section) for section in sections]
    return NeighbourhoodTable({"row": rows}, neighbours, centres if adjacent else None)


def test_a_batch_holds_each_spot_of_its_neighbourhoods_once(cohort):
    table = table_of(cohort[:2])
    index = np.array([3, 4, cohort[0].n_obs + 7])
    batch = table.rows(index)
    rows = batch["row"][:, 0].numpy()
    expected = np.concatenate([nearest_spots(cohort[0])[[3, 4]], nearest_spots(cohort[1])[[7]]])
    np.testing.assert_array_equal(rows[batch["neighbours"]], expected)
    assert len(rows) == len(set(expected[:2].ravel())) + 9


def test_adjacent_batches_hold_every_spot_and_share_neighbours(cohort):
    near, drawn = table_of(cohort), table_of(cohort, adjacent=False)
    orders = [table.shuffled(np.random.default_rng(0), 64) for table in (near, drawn)]
    assert all(sorted(order) == list(range(len(near))) for order in orders)
    encoded = [
        np.mean([len(table.rows(batch)["row"]) for batch in order[: len(near) // 64 * 64].reshape(-1, 64)])
        for table, order in zip((near, drawn), orders, strict=True)
    ]
    assert encoded[0] < 64 * 10 / 5 < encoded[1], "fewer than a fifth of ten patches a spot"
    assert not np.array_equal(orders[0], near.shuffled(np.random.default_rng(1), 64))


def test_a_table_knows_its_neighbourhoods(cohort):
    assert table_of(cohort[:1]).fingerprint() != table_of(cohort[:1], adjacent=False).fingerprint()
    with pytest.raises(SectionError, match=r"neighbourhoods \[\(3, 9\)\] do not fit"):
        NeighbourhoodTable({"row": [np.zeros((4, 1))]}, [np.zeros((3, 9), dtype=int)])


# ---------------------------------------------------------------------------------------------------------- bad input


def test_unknown_choices_are_refused():
    with pytest.raises(StlearnError, match="batches must be one of random, adjacent, not 'near'"):
        NH2ST(batches="near")
    with pytest.raises(StlearnError, match="stop_by must be one of correlation, error, not 'R'"):
        NH2ST(stop_by="R")
    with pytest.raises(StlearnError, match="hyperedges must be one of similar, random, not 'near'"):
        NH2ST(hyperedges="near")


def test_the_readmes_patience_needs_validation(sections, target):
    with pytest.raises(TrainingError, match="patience needs validation spots"):
        NH2ST(features=["colour_texture"], target=target).fit(sections[:2])
