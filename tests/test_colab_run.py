"""A chapter runs as on Colab: in an empty folder, beside other packages, the library installed by its first cell.

``make colab`` does so where nothing is there, and downloads it all; that takes minutes. Here the packages are those of
this environment, without ours.
"""

import json
import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest

import stlearn_lib

ROOT = Path(__file__).parents[1]
CHAPTER = Path("book/01_one_section.ipynb")
RUN = """\
import sys
from pathlib import Path
import nbformat
from book.colab import execute

nbformat.write(execute(Path(sys.argv[1])), sys.argv[2])
"""
BEFORE = "import os; print(os.listdir())"
AFTER = """\
import json, data_registry, stlearn_lib
from importlib.metadata import distribution
installed = json.loads(distribution("stlearn-lib").read_text("direct_url.json"))
print(json.dumps([stlearn_lib.__file__, data_registry.__file__, stlearn_lib.__version__, installed["vcs_info"]]))
"""


def git(folder: Path, *arguments) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path) -> Path:
    """Return a clone of this checkout in which everything is committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout")
    clone = tmp_path / "checkout"
    git(ROOT, "clone", "--quiet", ROOT, clone)
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "as it is")
    return clone


@pytest.fixture
def python(tmp_path) -> Path:
    """Return the Python of a fresh environment that sees this one's packages, but not the library's checkout."""
    folder = tmp_path / "environment"
    venv.create(folder)
    paths = sysconfig.get_paths(scheme="venv", vars={"base": folder})
    Path(paths["purelib"], "preinstalled.pth").write_text(sysconfig.get_path("purelib"))  # whose own .pth are not read
    return Path(paths["scripts"], "python")


def probe(source: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell(source)


def test_a_chapter_runs_as_on_colab(checkout, python, tmp_path):
    chapter = nbformat.read(checkout / CHAPTER, as_version=4)
    first = next(place for place, cell in enumerate(chapter.cells) if cell.cell_type == "code")
    chapter.cells = [*chapter.cells[: first + 1], probe(BEFORE), *chapter.cells[first + 1 :], probe(AFTER)]
    nbformat.write(chapter, tmp_path / "chapter.ipynb")

    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # nothing is downloaded, setuptools is here
    command = [python, "-c", RUN, tmp_path / "chapter.ipynb", tmp_path / "executed.ipynb"]
    done = subprocess.run(command, cwd=checkout, env=os.environ | offline, check=False, capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr

    _, empty, *cells, last = [
        cell for cell in nbformat.read(tmp_path / "executed.ipynb", as_version=4).cells if cell.cell_type == "code"
    ]
    assert empty.outputs[0].text == "[]\n"
    library, registry, version, commit = json.loads(last.outputs[0].text)
    assert all(Path(file).is_relative_to(python.parents[1]) for file in (library, registry))
    assert version == stlearn_lib.__version__
    assert commit["requested_revision"] == f"v{version}"
    assert commit["commit_id"] == git(checkout, "rev-parse", "HEAD").strip()
    shown = "".join(output.data.get("text/html", "") for cell in cells for output in cell.outputs if "data" in output)
    assert 'class="stlearn-data-real"' in shown or "STLEARN_DATA_MIRROR" not in os.environ
