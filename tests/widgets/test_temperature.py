import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from stlearn_lib.errors import SectionError
from stlearn_lib.losses import clip_loss
from stlearn_lib.widgets import TEMPERATURES, temperature_explorer


def embeddings(section, noise=1.0):
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(section.n_obs, 16))
    return keys + noise * rng.normal(size=keys.shape), 5 * keys  # lengths do not matter


@pytest.mark.parametrize("tau", [1.0, 0.07, 1 / 256])
def test_probabilities_entropy_and_losses_are_those_of_scipy_and_the_loss(section, figures, tau):
    queries, keys = embeddings(section)
    row, n = 11, section.n_obs
    explorer = temperature_explorer(section, queries, keys, section.obs_names[row], {"it": tau})
    (text,) = explorer._descriptions.values()
    similar = [queries[row] @ key / np.linalg.norm(queries[row]) / np.linalg.norm(key) for key in keys]
    p = softmax(np.array(similar) / tau)
    pair = torch.from_numpy(queries), torch.from_numpy(keys)
    own, mean = 0 - np.log(p[row]), clip_loss(*pair, temperature=tau, normalize=True, weight=1).item()
    assert f"exp(H) = {np.exp(entropy(p)):.1f} of {n} spots" in text
    assert f"heaviest has {p.max():.2%}, the spot itself {p[row]:.2%}, at rank {(p >= p[row]).sum()}" in text
    assert f"Loss {own:.2f}; mean over the section {mean:.2f}, guessing costs {np.log(n):.2f}" in text
    place, ranks = figures[0].axes[:2]
    np.testing.assert_allclose(place.collections[0].get_array(), np.log10(p * n), atol=1e-9)
    np.testing.assert_allclose(ranks.lines[1].get_ydata(), np.sort(p)[::-1], rtol=1e-6)
    assert f"exp(H) = {np.exp(entropy(p)):.1f} of {n} spots\nloss {own:.2f}" in ranks.get_title()


def test_the_ring_lies_on_the_spot(section, figures):
    temperature_explorer(section, *embeddings(section), section.obs_names[11], {"1": 1.0})
    np.testing.assert_allclose(figures[0].axes[0].collections[-1].get_offsets(), section.obsm["spatial"][[11]])


def test_what_cannot_be_told_apart_is_guessed_at_every_temperature(section, figures):
    same, n = np.ones((section.n_obs, 3)), section.n_obs
    explorer = temperature_explorer(section, same, same, section.obs_names[0])
    assert list(explorer._frames) == list(TEMPERATURES)
    for text in explorer._descriptions.values():
        assert f"exp(H) = {n}.0 of {n} spots" in text
        assert f"Loss {np.log(n):.2f}; mean over the section {np.log(n):.2f}, guessing costs {np.log(n):.2f}" in text


def test_a_perfect_match_becomes_certain(section, figures):
    keys = np.eye(section.n_obs)
    explorer = temperature_explorer(section, keys, keys, section.obs_names[0], {"0.01": 0.01})
    assert "exp(H) = 1.0 of" in explorer._descriptions["0.01"] and "Loss 0.00;" in explorer._descriptions["0.01"]


def test_is_a_slider_that_works_without_a_kernel(section):
    page = temperature_explorer(section, *embeddings(section), section.obs_names[0], {"1": 1.0, "0.1": 0.1}).to_html()
    assert page.count('type="range"') == 1 and page.count("data:image/jpeg;base64,") == 2
    assert page.count(" hidden>") == 1


def test_temperatures_run_from_flat_to_sharp():
    assert list(TEMPERATURES.values()) == sorted(TEMPERATURES.values(), reverse=True)


def test_what_does_not_fit_is_named(section):
    queries, keys = embeddings(section)
    with pytest.raises(SectionError, match="S1 has no spot 99x99"):
        temperature_explorer(section, queries, keys, "99x99")
    with pytest.raises(SectionError, match=r"queries \(5, 16\) and keys \(168, 16\) do not fit section S1"):
        temperature_explorer(section, queries[:5], keys, section.obs_names[0])
