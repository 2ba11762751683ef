"""Every broken file is a typed error that names it, and no order of rows matters."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stlearn_lib.data.sections import check_section
from stlearn_lib.errors import ArchiveError, SectionError, StlearnError
from tests.data.readers.broken import READERS
from tests.data.readers.damage import ANY_FILE


def same(one, other):
    one, other = one[one.obs_names], other[one.obs_names]  # a view has no categories that nobody uses
    np.testing.assert_array_equal(one.X.toarray(), other.X.toarray())
    np.testing.assert_array_equal(one.obsm["spatial"], other.obsm["spatial"])
    assert one.obs.equals(other.obs) and one.var.equals(other.var)


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """Each reader's valid files, as bytes, and the section that they are."""
    written = {}
    for name, reader in READERS.items():
        folder = tmp_path_factory.mktemp("valid")
        reader.write(folder)
        files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        written[name] = files, reader.read(folder)
    return written


@pytest.fixture
def folder(tmp_path, valid):
    def write(name):
        for file, content in valid[name][0].items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_bytes(content)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("name", "file", "damage"),
    [
        (name, file, damage)
        for name, reader in READERS.items()
        for file in reader.files
        for damage in ANY_FILE
        if not (damage == "missing" and file in reader.optional)
    ],
)
def test_any_file_can_break(folder, name, file, damage):
    root = folder(name)
    ANY_FILE[damage](root / file)
    with pytest.raises((SectionError, ArchiveError)) as caught:
        READERS[name].read(root)
    assert (root / file).name in str(caught.value)


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, reader in READERS.items() for case in reader.cases])
def test_what_is_wrong_is_said(folder, name, case):
    root = folder(name)
    file, edit, message = READERS[name].cases[case]
    edit(root / file)
    with pytest.raises(SectionError, match=message) as caught:
        READERS[name].read(root)
    assert (root / file).name in str(caught.value) or "section X1" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file"), [(name, file) for name, reader in READERS.items() for file in reader.shuffles]
)
def test_the_order_of_rows_does_not_matter(folder, valid, name, file):
    root = folder(name)
    READERS[name].shuffles[file](root / file)
    same(valid[name][1], READERS[name].read(root))


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, reader in READERS.items() for file in reader.files])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # it says what tags it skips
@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_bytes_never_crash(tmp_path_factory, valid, name, file, data):
    """A few bytes changed, or the end cut off: a typed error or a valid section; with a checksum, the same one.

    HDF5 and plain text have no checksum of what is not compressed, so another valid section may come of them.
    """
    root = tmp_path_factory.mktemp("damaged")
    for path, content in valid[name][0].items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    raw = bytearray((root / file).read_bytes())
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=6)):
        raw[place] = byte
    (root / file).write_bytes(raw[: data.draw(st.integers(0, len(raw)) | st.just(len(raw)))])
    try:
        section = READERS[name].read(root)
    except StlearnError:
        return
    check_section(section)
    if file.endswith(".gz"):
        same(valid[name][1], section)


def test_a_header_that_promises_too_much_is_not_believed(folder):
    root = folder("Visium 2, Matrix Market")
    path = root / "filtered_feature_bc_matrix/matrix.mtx.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    size = next(i for i, line in enumerate(lines) if not line.startswith("%"))
    lines[size] = "5 33 9000000000000000"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    with pytest.raises(SectionError, match=r"matrix\.mtx\.gz is no readable matrix .*9000000000000000 entries"):
        READERS["Visium 2, Matrix Market"].read(root)
