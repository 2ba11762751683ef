"""Clusters find groups that are there, and agree with regions as scikit-learn and the closed forms say."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import comb
from scipy.stats import entropy
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.datasets import load_gene_list, load_sections
from stlearn_lib.errors import EvaluationError
from stlearn_lib.evaluation import Agreement, agreement, cluster_spots, labelled_spots

REGIONS = ["cancer"] * 30 + ["stroma"] * 20 + ["fat"] * 10


@pytest.fixture
def profiles():
    """Three groups of spots, far apart in 40 genes: (60, 40)."""
    rng = np.random.default_rng(0)
    centres = {region: rng.normal(0, 3, 40) for region in ("cancer", "stroma", "fat")}
    return np.array([centres[region] for region in REGIONS]) + rng.normal(size=(60, 40))


@pytest.mark.parametrize("standardize", [True, False])
def test_groups_that_are_there_are_found(profiles, standardize):
    clusters = cluster_spots(profiles, n_clusters=3, seed=0, standardize=standardize)
    assert clusters.shape == (60,) and np.issubdtype(clusters.dtype, np.integer)
    assert agreement(REGIONS, clusters) == Agreement(pytest.approx(1), pytest.approx(1), 60)


def test_only_the_first_components_are_looked_at(profiles):
    noise = profiles - profiles.mean(0)
    first = PCA(1).fit_transform(noise)
    along = cluster_spots(profiles, n_clusters=2, seed=0, n_components=1, standardize=False)
    order = np.argsort(first[:, 0])
    assert np.count_nonzero(np.diff(along[order])) == 1  # two intervals on the first axis


def test_standardising_makes_the_unit_of_a_gene_irrelevant(profiles):
    rescaled = profiles * np.geomspace(1e-3, 1e3, 40)
    np.testing.assert_array_equal(
        cluster_spots(profiles, n_clusters=3, seed=0), cluster_spots(rescaled, n_clusters=3, seed=0)
    )
    loud = np.column_stack([profiles, 1e4 * np.tile([0.0, 1.0], 30)])
    as_they_are = cluster_spots(loud, n_clusters=2, seed=0, standardize=False)
    assert agreement(list("ab" * 30), as_they_are).ari == pytest.approx(1)


def test_a_seed_gives_one_answer(profiles):
    noise = np.random.default_rng(1).normal(size=(60, 40))
    first, again = (cluster_spots(noise, n_clusters=4, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_prediction_that_is_the_same_everywhere_finds_nothing():
    clusters = cluster_spots(np.full((60, 40), 0.1), n_clusters=3, seed=0)
    assert set(clusters) == {0}
    assert agreement(REGIONS, clusters) == Agreement(0.0, 0.0, 60)


def test_few_profiles_are_few_clusters():
    clusters = cluster_spots([[0.0, 1.0], [0.0, 1.0], [2.0, 0.0], [2.0, 0.0]], n_clusters=3, seed=0)
    assert len(set(clusters)) == 2 and clusters[0] == clusters[1] != clusters[2]


def test_fewer_genes_than_components_are_enough(profiles):
    assert len(set(cluster_spots(profiles[:, :2], n_clusters=3, seed=0))) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expression": np.zeros(5)}, r"shape \(5,\): expected finite numbers"),
        ({"expression": [[0.0, np.nan], [1.0, 1.0]]}, "expected finite numbers"),
        ({"n_clusters": 1}, "60 spots cannot make 1 clusters"),
        ({"n_clusters": 61}, "60 spots cannot make 61 clusters"),
        ({"n_components": 0}, "n_components = 0"),
    ],
)
def test_what_cannot_be_clustered_is_named(profiles, change, message):
    with pytest.raises(EvaluationError, match=message):
        cluster_spots(**({"expression": profiles, "n_clusters": 3, "seed": 0} | change))


def test_equals_scikit_learn_and_the_formulas():
    rng = np.random.default_rng(0)
    labels, clusters = rng.choice(list("abcd"), 200), rng.integers(5, size=200)
    clusters[labels == "a"] = 0
    found = agreement(labels, clusters)
    assert found.ari == pytest.approx(adjusted_rand_score(labels, clusters))
    assert found.nmi == pytest.approx(normalized_mutual_info_score(labels, clusters))

    table = pd.crosstab(labels, clusters).to_numpy()
    pairs, a, b = comb(table, 2).sum(), comb(table.sum(1), 2).sum(), comb(table.sum(0), 2).sum()
    chance = a * b / comb(200, 2)
    assert found.ari == pytest.approx((pairs - chance) / ((a + b) / 2 - chance))
    of_labels, of_clusters = entropy(table.sum(1)), entropy(table.sum(0))
    mutual = of_labels + of_clusters - entropy(table.ravel())
    assert found.nmi == pytest.approx(2 * mutual / (of_labels + of_clusters))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), min_size=2), st.permutations(range(4)))
def test_names_of_clusters_do_not_matter(pairs, names):
    labels, clusters = (list(part) for part in zip(*pairs, strict=True))
    if len(set(labels)) < 2:
        labels[0], labels[1] = "a", "b"
    before = agreement(labels, clusters)
    after = agreement(labels, [f"cluster {names[cluster]}" for cluster in clusters])
    assert (after.ari, after.nmi) == (pytest.approx(before.ari), pytest.approx(before.nmi))


def test_the_regions_themselves_agree_wholly():
    perfect = agreement(REGIONS, [{"cancer": 2, "stroma": 0, "fat": 1}[region] for region in REGIONS])
    assert (perfect.ari, perfect.nmi) == (pytest.approx(1), pytest.approx(1))


def test_clusters_by_chance_reach_an_ari_of_nothing():
    rng = np.random.default_rng(0)
    by_chance = [agreement(REGIONS, rng.integers(3, size=60)) for _ in range(300)]
    assert np.mean([one.ari for one in by_chance]) == pytest.approx(0, abs=0.01)
    assert np.mean([one.nmi for one in by_chance]) > 0.01


def test_spots_without_a_region_are_left_out():
    labels = ["a", "a", "b", "b", "undetermined", "unlabelled", None, np.nan, ""]
    assert labelled_spots(labels).tolist() == [True] * 4 + [False] * 5
    assert agreement(labels, [0, 0, 1, 1, 0, 1, 2, 3, 0]) == Agreement(1.0, 1.0, 4)
    assert labelled_spots(pd.Categorical(labels[:6]), exclude=["a"]).tolist() == [False] * 2 + [True] * 4
    assert agreement(labels, [0, 0, 1, 1, 0, 1, 2, 3, 0], exclude=()).n_spots == 6


@pytest.mark.parametrize(
    ("labels", "clusters", "message"),
    [
        (["a", "b"], [0, 1, 1], r"labels are \(2,\) and clusters are \(3,\)"),
        ([["a", "b"]], [[0, 1]], "one for each spot"),
        (["a", "b"], [0.0, np.nan], "1 spots have no cluster"),
        (["a", "b"], [None, None], "2 spots have no cluster"),
        (["a", "a", "undetermined"], [0, 1, 1], "2 labelled spots of 1 regions"),
        ([None, "undetermined"], [0, 1], "0 labelled spots of 0 regions"),
    ],
)
def test_what_cannot_be_compared_is_named(labels, clusters, message):
    with pytest.raises(EvaluationError, match=message):
        agreement(labels, clusters)


def test_a_real_section_and_its_smoothed_measurement(mirror):
    """A1 as measured: smoothing the truth brings it nearer to the pathologist, which is why both must be shown."""
    (section,) = load_sections(["A1"], images=False, allow_simulated=False)
    labels = section.obs["label"]
    regions = labelled_spots(labels)
    assert (regions.sum(), labels[regions].nunique()) == (341, 5)
    genes = load_gene_list("mclstexp_her2st", allow_simulated=False)
    found = []
    for smooth in (False, True):
        profiles = expression(section, Target(genes, smooth=smooth))[regions]
        clusters = cluster_spots(profiles, n_clusters=5, seed=0)
        found.append(agreement(labels[regions], clusters))
    plain, smoothed = found
    assert 0 < plain.ari < smoothed.ari < 0.5 and 0 < plain.nmi < smoothed.nmi < 0.5
