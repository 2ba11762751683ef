"""Ensembles: the mean and the spread of their members, saved and loaded as a whole, and taken up again."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from stlearn_lib.errors import NotFittedError, StlearnError
from stlearn_lib.methods.ensemble import Ensemble
from stlearn_lib.methods.nh2st import NH2ST
from stlearn_lib.methods.rankbygene import RankByGene
from stlearn_lib.methods.registry import load_method
from stlearn_lib.training import TrainingSettings

PREDICTOR = TrainingSettings(epochs=1, batch_size=16, learning_rate=1e-3)
KINDS = {NH2ST: {"width": 16}, RankByGene: {"width": 16, "predictor": PREDICTOR, "predict_from": "embedding"}}


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.title)
def fitted(request, frozen_options, target, sections):
    method = request.param(target=target, **frozen_options, **KINDS[request.param])
    return Ensemble.of_seeds(method, (0, 1, 5)).fit(sections[:2])


@pytest.fixture
def nh2st(frozen_options, target):
    return NH2ST(target=target, **frozen_options, **KINDS[NH2ST])


def test_mean_and_spread_are_the_members(fitted, sections):
    predictions = [member.predict(sections[2]).X for member in fitted.members]
    assert not np.array_equal(predictions[0], predictions[1])
    np.testing.assert_allclose(fitted.predict(sections[2]).X, np.mean(predictions, axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fitted.spread(sections[2]), np.std(predictions, axis=0, ddof=1), rtol=1e-4, atol=1e-6)
    assert fitted.spread_kind == "standard deviation over 3 networks of different seeds"
    assert fitted.trained_on == ("S1", "S2") and fitted.name.endswith(", 3 seeds")


def test_a_member_is_what_its_seed_alone_would_be(nh2st, frozen_options, target, sections):
    ensemble = Ensemble.of_seeds(nh2st, (3, 4)).fit(sections[:2])
    training = replace(frozen_options["training"], seed=4)
    alone = NH2ST(target=target, **(frozen_options | KINDS[NH2ST] | {"training": training})).fit(sections[:2])
    np.testing.assert_array_equal(ensemble.members[1].predict(sections[2]).X, alone.predict(sections[2]).X)


def test_a_loaded_ensemble_says_the_same(fitted, sections, tmp_path):
    fitted.save(tmp_path)
    for i in range(3):
        assert load_method(tmp_path / f"member_{i:02d}").seed == fitted.seeds[i]
    for loaded in (Ensemble.load(tmp_path), load_method(tmp_path)):
        np.testing.assert_array_equal(loaded.predict(sections[2]).X, fitted.predict(sections[2]).X)
        np.testing.assert_array_equal(loaded.spread(sections[2]), fitted.spread(sections[2]))
        assert loaded.settings() == fitted.settings() and loaded.training == fitted.training
        assert loaded.target == fitted.target and loaded.seeds == (0, 1, 5)
        assert loaded.appearance.compare(sections[2]) == fitted.members[0].appearance.compare(sections[2])


def test_the_target_may_come_later(frozen_options, target, sections):
    ensemble = Ensemble.of_seeds(NH2ST(**frozen_options, **KINDS[NH2ST]), (0, 1))
    ensemble.target = target  # as cross-validation does
    assert tuple(ensemble.fit(sections[:2]).predict(sections[2]).var_names) == target.genes


def test_a_stopped_ensemble_goes_on(nh2st, sections, tmp_path, monkeypatch):
    nh2st.folder, real, fitted = tmp_path, NH2ST.fit, []

    def counted(self, *args):
        fitted.append(self.seed)
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(NH2ST, "fit", counted)
        with pytest.raises(KeyboardInterrupt):
            Ensemble.of_seeds(nh2st, (0, 1)).fit(sections[:2])
    assert [path.name for path in tmp_path.iterdir()] == ["seed_0"]
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.ckpt")}
    Ensemble.of_seeds(nh2st, (0, 1)).fit(sections[:2])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed_0", "seed_1"]
    assert written and all(path.stat().st_mtime_ns == time for path, time in written.items())


@pytest.mark.parametrize("damage", ["member", "weights", "unknown"])
def test_a_broken_member_is_named(nh2st, sections, tmp_path, damage):
    Ensemble.of_seeds(nh2st, (0, 1)).fit(sections[:1]).save(tmp_path)
    if damage == "member":
        shutil.rmtree(tmp_path / "member_01")
    elif damage == "weights":
        (tmp_path / "member_01" / "weights.safetensors").write_bytes(b"\0" * 20)
    else:
        facts = json.loads((tmp_path / "method.json").read_text())
        facts["settings"]["method"] = "Path"
        (tmp_path / "method.json").write_text(json.dumps(facts))
    with pytest.raises(StlearnError, match="Path" if damage == "unknown" else "member_01"):
        load_method(tmp_path)


def test_what_is_no_ensemble_is_refused(nh2st, sections):
    with pytest.raises(StlearnError, match="two members or more, not 1"):
        Ensemble.of_seeds(nh2st, (0,))
    with pytest.raises(StlearnError, match="The seeds are 2, 2"):
        Ensemble.of_seeds(nh2st, (2, 2))
    with pytest.raises(StlearnError, match="of the same settings but for their seeds"):
        Ensemble([nh2st, NH2ST(training=TrainingSettings(epochs=1, batch_size=16, learning_rate=1e-3, seed=1))])
    with pytest.raises(NotFittedError):
        Ensemble.of_seeds(nh2st, (0, 1)).predict(sections[0])
