import numpy as np

from stlearn_lib.methods import features
from stlearn_lib.methods.features import DeepFeatures


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
