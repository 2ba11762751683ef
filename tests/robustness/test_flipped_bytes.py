"""A byte flipped on the way or on the disk: a file is refused with a typed error, or is what it claims to be."""

import hashlib
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import data_registry
from stlearn_lib.data.expression import Target
from stlearn_lib.data.genes import read_gene_list
from stlearn_lib.errors import BagError, GeneError, StlearnError
from stlearn_lib.methods.baselines import TrainingMean
from stlearn_lib.methods.registry import load_method
from stlearn_lib.slides.bags import Bag, read_bag, write_bag

often = settings(
    derandomize=True, deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
places, masks = st.floats(0, 1, exclude_max=True), st.integers(1, 255)
GENES = ("ERBB2", "FASN", "HLA-DRA", "MT-CO1")


def flipped(content: bytes, place: float, mask: int) -> bytes:
    """Flip some bits of one byte."""
    at = int(place * len(content))
    return content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]


@often
@given(content=st.binary(min_size=1, max_size=2000), place=places, mask=masks)
@pytest.mark.parametrize("kind", ["sha256", "git", "md5"])
def test_the_registry_always_finds_it(tmp_path, monkeypatch, kind, content, place, mask):
    pins = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "git": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
        "md5": hashlib.md5(content).hexdigest(),
    }
    text = dict.fromkeys(("title", "description", "format", "licence", "citation", "size"), "toy")
    file = data_registry.File("file.bin", None, f"{kind}:{pins[kind]}")
    monkeypatch.setitem(data_registry.DATASETS, "toy", data_registry.Dataset(**text, access="open", files=(file,)))
    monkeypatch.setenv("STLEARN_DATA_MIRROR", str(tmp_path))
    path = tmp_path / "toy/file.bin"
    path.parent.mkdir(exist_ok=True)
    for found, state in ((content, "ok"), (flipped(content, place, mask), "corrupt")):
        path.write_bytes(found)
        assert data_registry.verify("toy")["file.bin"].state == state


@often
@given(names=st.lists(st.from_regex(r"[A-Za-z][A-Za-z0-9.-]{0,14}", fullmatch=True), min_size=1, unique=True))
def test_every_gene_list_is_read_as_it_was_written(tmp_path, names):
    (tmp_path / "list.txt").write_text("\n".join(names))
    np.save(tmp_path / "list.npy", np.array(names))
    np.save(tmp_path / "objects.npy", np.array(names, dtype=object), allow_pickle=True)
    for file in ("list.txt", "list.npy", "objects.npy"):
        assert read_gene_list(tmp_path / file) == tuple(names)


@pytest.fixture(scope="module")
def gene_lists(tmp_path_factory):
    """The same list in each format that is read."""
    folder = tmp_path_factory.mktemp("lists")
    (folder / "list.txt").write_text("\n".join(GENES))
    np.save(folder / "list.npy", np.array(GENES))
    np.save(folder / "objects.npy", np.array(GENES, dtype=object), allow_pickle=True)
    (folder / "array.pkl").write_bytes(pickle.dumps(np.array(GENES, dtype=object)))
    (folder / "index.pkl").write_bytes(pickle.dumps(pd.Index(GENES)))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@often
@given(place=places, mask=masks)
@pytest.mark.parametrize("name", ["list.txt", "list.npy", "objects.npy", "array.pkl", "index.pkl"])
def test_a_gene_list_is_refused_or_holds_names(gene_lists, tmp_path, name, place, mask):
    path = tmp_path / name
    path.write_bytes(flipped(gene_lists[name], place, mask))
    try:
        genes = read_gene_list(path)
    except GeneError as error:
        assert str(path) in str(error)
    else:
        assert genes and all(type(gene) is str and gene for gene in genes) and len(set(genes)) == len(genes)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, cohort):
    """A saved method, as bytes by file."""
    folder = tmp_path_factory.mktemp("method")
    TrainingMean(Target(tuple(cohort[0].var_names[:5]))).fit(cohort[:1]).save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@often
@given(place=places, mask=masks)
@pytest.mark.parametrize("name", ["method.json", "weights.safetensors"])
def test_a_method_is_refused_or_is_one(saved, tmp_path, name, place, mask):
    for file, content in saved.items():
        (tmp_path / file).write_bytes(flipped(content, place, mask) if file == name else content)
    try:
        method = load_method(tmp_path)
    except StlearnError as error:
        assert str(tmp_path) in str(error)
    else:
        assert isinstance(method, TrainingMean) and method.trained_on


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """A bag of ours, as bytes."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("bag") / "S1.h5"
    facts = {"encoder": "colour_texture", "patch_size": 224}
    return write_bag(Bag("S1", rng.random((20, 8)), rng.integers(0, 999, (20, 2)), "P1", facts), path).read_bytes()


@often
@given(place=places, mask=masks)
def test_a_bag_is_refused_or_holds_numbers(bag, tmp_path, place, mask):
    path = tmp_path / "S1.h5"
    path.write_bytes(flipped(bag, place, mask))
    try:
        found = read_bag(path)
    except BagError as error:
        assert "S1" in str(error)
    else:
        assert found.features.ndim == 2 and np.isfinite(found.features).all()
        assert found.coords is None or len(found.coords) == len(found)
