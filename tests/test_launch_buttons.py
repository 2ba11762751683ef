"""A page has a button that opens it on Colab if the repository has an address, and else none that leads nowhere."""

import subprocess
import sysconfig
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIGURATION = yaml.safe_load((ROOT / "_config.yml").read_text())
ADDRESS = "https://github.com/someone/stlearn"


@pytest.fixture
def page(tmp_path):
    """Build a book of one notebook with our buttons and extension; return its page."""

    def built(address: str) -> str:
        configuration = {key: CONFIGURATION[key] for key in ("repository", "launch_buttons")}
        configuration["repository"]["url"] = address
        configuration["sphinx"] = {"local_extensions": {"launch_buttons": str(ROOT / "book" / "extensions")}}
        (tmp_path / "_config.yml").write_text(yaml.safe_dump(configuration))
        (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: chapter\n")
        heading = nbformat.v4.new_markdown_cell("# A chapter")
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nbformat.write(nbformat.v4.new_notebook(cells=[heading], metadata=metadata), tmp_path / "chapter.ipynb")
        command = [Path(sysconfig.get_path("scripts")) / "jupyter-book", "build", tmp_path, "--quiet"]
        subprocess.run(command, check=True, capture_output=True)
        return (tmp_path / "_build" / "html" / "chapter.html").read_text(encoding="utf-8")

    return built


def test_with_an_address_it_opens_the_notebook_there(page):
    branch = CONFIGURATION["repository"]["branch"]
    assert f"https://colab.research.google.com/github/someone/stlearn/blob/{branch}/chapter.ipynb" in page(ADDRESS)


def test_without_an_address_there_is_none(page):
    assert "colab.research.google.com" not in page("")
