import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from stlearn_lib.application import blocks
from stlearn_lib.application.blocks import looks_at_all_spots, predict_in_blocks, spatial_blocks
from stlearn_lib.errors import StlearnError
from stlearn_lib.methods.baselines import NearestSpots, Ridge, TrainingMean
from stlearn_lib.methods.ensemble import Ensemble
from stlearn_lib.methods.mclstexp import MclSTExp
from stlearn_lib.methods.nh2st import NH2ST
from stlearn_lib.methods.rankbygene import RankByGene
from stlearn_lib.methods.registry import create_method

NETWORK = {"features": ["colour_texture"], "progress": False}
SHORT = {"epochs": 2, "batch_size": 32, "learning_rate": 1e-3}


def test_a_block_lies_along_rows_of_the_grid(section):
    parts = spatial_blocks(section[np.random.default_rng(0).permutation(section.n_obs)].copy(), 14)
    assert len(parts) == 12, "twelve rows of fourteen spots"
    shuffled = section[np.random.default_rng(0).permutation(section.n_obs)]
    for row, part in enumerate(parts, 1):
        assert (shuffled.obs["array_y"].iloc[part] == row).all()
        assert (np.diff(shuffled.obs["array_x"].iloc[part]) > 0).all()


@settings(derandomize=True, deadline=None, max_examples=25)
@given(size=st.integers(1, 200))
def test_every_spot_is_in_one_block(cohort, size):
    parts = spatial_blocks(cohort[0], size)
    assert sorted(np.concatenate(parts)) == list(range(cohort[0].n_obs))
    assert {len(part) for part in parts[:-1]} <= {size} and len(parts[-1]) <= size


@pytest.mark.parametrize(
    "method",
    [
        TrainingMean(),
        Ridge(n_bootstrap=2),
        Ridge(standardize="section"),
        NearestSpots(k=5),
        MclSTExp(**NETWORK, k=5, training=SHORT),
        NH2ST(**NETWORK, training=SHORT),
        RankByGene(**NETWORK, width=32, predict_from="embedding", training=SHORT, predictor=SHORT),
        Ensemble.of_seeds(NH2ST(**NETWORK, training=SHORT), seeds=(0, 1)),
    ],
    ids=lambda method: method.name,
)
def test_blocks_give_what_the_whole_section_gives(method, cohort, target, tmp_path):
    """To single precision: a matrix product of other sizes adds up in another order."""
    method.target = target
    method.fit(cohort[:2])
    slide = cohort[2]
    shuffled = slide[np.random.default_rng(1).permutation(slide.n_obs)].copy()
    found = predict_in_blocks(method, shuffled, tmp_path, block=50, progress=False)
    np.testing.assert_allclose(found.expression, method.predict(shuffled).X, rtol=1e-5, atol=1e-5)
    spread = method.spread(shuffled)
    if spread is None:
        assert found.spread is None
    else:
        np.testing.assert_allclose(found.spread, spread, rtol=1e-4, atol=1e-5)
    n_blocks = 1 if looks_at_all_spots(method) else 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{i:06}.safetensors" for i in range(n_blocks)]


def test_who_looks_at_all_spots():
    ours = ["ridge-colour-section", "mclstexp_alex10x"]
    others = ["mean", "ridge-colour", "mclstexp_her2st", "nh2st_stnet", "rankbygene_breast_cpu"]
    assert [looks_at_all_spots(create_method(name)) for name in ours + others] == [True] * 2 + [False] * 5
    assert looks_at_all_spots(Ensemble.of_seeds(create_method(ours[1]), seeds=(0, 1)))


def test_what_is_done_is_not_done_again(ridge, section, tmp_path, monkeypatch):
    whole, seen = predict_in_blocks(ridge, section, tmp_path / "whole", block=40, progress=False), []

    def predict(part):
        seen.append(part.n_obs)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return type(ridge).predict(ridge, part)

    monkeypatch.setattr(ridge, "predict", predict)
    with pytest.raises(KeyboardInterrupt):
        predict_in_blocks(ridge, section, tmp_path / "stopped", block=40, progress=False)
    again = predict_in_blocks(ridge, section, tmp_path / "stopped", block=40, progress=False)
    assert seen == [40, 40, 40, 40, 40, 8], "the third block, and those after it"
    np.testing.assert_array_equal(again.expression, whole.expression)
    np.testing.assert_array_equal(again.spread, whole.spread)


def test_patches_leave_nothing_behind(ridge, section, tmp_path, monkeypatch):
    """Neither in the cache, which whole slides would fill, nor in the folder beside a block that is done."""
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path / "cache"))
    there = []

    def save(arrays, path):
        there.append(list((tmp_path / "parts").rglob("*.npy")))
        save_file(arrays, path)

    monkeypatch.setattr(blocks, "save_file", save)
    predict_in_blocks(ridge, section, tmp_path / "parts", block=84, progress=False)
    assert list(map(len, there)) == [1, 1] and there[0] != there[1], "the patches of one block at a time"
    assert not (tmp_path / "cache").exists() and not list((tmp_path / "parts").rglob("*.npy"))


def test_a_block_of_nothing(ridge, section, tmp_path):
    with pytest.raises(StlearnError, match="a block has 1 spot or more, not 0"):
        predict_in_blocks(ridge, section, tmp_path, block=0)
