"""Each operation against torchvision, image by image; then what is drawn: how often, independently, reproducibly."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from stlearn_lib.data import augmentation as aug
from stlearn_lib.errors import ImageError

PIPELINES = [
    aug.mclstexp_training,
    aug.mclstexp_visium_test,
    aug.nh2st_training,
    aug.rankbygene_strong,
    aug.rankbygene_weak,
]
# All eight symmetries of the square tell this image's corners apart.
CORNERS = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).div(4).expand(3, 2, 2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(n: int = 6, height: int = 24, width: int = 24, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, height, width, generator=seeded(seed))


def one_by_one(operation, images, *parameters):
    return torch.stack(
        [operation(image, *(p.item() for p in each)) for image, *each in zip(images, *parameters, strict=True)]
    )


# ---------------------------------------------------------------------------------- operations against torchvision


@pytest.mark.parametrize(("dim", "reference"), [(-1, tv.horizontal_flip), (-2, tv.vertical_flip)])
def test_flip(dim, reference):
    images, chosen = random_images(), torch.tensor([True, False, True, True, False, False])
    expected = one_by_one(lambda image, flip: reference(image) if flip else image, images, chosen)
    assert torch.equal(aug.flip(images, chosen, dim), expected)


def test_quarter_turn_is_torchvisions_rotation_by_right_angles():
    images, turns = random_images(), torch.tensor([0, 1, 2, 3, 1, 0])
    expected = one_by_one(tv.rotate, images, turns * 90.0)
    assert torch.equal(aug.quarter_turn(images, turns), expected)


def test_quarter_turn_needs_squares():
    with pytest.raises(ImageError, match="square"):
        aug.quarter_turn(random_images(height=10, width=12), torch.zeros(6, dtype=torch.long))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 64), (33, 21)])
def test_rotate(height, width):
    images = random_images(8, height, width)
    degrees = torch.tensor([0.0, 17.3, -45.5, 90.0, 123.4, -179.0, 61.0, -12.25])
    expected = one_by_one(lambda i, d: tv.rotate(i, d, interpolation=InterpolationMode.NEAREST), images, degrees)
    # Both take the nearest pixel, from coordinates that differ by rounding: a tie may go to the neighbour.
    differing = (aug.rotate(images, degrees) != expected).any(dim=1).double().mean()
    assert differing < 2e-3


@pytest.mark.parametrize(
    ("operation", "reference", "parameters"),
    [
        (aug.adjust_brightness, tv.adjust_brightness, [0.0, 0.5, 0.9, 1.0, 1.3, 2.0]),
        (aug.adjust_contrast, tv.adjust_contrast, [0.0, 0.5, 0.9, 1.0, 1.3, 2.0]),
        (aug.adjust_saturation, tv.adjust_saturation, [0.0, 0.5, 0.9, 1.0, 1.3, 2.0]),
        (aug.adjust_hue, tv.adjust_hue, [-0.5, -0.1, 0.0, 0.05, 0.3, 0.5]),
    ],
)
def test_colour(operation, reference, parameters):
    images, parameters = random_images(), torch.tensor(parameters)
    images[:, :, :4] = images[:, :1, :4]  # some grey, which has no hue
    images[:, :, 4] = torch.tensor([1.0, 0.0, 0.0])[:, None]
    images[:, :, 5] = 0
    torch.testing.assert_close(
        operation(images, parameters), one_by_one(reference, images, parameters), rtol=0, atol=2e-6
    )


def test_greyscale():
    images = random_images(400)
    out = aug.RandomGreyscale(0.2, seeded())(images)
    grey = (out != images).flatten(1).any(dim=1)
    torch.testing.assert_close(out[grey], tv.rgb_to_grayscale(images[grey], num_output_channels=3))
    assert 50 <= grey.sum() <= 110  # 80 ± 8


def test_colour_jitter_applies_its_changes_in_every_order():
    """Replaced by maps that do not commute, the three changes leave their order in the pixels."""
    jitter = aug.RandomColourJitter(0.5, 0.5, 0.5, generator=seeded())
    jitter.changes = [(lambda x, _, digit=digit: 10 * x + digit, 0.0, 1.0) for digit in (1, 2, 3)]
    orders, counts = jitter(torch.zeros(1200, 3, 1, 1))[:, 0, 0, 0].unique(return_counts=True)
    assert orders.tolist() == [123, 132, 213, 231, 312, 321]
    assert counts.min() > 150 and counts.max() < 250  # 200 ± 13


def test_colour_jitter_ranges_and_probability():
    images = torch.full((2000, 3, 2, 2), 0.4)
    # On a flat grey image contrast, saturation and hue do nothing: what changes is the brightness factor.
    factors = aug.RandomColourJitter(0.2, 0.2, 0.2, hue=0.1, p=0.8, generator=seeded())(images)[:, 0, 0, 0] / 0.4
    changed = (factors - 1).abs() > 1e-6
    assert 0.76 < changed.double().mean() < 0.84
    assert 0.8 - 1e-6 <= factors.min() < 0.81
    assert 1.19 < factors.max() <= 1.2 + 1e-6
    assert factors[changed].mean() == pytest.approx(1, abs=0.01)


# -------------------------------------------------------------------------------------------------- what is drawn


def symmetries(pipeline) -> dict[tuple[float, ...], int]:
    out = pipeline(CORNERS.expand(4000, 3, 2, 2))[:, 0].flatten(1)
    seen, counts = out.unique(dim=0, return_counts=True)
    return {tuple((row * 4).tolist()): count for row, count in zip(seen, counts.tolist(), strict=True)}


@pytest.mark.parametrize("make", [aug.mclstexp_visium_test, aug.nh2st_training])
def test_flips_and_turns_reach_all_symmetries_alike(make):
    seen = symmetries(make(seeded()))
    assert len(seen) == 8
    assert all(420 < count < 580 for count in seen.values())  # 500 ± 21


def test_rankbygene_weak_reaches_four_symmetries_and_never_the_patch_itself():
    seen = symmetries(aug.rankbygene_weak(seeded()))
    assert len(seen) == 4
    assert (1, 2, 3, 4) not in seen
    assert all(900 < count < 1100 for count in seen.values())  # 1000 ± 27


def test_rankbygene_strong_flips_and_never_turns():
    pipeline = aug.rankbygene_strong(seeded())
    out = pipeline(random_images(1).expand(64, 3, 24, 24))
    assert pipeline.transforms[3].p == 0.8
    assert [change[1:] for change in pipeline.transforms[3].changes] == [(0.8, 1.2)] * 3 + [(-0.1, 0.1)]
    assert pipeline.transforms[4].p == 0.2
    assert not any(isinstance(step, aug.RandomQuarterTurn | aug.RandomRotation) for step in pipeline.transforms)
    assert out.shape == (64, 3, 24, 24)


def test_mclstexp_training_rotates_uniformly_and_fills_with_black():
    rotation = aug.mclstexp_training(seeded()).transforms[-1]
    # A white dot right of the centre shows the angle by where it goes.
    dot = torch.zeros(1, 3, 65, 65)
    dot[..., 31:34, 56:59] = 1
    out = rotation(dot.expand(1000, 3, 65, 65))[:, 0]
    grid = torch.arange(65.0) - 32
    mass = out.sum(dim=(1, 2))
    x, y = (out * grid).sum(dim=(1, 2)) / mass, (out * grid[:, None]).sum(dim=(1, 2)) / mass
    angles = torch.rad2deg(torch.atan2(-y, x))
    counts = torch.histc(angles, bins=8, min=-180, max=180)
    assert counts.min() > 80 and counts.max() < 175  # 125 ± 10
    assert rotation(torch.ones(20, 3, 65, 65))[..., 0, 0].min() == 0


@pytest.mark.parametrize("make", PIPELINES)
def test_images_of_a_batch_draw_independently(make):
    out = make(seeded())(random_images(1).expand(200, 3, 24, 24))
    neighbours_equal = (out[1:] == out[:-1]).flatten(1).all(dim=1).double().mean()
    assert neighbours_equal < 0.4  # four symmetries: 1/4


@pytest.mark.parametrize("make", PIPELINES)
def test_a_generator_decides_everything(make):
    images, state = random_images(), torch.get_rng_state()
    first, second, other = (make(seeded(seed))(images) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_generator_the_global_seed_decides():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = aug.rankbygene_strong()(random_images())
        torch.manual_seed(1)
        assert torch.equal(aug.rankbygene_strong()(random_images()), first)


@settings(max_examples=25, deadline=None)
@given(
    make=st.sampled_from(PIPELINES),
    n=st.integers(1, 5),
    side=st.integers(1, 17),
    dtype=st.sampled_from([torch.uint8, torch.float32, torch.float64]),
    seed=st.integers(0, 2**32),
)
def test_shape_type_and_range(make, n, side, dtype, seed):
    images = (random_images(n, side, side, seed) * (255 if dtype == torch.uint8 else 1)).to(dtype)
    before = images.clone()
    out = make(seeded(seed))(images)
    assert out.shape == images.shape
    assert out.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
    assert torch.equal(images, before)
    assert ((out >= 0) & (out <= 1)).all()


@settings(max_examples=20, deadline=None)
@given(
    make=st.sampled_from([aug.mclstexp_visium_test, aug.nh2st_training, aug.rankbygene_weak]),
    seed=st.integers(0, 2**32),
)
def test_flips_and_turns_only_move_pixels(make, seed):
    images = random_images(3, 8, 8, seed)
    out = make(seeded(seed))(images)
    assert torch.equal(out.flatten(2).sort().values, images.flatten(2).sort().values)


@settings(max_examples=20, deadline=None)
@given(shift=st.floats(-0.5, 0.5), seed=st.integers(0, 2**32))
def test_hue_keeps_value_and_chroma_and_comes_back(shift, seed):
    images, shifts = random_images(2, 8, 8, seed), torch.full((2,), shift)
    shifted = aug.adjust_hue(images, shifts)
    torch.testing.assert_close(shifted.amax(1), images.amax(1))
    torch.testing.assert_close(shifted.amin(1), images.amin(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(aug.adjust_hue(shifted, -shifts), images, rtol=0, atol=1e-4)


# -------------------------------------------------------------------------------------------- test images, errors


def test_deterministic_scales_resizes_and_repeats():
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=seeded())
    assert torch.equal(aug.deterministic(32)(images), images / 255)
    expected = one_by_one(lambda image: tv.resize(image, [16, 16], antialias=True), images / 255)
    torch.testing.assert_close(aug.deterministic(16)(images), expected)


@pytest.mark.parametrize("images", [torch.zeros(3, 8, 8), torch.zeros(2, 4, 8, 8), torch.zeros(2, 3, 8, 8).long()])
@pytest.mark.parametrize("make", [*PIPELINES, lambda: aug.deterministic(8)])
def test_what_is_no_batch_of_images_is_refused(make, images):
    with pytest.raises(ImageError, match=r"\(B, 3, H, W\)"):
        make()(images)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("make", PIPELINES)
def test_a_seed_means_the_same_on_a_gpu(make):
    images = random_images()
    on_gpu = make(seeded())(images.cuda())
    assert on_gpu.device.type == "cuda"
    differing = ((on_gpu.cpu() - make(seeded())(images)).abs() > 1e-5).double().mean()
    assert differing < 5e-3  # ties of the rotation's nearest pixel
