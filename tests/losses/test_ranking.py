import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from stlearn_lib.errors import LossError
from stlearn_lib.losses import info_nce, order_loss, ranking_consistency, similarity_rows


def recipe(tag, shape):
    """The reference's inputs: NumPy's frozen generator, seeded by the checksum of a tag."""
    rs = np.random.RandomState(zlib.crc32(tag.encode()))
    return torch.from_numpy(rs.standard_normal(shape).astype(np.float32))


@pytest.fixture(scope="module")
def reference(reference_folder):
    return np.load(reference_folder / "rankbygene.npz")


def matrices(seed, n):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, n, generator=generator, dtype=torch.float64) for _ in range(2))


# ------------------------------------------------------------------------------------------------ the authors' values


def test_info_nce_equals_the_authors(reference):
    gene, image = recipe("rankbygene/gene", (12, 24)), recipe("rankbygene/image", (12, 24))
    assert info_nce(gene, image).item() == pytest.approx(float(reference["infonce_t0.1"]), rel=1e-5)


def test_loss_and_gradients_equal_the_authors(reference):
    gene, image = (recipe(f"rankbygene/{name}", (12, 24)).requires_grad_() for name in ("gene", "image"))
    loss = ranking_consistency(gene, image, permutation=torch.from_numpy(reference["permutation"]))
    assert loss.item() == pytest.approx(float(reference["ranking_loss_reference"]), rel=1e-5)
    loss.backward()
    for name, values in (("gene", gene), ("image", image)):
        expected = reference[f"ranking_loss_grad_{name}"]
        np.testing.assert_allclose(values.grad, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("shifts", [1, 3, 11])
def test_shifts_equal_the_authors(reference, shifts):
    values, targets = (recipe(f"rankbygene/{name}", (12, 12)).softmax(dim=1) for name in "vt")
    loss = order_loss(values, targets, permutation=torch.from_numpy(reference["permutation"]), shifts=shifts)
    assert loss.item() == pytest.approx(float(reference[f"ranking_consistency_iter{shifts}"]), rel=1e-5)


# -------------------------------------------------------------------------------------------------------- definitions


def released_loop(values, targets, permutation, shifts):
    """The definition, entry by entry of the flattened matrices."""
    v, t = (np.concatenate([x[i] for i in permutation]) for x in (values, targets))
    n = len(values)
    costs = [
        max(0, abs(v[i] - v[i - shift]) - abs(t[i] - t[i - shift]))
        for shift in range(1, shifts + 1)
        for i in range(n * n)
    ]
    return sum(costs) / (n * shifts)


def ordered_loop(values, targets, permutation, shifts):
    """The definition, pair by pair of each row."""
    n = len(values)
    total = 0.0
    for shift in range(1, shifts + 1):
        for i in permutation:
            for j in range(n):
                one, other = permutation[j], permutation[j - shift]
                dv, dt = values[i, one] - values[i, other], targets[i, one] - targets[i, other]
                total += max(0, abs(dt) - np.sign(dt) * dv)
    return total / (n * shifts)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 6), data=st.data())
def test_equals_the_loop(seed, n, data):
    values, targets = matrices(seed, n)
    permutation, shifts = data.draw(st.permutations(range(n))), data.draw(st.integers(1, n - 1))
    for variant, loop in (("released", released_loop), ("ordered", ordered_loop)):
        loss = order_loss(values, targets, variant=variant, permutation=torch.tensor(permutation), shifts=shifts)
        assert loss.item() == pytest.approx(loop(values.numpy(), targets.numpy(), permutation, shifts)), variant


def test_similarities_are_those_of_scipy():
    embeddings = recipe("anything", (5, 3)).numpy()
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(similarity_rows(torch.from_numpy(embeddings)), softmax(unit @ unit.T, axis=1), rtol=1e-5)


@pytest.mark.parametrize("variant", ["released", "ordered"])
def test_gradients_are_right(variant):
    gene, image = (x[:, :3].clone().requires_grad_() for x in matrices(1, 4))
    permutation = torch.tensor([2, 0, 3, 1])

    def loss(g, i):
        return ranking_consistency(g, i, variant=variant, permutation=permutation, shifts=None)

    assert torch.autograd.gradcheck(loss, (gene, image))


# -------------------------------------------------------------------------------- what the released loss does not ask


@given(seed=st.integers(0, 10**6), n=st.integers(2, 8))
def test_reversed_order_costs_nothing_as_released(seed, n):
    """A row of the ledger: the farthest spot may take the place of the nearest."""
    _, targets = matrices(seed, n)
    assert order_loss(-targets, targets, shifts=None).item() == pytest.approx(0, abs=1e-12)
    assert order_loss(-targets, targets, variant="ordered", shifts=None).item() > 0


@given(seed=st.integers(0, 10**6), n=st.integers(2, 8))
def test_a_collapse_costs_nothing_as_released(seed, n):
    """A row of the ledger: images that are all alike agree with whatever the genes say."""
    _, targets = matrices(seed, n)
    alike = torch.ones_like(targets)
    assert order_loss(alike, targets, shifts=None).item() == 0
    assert order_loss(alike, targets, variant="ordered", shifts=None).item() > 0


@given(seed=st.integers(0, 10**6), n=st.integers(2, 8))
def test_the_right_order_at_twice_the_scale_is_punished_as_released(seed, n):
    """A row of the ledger: then it is farther from the targets than a reversed order, and costs more."""
    _, targets = matrices(seed, n)
    assert order_loss(2 * targets, targets, shifts=None).item() > 0
    assert order_loss(2 * targets, targets, variant="ordered", shifts=None).item() == 0


@given(seed=st.integers(0, 10**6), data=st.data())
def test_all_pairs_do_not_depend_on_the_order_of_spots(seed, data):
    """Unlike the released loss, whose flattened shift compares the ends of rows that happen to follow one another."""
    values, targets = matrices(seed, 5)
    permutation = torch.tensor(data.draw(st.permutations(range(5))))
    first, second = (
        order_loss(values, targets, variant="ordered", permutation=order, shifts=None).item()
        for order in (torch.arange(5), permutation)
    )
    assert first == pytest.approx(second)


def test_a_permutation_is_drawn_if_none_is_given():
    values, targets = matrices(0, 6)
    torch.manual_seed(0)
    drawn = {order_loss(values, targets).item() for _ in range(20)}
    assert len(drawn) > 5


# ---------------------------------------------------------------------------------------------------------- bad input


def test_bad_arguments_are_named():
    square = torch.ones(4, 4)
    with pytest.raises(LossError, match=r"not \(2, 3\) and \(3, 3\)"):
        ranking_consistency(torch.ones(2, 3), torch.ones(3, 3))
    with pytest.raises(LossError, match=r"two matrices \(B, B\), B > 1, are needed, not \(4, 4\) and \(4, 3\)"):
        order_loss(square, torch.ones(4, 3))
    with pytest.raises(LossError, match="variant must be one of released, ordered, not 'paper'"):
        order_loss(square, square, variant="paper")
    with pytest.raises(LossError, match="shifts must lie between 1 and B - 1 = 3, not 4"):
        order_loss(square, square, shifts=4)
    with pytest.raises(LossError, match="permutation must hold each of 0 to 3 once"):
        order_loss(square, square, permutation=torch.tensor([0, 0, 1, 2]))
    with pytest.raises(LossError, match="temperature must be positive, not 0"):
        info_nce(square, square, temperature=0)
