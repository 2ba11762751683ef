import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stlearn_lib.errors import BagError
from stlearn_lib.slides.bags import Bag, read_bag, section_bag, write_bag

IN_ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
FLOATS = st.floats(-(2.0**60), 2.0**60, width=32)


def write(path, attributes=(), **datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
        file.attrs.update(dict(attributes))
    return path


@IN_ONE_FOLDER
@given(
    features=arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=FLOATS),
    slide=st.text(min_size=1).filter(lambda text: "\0" not in text and text.isprintable()),
    provenance=st.dictionaries(
        st.sampled_from(["encoder", "um_per_px", "simulated"]), st.booleans() | st.integers(0, 9)
    ),
)
def test_what_is_written_is_read(tmp_path, features, slide, provenance):
    bag = Bag(slide, features, np.arange(2 * len(features)).reshape(-1, 2), "P", provenance)
    read = read_bag(write_bag(bag, tmp_path / "bag.h5"))
    np.testing.assert_array_equal(read.features, features)
    np.testing.assert_array_equal(read.coords, bag.coords)
    assert (read.slide, read.patient, dict(read.provenance)) == (slide, "P", provenance)


@IN_ONE_FOLDER
@given(
    shape=st.sampled_from([(5, 3), (1, 5, 3)]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    with_coords=st.booleans(),
)
def test_layouts_of_trident_and_clam(tmp_path, shape, dtype, with_coords):
    features, coords = np.arange(15, dtype=dtype).reshape(shape), np.arange(10).reshape(*shape[:-1], 2)
    path = write(
        tmp_path / "TCGA-1.h5", {"encoder": "uni"}, features=features, **{"coords": coords} if with_coords else {}
    )
    bag = read_bag(path, patient="P")
    assert bag.features.dtype == np.float32 and (bag.slide, bag.patient) == ("TCGA-1", "P")
    np.testing.assert_array_equal(bag.features, np.arange(15).reshape(5, 3))
    assert (bag.coords is not None) == with_coords and bag.provenance["encoder"] == "uni"


def test_trident_finds_the_patch_size_at_the_coordinates(tmp_path):
    bag = Bag("S", np.ones((2, 3)), np.zeros((2, 2)), provenance={"patch_size_level0": 64})
    with h5py.File(write_bag(bag, tmp_path / "S.h5")) as file:
        assert set(file) == {"features", "coords"} and file["coords"].attrs["patch_size_level0"] == 64


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"coords": np.zeros((3, 2))}, "no data set 'features'; it holds coords"),
        ({}, "it holds nothing"),
        ({"features": np.zeros((3, 4), int)}, "floating-point numbers, not int64"),
        ({"features": [b"a", b"b"]}, r"\(N, D\).*not \(2,\)"),
        ({"features": np.zeros((0, 4))}, r"above 0, not \(0, 4\)"),
        ({"features": np.zeros(4)}, r"not \(4,\)"),
        ({"features": np.zeros((2, 3, 4))}, r"not \(2, 3, 4\)"),
        (
            {"features": np.array([[0, 1], [np.nan, 1], [np.inf, 0]])},
            "2 of 3 rows of features are not finite, first row 1",
        ),
        (
            {"features": np.zeros((3, 4)), "coords": np.zeros((2, 2))},
            r"coords are numbers \(3, 2\), not float64 \(2, 2\)",
        ),
        ({"features": np.zeros((2, 4)), "coords": [[b"a", b"b"]] * 2}, "coords are numbers"),
        ({"features/inside": np.zeros((2, 4))}, "'features' is a group"),
        ({"features": h5py.Empty("f4")}, r"\(N, D\) with N and D above 0, not \(\)"),
        ({"features": np.array([[1e39, 0], [0, 0]])}, "1 of 2 rows of features are not finite, first row 0"),
        ({"features": np.zeros((2, 4)), "coords": np.full((2, 2), np.nan)}, "coords are not finite"),
    ],
)
def test_broken_files_are_named(tmp_path, datasets, message):
    path = write(tmp_path / "broken.h5", **datasets)
    with pytest.raises(BagError, match=message) as raised:
        read_bag(path)
    assert "broken.h5" in str(raised.value)


@IN_ONE_FOLDER
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_named_wherever_it_ends(tmp_path, share):
    whole = write_bag(Bag("S", np.ones((200, 8)), np.zeros((200, 2))), tmp_path / "whole.h5").read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BagError, match=r"cut\.h5 cannot be read as HDF5"):
        read_bag(cut)


@pytest.mark.parametrize(
    ("shape", "chunks", "message"),
    [
        ((9, 4), (2, 4), r"'features' \(9, 4\) has 2 of 5 blocks: extract it again"),
        ((10**12, 1024), (1, 1024), "has 4 of 1000000000000 blocks"),
        ((10**12, 1024), None, "cannot be read as HDF5 .*Unable to allocate"),
    ],
)
def test_a_file_that_promises_more_than_it_holds(tmp_path, shape, chunks, message):
    with h5py.File(tmp_path / "promise.h5", "w") as file:
        features = file.create_dataset("features", shape, np.float32, chunks=chunks)
        if chunks:
            features[:4] = 1
    with pytest.raises(BagError, match=message) as raised:
        read_bag(tmp_path / "promise.h5")
    assert "promise.h5" in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"slide,label\n", b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_hdf5(tmp_path, content):
    (tmp_path / "other.h5").write_bytes(content)
    with pytest.raises(BagError, match=r"other\.h5 cannot be read as HDF5"):
        read_bag(tmp_path / "other.h5")


def test_files_grown_as_trident_and_clam_grow_them(tmp_path):
    """Both append batch after batch to chunked data sets without an end."""
    with h5py.File(tmp_path / "grown.h5", "w") as file:
        file.create_dataset("features", (2, 3), np.float16, maxshape=(None, 3), chunks=(1, 3), compression="gzip")
        for n in (2, 4):
            file["features"].resize(n, axis=0)
            file["features"][n - 2 :] = n
    np.testing.assert_array_equal(read_bag(tmp_path / "grown.h5").features[:, 0], [2, 2, 4, 4])


def test_missing_file(tmp_path):
    with pytest.raises(BagError, match="does not exist"):
        read_bag(tmp_path / "none.h5")


def test_nothing_is_left_of_a_failed_write(tmp_path):
    with pytest.raises(TypeError):
        write_bag(Bag("S", np.ones((2, 3)), provenance={"key": object()}), tmp_path / "S.h5")
    assert not list(tmp_path.iterdir())


def test_the_bag_of_a_section(section):
    bag = section_bag(section, np.ones((section.n_obs, 3)), {"encoder": "ones"})
    assert bag.provenance == {"simulated": True, "encoder": "ones"} and (bag.slide, bag.patient) == ("S1", "S")
    np.testing.assert_array_equal(bag.coords, section.obsm["spatial"])
    with pytest.raises(BagError, match="3 rows of features, 168 spots"):
        section_bag(section, np.ones((3, 3)))
