"""pyproject.toml, environment.yml and constraints.txt describe one environment."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
REQUIREMENTS = CORE + [Requirement(line) for extra in PROJECT["optional-dependencies"].values() for line in extra]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
PINS = {
    canonicalize_name(pin.name): pin.specifier
    for pin in (Requirement(line) for line in CONSTRAINTS.splitlines() if not line.startswith("#"))
}
PYPI_NAMES = {  # conda-forge's -> PyPI's
    "pytorch": "torch",
    "matplotlib-base": "matplotlib",
    "python-build": "build",
    "pytorch_geometric": "torch-geometric",
    "ray-default": "ray",
}


def ranges(lines) -> dict[str, SpecifierSet]:
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(PYPI_NAMES.get(r.name, r.name)): r.specifier for r in requirements}


def test_conda_agrees_with_pyproject():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    from_pip = next(entry["pip"] for entry in dependencies if isinstance(entry, dict))
    conda = ranges(line for line in dependencies if isinstance(line, str))
    conda |= ranges(line for line in from_pip if not line.startswith("--"))

    assert conda.pop("python") == SpecifierSet(PROJECT["requires-python"])
    assert conda.pop("pip") == SpecifierSet()
    assert conda == {canonicalize_name(r.name): r.specifier for r in REQUIREMENTS}
    assert "--editable ." in from_pip


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_pinned_within_its_range(requirement):
    (pin,) = PINS[canonicalize_name(requirement.name)]
    assert pin.operator == "=="
    assert requirement.specifier.contains(pin.version, prereleases=True)


def test_constraints_name_versions_and_no_addresses():
    assert "://" not in CONSTRAINTS and " @ " not in CONSTRAINTS and "-e " not in CONSTRAINTS
    assert "+" not in "".join(str(pin) for pin in PINS.values()), "a local version (+cu132) exists on one index only"
    assert not [name for name in PINS if name.startswith(("nvidia-", "cuda-", "triton"))], "torch pins its CUDA parts"
    assert {"torch", "torchvision"} <= PINS.keys()


def test_every_import_of_the_library_is_a_dependency():
    # The imports that may fail, with an error that says what to install.
    extra = {
        "engines.py": {"ray"},
        "tissue.py": {"lazyslide", "wsidata", "spatialdata", "shapely"},  # the others come with it
        "spatial_data.py": {"spatialdata", "xarray", "tifffile"},
    }
    distributions = packages_distributions()
    undeclared = {}
    for path in [*ROOT.glob("stlearn_lib/**/*.py"), ROOT / "data_registry.py"]:
        declared = {canonicalize_name(requirement.name) for requirement in CORE} | extra.get(path.name, set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            else:
                continue
            for module in {name.partition(".")[0] for name in modules} - sys.stdlib_module_names:
                if module in ("stlearn_lib", "data_registry"):
                    continue
                if not {canonicalize_name(name) for name in distributions.get(module, [module])} & declared:
                    undeclared.setdefault(module, []).append(path.name)
    assert not undeclared
