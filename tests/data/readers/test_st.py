import gzip
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stlearn_lib.data.readers import read_st
from stlearn_lib.data.sections import metadata_of, um_per_px_of
from stlearn_lib.datasets import read_her2st
from stlearn_lib.errors import SectionError

SECTIONS = [
    f"{patient}{i}" for patient, n in zip("ABCDEFGH", (6, 6, 6, 6, 3, 3, 3, 3), strict=True) for i in range(1, n + 1)
]
NO_READS = {"A1": 2, "C4": 3, "D5": 3}  # spots in the spot file that have no row of counts


def her2st_files(mirror, name):
    root = mirror / "her2st"
    files = {"counts": root / f"ST-cnts/{name}.tsv.gz", "spots": root / f"ST-spotfiles/{name}_selection.tsv"}
    labels = root / f"ST-pat/lbl/{name}_labeled_coordinates.tsv"
    return files | ({"labels": labels} if labels.exists() else {})


@pytest.mark.parametrize("name", SECTIONS)
def test_every_her2st_table_is_read(mirror, name):
    files = her2st_files(mirror, name)
    section = read_her2st(name, files)
    with gzip.open(files["counts"], "rt") as file:
        n_genes = len(file.readline().split("\t")) - 1
        rows = {line.split("\t", 1)[0]: sum(map(int, line.split("\t")[1:])) for line in file}
    assert section.shape == (len(rows), n_genes)
    assert dict(zip(section.obs_names, np.asarray(section.X.sum(axis=1)).ravel(), strict=True)) == rows
    assert section.obs["patient"].unique().tolist() == [name[0]]
    if name in NO_READS:
        assert len(pd.read_csv(files["spots"], sep="\t")) - section.n_obs == NO_READS[name]
    # Patient A's slides were scanned at another resolution than the rest.
    assert um_per_px_of(section) == pytest.approx(0.92 if name[0] == "A" else 0.69, abs=0.01)


def test_a_spot_without_reads_stays(mirror):
    assert 0 in np.asarray(read_her2st("D5", her2st_files(mirror, "D5")).X.sum(axis=1))


def test_labels_of_a1_join_by_array_position(mirror):
    section = read_her2st("A1", her2st_files(mirror, "A1"))
    # 348 labels, two of them on spots without counts.
    published = Counter(pd.read_csv(mirror / "her2st/ST-pat/lbl/A1_labeled_coordinates.tsv", sep="\t")["label"])
    joined = Counter(section.obs["label"])
    assert sum(published.values()) - sum(joined.values()) == 2
    assert set(joined) == set(published) and all(published[k] - joined[k] in (0, 1, 2) for k in joined)
    table = pd.read_csv(mirror / "her2st/ST-pat/lbl/A1_labeled_coordinates.tsv", sep="\t")
    one = table.iloc[0]
    assert section.obs.loc[f"{round(one.x)}x{round(one.y)}", "label"] == one.label


def test_mouse_olfactory_bulb(mirror):
    root = mirror / "st_mouse_olfactory_bulb"
    section = read_st(root / "counts.tsv", root / "spots.tsv", root / "image.jpg", name="MOB", patient="mouse")
    assert section.shape == (282, 10)
    assert section["17x17", "Calm1"].X.sum() == 37
    np.testing.assert_allclose(section["17x17"].obsm["spatial"], [[462.1, 465.8]])
    table = pd.read_csv(root / "spots.tsv", sep="\t")
    pitch = np.ptp(table["pixel_x"]) / np.ptp(table["new_x"])  # from the outermost spots alone
    assert um_per_px_of(section) == pytest.approx(200 / pitch, rel=0.01)


# A whole section small enough to break in every way.
COUNTS = "\tGNAS\tFASN\n1x1\t3\t0\n2x1\t0\t1\n"
SPOTS = """\
x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y
1\t1\t1.0\t1.0\t100\t100
2\t1\t2.0\t1.0\t200\t100
2\t2\t2.0\t2.0\t200\t200
"""
LABELS = "x\ty\tlabel\n1.02\t0.99\tinvasive cancer\n"


@pytest.fixture
def write(tmp_path):
    def write(**changes):
        texts = {"counts": COUNTS, "spots": SPOTS, "labels": LABELS} | changes
        for role, text in texts.items():
            (tmp_path / f"{role}.tsv").write_bytes(text if isinstance(text, bytes) else text.encode())
        return {role: tmp_path / f"{role}.tsv" for role in texts}

    return write


def test_small_section(write):
    section = read_st(**write(), name="X1", patient="X", pixel_scale=0.5)
    assert section.shape == (2, 2)
    assert section.obs["label"].tolist() == ["invasive cancer", "unlabelled"]
    assert um_per_px_of(section) == pytest.approx(200 / 50)
    np.testing.assert_array_equal(section.obsm["spatial"], [[50, 50], [100, 50]])
    assert metadata_of(section)["simulated"] is False


BROKEN = {
    "counts": {
        "empty file": ("", "no readable table"),
        "header only": ("\tGNAS\n", "no rows"),
        "doubled gene": ("\tGNAS\tGNAS\n1x1\t3\t0\n", "gene 'GNAS' occurs more than once"),
        "doubled spot": ("\tGNAS\n1x1\t3\n1x1\t4\n", "spot '1x1' occurs more than once"),
        "words": ("\tGNAS\n1x1\tthree\n", "gene 'GNAS' has values that are not numbers"),
        "missing value": ("\tGNAS\tFASN\n1x1\t3\t\n", "FASN in spot 1x1 is missing"),
        "negative": ("\tGNAS\n1x1\t-3\n", "GNAS in spot 1x1 is negative"),
        "infinite": ("\tGNAS\n1x1\tinf\n", "GNAS in spot 1x1 is missing or infinite"),
        "unknown spot": ("\tGNAS\n9x9\t3\n", "1 spots have counts but no position"),
        "ragged row": ("\tGNAS\n1x1\t3\n2x1\t3\t4\t5\n", "no readable table"),
        "not text": (b"\xff\xfe\x00\x80", "no readable table"),
    },
    "spots": {
        "empty file": ("", "no readable table"),
        "header only": (SPOTS.splitlines()[0] + "\n", "no rows"),
        "missing column": (SPOTS.replace("pixel_x", "px"), "pixel_x are missing"),
        "words": (SPOTS.replace("200\t100", "far\t100"), "row 3, column pixel_x is not a number"),
        "doubled spot": (SPOTS + "2\t2\t2.0\t2.0\t200\t200\n", "spot '2x2' occurs more than once"),
        "no pitch": (SPOTS.replace("200", "100"), "pitch is unknown"),
    },
    "labels": {
        "missing column": ("x\ty\n1\t1\n", "label are missing"),
        "words": ("x\ty\tlabel\nhere\t1\tfat\n", "row 2, column x is not a number"),
        "twice": (LABELS + "1\t1\tadipose tissue\n", "spot '1x1' is labelled twice"),
    },
}


@pytest.mark.parametrize(("role", "case"), [(role, case) for role, cases in BROKEN.items() for case in cases])
def test_broken_table_is_named(write, role, case):
    text, message = BROKEN[role][case]
    with pytest.raises(SectionError, match=message) as caught:
        read_st(**write(**{role: text}), name="X1", patient="X")
    assert f"{role}.tsv" in str(caught.value)


@pytest.mark.parametrize("role", ["counts", "spots", "labels", "image"])
def test_missing_file_is_named(write, tmp_path, role):
    files = write() | {role: tmp_path / "nowhere"}
    with pytest.raises(SectionError, match="nowhere does not exist"):
        read_st(**files, name="X1", patient="X")


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[: len(raw) // 2], lambda raw: b"plain text", lambda raw: raw[:20] + b"\0\0\0\0" + raw[24:]],
)
def test_broken_gzip_is_named(write, tmp_path, damage):
    path = tmp_path / "broken.tsv.gz"
    path.write_bytes(damage(gzip.compress(("\tGNAS\n" + "1x1\t3\n2x1\t4\n" * 200).encode())))
    with pytest.raises(SectionError, match=r"broken\.tsv\.gz"):
        read_st(**write() | {"counts": path}, name="X1", patient="X")


@settings(max_examples=60, deadline=None)
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_a_section_error(tmp_path_factory, raw):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "counts.tsv").write_bytes(raw)
    (folder / "spots.tsv").write_text(SPOTS)
    with pytest.raises(SectionError):
        read_st(folder / "counts.tsv", folder / "spots.tsv", name="X1", patient="X")


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), min_size=2, max_size=6),
    step=st.floats(20, 500),
)
def test_what_is_written_is_read(tmp_path_factory, counts, step):
    folder = tmp_path_factory.mktemp("round")
    ids = [f"{i + 1}x{i + 2}" for i in range(len(counts))]
    pd.DataFrame(counts, index=ids, columns=["a", "b", "c"]).to_csv(folder / "counts.tsv.gz", sep="\t")
    grid = np.arange(len(counts))
    pd.DataFrame(
        {
            "x": grid + 1,
            "y": grid + 2,
            "new_x": grid + 1,
            "new_y": grid + 2,
            "pixel_x": grid * step,
            "pixel_y": grid * step,
        }
    ).to_csv(folder / "spots.tsv", sep="\t", index=False)
    section = read_st(folder / "counts.tsv.gz", folder / "spots.tsv", name="X1", patient="X")
    np.testing.assert_array_equal(section.X.toarray(), np.float32(counts))
    assert um_per_px_of(section) == pytest.approx(200 / step)
