import numpy as np
import pytest
import scanpy as sc
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stlearn_lib.data.expression import SPACES, Target, chosen_counts, expression, library_size, smooth_3x3
from stlearn_lib.data.genes import read_gene_list
from stlearn_lib.data.readers import read_st
from stlearn_lib.errors import GeneError, SpaceError


@pytest.fixture(scope="module")
def reference(reference_folder):
    return np.load(reference_folder / "her2st_preprocessing.npz")


@pytest.fixture(scope="module", params=["C2", "B4"])
def real(request, mirror):
    root, name = mirror / "her2st", request.param
    section = read_st(
        root / f"ST-cnts/{name}.tsv.gz", root / f"ST-spotfiles/{name}_selection.tsv", name=name, patient=name[0]
    )
    return name, section, read_gene_list(mirror / "gene_lists/mclstexp/her_hvg_cut_1000.npy")


def test_spot_log10_10k_equals_the_authors(real, reference):
    name, section, genes = real
    values = expression(section[reference[f"{name}_spot_ids"]], Target(genes))
    np.testing.assert_allclose(values[:5, :20], reference[f"{name}_log_expression_first5x20"], atol=1e-5)
    np.testing.assert_allclose(values.mean(axis=0), reference[f"{name}_gene_means"], atol=1e-5)
    np.testing.assert_allclose(values.std(axis=0), reference[f"{name}_gene_stds"], atol=1e-5)


def test_smoothing_equals_the_authors(real, reference):
    name, section, genes = real
    values = expression(section[reference[f"{name}_sorted_spot_ids"]], Target(genes, smooth=True))
    np.testing.assert_allclose(values[:5, :20], reference[f"{name}_smoothed_first5x20"], atol=1e-5)
    np.testing.assert_allclose(values.mean(axis=0), reference[f"{name}_smoothed_gene_means"], atol=1e-5)
    np.testing.assert_allclose(values.std(axis=0), reference[f"{name}_smoothed_gene_stds"], atol=1e-5)


def test_spot_order_and_pixel_centres_equal_the_authors(real, reference):
    name, section, _ = real
    ordered = section[reference[f"{name}_spot_ids"]]
    np.testing.assert_array_equal(np.floor(ordered.obsm["spatial"]), reference[f"{name}_pixel_centers_floor"])
    np.testing.assert_array_equal(ordered.obs[["array_x", "array_y"]], reference[f"{name}_array_xy"])
    by_row = section.obs.sort_values(["array_y", "array_x"]).index
    assert by_row.tolist() == reference[f"{name}_sorted_spot_ids"].tolist()


def test_cp10k_log1p_equals_scanpy(section):
    target = Target(tuple(section.var_names[:30]), "cp10k_log1p")
    theirs = section.copy()
    sc.pp.normalize_total(theirs, target_sum=1e4)
    sc.pp.log1p(theirs)
    np.testing.assert_allclose(expression(section, target), theirs.X[:, :30].toarray(), rtol=1e-5)


def test_spot_ln_1m_equals_scanpy(section):
    theirs = section.copy()
    sc.pp.normalize_total(theirs, target_sum=1e6)
    sc.pp.log1p(theirs)
    target = Target(tuple(section.var_names), "spot_ln_1m")
    np.testing.assert_allclose(expression(section, target), theirs.X.toarray(), rtol=1e-5)


def test_gene_wise_is_spot_wise_of_the_transposed_matrix():
    counts = np.random.default_rng(0).poisson(2.0, (30, 8)).astype(float)
    library = counts.sum(axis=1)
    np.testing.assert_allclose(
        SPACES["gene_log10_10k"](counts, library), SPACES["spot_log10_10k"](counts.T, counts.sum(axis=0)).T
    )


@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=30, deadline=None)
@given(counts=arrays(np.float64, (5, 4), elements=st.integers(0, 1000).map(float)))
def test_spaces_are_finite_and_zero_where_counts_are(space, counts):
    values = SPACES[space](counts, counts.sum(axis=1))
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(values == 0, counts == 0)


@settings(max_examples=30, deadline=None)
@given(counts=arrays(np.float64, (4, 3), elements=st.integers(0, 50).map(float)), factor=st.integers(2, 9))
def test_depth_leaves_spot_wise_spaces_alone(counts, factor):
    deeper = counts * np.array([[1], [factor], [1], [factor]])
    for space in ("spot_log10_10k", "spot_ln_1m", "cp10k_log1p"):
        np.testing.assert_allclose(
            SPACES[space](deeper, deeper.sum(axis=1)), SPACES[space](counts, counts.sum(axis=1)), rtol=1e-12
        )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 30))
def test_smoothing_equals_a_loop(seed, n):
    rng = np.random.default_rng(seed)
    grid = rng.permutation([(x, y) for x in range(6) for y in range(6)])[:n]
    values = rng.random((n, 3))
    expected = [values[(abs(grid - spot).max(axis=1) <= 1)].mean(axis=0) for spot in grid]
    np.testing.assert_allclose(smooth_3x3(values, grid), expected)


def test_counts_and_library(section):
    genes = ("FASN", "ERBB2")
    np.testing.assert_array_equal(chosen_counts(section, genes), section[:, list(genes)].X.toarray())
    np.testing.assert_array_equal(library_size(section), section.X.toarray().sum(axis=1))


def test_missing_genes_are_named(section):
    with pytest.raises(GeneError, match=r"section S1 lacks 2 of 3 genes: ABC1, ABC2\. Use"):
        expression(section, Target(("FASN", "ABC1", "ABC2")))


@pytest.mark.parametrize("genes", [(), ("a", "a")])
def test_target_refuses_bad_lists(genes):
    with pytest.raises(GeneError, match="empty or names a gene twice"):
        Target(genes)


def test_target_refuses_unknown_spaces():
    with pytest.raises(SpaceError, match="unknown expression space 'log'; known: spot_log10_10k"):
        Target(("a",), "log")
    assert Target(("a",)).in_space("spot_ln_1m").space == "spot_ln_1m"
