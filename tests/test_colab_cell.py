"""The first cell of a chapter installs the library on Colab, and does nothing elsewhere."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from book.chapters import first_cell

ADDRESS = "https://example.org/someone/stlearn"


@pytest.fixture
def run_cell():
    """Run a cell as a notebook would; return the magics that it called."""

    def run(source: str) -> list[tuple[str, str]]:
        calls: list[tuple[str, str]] = []
        shell = SimpleNamespace(run_line_magic=lambda name, line: calls.append((name, line)))
        exec(TransformerManager().transform_cell(source), {"get_ipython": lambda: shell})
        return calls

    return run


@pytest.fixture
def colab(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))


def test_elsewhere_it_does_nothing(run_cell, capsys):
    assert run_cell(first_cell(ADDRESS)) == run_cell(first_cell("")) == []
    assert capsys.readouterr().out == ""


def test_on_colab_it_installs_the_tag_from_the_address(run_cell, colab):
    assert run_cell(first_cell(ADDRESS, "1.2")) == [("pip", f'install -q "stlearn-lib[book] @ git+{ADDRESS}@v1.2"')]


def test_without_an_address_it_says_what_to_do(run_cell, colab, capsys):
    assert run_cell(first_cell("")) == []
    assert "make wheel" in capsys.readouterr().out
