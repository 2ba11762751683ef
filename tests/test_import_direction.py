"""Imports run one way, as CONTRIBUTING.md says; read from the source, so that nothing has to be imported."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A part may import the parts of earlier lines, and itself; parts of one line do not know each other.
LAYERS = (
    ("errors",),
    ("storage",),
    ("cache",),
    ("data", "models", "losses", "retrieval", "saving"),
    ("training",),
    ("methods",),
    ("evaluation",),
    ("datasets", "plotting", "protocols"),
    ("slides", "application"),
    ("reproduction",),
    ("widgets", "cli_slides", "cli_sections", "cli_reproduce", "cli_apply"),
    ("cli",),
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
SOURCES = sorted(path for path in ROOT.glob("stlearn_lib/**/*.py") if path != ROOT / "stlearn_lib/__init__.py")


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "stlearn_lib").with_suffix("").parts[0]


def imported_parts(tree: ast.AST) -> set[str]:
    """Return the parts of the library that a module imports, wherever in it the import stands."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    inside = {module.split(".")[1] for module in modules if module.startswith("stlearn_lib.")}
    return inside - {"__version__"}


def test_every_part_has_its_place():
    assert {part_of(path) for path in SOURCES} <= LEVEL.keys()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_to_earlier_parts(path):
    part = part_of(path)
    later = {
        other for other in imported_parts(ast.parse(path.read_text())) if other != part and LEVEL[other] >= LEVEL[part]
    }
    assert not later, f"{part} must not import {later}"


def test_the_registry_knows_nothing_of_the_library():
    assert not imported_parts(ast.parse((ROOT / "data_registry.py").read_text()))


def test_the_rule_is_seen_in_every_form_of_import():
    tree = ast.parse(
        "import stlearn_lib.data.genes\nfrom stlearn_lib import cli\ndef f(): from stlearn_lib.losses import x"
    )
    assert imported_parts(tree) == {"data", "cli", "losses"}
