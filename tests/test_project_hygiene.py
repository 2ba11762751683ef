"""What the repository promises around the code: licences, a citation, no trace of the machine it was written on."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import stlearn_lib

ROOT = Path(__file__).parents[1]
TEXTS = {".py", ".md", ".toml", ".yml", ".yaml", ".txt", ".cff", ".cfg", ".ipynb", ".bib", ".css", ".svg", ".csv", ""}


def tracked_texts() -> list[Path]:
    """Return the text files that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("needs git and a checkout: an unpacked archive has no list of its files")
    return [path for path in (ROOT / name for name in names if name) if path.suffix in TEXTS and path.is_file()]


def test_no_path_of_a_machine_and_no_index_of_packages():
    folders = "|".join(("work", "root", "home", "Users", "opt", "tmp", "mnt"))
    machine = re.compile(rf"(?<![\w.*~)}}<-])/(?:{folders})/\w|(?:index-url|find-links)\s*[= ]")
    picture = re.compile(r"[A-Za-z0-9+/=]{200,}")  # pictures in notebooks, whose letters may spell anything
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group()}"
        for path in tracked_texts()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in machine.finditer(picture.sub("", line))
    ]
    assert not found, "\n".join(found)


def test_licences():
    assert "BSD 3-Clause" in (ROOT / "LICENSE").read_text()
    assert "creativecommons.org/licenses/by/4.0" in (ROOT / "LICENSE-book").read_text()
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == "BSD-3-Clause"


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"] and citation["title"] and citation["authors"]
    assert citation["license"] == "BSD-3-Clause"
    assert citation["version"] == stlearn_lib.__version__


def test_changelog_begins_with_this_version():
    versions = re.findall(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions[0] == stlearn_lib.__version__


def test_the_api_pages_hold_every_module():
    pages = "".join(path.read_text() for path in (ROOT / "book").glob("api*.md"))
    documented = re.findall(r"^\.\. automodule:: (\S+)$", pages, flags=re.MULTILINE)
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in ROOT.glob("stlearn_lib/**/*.py")
        if path.name != "__init__.py"
    ]
    assert sorted(documented) == sorted([*modules, "data_registry"])
