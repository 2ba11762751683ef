"""What holds for every method that trains a network: the contract, its records, and how bad input is named."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from stlearn_lib.data.sections import metadata_of, without_counts
from stlearn_lib.data.splits import Fold
from stlearn_lib.errors import GeneError, ImageError, SectionError, StlearnError, TrainingError
from stlearn_lib.evaluation import Protocol, cross_validate
from stlearn_lib.methods.mclstexp import MclSTExp
from stlearn_lib.methods.nh2st import NH2ST
from stlearn_lib.methods.rankbygene import RankByGene
from stlearn_lib.methods.registry import create_method, load_method
from stlearn_lib.training import Compute, TrainingSettings

SMALL = {
    MclSTExp: {"k": 10},
    NH2ST: {"width": 16},
    RankByGene: {"width": 16, "predictor": TrainingSettings(epochs=2, batch_size=16, learning_rate=1e-3)},
}


@pytest.fixture(scope="module", params=SMALL, ids=lambda kind: kind.title)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def make(kind, target):
    """Return the function that makes the unfitted method."""
    return lambda options, **changes: kind(target=target, **(options | SMALL[kind] | changes))


@pytest.fixture(scope="module", params=["frozen", "trained"])
def method(request, make, sections):
    return make(request.getfixturevalue(f"{request.param}_options")).fit(sections[:2])


# ------------------------------------------------------------------------------------------------------- the contract


def test_prediction_keeps_the_contract_and_sees_no_counts(method, sections, target):
    prediction = method.predict(sections[2])
    assert prediction.obs_names.equals(sections[2].obs_names) and tuple(prediction.var_names) == target.genes
    assert np.isfinite(prediction.X).all()
    np.testing.assert_array_equal(method.predict(without_counts(sections[2])).X, prediction.X)
    assert prediction.uns["prediction"]["trained_on"] == ["S1", "S2"]


def test_a_spot_is_predicted_alone_as_among_others(method, sections):
    whole = method.predict(sections[2]).X
    np.testing.assert_allclose(method.predict(sections[2][:1].copy()).X[0], whole[0], rtol=1e-4, atol=1e-5)


def test_a_saved_method_predicts_the_same(kind, method, sections, tmp_path):
    method.save(tmp_path)
    expected = method.predict(sections[2]).X
    for loaded in (kind.load(tmp_path), load_method(tmp_path)):
        np.testing.assert_array_equal(loaded.predict(sections[2]).X, expected)
        assert json.loads(json.dumps(loaded.settings())) == method.settings()
        assert loaded.weights_id == method.weights_id and loaded.history.equals(method.history)


def test_random_weights_are_recorded(method):
    expected = "none" if method.options.features else "random(seed=0)"  # colour statistics have no weights
    assert method.weights_id == expected


def test_fitting_twice_gives_the_same_and_leaves_the_global_seed(make, frozen_options, sections):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = (make(frozen_options).fit(sections[:2]) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(np.array_equal(first.state[name], second.state[name]) for name in first.state)


def test_it_cross_validates(make, frozen_options, sections, target):
    protocol = Protocol("test", (Fold("T", train=("S1",), validation=("S2",), test=("T1", "T2")),), target)
    training = TrainingSettings(epochs=4, batch_size=8, learning_rate=1e-3, patience=1)
    table = cross_validate(make(frozen_options, training=training), sections, protocol, progress=False)
    assert list(table["test"]) == ["T1", "T2", "pooled"] and (table["seed"] == 0).all()


# ---------------------------------------------------------------------------------------------------------- bad input


def test_a_section_without_an_image_is_named(make, trained_options, sections):
    bare = sections[1].copy()
    del metadata_of(bare)["image_path"]
    with pytest.raises(ImageError, match="section S2 has no image"):
        make(trained_options).fit([sections[0], bare])


def test_a_section_that_lacks_genes_is_named(make, frozen_options, sections):
    fewer = sections[1][:, 5:].copy()
    with pytest.raises(GeneError, match="section S2 lacks 5 of 32 genes"):
        make(frozen_options).fit([sections[0], fewer])


def test_counts_that_are_no_numbers_are_named(make, frozen_options, sections):
    broken = sections[1].copy()
    dense = broken.X.toarray()
    dense[3, 7] = np.nan
    broken.X = dense
    spot, gene = broken.obs_names[3], broken.var_names[7]
    with pytest.raises(SectionError, match=f"section S2: .*{gene} in spot {spot} is nan"):
        make(frozen_options).fit([sections[0], broken])


def test_a_batch_of_one_is_refused(make, frozen_options, sections, short):
    with pytest.raises(TrainingError, match="batch_size must be at least 2"):
        replace(short, batch_size=1)
    with pytest.raises(TrainingError, match="24 spots leave less than 2 to each of 16 parts of a batch"):
        make(frozen_options, training=replace(short, accumulate=16)).fit(sections[:1])


def test_patience_needs_validation(make, frozen_options, sections, short):
    with pytest.raises(TrainingError, match="patience needs validation spots"):
        make(frozen_options, training=replace(short, patience=1)).fit(sections[:2])


def test_unknown_settings_are_refused(kind):
    with pytest.raises(TypeError, match="temprature"):
        kind(temprature=1.0)
    with pytest.raises(StlearnError, match=r"variant must be one of released, .*, not 'mine'"):
        kind(variant="mine")
    with pytest.raises(StlearnError, match="trains no network: leave out compute"):
        create_method("mean", compute=Compute())
