"""A chapter's outputs are compared where it computes on what the committed ones come from.

Where real sections cannot be had, chapters run on simulated tissue. The registered encoder has no public address:
without a mirror, timm's own weights take its place.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

from book.agreement import disagreements
from data_registry import AccessError, NetworkError, fetch, fetch_sections

ENCODER = "mobilenetv2_100"


@cache
def real_sections_can_be_had() -> bool:
    """Try the smallest section that the chapters read."""
    try:
        fetch_sections("her2st", ["C3"], roles=["counts"], progress=False)
    except NetworkError:
        return False
    return True


@cache
def registered_encoder_can_be_had() -> bool:
    """Look for the weights that the committed outputs were computed with."""
    try:
        fetch("weights", progress=False)
    except AccessError:
        return False
    return True


@cache
def comparable(chapter: Path) -> bool:
    """Whether the chapter computes here on what its committed outputs come from."""
    same_encoder = ENCODER not in chapter.read_text(encoding="utf-8") or registered_encoder_can_be_had()
    return real_sections_can_be_had() and same_encoder


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say so at the head of the report: nothing is left out silently."""
    if not config.option.nbval_lax:
        return None
    if not real_sections_can_be_had():
        return "chapters: no real sections within reach, so outputs are not compared with the committed ones"
    if not registered_encoder_can_be_had():
        return f"chapters: without the registered {ENCODER}, outputs of chapters that use it are not compared"
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let nbval run the cells and compare nothing itself: it would take every rounding for a difference."""
    for item in items:
        if isinstance(item, IPyNbCell):
            item.options["check"] = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Compare what a cell has just printed and handed to the prose with what is committed."""
    yield
    if isinstance(item, IPyNbCell) and comparable(item.path):
        found = list(disagreements(item.cell, item.test_outputs, item.sanitize))
        if found:
            item.raise_cell_error("The chapter says something else than before", "\n".join(found))
