"""The workflows on GitHub: well-formed, without surplus rights, and made of commands that also run here."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path
from string import Template
from zipfile import ZipFile

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import stlearn_lib
from book.colab import tagged_clone

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(GITHUB.glob("workflows/*.yml"))}
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"].values()]
STEPS = [step for _, job in JOBS for step in job["steps"]]
COMMANDS = sorted({line for step in STEPS for line in step.get("run", "").splitlines()})
SCRIPTS = Path(sysconfig.get_path("scripts"))
# The environment that runs the tests, taken as it is.
HERE = [f"VENV={sys.prefix}", f"--old-file={sys.prefix}/.installed"]


def make(*arguments, cwd=ROOT) -> subprocess.CompletedProcess:
    # A make that runs the tests hands its own flags down.
    clean = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *HERE, *arguments], cwd=cwd, env=clean, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", sorted(GITHUB.glob("workflows/*.yml"))),
        ("vendor.dependabot", [GITHUB / "dependabot.yml"]),
        ("vendor.citation-file-format", [ROOT / "CITATION.cff"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_schema(schema, files):
    command = [SCRIPTS / "check-jsonschema", "--builtin-schema", schema, *files]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert files and not done.returncode, done.stdout


def test_zizmor_finds_nothing():
    command = [SCRIPTS / "zizmor", "--offline", "--no-progress", "--strict-collection", GITHUB]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert not done.returncode, done.stdout


@pytest.mark.parametrize(("name", "job"), JOBS, ids=lambda value: value if isinstance(value, str) else "")
def test_what_expressions_name_is_there(name, job):
    """What neither linter sees: an unknown name is the empty string, silently."""
    text = yaml.safe_dump(job)
    assert "needs" not in job or job["needs"] in WORKFLOWS[name]["jobs"]
    assert set(re.findall(r"steps\.(\w+)", text)) <= {step.get("id") for step in job["steps"]}
    assert set(re.findall(r"matrix\.(\w+)", text)) <= job.get("strategy", {}).get("matrix", {}).keys()
    assert all((ROOT / file).is_file() for file in re.findall(r"hashFiles\('(.+?)'\)", text))


def test_actions_are_githubs_and_of_one_version_each():
    used = {step["uses"] for step in STEPS if "uses" in step}
    assert all(re.fullmatch(r"actions/[\w/-]+@v\d+", action) for action in used)
    repositories = {re.sub(r"^(actions/[\w-]+)/.+@", r"\1@", action) for action in used}  # cache and cache/restore
    assert len({each.partition("@")[0] for each in repositories}) == len(repositories)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run_here_too(command):
    if command.startswith("sudo rm -rf "):
        pytest.skip("makes room on GitHub's machine")
    filled = Template(command.partition(" | ")[0]).substitute(GITHUB_REF_NAME="v0", CHAPTER="01_one_section")
    words = shlex.split(filled)
    assert words[0] == "make"
    done = make("--dry-run", *words[1:])
    assert not done.returncode and done.stdout, done.stderr


def test_they_agree_with_the_rest_of_the_repository():
    configuration = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
    for name in ("test", "book"):
        assert WORKFLOWS[name][True]["push"]["branches"] == [configuration["branch"]]  # YAML 1.1 reads `on` as True
    assert WORKFLOWS["book"]["jobs"]["publish"]["if"] == f"github.ref == 'refs/heads/{configuration['branch']}'"

    chapters = WORKFLOWS["colab"]["jobs"]["chapter"]["strategy"]["matrix"]["chapter"]
    assert chapters == sorted(path.stem for path in (ROOT / "book").glob("*.ipynb"))

    pythons = WORKFLOWS["test"]["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert SpecifierSet(f">={pythons[0]}") == SpecifierSet(
        re.search(r'requires-python = "(.+)"', (ROOT / "pyproject.toml").read_text()).group(1)
    )

    text = "".join(path.read_text() for path in GITHUB.rglob("*.yml"))
    assert "://" not in text, "the repository's address stands in _config.yml alone"


def test_zenodo_reads_the_citation():
    assert not (ROOT / ".zenodo.json").exists(), "Zenodo would not look at CITATION.cff"


def test_a_tag_that_is_not_the_version_is_no_release():
    done = make("check-release", "TAG=v0.0.0")
    assert done.returncode
    assert f"The tag is 'v0.0.0', but stlearn_lib/__init__.py says {stlearn_lib.__version__}." in done.stdout


def test_the_archive_of_a_release(tmp_path):
    shutil.copytree(ROOT / "stlearn_lib", tmp_path / "stlearn_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns("tasks"))
    for name in ("Makefile", "constraints.txt", "data_registry.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)

    assert "make book" in make("release-archive", cwd=tmp_path).stdout
    page = tmp_path / "_build/html/index.html"
    page.parent.mkdir(parents=True)
    page.write_text("the book")
    (tmp_path / "_build/pdf").mkdir()
    (tmp_path / "_build/pdf/book.pdf").write_text("the book, printed")
    done = make("release-archive", cwd=tmp_path)
    assert not done.returncode, done.stderr

    sums = dict(reversed(line.split()) for line in (tmp_path / "dist/SHA256SUMS").read_text().splitlines())
    release = f"stlearn_lib-{stlearn_lib.__version__}"
    assert sums.keys() == {
        f"{release}.tar.gz",
        f"{release}-py3-none-any.whl",
        "book.zip",
        "book.pdf",
        "constraints.txt",
        "environment.txt",
        "ledger.csv",
        "ledger.parquet",
    }
    for name, digest in sums.items():
        assert hashlib.sha256((tmp_path / "dist" / name).read_bytes()).hexdigest() == digest
    with ZipFile(tmp_path / "dist/book.zip") as book:
        assert book.read("html/index.html") == b"the book"
    environment = (tmp_path / "dist/environment.txt").read_text().splitlines()
    assert environment[0].startswith(f"# Python {sys.version.split()[0]}")
    assert f"numpy=={version('numpy')}" in environment


def test_chapters_on_colab_install_the_last_commit_by_the_tag_of_this_version(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout")
    address = tagged_clone(tmp_path)

    def commit(repository: str | Path, name: str) -> str:
        command = ["git", "ls-remote", repository, name]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]

    assert commit(address, f"refs/tags/v{stlearn_lib.__version__}") == commit(ROOT, "HEAD")
