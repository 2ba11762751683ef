import math
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stlearn_lib.errors import LossError
from stlearn_lib.losses import clip_loss, weighted_info_nce


def embeddings(seed, b=5, d=4):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(b, d, generator=generator, dtype=torch.float64) for _ in range(2))


def loop(a, b, temperature, negative_weight):
    """The definition, term by term."""
    total = 0.0
    for i in range(len(a)):
        logits = [float(torch.cosine_similarity(a[i], b[j], dim=0)) / temperature for j in range(len(b))]
        scaled = [logit if j == i else negative_weight * logit for j, logit in enumerate(logits)]
        total += math.log(sum(math.exp(value) for value in scaled)) - scaled[i]
    return total / len(a)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    temperature=st.floats(0.05, 5),
    negative_weight=st.floats(0, 2),
    symmetric=st.booleans(),
)
def test_equals_the_loop(seed, temperature, negative_weight, symmetric):
    a, b = embeddings(seed)
    expected = loop(a, b, temperature, negative_weight)
    if symmetric:
        expected = (expected + loop(b, a, temperature, negative_weight)) / 2
    loss = weighted_info_nce(a, b, temperature=temperature, negative_weight=negative_weight, symmetric=symmetric)
    assert loss.item() == pytest.approx(expected)


def test_equals_the_authors(reference_folder):
    """The recipe's inputs: NumPy's frozen generator, seeded by the checksum of a tag."""
    a, b = (
        torch.from_numpy(np.random.RandomState(zlib.crc32(tag)).standard_normal((7, 16)).astype(np.float32))
        for tag in (b"nh2st/a", b"nh2st/b")
    )
    expected = float(np.load(reference_folder / "nh2st.npz")["contrastive_loss_7x16_t0.05_w0.1"])
    assert weighted_info_nce(a, b).item() == pytest.approx(expected, rel=1e-5)


def test_the_textbook_loss_is_half_of_clip():
    a, b = embeddings(3)
    textbook = weighted_info_nce(a, b, temperature=0.2, negative_weight=1, symmetric=True)
    torch.testing.assert_close(textbook, clip_loss(a, b, temperature=0.2, normalize=True))


def test_the_released_loss_hardly_minds_a_collapse():
    """A row of the ledger: with all embeddings alike it costs 128 negatives of e² beside e²⁰, next to nothing."""
    same = torch.ones(128, 8, dtype=torch.float64)
    assert weighted_info_nce(same, same).item() == pytest.approx(math.log1p(127 * math.exp(2 - 20)), rel=1e-6)
    assert weighted_info_nce(same, same, negative_weight=1).item() == pytest.approx(math.log(128))


def test_gradients_are_right():
    a, b = (x.requires_grad_() for x in embeddings(1, b=3))
    assert torch.autograd.gradcheck(lambda x, y: weighted_info_nce(x, y, temperature=0.3), (a, b))


def test_bad_arguments_are_named():
    with pytest.raises(LossError, match=r"not \(2, 3\) and \(3, 3\)"):
        weighted_info_nce(torch.ones(2, 3), torch.ones(3, 3))
    with pytest.raises(LossError, match="temperature must be positive, not 0"):
        weighted_info_nce(torch.ones(2, 3), torch.ones(2, 3), temperature=0)
    with pytest.raises(LossError, match="negative_weight must be 0 or more, not -1"):
        weighted_info_nce(torch.ones(2, 3), torch.ones(2, 3), negative_weight=-1)
