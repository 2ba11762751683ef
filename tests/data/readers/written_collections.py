"""Small valid files as the published collections lay them out."""

import gzip
import io
import json

import anndata
import h5py
import numpy as np
import pandas as pd
from PIL import Image
from scipy import sparse

from tests.slide_files import write_slide

HEST_UM_PER_PX = 0.5
HEST_FACTS = {
    "id": "INT1",
    "dataset_title": "A study",
    "patient": "Patient 1",
    "st_technology": "Visium",
    "pixel_size_um_embedded": float("nan"),
    "pixel_size_um_estimated": HEST_UM_PER_PX,
    "inter_spot_dist": 100.0,
    "spot_diameter": 55.0,
    "oncotree_code": None,
    "treatment_comment": float("nan"),
}


def hest_table(array, pixels, names) -> anndata.AnnData:
    """Put counts and spots together as HEST does."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "in_tissue": True,
            "array_row": array[:, 1],
            "array_col": array[:, 0],
            "pxl_col_in_fullres": pixels[:, 0],
            "pxl_row_in_fullres": pixels[:, 1],
        },
        index=names,
    )
    found = anndata.AnnData(
        sparse.csr_matrix(rng.poisson(1, (len(obs), 5)), dtype=np.float32),
        obs=obs,
        var=pd.DataFrame(index=[f"G{i}" for i in range(5)]),
    )
    found.obsm["spatial"] = pixels
    image = {"downscaled_fullres": np.zeros((4, 4, 3), np.uint8)}
    found.uns["spatial"] = {"ST": {"images": image, "scalefactors": {"tissue_downscaled_fullres_scalef": 0.01}}}
    return found


def hest_visium(columns=6, rows=4) -> anndata.AnnData:
    """Return a table of Visium."""
    row, column = (axis.ravel() for axis in np.mgrid[:rows, :columns])
    array = np.column_stack([2 * column + row % 2 + 10, row + 20])
    pixels = (array - [8, 18]) * np.array([50, 50 * np.sqrt(3)]) / HEST_UM_PER_PX
    return hest_table(array, pixels, [f"{'ACGT'[i % 4]}{i:03d}-1" for i in range(len(array))])


def hest_squares(side_um: float) -> tuple[anndata.AnnData, np.ndarray]:
    """Return a table of squares into which a finer platform was pooled, and where they are on their array."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(8), np.arange(6)))
    full = np.random.default_rng(0).random(len(x)) < 0.8
    array = np.column_stack([x, y])[full]
    number = np.arange(len(array))  # HEST counts the squares that are not empty
    pixels = array * side_um / HEST_UM_PER_PX + 500
    return hest_table(np.column_stack([number % 8, number // 8]), pixels, [f"{i:04d}" for i in number]), array


def write_hest(folder, sample="INT1", found=None, facts=HEST_FACTS, patches=True) -> None:
    """Write a sample."""
    found = hest_visium() if found is None else found
    for part in ("st", "wsis", "metadata", "patches"):
        (folder / part).mkdir(exist_ok=True)
    found.write_h5ad(folder / f"st/{sample}.h5ad")
    (folder / f"metadata/{sample}.json").write_text(json.dumps(facts))
    width, height = (int(edge) + 300 for edge in found.obsm["spatial"].max(axis=0))
    write_slide(folder / f"wsis/{sample}.tif", Image.new("RGB", (width, height), (220, 150, 190)), HEST_UM_PER_PX)
    if patches:
        kept = np.random.default_rng(1).permutation(found.n_obs)[:-3]  # those on tissue, in another order
        corners = found.obsm["spatial"] - 224 * 0.5 / HEST_UM_PER_PX // 2
        with h5py.File(folder / f"patches/{sample}.h5", "w") as file:
            file["img"] = np.zeros((len(kept), 2, 2, 3), np.uint8)
            file["barcode"] = found.obs_names.to_numpy()[kept].astype("S")[:, None]
            file["coords"] = corners[kept].astype(int)


def stimage_square(columns=6, rows=5, pitch=40.0):
    """Return pixels, names and counts of a slide of Spatial Transcriptomics."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(columns) + 3, np.arange(rows) + 8))
    names = [f"{a}x{b}" for a, b in zip(x, y, strict=True)]
    return np.column_stack([x, y]) * pitch, names, np.random.default_rng(0).poisson(2, (len(x), 4))


def write_stimage(folder, slide, pixels, names, counts, radius, platform="ST") -> None:
    """Write a slide as STimage-1K4M does; y comes before x."""
    for part in ("gene_exp", "coord", "image"):
        (folder / platform / part).mkdir(parents=True, exist_ok=True)
    ids = [f"{slide}_{name}" for name in names]
    pd.DataFrame(np.asarray(counts, float), ids, [f"G{i}" for i in range(np.shape(counts)[1])]).to_csv(
        folder / platform / f"gene_exp/{slide}_count.csv"
    )
    pd.DataFrame({"yaxis": pixels[:, 1], "xaxis": pixels[:, 0], "r": radius}, ids).to_csv(
        folder / platform / f"coord/{slide}_coord.csv"
    )
    size = np.ceil(pixels.max(axis=0)).astype(int) + 50
    Image.new("RGB", tuple(size.tolist()), (200, 120, 160)).save(folder / platform / f"image/{slide}.png")


CSCC_STEP_PX = 20  # 150 µm / √2


def cscc_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return counts of the whole array, spots on the tissue: the black squares of a chessboard, and not all of them."""
    rng = np.random.default_rng(0)
    x, y = (axis.ravel() + 1 for axis in np.meshgrid(np.arange(10), np.arange(8)))
    x, y = x[(x + y) % 2 == 0], y[(x + y) % 2 == 0]
    ids = [f"{a}x{b}" for a, b in zip(x, y, strict=True)]
    counts = pd.DataFrame(rng.poisson(3, (len(x), 3)), ids, ["KRT5", "KRT14", "MMP10"])
    pixels = {"pixel_x": x * CSCC_STEP_PX, "pixel_y": y * CSCC_STEP_PX}
    spots = pd.DataFrame({"x": x, "y": y, "new_x": x + 0.01, "new_y": y - 0.01} | pixels).assign(selected=1)
    return counts, spots[(x > 2) & (y < 7)]


def cscc_files(name: str, sample: str) -> dict[str, bytes]:
    """Return the three files of a section, compressed as GEO has them; the spots are in an order of their own."""
    counts, spots = cscc_tables()
    image = io.BytesIO()
    Image.new("RGB", (240, 200), (200, 100, 150)).save(image, "JPEG")
    spots = spots.sample(frac=1, random_state=0)
    files = {
        f"{sample}_{name}_stdata.tsv.gz": counts.to_csv(sep="\t").encode(),
        f"{sample}_spot_data-selection-{name}.tsv.gz": spots.to_csv(sep="\t", index=False).encode(),
        f"{sample}_{name}.jpg.gz": image.getvalue(),
    }
    return {file: gzip.compress(content) for file, content in files.items()}
