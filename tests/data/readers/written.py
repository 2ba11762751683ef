"""Small valid files of every format, in the layouts that their publishers write, with what is in them."""

import gzip
import json
from dataclasses import dataclass

import anndata
import h5py
import numpy as np
import pandas as pd
from PIL import Image
from scipy import sparse
from scipy.io import mmwrite

UM_PER_PX = 0.5
HIRES = 0.1
GENES = ["ACTB", "TBCE", "GNAS", "TBCE", "FASN"]
GENE_IDS = ["ENSG00000075624", "ENSG00000284770", "ENSG00000087460", "ENSG00000285053", "ENSG00000169710"]


@dataclass
class Truth:
    """What was written: spots x genes, and the positions of all spots, under the tissue or not."""

    counts: pd.DataFrame
    positions: pd.DataFrame

    @property
    def pixels(self):
        """Pixel (x, y) of the spots with counts."""
        return self.positions.loc[self.counts.index, ["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(float)


def truth(columns=20, rows=12, col_um=50.0, row_um=50.0 * 3**0.5, hexagonal=True, um_per_px=UM_PER_PX) -> Truth:
    """Return an array that is wider than high, with tissue in its lower left part."""
    rng = np.random.default_rng(0)
    row, col = (axis.ravel() for axis in np.mgrid[:rows, :columns])
    if hexagonal:
        row, col = row[(row + col) % 2 == 0], col[(row + col) % 2 == 0]
    barcodes = [f"{'ACGT'[i % 4]}{'ACGT'[i // 4 % 4]}{i:05d}-1" for i in range(len(row))]
    positions = pd.DataFrame(
        {
            "in_tissue": ((col / columns - 0.3) ** 2 / 0.11 + (row / rows - 0.7) ** 2 / 0.07 < 1).astype(int),
            "array_row": row,
            "array_col": col,
            "pxl_row_in_fullres": np.rint(300 + row * row_um / um_per_px).astype(int),
            "pxl_col_in_fullres": np.rint(200 + col * col_um / um_per_px).astype(int),
        },
        index=pd.Index(barcodes, name="barcode"),
    )
    inside = positions.index[positions["in_tissue"] == 1].sort_values()
    return Truth(pd.DataFrame(rng.poisson(2, (len(inside), len(GENES))), inside, GENE_IDS), positions)


def tissue_image(truth: Truth, scale: float, reach_px: float) -> Image.Image:
    """Draw tissue where the spots with counts are, on a grey slide; `reach_px` around each, in full resolution."""
    width, height = (
        np.ceil((truth.positions[f"pxl_{axis}_in_fullres"].max() + 400) * scale) for axis in ("col", "row")
    )
    y, x = np.mgrid[: int(height), : int(width)]
    pixels = np.full((int(height), int(width), 3), 200, np.uint8)
    for column, row in truth.pixels * scale:
        pixels[(x - column) ** 2 + (y - row) ** 2 < (reach_px * scale) ** 2] = (170, 70, 150)
    return Image.fromarray(pixels)


def write_hdf5_matrix(path, truth: Truth, antibodies=0, dtype="int32"):
    """Write `filtered_feature_bc_matrix.h5`, with antibodies after the genes."""
    counts = sparse.csr_matrix(np.hstack([truth.counts, np.full((len(truth.counts), antibodies), 7)]))
    names = {
        "id": GENE_IDS + [f"CD{i}" for i in range(antibodies)],
        "name": GENES + [f"CD{i}" for i in range(antibodies)],
        "feature_type": ["Gene Expression"] * len(GENES) + ["Antibody Capture"] * antibodies,
        "genome": ["GRCh38"] * (len(GENES) + antibodies),
    }
    packed = {"compression": "gzip", "shuffle": True, "chunks": True}
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group.create_dataset("barcodes", data=truth.counts.index.to_numpy("S"), **packed)
        group.create_dataset("data", data=counts.data.astype(dtype), **packed)
        group.create_dataset("indices", data=counts.indices.astype("int64"), **packed)
        group.create_dataset("indptr", data=counts.indptr.astype("int64"), **packed)
        group.create_dataset("shape", data=np.array(counts.T.shape, "int32"))
        for key, values in names.items():
            group.create_dataset(f"features/{key}", data=np.array(values, "S"), **packed)
        group.create_dataset("features/_all_tag_keys", data=np.array(["genome"], "S"))


def write_matrix_folder(folder, truth: Truth):
    """Write the folder `filtered_feature_bc_matrix`."""
    folder.mkdir(parents=True)
    with gzip.open(folder / "matrix.mtx.gz", "wb") as file:
        mmwrite(file, sparse.coo_matrix(truth.counts.to_numpy().T), field="integer")
    lines = "".join(f"{i}\t{n}\tGene Expression\n" for i, n in zip(GENE_IDS, GENES, strict=True))
    (folder / "features.tsv.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "barcodes.tsv.gz").write_bytes(gzip.compress("".join(f"{b}\n" for b in truth.counts.index).encode()))


def write_visium(folder, version=2, hdf5=True) -> Truth:
    """Write the outs folder of Space Ranger 1, 2 or 3; that of 3 with positions as parquet."""
    made = truth()
    spatial = folder / "spatial"
    spatial.mkdir(parents=True)
    if hdf5:
        write_hdf5_matrix(folder / "filtered_feature_bc_matrix.h5", made)
    else:
        write_matrix_folder(folder / "filtered_feature_bc_matrix", made)
    if version == 1:
        made.positions.to_csv(spatial / "tissue_positions_list.csv", header=False)
    elif version == 2:
        made.positions.to_csv(spatial / "tissue_positions.csv")
    else:
        made.positions.reset_index().to_parquet(spatial / "tissue_positions.parquet")
    factors = {
        "spot_diameter_fullres": 65 / UM_PER_PX,
        "tissue_hires_scalef": HIRES,
        "fiducial_diameter_fullres": 105 / UM_PER_PX,
        "tissue_lowres_scalef": HIRES / 10 * 3,
    }
    (spatial / "scalefactors_json.json").write_text(json.dumps(factors))
    tissue_image(made, HIRES, 120).save(spatial / "tissue_hires_image.png")
    return made


def write_visium_hd(folder) -> Truth:
    """Write the 8 µm bins of a Visium HD outs folder."""
    made = truth(50, 30, 8.0, 8.0, hexagonal=False, um_per_px=0.25)
    made.positions["pxl_row_in_fullres"] += 0.25  # HD's positions are fractions of pixels
    spatial = folder / "binned_outputs/square_008um/spatial"
    spatial.mkdir(parents=True)
    write_hdf5_matrix(spatial.parent / "filtered_feature_bc_matrix.h5", made)
    made.positions.reset_index().to_parquet(spatial / "tissue_positions.parquet")
    factors = {
        "spot_diameter_fullres": 8 / 0.25,
        "bin_size_um": 8.0,
        "microns_per_pixel": 0.25,
        "regist_target_img_scalef": HIRES,
        "tissue_lowres_scalef": HIRES / 10,
        "fiducial_diameter_fullres": 1200.0,
        "tissue_hires_scalef": HIRES,
    }
    (spatial / "scalefactors_json.json").write_text(json.dumps(factors))
    tissue_image(made, HIRES, 40).save(spatial / "tissue_hires_image.png")
    return made


def visium_table(made: Truth) -> anndata.AnnData:
    """Return a Visium section as squidpy has it in memory, with the reduced image."""
    positions = made.positions.loc[made.counts.index]
    table = anndata.AnnData(
        sparse.csr_matrix(made.counts.to_numpy(np.float32)),
        obs=positions[["in_tissue", "array_row", "array_col"]],
        var=pd.DataFrame({"gene_ids": GENE_IDS}, index=["ACTB", "TBCE", "GNAS", "TBCE-1", "FASN"]),
        obsm={"spatial": made.pixels.astype(int)},
    )
    table.uns["spatial"] = {
        "library": {
            "images": {"hires": np.asarray(tissue_image(made, HIRES, 120), np.float32) / 255},
            "scalefactors": {"spot_diameter_fullres": 65 / UM_PER_PX, "tissue_hires_scalef": HIRES},
            "metadata": {"chemistry_description": "Spatial 3' v1"},
        }
    }
    return table


def write_visium_h5ad(folder) -> Truth:
    """Write `section.h5ad`."""
    made = truth()
    folder.mkdir(parents=True, exist_ok=True)
    visium_table(made).write_h5ad(folder / "section.h5ad")
    return made


def write_st(folder) -> None:
    """Write two tables of the Spatial Transcriptomics pipeline."""
    (folder / "counts.tsv").write_text("\tGNAS\tFASN\n1x1\t3\t0\n2x1\t0\t1\n2x2\t4\t7\n")
    rows = ((x, y, float(x), float(y), 100 * x, 100 * y) for x, y in ((1, 1), (2, 1), (2, 2), (3, 2)))
    frame = pd.DataFrame(rows, columns=["x", "y", "new_x", "new_y", "pixel_x", "pixel_y"])
    frame.to_csv(folder / "spots.tsv", sep="\t", index=False)


PLAIN_COUNTS = "spot,ERBB2,GNAS\na,0,2\nb,1,5\n"
PLAIN_SPOTS = "spot,pixel_x,pixel_y,array_x,array_y,label\na,10,20,1,1,tumour\nb,30,20,2,1,\nc,50,20,3,1,fat\n"


def write_plain(folder) -> None:
    """Write two plain tables and an image."""
    (folder / "counts.csv").write_text(PLAIN_COUNTS)
    (folder / "spots.csv").write_text(PLAIN_SPOTS)
    Image.new("RGB", (60, 40)).save(folder / "scan.png")
