"""Run a chapter as its readers on Colab do: in an empty folder, the library installed by the chapter's first cell.

``make colab`` does so in a fresh environment, ``make colab-image`` in Colab's own image. What the first cell installs
is a clone of this repository's last commit that has the release's tag.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

import stlearn_lib
from book.chapters import first_cell

ROOT = Path(__file__).parents[1]
CELL_TIMEOUT_S = 1800  # the first cell downloads PyTorch
AS_ON_COLAB = """\
import sys
from types import ModuleType

sys.modules.setdefault("google.colab", ModuleType("google.colab"))
"""


def tagged_clone(folder: Path) -> str:
    """Clone the repository's last commit, tagged as the release that chapters install.

    Args:
        folder: An empty folder.

    Returns:
        The clone's address.

    Raises:
        subprocess.CalledProcessError: If this is no git repository.
    """
    config = folder / "gitconfig"
    config.write_text("[safe]\n\tdirectory = *\n")  # in a container the checkout belongs to another user
    clone = folder / "repository"
    for command in (["clone", "--quiet", ROOT, clone], ["-C", clone, "tag", "--force", f"v{stlearn_lib.__version__}"]):
        subprocess.run(["git", *command], env=os.environ | {"GIT_CONFIG_GLOBAL": str(config)}, check=True)
    return f"file://localhost{clone}"  # pip before 24.1 accepts no address without a host


def execute(path: Path) -> NotebookNode:
    """Run a chapter.

    Args:
        path: The notebook; it is not written.

    Returns:
        The chapter with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as origin, TemporaryDirectory() as empty:
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        first.source = AS_ON_COLAB + first_cell(tagged_clone(Path(origin)))
        try:
            NotebookClient(notebook, timeout=CELL_TIMEOUT_S, resources={"metadata": {"path": empty}}).execute()
        finally:  # where pip fails, the next cell does not find the library: here is why
            print("".join(output.get("text", "") for output in first.outputs))
    return notebook


def main() -> None:
    """Execute the chapter that the command line names."""
    if Path(sys.prefix).is_relative_to(ROOT):
        sys.exit("The chapter would replace the library that is installed here. Run: make colab CHAPTER=book/...")
    execute(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
