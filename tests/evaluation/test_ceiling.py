import numpy as np
import pytest
from PIL import Image
from scipy import sparse

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.registration import align
from stlearn_lib.data.sections import metadata_of, read_image, um_per_px_of
from stlearn_lib.errors import EvaluationError
from stlearn_lib.evaluation import predict_from_neighbours, split_half_reliability

TARGET = Target(("ERBB2", "FASN", "COL1A1", "FN1"))


def turned(section, tmp_path, quarter_turns):
    """The same tissue on a slide that was put into the scanner turned, as an independent section."""
    image = np.rot90(np.asarray(read_image(section)), quarter_turns)
    Image.fromarray(np.ascontiguousarray(image)).save(tmp_path / "turned.png")
    copy = section.copy()
    height, width = np.asarray(read_image(section)).shape[:2]
    x, y = section.obsm["spatial"].T
    for _ in range(quarter_turns):
        x, y, width, height = y, width - 1 - x, height, width
    copy.obsm["spatial"] = np.stack([x, y], axis=1)
    copy.uns = {"spatial": {"S1": {**section.uns["spatial"]["S1"], "metadata": dict(metadata_of(section))}}}
    copy.uns["spatial"]["S1"]["metadata"]["image_path"] = str(tmp_path / "turned.png")
    return copy


@pytest.mark.parametrize("quarter_turns", [0, 1, 2])
def test_a_turned_section_is_turned_back(cohort, tmp_path, quarter_turns):
    fixed = cohort[0]
    moving = turned(fixed, tmp_path, quarter_turns)
    alignment = align(moving, fixed)
    assert not alignment.flipped and alignment.similarity > 0.97
    truth_um = fixed.obsm["spatial"] * um_per_px_of(fixed)
    assert np.abs(alignment.positions_um - truth_um).max() < 150  # a spot's pitch is 200 µm


def test_prediction_from_the_same_tissue_is_the_measurement(cohort, tmp_path):
    fixed = cohort[0]
    moving = turned(fixed, tmp_path, 1)
    np.testing.assert_allclose(predict_from_neighbours(fixed, [moving], TARGET, k=1), expression(fixed, TARGET))


def test_no_neighbours(cohort):
    with pytest.raises(EvaluationError, match="neighbouring section of 4 spots"):
        predict_from_neighbours(cohort[0], [], TARGET)


def test_reliability_of_poisson_counts_is_the_share_of_true_variance(section):
    """Var(rate) / (Var(rate) + noise), for a gene so rare in the library that scaling changes nothing."""
    rng = np.random.default_rng(0)
    n = section.n_obs
    rates = rng.gamma(4.0, 5.0, n)  # mean 20, variance 100: reliability 100 / (100 + 20)
    counts = np.zeros(section.shape)
    counts[:, 0] = rng.poisson(rates)
    counts[:, 1] = 10**6  # carries the library
    section.X = sparse.csr_matrix(counts, dtype=np.float32)
    target = Target(tuple(section.var_names[:2]), "spot_ln_1m")
    measured = split_half_reliability(section, target, n_repeats=30)
    # On a log scale the share is a little lower; the tolerance is that of 168 spots.
    assert measured.full[0] == pytest.approx(100 / 120, abs=0.08)
    assert measured.ceiling[0] == pytest.approx(np.sqrt(measured.full[0]))


def test_more_reads_are_more_reliable_and_pure_noise_is_not(section):
    rng = np.random.default_rng(1)
    pattern = np.tile(rng.gamma(2.0, 1.0, (section.n_obs, 1)), (1, section.n_vars))
    pattern[:, 1::2] = 1
    target = Target(tuple(section.var_names[:40]))

    def reliability(depth):
        section.X = sparse.csr_matrix(rng.poisson(depth * pattern), dtype=np.float32)
        return split_half_reliability(section, target, n_repeats=5).full

    shallow, deep = reliability(0.5), reliability(20)
    assert np.nanmean(deep[::2]) > np.nanmean(shallow[::2]) + 0.2


def test_the_seed_decides(section):
    first, again = (split_half_reliability(section, TARGET, n_repeats=2, seed=3).full for _ in range(2))
    other = split_half_reliability(section, TARGET, n_repeats=2, seed=4).full
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_constant_genes_are_nan(section):
    counts = section.X.toarray()
    counts[:, 0] = 0
    section.X = sparse.csr_matrix(counts)
    measured = split_half_reliability(section, Target((section.var_names[0], "FASN")), n_repeats=2)
    assert np.isnan(measured.full[0]) and np.isfinite(measured.full[1])
