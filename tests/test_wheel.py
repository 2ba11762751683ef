"""The wheel holds the library, the registry and the results that readers look for, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
INSTALLED = (".yaml", ".parquet")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Build the wheel from a copy of its sources, into which no build folder of an earlier day can leak."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "stlearn_lib", source / "stlearn_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "results", source / "results", ignore=shutil.ignore_patterns("tasks"))
    for name in ("data_registry.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", source / "dist", source]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = (source / "dist").glob("*.whl")
    return path


def test_it_holds_every_module_and_no_more(wheel):
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert any(name.endswith("LICENSE") for name in archive.namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("stlearn_lib/**/*.py")}
    results = {f"stlearn_lib/results/{path.name}" for path in ROOT.glob("results/*") if path.suffix in INSTALLED}
    assert names == modules | results | {"data_registry.py"}


def test_it_is_imported_from_an_empty_environment(wheel, tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel],
        check=True,
        capture_output=True,
    )
    # The dependencies come from where the tests run; .pth files there, such as an editable install's, are not followed.
    lines = [f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})"]
    lines.append("import data_registry, json, stlearn_lib.data.expression as module")
    lines.append("from stlearn_lib.reproduction.published import read_published, results_folder")
    lines.append("assert len(read_published())")
    lines.append("print(json.dumps([data_registry.__file__, module.__file__, str(results_folder())]))")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [python, "-c", "\n".join(lines)], cwd=tmp_path, env=clean, check=True, capture_output=True, text=True
    )
    assert all(Path(file).is_relative_to(environment) for file in json.loads(run.stdout))
    assert (environment / "bin" / "stlearn-lib").exists()
