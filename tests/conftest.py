"""What tests share: a private cache, the mirror of real data where there is one, and a small simulated cohort."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from anndata import AnnData

from stlearn_lib.cli import main
from stlearn_lib.data.synthetic import simulate_section


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    """Return the folder of the authors' values."""
    return Path(__file__).parent / "reference"


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory, monkeypatch):
    """Keep tests out of the user's cache; one folder for the whole run, so that patches are cut once."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("STLEARN_CACHE", str(folder))


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Return the folder of real data, or skip the test where there is none."""
    folder = os.environ.get("STLEARN_DATA_MIRROR")
    if not folder:
        pytest.skip("needs real data: set STLEARN_DATA_MIRROR to a folder laid out like the registry")
    return Path(folder)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> list[AnnData]:
    """Return four simulated sections of two patients."""
    folder = tmp_path_factory.mktemp("simulated")
    return [simulate_section(name, folder) for name in ("S1", "S2", "T1", "T2")]


@pytest.fixture
def section(cohort) -> AnnData:
    """Return one simulated section, free to be changed."""
    return cohort[0].copy()


@pytest.fixture
def run(monkeypatch, capsys):
    """Call the command line in this process; starting one for each call takes seconds."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["stlearn-lib", *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        else:
            code = 0
        return SimpleNamespace(returncode=code, **capsys.readouterr()._asdict())

    return run
