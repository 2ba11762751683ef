"""GSE144240 as GEO packs it: one tar of compressed tables and images."""

import gzip
import io
import tarfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stlearn_lib.data.archives import unpack
from stlearn_lib.data.readers import read_cscc
from stlearn_lib.data.sections import image_path_of, metadata_of, patient_of, read_image, um_per_px_of
from stlearn_lib.errors import ArchiveError, SectionError

STEP_PX = 20  # 150 µm / √2
NAMES = {"P2_ST_rep1": "GSM4284316", "P10_ST_rep3": "GSM4284327"}


def tables():
    """Return counts of the whole array, spots on the tissue: the black squares of a chessboard, and not all of them."""
    rng = np.random.default_rng(0)
    x, y = (axis.ravel() + 1 for axis in np.meshgrid(np.arange(10), np.arange(8)))
    x, y = x[(x + y) % 2 == 0], y[(x + y) % 2 == 0]
    ids = [f"{a}x{b}" for a, b in zip(x, y, strict=True)]
    counts = pd.DataFrame(rng.poisson(3, (len(x), 3)), ids, ["KRT5", "KRT14", "MMP10"])
    spots = pd.DataFrame(
        {"x": x, "y": y, "new_x": x + 0.01, "new_y": y - 0.01, "pixel_x": x * STEP_PX, "pixel_y": y * STEP_PX}
    ).assign(selected=1)
    return counts, spots[(x > 2) & (y < 7)]


def jpeg(size=(240, 200)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 100, 150)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def files():
    counts, spots = tables()
    found = {}
    for name, sample in NAMES.items():
        found[f"{sample}_{name}_stdata.tsv.gz"] = gzip.compress(counts.to_csv(sep="\t").encode())
        text = spots.sample(frac=1, random_state=0).to_csv(sep="\t", index=False)
        found[f"{sample}_spot_data-selection-{name}.tsv.gz"] = gzip.compress(text.encode())
        found[f"{sample}_{name}.jpg.gz"] = gzip.compress(jpeg())
    return found


@pytest.fixture
def folder(files, tmp_path):
    """Unpack GEO's tar."""
    with tarfile.open(tmp_path / "GSE144240_RAW.tar", "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    unpack(tmp_path / "GSE144240_RAW.tar", tmp_path / "raw")
    return tmp_path / "raw"


def test_a_section_of_the_tar(folder):
    counts, spots = tables()
    section = read_cscc(folder, "P10_ST_rep3")
    selected = [
        spot for spot in counts.index if spot in {f"{x}x{y}" for x, y in zip(spots["x"], spots["y"], strict=True)}
    ]
    assert section.obs_names.tolist() == selected and 0 < len(selected) < len(counts)
    np.testing.assert_array_equal(section.X.toarray(), counts.loc[selected])
    assert patient_of(section) == "P10" and metadata_of(section)["source"] == "GSE144240"
    # Neighbours on the diagonal are 150 µm apart, and 20·√2 px.
    assert um_per_px_of(section) == pytest.approx(150 / (STEP_PX * np.sqrt(2)), rel=1e-3)
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


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("GSM4284316_P2_ST_rep1_stdata.tsv.gz", None, SectionError, r"no file GSM\.\.\._P2_ST_rep1_stdata\.tsv"),
        ("GSM4284316_spot_data-selection-P2_ST_rep1.tsv.gz", None, SectionError, "no file GSM.*selection-P2_ST_rep1"),
        ("GSM4284316_P2_ST_rep1.jpg.gz", None, SectionError, r"no file GSM\.\.\._P2_ST_rep1\.jpg"),
        ("GSM4284316_P2_ST_rep1_stdata.tsv.gz", b"", SectionError, r"P2_ST_rep1_stdata\.tsv\.gz is no readable table"),
        ("GSM4284316_P2_ST_rep1_stdata.tsv.gz", 0.5, SectionError, r"P2_ST_rep1_stdata\.tsv\.gz is no readable table"),
        ("GSM4284316_spot_data-selection-P2_ST_rep1.tsv.gz", 0.5, SectionError, r"selection-P2_ST_rep1\.tsv\.gz is no"),
        ("GSM4284316_P2_ST_rep1.jpg.gz", 0.5, ArchiveError, r"P2_ST_rep1\.jpg\.gz is broken"),
        ("GSM4284316_P2_ST_rep1.jpg.gz", b"", ArchiveError, r"P2_ST_rep1\.jpg\.gz is broken"),
        (
            "GSM4284316_P2_ST_rep1.jpg.gz",
            gzip.compress(b"no image"),
            SectionError,
            r"P2_ST_rep1\.jpg is no readable image",
        ),
    ],
)
def test_a_broken_file_is_named(folder, name, change, error, message):
    content = (folder / name).read_bytes()
    if change is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(change if isinstance(change, bytes) else content[: int(len(content) * change)])
    with pytest.raises(error, match=message):
        read_cscc(folder, "P2_ST_rep1")
    if error is ArchiveError:
        assert not (folder / "GSM4284316_P2_ST_rep1.jpg").exists(), "no half image"
    read_cscc(folder, "P10_ST_rep3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda counts, spots: (counts.rename(index=lambda spot: f"0{spot}x"), spots),
            "40 spots have counts but no position",
        ),
        (lambda counts, spots: (counts, spots.drop(columns="new_x")), "new_x are missing"),
        (lambda counts, spots: (counts, pd.concat([spots, spots[:1]])), "occurs more than once"),
        (lambda counts, spots: (counts * -1, spots), "is negative"),
        (lambda counts, spots: (counts / 2, spots), "not a whole number"),
        (lambda counts, spots: (counts, spots.assign(pixel_x=np.nan)), "row 2, column pixel_x is not a number"),
        (lambda counts, spots: (counts, spots.assign(pixel_x=spots["pixel_x"] * 2)), "outside the image"),
    ],
)
def test_broken_tables_are_named(folder, change, message):
    counts, spots = change(*tables())
    counts.to_csv(folder / "GSM4284316_P2_ST_rep1_stdata.tsv", sep="\t")
    spots.to_csv(folder / "GSM4284316_spot_data-selection-P2_ST_rep1.tsv", sep="\t", index=False)
    with pytest.raises(SectionError, match=message) as caught:
        read_cscc(folder, "P2_ST_rep1")
    assert "P2_ST_rep1" in str(caught.value)


def test_one_section_twice_is_named(folder):
    (folder / "GSM1_P2_ST_rep1_stdata.tsv.gz").write_bytes(b"")
    with pytest.raises(SectionError, match=r"GSM1_P2_ST_rep1_stdata\.tsv\.gz, GSM4284316_.* are one file twice"):
        read_cscc(folder, "P2_ST_rep1")
