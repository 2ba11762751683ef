"""A simulated tissue: what the book is built on where no real data can be had, and what tests run on.

It is made to look like a section, not to be one. Three regions (tumour, stroma, fat) lie in smooth patches; nuclei are
drawn as discs, denser in tumour; counts are negative-binomial around a programme for each region, and denser tissue has
more reads. Sections of one patient share stain and programmes. Every section says ``simulated`` in its metadata.
"""

import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from PIL import Image
from scipy import sparse
from scipy.ndimage import gaussian_filter, zoom

from stlearn_lib.cache import written_whole
from stlearn_lib.data.sections import make_section, spot_ids

GRID = (14, 12)
PITCH_PX = 150
MARGIN_PX = 150
UM_PER_PX = 200 / PITCH_PX
REGIONS = ("tumour", "stroma", "fat")
# A few real names, so that pages which point at a gene work on simulated tissue too.
KNOWN_GENES = ("ERBB2", "GNAS", "FASN", "FN1", "HLA-B", "COL1A1", "CD74", "ACTB", "B2M", "KRT18")
N_GENES = 200


def simulate_section(name: str, folder: Path, *, patient: str | None = None) -> AnnData:
    """Simulate a section with its image.

    Args:
        name: The section's name; together with the patient it decides every random number.
        folder: Where the image is written, as ``NAME.png``.
        patient: The patient; without one, the name's first letter.

    Returns:
        A section of 168 spots x 200 genes, with a label for each spot and ``metadata["simulated"]`` true.

    Example:
        >>> from tempfile import mkdtemp
        >>> section = simulate_section("S1", Path(mkdtemp()))
        >>> section.shape, section.uns["spatial"]["S1"]["metadata"]["simulated"]
        ((168, 200), True)
    """
    patient = patient or name[0]
    of_patient = np.random.default_rng(zlib.crc32(f"patient {patient}".encode()))
    of_section = np.random.default_rng(zlib.crc32(f"section {name}".encode()))
    columns, rows = GRID
    array_x, array_y = (axis.ravel() for axis in np.meshgrid(np.arange(1, columns + 1), np.arange(1, rows + 1)))
    pixel_x, pixel_y = (MARGIN_PX + (axis - 1) * PITCH_PX for axis in (array_x, array_y))

    shares = _region_shares(of_section)
    image_path = folder / f"{name}.png"
    with written_whole(image_path) as path:
        Image.fromarray(_draw(shares, of_patient, of_section)).save(path, compress_level=1)
    at_spots = shares[:, pixel_y.astype(int), pixel_x.astype(int)].T

    spots = pd.DataFrame(
        {
            "array_x": array_x,
            "array_y": array_y,
            "pixel_x": pixel_x.astype(float),
            "pixel_y": pixel_y.astype(float),
            "label": pd.Categorical([REGIONS[i] for i in at_spots.argmax(axis=1)]),
        },
        index=spot_ids(array_x, array_y),
    )
    return make_section(
        sparse.csr_matrix(_counts(at_spots, of_patient, of_section)),
        gene_names(),
        spots,
        name=name,
        patient=patient,
        image_path=image_path,
        um_per_px=UM_PER_PX,
        metadata={"simulated": True, "source": "stlearn_lib.data.synthetic"},
    )


def gene_names() -> tuple[str, ...]:
    """Return the names of the simulated genes: ten real ones, then ``SIM011`` to ``SIM200``."""
    return KNOWN_GENES + tuple(f"SIM{i:03d}" for i in range(len(KNOWN_GENES) + 1, N_GENES + 1))


def _region_shares(rng: np.random.Generator) -> np.ndarray:
    """Smooth shares of the three regions at every pixel, (3, H, W), summing to one."""
    columns, rows = GRID
    height, width = (2 * MARGIN_PX + (n - 1) * PITCH_PX for n in (rows, columns))
    coarse = gaussian_filter(rng.standard_normal((3, rows, columns)), (0, 2.0, 2.0))
    coarse = 3 * coarse / coarse.std() + np.array([0.8, 0.5, -1.0])[:, None, None]
    field = zoom(coarse.astype(np.float32), (1, height / rows, width / columns), order=1)[:, :height, :width]
    field = np.exp(field - field.max(axis=0))
    return field / field.sum(axis=0)


def _draw(shares: np.ndarray, of_patient: np.random.Generator, of_section: np.random.Generator) -> np.ndarray:
    """Paint eosin by region and nuclei as discs, (H, W, 3) uint8."""
    stain = of_patient.uniform(0.85, 1.15, (2, 1, 1, 1))
    haematoxylin, eosin = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])
    height, width = shares.shape[1:]
    centres = (of_section.random((height, width), dtype=np.float32) < 0.004 * (shares[0] + 0.25 * shares[1])).astype(
        np.float32
    )
    nuclei = np.clip(gaussian_filter(centres, 3.0) * 60, 0, 1)
    ground = np.tensordot([0.20, 0.26, 0.03], shares, axes=1) * (
        1 + 0.1 * gaussian_filter(of_section.standard_normal((height, width), dtype=np.float32), 2)
    )
    density = stain[0] * nuclei[..., None] * haematoxylin + stain[1] * ground[..., None] * eosin
    return np.clip(255 * 10**-density, 0, 255).astype(np.uint8)


def _counts(shares: np.ndarray, of_patient: np.random.Generator, of_section: np.random.Generator) -> np.ndarray:
    """Draw counts around each region's programme, (N, G)."""
    common = np.random.default_rng(0)  # the biology that all patients share
    base = common.gamma(0.6, 4.0, N_GENES)
    programme = common.normal(0, 0.8, (3, N_GENES)) + of_patient.normal(0, 0.3, (3, N_GENES))
    depth = (shares @ [1.4, 0.8, 0.3])[:, None] * of_section.lognormal(0, 0.3, (len(shares), 1))
    mean = depth * base * np.exp(shares @ programme)
    dispersion = 2.0
    return of_section.negative_binomial(dispersion, dispersion / (dispersion + mean)).astype(np.float32)
