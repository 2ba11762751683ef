"""The sections of cutaneous squamous cell carcinoma that GEO keeps as GSE144240_RAW.tar: patients P2, P5, P9, P10.

::

    FOLDER/GSM4284316_P2_ST_rep1_stdata.tsv.gz                   counts, spots x genes
    FOLDER/GSM4284316_spot_data-selection-P2_ST_rep1.tsv.gz      spots under the tissue
    FOLDER/GSM4284316_P2_ST_rep1.jpg.gz                          H&E image

each of them compressed or not. `stlearn_lib.data.archives.unpack` makes the folder from the tar.
"""

from math import sqrt
from pathlib import Path

from anndata import AnnData

from stlearn_lib.data.archives import decompress
from stlearn_lib.data.readers.st import read_st
from stlearn_lib.errors import SectionError

SPOT_DIAMETER_UM = 110.0
SPOT_PITCH_UM = 150 / sqrt(2)
"""One step of the array. Spots are 150 µm apart along its diagonals, as on the black squares of a chessboard."""


def read_cscc(folder: Path | str, name: str) -> AnnData:
    """Read one section of GSE144240.

    The count table holds spots beside the tissue, too: only those that the authors selected are kept. A compressed
    image is decompressed beside itself, once.

    Args:
        folder: Holds the files of the tar.
        name: The section's name, for example ``"P2_ST_rep1"``; the patient is ``"P2"``.

    Returns:
        The section.

    Raises:
        SectionError: If a file is missing, there twice, or malformed; see `st.read_st`.
        ArchiveError: If a compressed image is broken.

    Reference:
        Ji et al., Cell 182 (2020) 497: spots 110 µm wide, 150 µm from centre to centre.
    """
    folder = Path(folder)
    image = _find(folder, f"{name}.jpg")
    return read_st(
        _find(folder, f"{name}_stdata.tsv"),
        _find(folder, f"spot_data-selection-{name}.tsv"),
        decompress(image) if image.suffix == ".gz" else image,
        name=name,
        patient=name.split("_")[0],
        spot_pitch_um=SPOT_PITCH_UM,
        spot_diameter_um=SPOT_DIAMETER_UM,
        whole_array=True,
        metadata={"source": "GSE144240"},
    )


def _find(folder: Path, ending: str) -> Path:
    """The file of one sample: what has been decompressed by hand goes first."""
    for wanted in (ending, f"{ending}.gz"):
        found = [path for path in sorted(folder.glob("GSM*")) if path.name.partition("_")[2] == wanted]
        if len(found) > 1:
            raise SectionError(f"{folder}: {', '.join(path.name for path in found)} are one file twice; keep one.")
        if found:
            return found[0]
    raise SectionError(
        f"{folder} has no file GSM..._{ending} or GSM..._{ending}.gz: is it the unpacked GSE144240_RAW.tar "
        "(stlearn-lib data unpack)?"
    )
