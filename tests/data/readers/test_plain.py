"""Plain tables: what is written is read, in any order and either separator, and what is broken is named."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from stlearn_lib.data.readers import read_plain, tables
from stlearn_lib.data.sections import image_path_of, make_section, patient_of, section_name, um_per_px_of
from stlearn_lib.errors import SectionError
from tests.data.readers.written import PLAIN_COUNTS, PLAIN_SPOTS

FACTS = {"name": "S", "patient": "P", "um_per_px": 10.0}


@pytest.fixture
def write(tmp_path):
    def write(**texts):
        for role, text in ({"counts": PLAIN_COUNTS, "spots": PLAIN_SPOTS} | texts).items():
            (tmp_path / f"{role}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / "counts.csv", tmp_path / "spots.csv"

    return write


def assert_equal(first, second):
    assert (first.X != second.X).nnz == 0 and second.X.dtype == np.float32
    pd.testing.assert_frame_equal(first.obs, second.obs, check_categorical=False, check_dtype=False)
    assert first.var_names.tolist() == second.var_names.tolist()
    np.testing.assert_array_equal(first.obsm["spatial"], second.obsm["spatial"])
    assert (section_name(first), patient_of(first), um_per_px_of(first)) == (
        section_name(second),
        patient_of(second),
        um_per_px_of(second),
    )


def test_a_small_section(write, tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "scan.png")
    section = read_plain(*write(), tmp_path / "scan.png", **FACTS, spot_diameter_um=55, metadata={"stain": "H&E"})
    np.testing.assert_array_equal(section.X.toarray(), [[0, 2], [1, 5]])
    assert section.obs["label"].tolist() == ["tumour", "unlabelled"]
    np.testing.assert_array_equal(section.obs[["array_x", "array_y"]], [[1, 1], [2, 1]])
    np.testing.assert_array_equal(section.obsm["spatial"], [[10, 20], [30, 20]])
    assert image_path_of(section) == tmp_path / "scan.png"
    entry = section.uns["spatial"]["S"]
    assert entry["scalefactors"]["spot_diameter_fullres"] == 5.5 and entry["metadata"]["stain"] == "H&E"


# Names that a spreadsheet, or pandas, would take for something else.
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=8)
awkward = st.sampled_from(["NA", "nan", "007", "1e5", "true", "a,b", 'say "x"', "É", " x"])


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    spots=st.lists(names | awkward, min_size=1, max_size=6, unique=True),
    genes=st.lists(names | awkward, min_size=1, max_size=4, unique=True),
    ending=st.sampled_from([".csv", ".tsv", ".csv.gz", ".tsv.gz", ".txt"]),
    order=st.randoms(use_true_random=False),
)
def test_any_section_written_as_tables_is_read_back(tmp_path_factory, data, spots, genes, ending, order):
    shape = (len(spots), len(genes))
    counts = data.draw(arrays(np.int64, shape, elements=st.integers(0, 2**24)))
    pixels = data.draw(arrays(np.float64, (len(spots), 2), elements=st.floats(0, 1e5)))
    array = data.draw(arrays(np.int64, (len(spots), 2), elements=st.integers(-100, 100)))
    labels = data.draw(st.lists(st.sampled_from(["tumour", "NA", "a b"]), min_size=len(spots), max_size=len(spots)))
    table = pd.DataFrame(
        {
            "array_x": array[:, 0],
            "array_y": array[:, 1],
            "pixel_x": pixels[:, 0],
            "pixel_y": pixels[:, 1],
            "label": pd.Categorical(labels),
        },
        index=spots,
    )
    section = make_section(counts, genes, table, image_path=None, **FACTS)
    folder = tmp_path_factory.mktemp("tables")
    sep = "," if "csv" in ending else "\t"
    pd.DataFrame(counts, spots, genes).to_csv(folder / f"counts{ending}", sep=sep)
    rows = order.sample(range(len(spots)), len(spots))
    table.iloc[rows].rename_axis("spot").to_csv(folder / f"spots{ending}", sep=sep)
    assert_equal(section, read_plain(folder / f"counts{ending}", folder / f"spots{ending}", **FACTS))


def test_a_table_of_a_spreadsheet_is_read(write):
    text = (
        b"\xef\xbb\xbf" + PLAIN_COUNTS.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + PLAIN_SPOTS.replace("\n", "\r\n").encode(),
    )
    assert_equal(read_plain(*write(), **FACTS), read_plain(*write(counts=text[0], spots=text[1]), **FACTS))


def test_many_spots_are_read_in_parts(write, monkeypatch):
    counts, parts, check = PLAIN_COUNTS + "c,4,1\n", [], tables._check_counts
    whole = read_plain(*write(counts=counts), **FACTS)
    monkeypatch.setattr(tables, "_BYTES_AT_ONCE", 16)  # two spots and a third
    monkeypatch.setattr(tables, "_check_counts", lambda path, *part: (parts.append(part[1]), check(path, *part)))
    assert_equal(whole, read_plain(*write(counts=counts), **FACTS))
    assert parts == [["a", "b"], ["c"]]
    with pytest.raises(SectionError, match="the spot 'a' occurs more than once"):
        read_plain(*write(counts=PLAIN_COUNTS + "a,1,1\n"), **FACTS)
    with pytest.raises(SectionError, match="the count of GNAS in spot c is negative"):
        read_plain(*write(counts=PLAIN_COUNTS + "c,1,-1\n"), **FACTS)
    with pytest.raises(SectionError, match="row 4 names no spot"):
        read_plain(*write(counts=PLAIN_COUNTS + ",1,1\n"), **FACTS)


def test_the_array_is_found_where_the_table_does_not_tell_it(write):
    spots = "spot,pixel_x,pixel_y\n" + "".join(f"{x}-{y},{100 + 20 * x},{50 + 20 * y}\n" for x, y in np.ndindex(4, 3))
    counts = "spot,GNAS\n3-2,1\n1-0,4\n"
    section = read_plain(*write(counts=counts, spots=spots), **FACTS)
    np.testing.assert_array_equal(section.obs[["array_x", "array_y"]], [[3, 2], [1, 0]])
    with pytest.raises(
        SectionError, match=r"spots\.csv: 2 spots are too few to see their array. Give array coordinates"
    ):
        read_plain(*write(spots="spot,pixel_x,pixel_y\na,1,1\nb,2,2\n"), **FACTS)


def test_a_resolution_is_positive(write):
    with pytest.raises(SectionError, match="um_per_px"):
        read_plain(*write(), **FACTS | {"um_per_px": -1.0})


@settings(max_examples=100, deadline=None)
@given(raw=st.binary(max_size=120), role=st.sampled_from(["counts", "spots"]))
def test_any_bytes_are_a_section_error(tmp_path_factory, raw, role):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "counts.csv").write_text(PLAIN_COUNTS)
    (folder / "spots.csv").write_text(PLAIN_SPOTS)
    (folder / f"{role}.csv").write_bytes(raw)
    with pytest.raises(SectionError, match=role):
        read_plain(folder / "counts.csv", folder / "spots.csv", **FACTS)
