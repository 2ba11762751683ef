"""Where real sections cannot be had, chapters run on simulated tissue, and their outputs are not compared."""

from functools import cache

import pytest
from nbval.plugin import IPyNbCell

from data_registry import NetworkError, fetch_sections


@cache
def real_sections_can_be_had() -> bool:
    """Try the smallest section that the chapters read."""
    try:
        fetch_sections("her2st", ["C3"], roles=["counts"], progress=False)
    except NetworkError:
        return False
    return True


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say so at the head of the report: nothing is left out silently."""
    if config.option.nbval_lax and not real_sections_can_be_had():
        return "chapters: no real sections within reach, so outputs are not compared with the committed ones"
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the cells that are tagged nbval-check-output run without comparing what they print."""
    checked = [item for item in items if isinstance(item, IPyNbCell) and item.options["check"]]
    if checked and not real_sections_can_be_had():
        for cell in checked:
            cell.options["check"] = False
