import shutil
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stlearn_lib.data.spots import SpotTable
from stlearn_lib.errors import SectionError

DTYPES = st.sampled_from([np.uint8, np.int64, np.float32, np.float64])


@st.composite
def tables(draw):
    """Columns over the same sections, some of which may be empty, and rows to read, some of them twice."""
    sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(sum))
    columns = {}
    for name in ("image", "expression"):
        dtype, shape = draw(DTYPES), draw(arrays.array_shapes(min_dims=0, max_dims=3, max_side=3))
        columns[name] = [draw(arrays.arrays(dtype, (size, *shape))) for size in sizes]
    return columns, draw(st.lists(st.integers(0, sum(sizes) - 1), max_size=12))


@given(tables())
def test_rows_are_those_of_the_sections_one_below_the_other(drawn):
    columns, index = drawn
    table = SpotTable(columns)
    assert len(table) == len(np.concatenate(columns["image"]))
    assert table.n_spots == [len(block) for block in columns["image"]]
    for rows in (table.rows(index), table.rows(np.array(index, dtype=int))):
        assert list(rows) == list(columns)
        for name, blocks in columns.items():
            expected = np.concatenate(blocks)[np.array(index, dtype=int)]
            assert rows[name].numpy().dtype == expected.dtype
            np.testing.assert_array_equal(rows[name].numpy(), expected)


def test_rows_are_copies():
    block = np.zeros((3, 2))
    SpotTable({"x": [block]}).rows([0, 1, 2])["x"].fill_(1)
    assert not block.any()


@pytest.mark.parametrize("index", [-1, 5])
def test_rows_that_there_are_not(index):
    with pytest.raises(IndexError):
        SpotTable({"x": [np.zeros(2), np.zeros(3)]}).rows([0, index])


def test_of_a_memory_mapped_file_only_the_rows_are_read(tmp_path):
    patches = np.lib.format.open_memmap(tmp_path / "patches.npy", "w+", np.uint8, (2_000, 64, 64, 3))
    patches[1_000] = 7
    patches.flush()
    mapped = np.load(tmp_path / "patches.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        table = SpotTable({"image": [mapped, mapped]})
        table.fingerprint()
        rows = table.rows([1_000, 0, 3_000])["image"]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20 * rows.nbytes < mapped.nbytes / 20
    assert torch.equal(rows[:, 0, 0, 0], torch.tensor([7, 0, 7], dtype=torch.uint8))


@given(tables(), st.data())
def test_fingerprint_changes_with_the_data(drawn, data):
    columns, _ = drawn
    same = {name: [block.copy() for block in blocks] for name, blocks in columns.items()}
    before = SpotTable(columns).fingerprint()
    assert SpotTable(same).fingerprint() == before
    name = data.draw(st.sampled_from(list(same)))
    block = data.draw(st.sampled_from([block for block in same[name] if block.size]))
    block.view(np.uint8).flat[data.draw(st.integers(0, block.nbytes - 1))] ^= 1
    assert SpotTable(same).fingerprint() != before


def test_fingerprint_changes_with_names_sections_and_shapes():
    x = np.arange(12.0)
    tables = [
        {"x": [x]},
        {"y": [x]},
        {"x": [x[:6], x[6:]]},
        {"x": [x.reshape(6, 2)]},
        {"x": [x.reshape(12, 1)]},
        {"x": [x.view(np.int64)]},
        {"x": [x], "y": [x]},
    ]
    assert len({SpotTable(table).fingerprint() for table in tables}) == len(tables)


def test_fingerprint_takes_whole_files_by_their_names_and_parts_by_their_bytes(tmp_path):
    paths = [tmp_path / "a/patches-1.npy", tmp_path / "b/patches-1.npy", tmp_path / "b/patches-2.npy"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
    np.save(paths[0], np.arange(10))
    for path in paths[1:]:
        shutil.copy(paths[0], path)
    here, moved, renamed = (np.load(path, mmap_mode="r") for path in paths)

    def fingerprint(block):
        return SpotTable({"image": [block]}).fingerprint()

    assert fingerprint(here) == fingerprint(moved) != fingerprint(renamed)
    assert fingerprint(here[:5]) != fingerprint(here[5:])
    assert fingerprint(here[:5]) == fingerprint(renamed[:5]) == fingerprint(np.arange(5))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, r"needs columns with the same spots of each section, not \{\}"),
        ({"x": []}, r"not \{'x': \[\]\}"),
        ({"x": [np.zeros((0, 2))]}, r"not \{'x': \[0\]\}"),
        ({"x": [np.zeros(3)], "y": [np.zeros(4)]}, r"not \{'x': \[3\], 'y': \[4\]\}"),
        ({"x": [np.zeros(3)], "y": [np.zeros(2), np.zeros(1)]}, r"not \{'x': \[3\], 'y': \[2, 1\]\}"),
        ({"x": [np.zeros(3), np.zeros(3, int)]}, r"column 'x' differ between sections: float64 \(\), int64 \(\)"),
        ({"x": [np.zeros((3, 2)), np.zeros((1, 1))]}, r"column 'x' differ .*: float64 \(1,\), float64 \(2,\)"),
    ],
)
def test_errors(columns, message):
    with pytest.raises(SectionError, match=message):
        SpotTable(columns)
