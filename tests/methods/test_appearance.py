"""Likeness: its definition by hand, and real sections that are alike, and that are not."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf

from stlearn_lib.data.expression import Target
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.sections import metadata_of, read_image, without_counts
from stlearn_lib.data.statistics import colour_texture_statistics
from stlearn_lib.datasets import load_sections
from stlearn_lib.errors import ImageError
from stlearn_lib.methods import appearance as methods_appearance
from stlearn_lib.methods.appearance import Appearance
from stlearn_lib.methods.baselines import Ridge, TrainingMean
from stlearn_lib.methods.registry import load_method

ONE_PATIENT = ("C2", "C3", "C4", "C5", "C6")
TARGET = Target(("ERBB2", "FASN"))


@pytest.fixture(scope="module")
def real(mirror):
    names = (*ONE_PATIENT, "B4", "A1")
    return dict(zip(names, load_sections(names, allow_simulated=False), strict=True))


def denser(patches):
    """Multiply optical density by 1.5."""
    return np.clip(256 * ((patches + 1.0) / 256) ** 1.5 - 1, 0, 255).round().astype(np.uint8)


def redder(patches):
    """Turn the hue by 28 degrees."""
    hsv = np.array(Image.fromarray(patches.reshape(-1, 224, 3)).convert("HSV"))
    hsv[..., 0] += 20  # of 256, and around again
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB")).reshape(patches.shape)


# ------------------------------------------------------------------------------------------------------- the definition


def test_the_numbers_are_as_defined(cohort):
    rows = np.unique(np.linspace(0, 167, 100).astype(int))
    train = np.concatenate([colour_texture_statistics(cut_patches(section)[rows]) for section in cohort[:2]])
    test = colour_texture_statistics(cut_patches(cohort[2])[rows])
    mean, spread = train.mean(axis=0), train.std(axis=0)
    inverse = np.linalg.inv(ledoit_wolf((train - mean) / spread)[0])
    own, other = (
        [mahalanobis(row, np.zeros(26), inverse) for row in (values - mean) / spread] for values in (train, test)
    )
    found = Appearance.of(cohort[:2]).compare(without_counts(cohort[2]))
    shift = (test.mean(axis=0) - mean)[:3] / spread[:3]
    np.testing.assert_allclose(found.stain_distance, np.sqrt((shift**2).mean()), rtol=1e-6)
    np.testing.assert_allclose(found.feature_distance, np.median(other) / np.median(own), rtol=1e-6)
    assert found.share_unlike == np.mean(np.array(other) > np.quantile(own, 0.99))


def test_training_sections_are_like_themselves(cohort):
    found = Appearance.of(cohort[:2])
    assert found.distances.shape == (200,) and found.covariance.shape == (26, 26)
    both = [found.compare(section) for section in cohort[:2]]
    np.testing.assert_allclose(np.mean([one.share_unlike for one in both]), 0.01)
    assert not any(one.warnings for one in both)


def test_a_blank_slide_compares(section, tmp_path):
    blank = section.copy()
    Image.new("RGB", read_image(section).size, "white").save(tmp_path / "blank.png")
    metadata_of(blank)["image_path"] = str(tmp_path / "blank.png")
    found = Appearance.of([blank])
    assert found.compare(blank).feature_distance == found.compare(blank).share_unlike == 0
    assert "lighter than the training sections" in Appearance.of([section]).compare(blank).warnings[0]


def test_no_image_no_appearance(cohort, tmp_path):
    bare = cohort[1].copy()
    del metadata_of(bare)["image_path"]
    assert Appearance.of([cohort[0], bare]) is None and Appearance.of([cohort[0][:1].copy()]) is None
    method = TrainingMean(TARGET).fit([cohort[0], bare])
    assert method.appearance is None and load_method(method.save(tmp_path)).appearance is None
    with pytest.raises(ImageError, match="section S2 has no image"):
        Appearance.of([cohort[0]]).compare(bare)


@pytest.mark.parametrize("method", [TrainingMean(TARGET), Ridge(target=TARGET)], ids=lambda method: method.name)
def test_it_is_saved_with_the_method(method, cohort, tmp_path):
    loaded = load_method(method.fit(cohort[:2]).save(tmp_path))
    assert loaded.appearance.compare(cohort[2]) == Appearance.of(cohort[:2]).compare(cohort[2])
    assert loaded.state.keys() == method.state.keys()


# -------------------------------------------------------------------------------------------------------- real sections


@pytest.mark.parametrize("n_train", [2, 4])
def test_sections_of_one_patient_are_alike(real, n_train):
    for held_out in ONE_PATIENT:
        for train in combinations([name for name in ONE_PATIENT if name != held_out], n_train):
            found = Appearance.of([real[name] for name in train]).compare(real[held_out])
            assert not found.warnings, f"{held_out} beside {train}: {found}"


def test_another_patient_stain_and_scanner_are_not(real):
    appearance = Appearance.of([real[name] for name in ONE_PATIENT])
    assert ["lighter" in warning for warning in appearance.compare(real["B4"]).warnings] == [True]
    found = appearance.compare(real["A1"])
    assert found.feature_distance > 2 and found.share_unlike > 0.3 and len(found.warnings) == 2


def test_another_stain_is_not(real, tmp_path, monkeypatch):
    appearance, found = Appearance.of([real[name] for name in ONE_PATIENT]), []
    for paint in (denser, redder):
        painted = tmp_path / f"{paint.__name__}.npy"
        np.save(painted, paint(np.asarray(cut_patches(real["C2"][::2]))))
        with monkeypatch.context() as patch:
            patch.setattr(methods_appearance, "cut_patches", lambda *_, path=painted: np.load(path, mmap_mode="r"))
            found.append(appearance.compare(real["C2"]))
    dark, red = found
    assert dark.warnings[0].startswith("the slide is darker") and dark.stain_distance > 2
    assert red.stain_distance < 1 < red.feature_distance and red.share_unlike > 0.5 and red.warnings
