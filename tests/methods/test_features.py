from collections import OrderedDict

import numpy as np
from sklearn.decomposition import PCA

from stlearn_lib.methods import features
from stlearn_lib.methods.features import DeepFeatures, FeatureInputs


def test_features_that_were_used_last_are_kept(cohort, monkeypatch):
    monkeypatch.setattr(features, "_N_KEPT", 2)
    monkeypatch.setattr(DeepFeatures, "_kept", type(DeepFeatures._kept)())
    see = DeepFeatures("mobilenetv3_small_050", weights=None)
    sections = [section[:4].copy() for section in cohort[:3]]
    first, second = (see(section) for section in sections[:2])
    assert see(sections[0]) is first and not first.flags.writeable
    see(sections[2])  # takes the place of the second, which was used least recently
    assert see(sections[0]) is first and len(DeepFeatures._kept) == 2
    again = see(sections[1])
    assert again is not second
    np.testing.assert_array_equal(again, second)


def test_principal_components_of_the_same_training_spots_are_computed_once(cohort, monkeypatch):
    computed = []

    class Counted(PCA):
        def fit(self, X, y=None):
            computed.append(X.copy())
            return super().fit(X, y)

    monkeypatch.setattr(features, "PCA", Counted)
    monkeypatch.setattr(features, "_components", OrderedDict())
    monkeypatch.setattr(features, "_N_TRAINING_SETS_KEPT", 1)
    inputs = FeatureInputs(["colour_texture"], n_components=3)
    first = inputs.fit(cohort[:2])["components_0"]
    expected = PCA(3, svd_solver="covariance_eigh").fit(computed[0]).components_
    np.testing.assert_array_equal(first, expected)
    first[:] = 0  # what is handed out may be changed
    np.testing.assert_array_equal(inputs.fit(cohort[:2])["components_0"], expected)
    assert len(computed) == 1
    inputs.fit(cohort[1:3])  # takes the place of the first
    np.testing.assert_array_equal(inputs.fit(cohort[:2])["components_0"], expected)
    assert len(computed) == 3
