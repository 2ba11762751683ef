"""A chapter that is executed again has to say the same, to the digits that it shows."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from book import agreement
from book.agreement import agree, disagreements, printed

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("stored", "fresh", "same"),
    [
        ("25.778", "25.779", True),
        ("25.778", "25.780", False),
        ("-0.000", "0.001", True),
        ("0.100", "-0.100", False),
        (".27 of 1,234.5", ".28 of 1,234.6", True),
        ("1e-07", "2e-07", True),
        ("9.99   x", "10.00  x", True),  # columns may be wider
        ("epoch 7", "epoch 8", False),
        ("7", "7.0", False),
        ("C3. Then", "C4. Then", False),
        ("above 0.2", "below 0.2", False),
        ("0.2", "0.2 0.3", False),
        ("nan", "0.1", False),
    ],
)
def test_decimals_may_differ_by_one_in_the_last_place(stored, fresh, same):
    assert agree(stored, fresh) == agree(fresh, stored) == same


def glue(name: str, value: object) -> NotebookNode:
    data = {"application/papermill.record/text/plain": repr(value)}
    return new_output("display_data", data, metadata={"scrapbook": {"name": name}})


def found(stored, fresh, *tags) -> list[str]:
    cell = new_code_cell(outputs=stored, metadata={"tags": list(tags)})
    return list(disagreements(cell, fresh, str))


@pytest.fixture(autouse=True)
def _citations(monkeypatch):
    cited = {"r": {".2f", ".0%"}, "n": {""}, "fit_seconds": {".0f"}}
    monkeypatch.setattr(agreement, "cited", lambda: cited)


def test_values_are_compared_as_the_prose_shows_them():
    assert not found([glue("r", 0.1234)], [glue("r", 0.1239)])
    assert found([glue("r", 0.12)], [glue("r", 0.34)]) == [
        "r: committed 12%, now 34%",
        "r: committed 0.12, now 0.34",
    ]
    assert found([glue("n", "ridge")], [glue("n", "mean")]) == ["n: committed ridge, now mean"]
    assert found([glue("n", 3)], []) == ["n: committed 3, now nothing"]
    assert not found([glue("nowhere", 1.0)], [glue("nowhere", 2.0)])


def test_what_the_run_took_is_not_compared():
    assert not found([glue("fit_seconds", 3.0)], [glue("fit_seconds", 30.0)])
    assert not found([glue("r", 0.1)], [glue("r", 0.9)], "nbval-ignore-output")


def test_tagged_cells_are_compared_in_what_they_print():
    was, now = ([new_output("stream", text=f"r = {r}\n")] for r in (0.12, 0.34))
    assert found(was, now, "nbval-check-output") and not found(was, now)
    table = [
        new_output("execute_result", {"text/html": f"<td class='{i}'>{i}</td>", "text/plain": "x"}) for i in (1, 2)
    ]
    assert printed(table[:1]).strip() == "1"
    assert found(table[:1], table[1:], "nbval-check-output")
    assert not found(was, [*was, new_output("stream", name="stderr", text="bar")], "nbval-check-output")


def test_nbval_fails_where_a_chapter_says_something_else(tmp_path, mirror):
    """The whole way: committed outputs of which one was changed, run as `make test` runs chapters."""
    shutil.copy(ROOT / "book" / "conftest.py", tmp_path)
    code = "from myst_nb import glue; glue('c1_covered', {}, display=False); print({})"
    outputs = [glue("c1_covered", 20.0), new_output("stream", text="3\n")]
    cells = [
        new_code_cell(source, execution_count=1, outputs=outputs, metadata={"tags": ["nbval-check-output"]})
        for source in (code.format(20.0, 3), code.format(40.0, 4))
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "chapter.ipynb")

    options = ["--nbval-lax", "--nbval-current-env", "--rootdir", tmp_path, "--import-mode=importlib"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, tmp_path]
    path = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=path, check=False, capture_output=True, text=True)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "c1_covered: committed 20, now 40" in done.stdout and "committed:\n3" in done.stdout
