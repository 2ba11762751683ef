"""How the scripts of this folder are run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stlearn_lib.data.synthetic import simulate_section


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """One section is enough here, and four take as long as all else."""
    return [simulate_section("S1", tmp_path_factory.mktemp("simulated"))]


@pytest.fixture
def script(tmp_path):
    """Run a script on a work, in a process without threads, which may fork; return what it prints."""

    def script(name, work):
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        paths = {"PYTHONPATH": str(Path(__file__).parents[2]), "STLEARN_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, Path(__file__).with_name(name), work, tmp_path]
        done = subprocess.run(command, env=os.environ | single | paths, capture_output=True, text=True, timeout=900)
        assert not done.returncode, done.stderr
        return json.loads(done.stdout), done.stderr

    return script
