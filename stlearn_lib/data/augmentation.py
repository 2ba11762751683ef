"""Augmentations: what the three papers do to a patch before the encoder sees it, for a whole batch at once.

One convention: a pipeline takes images (B, 3, H, W), uint8 or float in 0..1, and returns float in 0..1. None of them
normalises, because the encoder does, with the mean and standard deviation that belong to its weights.

Every image draws its own parameters, as in the papers, whose loaders transform one image at a time; torchvision's own
transforms would draw once for the batch. The parameters are drawn on the CPU, from `generator` if one is given, so that
a seed means the same on every device; the images stay where they are. The global seed is never set.

Example:
    >>> patches = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    >>> augment = rankbygene_strong(torch.Generator().manual_seed(0))
    >>> views = augment(patches)
    >>> views.shape, views.dtype
    (torch.Size([8, 3, 32, 32]), torch.float32)

Reference:
    The operations are those of torchvision.transforms.v2, to which the tests compare them image by image.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import affine_grid, grid_sample
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import rgb_to_grayscale

from stlearn_lib.errors import ImageError

# ------------------------------------------------------------------------- operations: a parameter for each image


def flip(images: Tensor, chosen: Tensor, dim: int) -> Tensor:
    """Mirror the chosen images.

    Args:
        images: (B, 3, H, W).
        chosen: Which ones, (B,) bool.
        dim: -1 mirrors left and right, -2 up and down.

    Returns:
        (B, 3, H, W).
    """
    return torch.where(chosen[:, None, None, None], images.flip(dim), images)


def quarter_turn(images: Tensor, turns: Tensor) -> Tensor:
    """Turn images by multiples of 90°, anticlockwise and without resampling.

    Args:
        images: Squares, (B, 3, H, H).
        turns: Quarters, (B,) integers from 0 to 3.

    Returns:
        (B, 3, H, H).

    Raises:
        ImageError: If the images are not square.
    """
    if images.shape[-1] != images.shape[-2]:
        raise ImageError(f"only square images can be turned by a quarter, not {tuple(images.shape[-2:])}.")
    turned = images.clone()
    for quarters in (1, 2, 3):
        turned[turns == quarters] = images[turns == quarters].rot90(quarters, dims=(-2, -1))
    return turned


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    r"""Rotate images about their centres, anticlockwise; nearest pixel, and black where nothing was.

    The pixel at (x, y) from the centre, y downwards, comes from

    .. math:: (x \cos a - y \sin a,\; x \sin a + y \cos a)

    Args:
        images: Float, (B, 3, H, W).
        degrees: Angle a of each, (B,).

    Returns:
        (B, 3, H, W).
    """
    height, width = images.shape[-2:]
    angles = torch.deg2rad(degrees.to(images.dtype))
    cosine, sine = angles.cos(), angles.sin()
    zero = torch.zeros_like(sine)
    # affine_grid measures either axis in halves of its own side.
    rows = [cosine, -sine * height / width, zero, sine * width / height, cosine, zero]
    grid = affine_grid(torch.stack(rows, dim=1).reshape(-1, 2, 3), list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def blend(images: Tensor, others: Tensor | float, factors: Tensor) -> Tensor:
    r"""Mix images with others, :math:`f x + (1 - f) o`, clipped to 0..1; f above 1 moves away from the others.

    Args:
        images: Float in 0..1, (B, 3, H, W).
        others: What can be broadcast to them.
        factors: f of each, (B,).

    Returns:
        (B, 3, H, W).
    """
    factors = factors[:, None, None, None]
    return (factors * images + (1 - factors) * others).clamp(0, 1)


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Blend images, float in 0..1 (B, 3, H, W), with black by factors (B,)."""
    return blend(images, 0.0, factors)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Blend images, float in 0..1 (B, 3, H, W), with their mean grey by factors (B,)."""
    return blend(images, rgb_to_grayscale(images).mean(dim=(1, 2, 3), keepdim=True), factors)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Blend images, float in 0..1 (B, 3, H, W), with their greyscale by factors (B,)."""
    return blend(images, rgb_to_grayscale(images), factors)


def adjust_hue(images: Tensor, shifts: Tensor) -> Tensor:
    r"""Shift the hue and keep value and saturation of the HSV cone.

    With value V (the largest channel), chroma C (largest less smallest), hue h in sixths of the circle, a channel is

    .. math:: V - C \max(0, \min(k, 4 - k, 1)), \quad k = (n + h) \bmod 6, \quad n = 5, 3, 1 \text{ for R, G, B}

    Args:
        images: Float in 0..1, (B, 3, H, W).
        shifts: Of each, in circles from -0.5 to 0.5, (B,).

    Returns:
        (B, 3, H, W).

    Reference:
        Smith, Color gamut transform pairs, SIGGRAPH 1978, doi:10.1145/800248.807361.
    """
    value, chroma = images.amax(1), images.amax(1) - images.amin(1)
    red, green, blue = images.unbind(1)
    scale = torch.where(chroma == 0, 1, chroma)  # grey has no hue and needs none
    hue = torch.where(
        value == red,
        (green - blue) / scale,
        torch.where(value == green, 2 + (blue - red) / scale, 4 + (red - green) / scale),
    )
    n = torch.tensor([5, 3, 1], dtype=images.dtype, device=images.device)
    k = (n[:, None, None] + (hue + 6 * shifts[:, None, None])[:, None]) % 6  # (B, 3, H, W)
    return value[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)


# --------------------------------------------------------------------------------- transforms: they draw the parameters


class ToUnit(nn.Module):
    """Bring uint8 to float in 0..1 and leave float as it is: the first step of every pipeline."""

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W), uint8 or float, to float; raise ImageError if they are not that."""
        if images.ndim != 4 or images.shape[1] != 3 or not (images.dtype == torch.uint8 or images.is_floating_point()):
            found = f"{tuple(images.shape)} {images.dtype}"
            raise ImageError(f"augmentations take images (B, 3, H, W), uint8 or float in 0..1, not {found}.")
        return images / 255 if images.dtype == torch.uint8 else images


class _Random(nn.Module):
    """A transform that draws parameters for each image, from its generator or else from the global one."""

    def __init__(self, generator: Generator | None) -> None:
        super().__init__()
        self.generator = generator

    def _uniform(self, images: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
        drawn = torch.rand(len(images), generator=self.generator)
        return (low + (high - low) * drawn).to(images.device)


class RandomFlip(_Random):
    """Mirror each image with probability 1/2; `dim` as in `flip`."""

    def __init__(self, dim: int, generator: Generator | None = None) -> None:
        super().__init__(generator)
        self.dim = dim

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to images."""
        return flip(images, self._uniform(images) < 0.5, self.dim)


class RandomQuarterTurn(_Random):
    """Turn each square image by a number of quarters that is drawn from `turns`, each as likely as the others."""

    def __init__(self, turns: tuple[int, ...], generator: Generator | None = None) -> None:
        super().__init__(generator)
        self.turns = turns

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, H) to images."""
        index = (self._uniform(images) * len(self.turns)).long()
        return quarter_turn(images, torch.tensor(self.turns, device=images.device)[index])


class RandomRotation(_Random):
    """Rotate each image by an angle between ``-degrees`` and ``degrees``."""

    def __init__(self, degrees: float, generator: Generator | None = None) -> None:
        super().__init__(generator)
        self.degrees = degrees

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W), float, to images."""
        return rotate(images, self._uniform(images, -self.degrees, self.degrees))


class RandomColourJitter(_Random):
    """Change brightness, contrast, saturation and hue of each image, in an order that is its own, too.

    Factors lie within 1 ± `brightness` and so on, the shift of hue within ± `hue`; what is 0 is left out. An image is
    changed with probability `p`. The changes do not commute, and torchvision draws their order anew for each call; here
    each image has its own: in as many rounds as there are changes, every change meets the images whose turn it is.
    """

    def __init__(
        self,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float = 0.0,
        p: float = 1.0,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(generator)
        changes: list[tuple[Callable[[Tensor, Tensor], Tensor], float, float]] = [
            (adjust_brightness, 1 - brightness, 1 + brightness),
            (adjust_contrast, 1 - contrast, 1 + contrast),
            (adjust_saturation, 1 - saturation, 1 + saturation),
            (adjust_hue, -hue, hue),
        ]
        self.changes = [change for change in changes if change[1] < change[2]]
        self.p = p

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W), float in 0..1, to images."""
        parameters = [self._uniform(images, low, high) for _, low, high in self.changes]
        order = torch.stack([self._uniform(images) for _ in self.changes]).argsort(dim=0)  # (changes, B)
        active = self._uniform(images) < self.p
        jittered = images.clone()
        for turn in order:
            for i, (adjust, _, _) in enumerate(self.changes):
                chosen = active & (turn == i)
                jittered[chosen] = adjust(jittered[chosen], parameters[i][chosen])
        return jittered


class RandomGreyscale(_Random):
    """Make an image grey, with three equal channels, with probability `p`."""

    def __init__(self, p: float, generator: Generator | None = None) -> None:
        super().__init__(generator)
        self.p = p

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W), float, to images."""
        chosen = self._uniform(images) < self.p
        return torch.where(chosen[:, None, None, None], rgb_to_grayscale(images, num_output_channels=3), images)


# ------------------------------------------------------------------------------------------------ pipelines, by paper


def mclstexp_training(generator: Generator | None = None) -> v2.Compose:
    """What mclSTExp trains with: colour jitter 0.5/0.5/0.5, horizontal flip, rotation by up to 180°.

    The corners that a rotation empties are black. The released code does not normalise, either: its encoder takes
    ``mean=(0, 0, 0), std=(1, 1, 1)``.

    Reference:
        Min et al., Briefings in Bioinformatics 2024, arXiv:2407.08216; code shizhiceng/mclSTExp @ fdd3ab1.
    """
    return v2.Compose(
        [
            ToUnit(),
            RandomColourJitter(0.5, 0.5, 0.5, generator=generator),
            RandomFlip(-1, generator),
            RandomRotation(180, generator),
        ]
    )


def mclstexp_visium_test(generator: Generator | None = None) -> v2.Compose:
    """What the released mclSTExp does to Visium patches, at test time, too: both flips and a random right angle.

    Its predictions there are random; `deterministic` is the choice where parity is not the point. The released code
    also feeds raw values from 0 to 255. That is the encoder's part here: ``mean=(0, 0, 0), std=(1 / 255,) * 3``.

    Reference:
        As `mclstexp_training`.
    """
    return v2.Compose(
        [ToUnit(), RandomFlip(-1, generator), RandomFlip(-2, generator), RandomQuarterTurn((0, 1, 2, 3), generator)]
    )


def nh2st_training(generator: Generator | None = None) -> v2.Compose:
    """What NH2ST does to the target patch in training: both flips, and a turn by 90° for every second one.

    Inferred: these are the steps of TRIPLEX, from which NH2ST has its folds, smoothing and configuration files.
    Neighbour patches are never augmented in the released code: they go through `deterministic`.

    Reference:
        Qu et al., MICCAI 2025, arXiv:2506.23827; Chung et al. (TRIPLEX), CVPR 2024, arXiv:2403.07592, code
        NEXGEM/TRIPLEX @ 083a498.
    """
    return v2.Compose(
        [ToUnit(), RandomFlip(-1, generator), RandomFlip(-2, generator), RandomQuarterTurn((0, 1), generator)]
    )


def rankbygene_strong(generator: Generator | None = None) -> v2.Compose:
    """What RankByGene's student sees: both flips, jitter 0.2/0.2/0.2/0.1 with p 0.8, greyscale with p 0.2.

    The encoder normalises with ImageNet's mean and standard deviation, as its weights ask for.

    Reference:
        Huang et al., IEEE TMI 2026, arXiv:2411.15076; code winston52/RankByGene @ 96a1549.
    """
    return v2.Compose(
        [
            ToUnit(),
            RandomFlip(-1, generator),
            RandomFlip(-2, generator),
            RandomColourJitter(0.2, 0.2, 0.2, hue=0.1, p=0.8, generator=generator),
            RandomGreyscale(0.2, generator),
        ]
    )


def rankbygene_weak(generator: Generator | None = None) -> v2.Compose:
    """What RankByGene's teacher sees: both flips, then always a turn by 90°.

    Half of the eight symmetries of the square therefore never occur, the untouched patch among them.

    Reference:
        As `rankbygene_strong`.
    """
    return v2.Compose(
        [ToUnit(), RandomFlip(-1, generator), RandomFlip(-2, generator), RandomQuarterTurn((1,), generator)]
    )


def deterministic(size_px: int) -> v2.Compose:
    """What a test image gets, in all three papers but for Visium in mclSTExp: nothing, except the encoder's size.

    Args:
        size_px: Side of the square that comes out, in pixels: ``encoder.input_px``. Patches of that size
            are not resampled.

    Returns:
        The pipeline.
    """
    return v2.Compose([ToUnit(), v2.Resize((size_px, size_px), antialias=True)])
