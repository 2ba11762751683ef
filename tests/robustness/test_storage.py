"""A disk that is full and a folder that is read-only are said in one typed line; no half file is left.

The disk is a real one in memory, where the system lets tests mount one. A limit on the size of files, which every
system has, stands in for it elsewhere.
"""

import errno
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

import data_registry
from stlearn_lib import storage
from stlearn_lib.cache import cache_in, written_whole
from stlearn_lib.data.expression import Target
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.section_files import write_section
from stlearn_lib.errors import StlearnError, WriteError
from stlearn_lib.methods.baselines import Ridge
from stlearn_lib.models.encoders import create_encoder, extract_features
from stlearn_lib.reproduction.store import Store
from stlearn_lib.reproduction.tasks import Result
from stlearn_lib.slides.export import export_features
from stlearn_lib.storage import locked, writing_in

resource = pytest.importorskip("resource", reason="needs the limits of a Unix system")

TRAINING = run_path(str(Path(__file__).parents[1] / "training/killed.py"))
PATCHES = np.zeros((64, 32, 32, 3), dtype=np.uint8)


@contextmanager
def mounted(folder, options):
    """Mount a disk in memory, for a while."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("may not mount a disk of its own")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def full(tmp_path):
    """A disk of one megabyte with one block left."""
    filler = tmp_path / "filler"
    with mounted(tmp_path, "size=1m"):
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        with filler.open("ab") as file:
            file.truncate(filler.stat().st_size - 4096)
        yield tmp_path, "the disk is full: free some space"


@pytest.fixture
def read_only(tmp_path):
    """A disk on which nothing may be written."""
    with mounted(tmp_path, "ro"):
        yield tmp_path, "it is read-only: make it writable"


@pytest.fixture
def limited(tmp_path):
    """A folder in which no file may be larger than one block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield tmp_path, "the file would be larger than allowed"
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def fitted(cohort):
    """A method whose weights take more than one block."""
    return Ridge(target=Target(tuple(cohort[0].var_names))).fit(cohort[:1])


def result(n_genes=2000):
    genes = {"gene": [f"G{i}" for i in range(n_genes)], "r": [0.5] * n_genes, "mean": [1.0] * n_genes}
    identity = {"experiment": "within-C/ridge", "fold": "C2", "seed": 0}
    return Result(key="0" * 16, identity=identity, rows=[{"test": "C2", "key": "0" * 16}], genes={"C2": genes})


def train(folder):
    TRAINING["fit"](
        TRAINING["Contrast"](), TRAINING["spots"](0, 26), TRAINING["SETTINGS"], validation=TRAINING["spots"](1, 16),
        compute=TRAINING["Compute"](accelerator="cpu"), folder=folder,
    )  # fmt: skip


def text(folder):
    with written_whole(folder / "scores.csv") as path:
        path.write_text("0.5\n" * 10_000)


def patches(folder, section):
    with cache_in(folder):
        cut_patches(section, 97)


WRITERS = {
    "patches": lambda folder, section, _: patches(folder, section),
    "features": lambda folder, *_: extract_features(
        PATCHES, create_encoder("resnet10t", weights=None), cache=folder, progress=False
    ),
    "export": lambda folder, section, _: export_features(section, "colour_texture", folder, progress=False),
    "training": lambda folder, *_: train(folder / "run"),
    "method": lambda folder, _, method: method.save(folder / "saved"),
    "section": lambda folder, section, _: write_section(section, folder),
    "result": lambda folder, *_: Store(folder).write(result()),
    "table": lambda folder, *_: text(folder),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("place", ["full", "read_only", "limited"])
def test_it_is_said_in_one_line_and_nothing_half_written_is_left(request, place, writer, section, fitted):
    cut_patches(section)  # elsewhere: these are not what cannot be written
    folder, reason = request.getfixturevalue(place)
    with pytest.raises(WriteError) as caught:
        WRITERS[writer](folder, section, fitted)
    said = str(caught.value)
    assert isinstance(caught.value, StlearnError) and "\n" not in said
    assert said.startswith(str(folder)) and reason in said and "choose another folder" in said
    left = [path for path in folder.rglob("*") if path.is_file() and path.name != "filler"]
    assert all(path.name == "history.csv" or "tfevents" in path.name for path in left), left


@pytest.mark.parametrize("place", ["full", "read_only", "limited"])
def test_a_download_says_it_too(request, place, httpserver, monkeypatch):
    httpserver.expect_request("/file.bin").respond_with_data(bytes(100_000))
    text = dict.fromkeys(("title", "description", "format", "licence", "citation", "size"), "toy")
    file = data_registry.File("file.bin", httpserver.url_for("/file.bin"), "size:100000")
    monkeypatch.setitem(data_registry.DATASETS, "toy", data_registry.Dataset(**text, access="open", files=(file,)))
    monkeypatch.delenv("STLEARN_DATA_MIRROR", raising=False)
    folder, _ = request.getfixturevalue(place)
    monkeypatch.setenv("STLEARN_CACHE", str(folder))
    with pytest.raises(data_registry.StorageError, match=r"set STLEARN_CACHE to another folder\.$") as caught:
        data_registry.fetch("toy", progress=False)
    said = str(caught.value)
    reason = {"full": "the disk is full", "read_only": "the folder is read-only", "limited": "File too large"}[place]
    assert reason in said and str(folder) in said and "\n" not in said
    assert not [path for path in folder.rglob("*.bin")]


def test_python_ends_well_after_a_full_disk(full, section, tmp_path_factory):
    """HDF5 that cannot close its file makes it crash."""
    whole = write_section(section, tmp_path_factory.mktemp("whole"))
    script = (
        "import sys; from pathlib import Path; from stlearn_lib.data.section_files import read_section, write_section\n"
        "section = read_section(Path(sys.argv[1])); del section.uns['spatial']['S1']['metadata']['image_path']\n"
        "try: write_section(section, sys.argv[2])\n"
        "except OSError as error: print(type(error).__name__)"
    )
    command = [sys.executable, "-c", script, whole, full[0]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "WriteError\n", "")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another")
def test_a_folder_of_another_user(tmp_path):
    os.seteuid(65534)
    try:
        with pytest.raises(WriteError, match="you may not write there: ask for the right to, or choose another"):
            text(tmp_path)
    finally:
        os.seteuid(0)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("here")
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(WriteError, match="a file is in its place"):
            text(folder)


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (FileNotFoundError(errno.ENOENT, "of a reader"), PermissionError(errno.EACCES, "of a reader")):
        with pytest.raises(type(error), match="of a reader") as caught, writing_in(tmp_path):
            raise error
        assert not isinstance(caught.value, StlearnError)
    with pytest.raises(RuntimeError, match="out of memory"), writing_in(tmp_path):
        raise RuntimeError("out of memory")


def test_what_the_dead_leave_is_removed_and_what_the_living_write_is_not(tmp_path):
    with written_whole(tmp_path / "living.txt") as living:
        living.write_text("half")
        dead = tmp_path / f".dead-{'0' * 32}.txt"
        for path in (dead, dead.with_name(dead.name + ".writing"), tmp_path / ".other", tmp_path / ".other.writing"):
            path.write_text("half")
        text(tmp_path)
        assert living.read_text() == "half" and not dead.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other", ".other.writing", "living.txt", "scores.csv"]


def test_a_device_is_written_and_not_replaced(capfd):
    with written_whole(Path("/dev/stdout")) as path:
        assert path == Path("/dev/stdout")


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path):
    with locked(tmp_path / ".lock") as held:
        assert held
        with pytest.raises(BlockingIOError), locked(tmp_path / ".lock"):
            pass
    with locked(tmp_path / ".lock", wait=True):
        pass
    assert not list(tmp_path.iterdir())


def test_where_there_are_no_locks_files_are_written_and_nothing_is_removed(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(storage.fcntl, "flock", no_locks)
    with written_whole(tmp_path / "living.txt") as living:
        living.write_text("whole")
        text(tmp_path)
        assert living.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["living.txt", "scores.csv"]
