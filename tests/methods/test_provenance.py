"""What a method records of its training sections, in units of tissue."""

import json

import numpy as np
import pytest

from stlearn_lib.data.expression import Target
from stlearn_lib.data.sections import metadata_of
from stlearn_lib.datasets import load_sections
from stlearn_lib.methods.baselines import Ridge, TrainingMean
from stlearn_lib.methods.provenance import Training, scan_um_per_px, spot_pitch_um
from stlearn_lib.methods.registry import load_method

TARGET = Target(("ERBB2", "FASN"))


def test_simulated_sections_are_described(cohort):
    training = Training.of(cohort[:3], cohort[3:])
    assert training.sections == ("S1", "S2", "T1") and training.validation == ("T2",)
    assert training.patients == ("S", "S", "T") and training.n_spots == (168, 168, 168)
    assert training.simulated and training.sources == ("stlearn_lib.data.synthetic",)
    um_per_px = 200 / 150  # the array's pitch in tissue and in pixels
    np.testing.assert_allclose(training.scan_um_per_px, um_per_px)
    np.testing.assert_allclose(training.scan_um_per_px_range, (um_per_px, um_per_px))
    np.testing.assert_allclose((training.spot_diameter_um, training.spot_pitch_um), (100, 200))
    np.testing.assert_allclose((training.patch_px, training.field_of_view_um), (224, 224 * um_per_px))


def test_a_reduced_image_does_not_change_the_scan(mirror):
    original, reduced = load_sections(["C2", "A1"])
    assert 3 < metadata_of(reduced)["um_per_px"] < 3.5  # 2,000 px wide where the scan has 6,954
    training = Training.of([original, reduced])
    assert 0.6 < scan_um_per_px(original) < 1 and 0.6 < scan_um_per_px(reduced) < 1
    assert training.scan_um_per_px_range == tuple(sorted((scan_um_per_px(original), scan_um_per_px(reduced))))
    np.testing.assert_allclose(training.scan_um_per_px, np.mean(training.scan_um_per_px_range))
    np.testing.assert_allclose(training.spot_diameter_um, 100)
    assert 170 < training.spot_pitch_um < 205 and not training.simulated


def test_a_single_spot_has_no_pitch(section):
    assert spot_pitch_um(section[:1].copy()) is None
    training = Training.of([section[:1].copy()])
    assert training.spot_pitch_um is None and Training.from_plain(json.loads(json.dumps(training.plain()))) == training


def test_it_is_saved_with_the_method(cohort, tmp_path):
    method = Ridge(target=TARGET).fit(cohort[:2], cohort[2:3])
    assert method.training == Training.of(cohort[:2], cohort[2:3])
    assert load_method(method.save(tmp_path)).training == method.training


@pytest.mark.parametrize("facts", [{}, {"training": None}])
def test_a_method_of_an_earlier_version_is_still_read(cohort, tmp_path, facts):
    method = TrainingMean(TARGET).fit(cohort[:2])
    assert method.training is not None
    method.appearance = None
    method.save(tmp_path)
    older = json.loads((tmp_path / "method.json").read_text())
    del older["training"]
    (tmp_path / "method.json").write_text(json.dumps(older | facts))
    loaded = load_method(tmp_path)
    assert loaded.training is None and loaded.appearance is None
    np.testing.assert_array_equal(loaded.predict(cohort[2]).X, method.predict(cohort[2]).X)
    assert "are not known: an earlier version" in loaded.card()
