"""GSE144240 as GEO packs it: one tar of compressed tables and images."""

import gzip
import io
import tarfile

import numpy as np
import pandas as pd
import pytest

from stlearn_lib.data.archives import unpack
from stlearn_lib.data.readers import read_cscc
from stlearn_lib.data.sections import image_path_of, metadata_of, patient_of, read_image, um_per_px_of
from stlearn_lib.errors import ArchiveError, SectionError
from tests.data.readers.written_collections import CSCC_STEP_PX, cscc_files, cscc_tables

NAMES = {"P2_ST_rep1": "GSM4284316", "P10_ST_rep3": "GSM4284327"}


@pytest.fixture
def folder(tmp_path):
    """Unpack GEO's tar."""
    with tarfile.open(tmp_path / "GSE144240_RAW.tar", "w") as archive:
        for name, sample in NAMES.items():
            for file, content in cscc_files(name, sample).items():
                info = tarfile.TarInfo(file)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    unpack(tmp_path / "GSE144240_RAW.tar", tmp_path / "raw")
    return tmp_path / "raw"


def test_a_section_of_the_tar(folder):
    counts, spots = cscc_tables()
    section = read_cscc(folder, "P10_ST_rep3")
    selected = [
        spot for spot in counts.index if spot in {f"{x}x{y}" for x, y in zip(spots["x"], spots["y"], strict=True)}
    ]
    assert section.obs_names.tolist() == selected and 0 < len(selected) < len(counts)
    np.testing.assert_array_equal(section.X.toarray(), counts.loc[selected])
    assert patient_of(section) == "P10" and metadata_of(section)["source"] == "GSE144240"
    # Neighbours on the diagonal are 150 µm apart, and 20·√2 px.
    assert um_per_px_of(section) == pytest.approx(150 / (CSCC_STEP_PX * np.sqrt(2)), rel=1e-3)
    diameter = section.uns["spatial"]["P10_ST_rep3"]["scalefactors"]["spot_diameter_fullres"]
    assert diameter * um_per_px_of(section) == pytest.approx(110)
    assert image_path_of(section) == folder / "GSM4284327_P10_ST_rep3.jpg"
    assert read_image(section).size == (240, 200)
    np.testing.assert_array_equal(section["3x1"].obsm["spatial"], [[60, 20]])


def test_what_was_decompressed_by_hand_is_read_likewise(folder, tmp_path):
    first = read_cscc(folder, "P2_ST_rep1")
    (tmp_path / "plain").mkdir()
    for path in folder.glob("*.gz"):
        (tmp_path / "plain" / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    second = read_cscc(tmp_path / "plain", "P2_ST_rep1")
    assert (first.X != second.X).nnz == 0
    pd.testing.assert_frame_equal(first.obs, second.obs)


def test_a_broken_image_leaves_no_half_of_it(folder):
    path = folder / "GSM4284316_P2_ST_rep1.jpg.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArchiveError, match=r"P2_ST_rep1\.jpg\.gz is broken"):
        read_cscc(folder, "P2_ST_rep1")
    assert not (folder / "GSM4284316_P2_ST_rep1.jpg").exists()
    read_cscc(folder, "P10_ST_rep3")


def test_one_section_twice_is_named(folder):
    (folder / "GSM1_P2_ST_rep1_stdata.tsv.gz").write_bytes(b"")
    with pytest.raises(SectionError, match=r"GSM1_P2_ST_rep1_stdata\.tsv\.gz, GSM4284316_.* are one file twice"):
        read_cscc(folder, "P2_ST_rep1")
