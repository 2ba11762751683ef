r"""Colour and texture statistics of a patch: 26 numbers that know nothing of cells or genes.

Stain darkens light exponentially (Beer-Lambert), so colour is measured as optical density

$$\mathrm{OD} = -\log_{10} \frac{I + 1}{256}.$$
"""

import numpy as np

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BLOCKS_PX = (4, 8, 16, 32)
OPTICAL_DENSITY = -np.log10((np.arange(256) + 1) / 256)

STATISTIC_NAMES = (
    *(f"{channel} {name}" for name in ("mean", "spread") for channel in ("red", "green", "blue")),
    *(f"{channel} q{int(100 * q):02d}" for q in QUANTILES for channel in ("red", "green", "blue")),
    "gradient",
    *(f"spread at {block} px" for block in BLOCKS_PX),
)


def colour_texture_statistics(patches: np.ndarray) -> np.ndarray:
    """Measure colour and texture of each patch.

    For each channel's optical density: mean, standard deviation and five quantiles (21 numbers); the mean absolute
    gradient of the density averaged over channels; and the standard deviation that is left when it is averaged over
    blocks of 4, 8, 16 and 32 pixels, which tells coarse from fine texture.

    Args:
        patches: Patches, (N, H, W, 3) uint8, RGB, at least 32 pixels a side.

    Returns:
        Statistics in the order of `STATISTIC_NAMES`, (N, 26) float64.

    Raises:
        ValueError: If the patches are not of that shape and type.

    Example:
        >>> white = np.full((1, 64, 64, 3), 255, np.uint8)
        >>> bool((abs(colour_texture_statistics(white)) < 1e-12).all())
        True
    """
    if (
        patches.ndim != 4
        or patches.shape[-1] != 3
        or patches.dtype != np.uint8
        or min(patches.shape[1:3]) < BLOCKS_PX[-1]
    ):
        raise ValueError(f"patches must be (N, H, W, 3) uint8 of 32 px or more, not {patches.shape} {patches.dtype}.")
    return np.stack([_statistics(np.asarray(patch)) for patch in patches]) if len(patches) else np.zeros((0, 26))


def _statistics(patch: np.ndarray) -> np.ndarray:
    histogram = np.stack([np.bincount(patch[..., c].ravel(), minlength=256) for c in range(3)]) / patch[..., 0].size
    mean = histogram @ OPTICAL_DENSITY
    spread = np.sqrt(np.maximum(histogram @ OPTICAL_DENSITY**2 - mean**2, 0))
    # Density falls as intensity grows: sum the histogram from the bright end to get quantiles of density.
    cumulative = np.cumsum(histogram[:, ::-1], axis=1)
    quantiles = [OPTICAL_DENSITY[255 - (cumulative < q - 1e-12).sum(axis=1)] for q in QUANTILES]
    density = OPTICAL_DENSITY.astype(np.float32)[patch].mean(axis=-1)
    gradient = (np.abs(np.diff(density, axis=0)).mean() + np.abs(np.diff(density, axis=1)).mean()) / 2
    scales = [_block_means(density, block).std() for block in BLOCKS_PX]
    return np.concatenate([mean, spread, *quantiles, [gradient], scales])


def _block_means(image: np.ndarray, block: int) -> np.ndarray:
    height, width = (side // block for side in image.shape)
    return image[: height * block, : width * block].reshape(height, block, width, block).mean(axis=(1, 3))
