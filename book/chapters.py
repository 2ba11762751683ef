"""Keep the chapters' files in order: the same first cell everywhere, and outputs of one run from top to bottom.

``make notebooks`` runs this for every chapter; ``python book/chapters.py book/01_one_section.ipynb`` for one.
"""

import sys
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient

import stlearn_lib

BOOK = Path(__file__).parent
CELL_TIMEOUT_S = 600
WITH_ADDRESS = """\
import sys

if "google.colab" in sys.modules:  # elsewhere the library is installed already
    %pip install -q "stlearn-lib[book] @ git+{url}@v{version}"
"""
WITHOUT_ADDRESS = """\
import sys

if "google.colab" in sys.modules:  # elsewhere the library is installed already
    print("Upload the wheel from `make wheel`, then: %pip install 'stlearn_lib-{version}-py3-none-any.whl[book]'")
"""


def first_cell(url: str, version: str = stlearn_lib.__version__) -> str:
    """Return the source of every chapter's first code cell, which makes the chapter run on Colab.

    Args:
        url: The repository's public address, or "" where there is none.
        version: The library's version; ``v`` before it is the tag that is installed.

    Returns:
        Python source.

    Example:
        >>> "git+https://example.org/repo@v1.2" in first_cell("https://example.org/repo", "1.2")
        True
    """
    return (WITH_ADDRESS if url else WITHOUT_ADDRESS).format(url=url, version=version).rstrip()


def repository_url() -> str:
    """Return the repository's address from ``_config.yml``, "" where there is none."""
    return yaml.safe_load((BOOK.parent / "_config.yml").read_text())["repository"]["url"]


def execute(path: Path) -> None:
    """Write the first cell into a chapter, run the chapter, and keep its outputs.

    Args:
        path: The notebook. It is written only when every cell has succeeded.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = first_cell(repository_url())
    first.metadata["tags"] = ["remove-cell"]  # not shown on the page
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # an editor's time stamps
    notebook.metadata.pop("widgets", None)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    nbformat.write(notebook, path)


def main() -> None:
    """Execute the chapters named on the command line, or all."""
    for path in [Path(name) for name in sys.argv[1:]] or sorted(BOOK.glob("*.ipynb")):
        print(path.name, flush=True)
        execute(path)


if __name__ == "__main__":
    main()
