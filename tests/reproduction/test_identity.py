import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stlearn_lib
from stlearn_lib.reproduction import memory
from stlearn_lib.reproduction.identity import code_version, key_of
from stlearn_lib.reproduction.memory import peak_memory

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), plain, max_size=5), st.randoms())
def test_the_order_of_settings_does_not_matter(identity, random):
    items = list(identity.items())
    random.shuffle(items)
    assert key_of(dict(items)) == key_of(identity)
    assert key_of(identity | {"another": 1}) != key_of(identity | {"another": 2})


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the library's source; `code_version` looks at it."""
    root = Path(stlearn_lib.__file__).parent
    copy = shutil.copytree(root, tmp_path / "stlearn_lib", ignore=shutil.ignore_patterns("__pycache__"))
    before = code_version.__wrapped__(), code_version.__wrapped__("slides")
    monkeypatch.setattr(stlearn_lib, "__file__", str(copy / "__init__.py"))
    assert (code_version.__wrapped__(), code_version.__wrapped__("slides")) == before
    return copy


@pytest.mark.parametrize("changed", ["methods/nh2st.py", "retrieval.py", "data/expression.py", "losses/new.py"])
def test_changed_code_is_another_version(copied, changed):
    before = code_version.__wrapped__()
    with (copied / changed).open("a") as file:
        file.write("# changed\n")
    after = code_version.__wrapped__()
    assert after != before and after.startswith(f"{stlearn_lib.__version__}+")


def test_code_that_no_result_depends_on_is_left_out(copied):
    before, of_slides = code_version.__wrapped__(), code_version.__wrapped__("slides")
    for name in ("plotting.py", "slides/pooling.py", "widgets/genes.py", "methods/notes.txt"):
        with (copied / name).open("a") as file:
            file.write("# changed\n")
    assert code_version.__wrapped__() == before and code_version.__wrapped__("slides") != of_slides


def test_the_peak_of_a_block_is_seen_and_not_that_of_another():
    with peak_memory() as without:
        pass
    with peak_memory() as held:
        np.ones(25_000_000).sum()  # 200 MB, given back at once
    with peak_memory() as after:
        pass
    assert 0.19 < held.gigabytes - without.gigabytes < 0.3
    assert after.gigabytes < held.gigabytes - 0.15


def test_elsewhere_the_peak_is_that_of_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    monkeypatch.setattr(memory, "_RESET", tmp_path / "none" / "either")
    with peak_memory() as found:
        pass
    assert 0.1 < found.gigabytes < 100
