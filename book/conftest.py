"""A chapter's outputs are compared where it computes on what the committed ones come from.

Where real sections cannot be had, chapters run on simulated tissue. The registered encoder has no public address:
without a mirror, timm's own weights take its place. And a processor or a number of threads that adds numbers in another
order changes the encoder's features in their sixth digit; a training amplifies that to the third digit of its score.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

from book.agreement import disagreements
from data_registry import AccessError, NetworkError, fetch, fetch_sections
from stlearn_lib.datasets import load_sections
from stlearn_lib.methods.features import build_features

ENCODER = "mobilenetv2_100"
FEATURES_OF_C3 = "3cf9923dfb7d0d2d"
"""Hash of what the encoder makes of section C3 with one thread, on the processor that the committed outputs name."""


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
def features_are_the_same() -> bool:
    """Whether the encoder sees in C3, to the last bit, what it saw for the committed outputs."""
    features = build_features(f"deep:{ENCODER}")(*load_sections(["C3"]))
    return hashlib.blake2b(features.tobytes(), digest_size=8).hexdigest() == FEATURES_OF_C3


@cache
def comparable(chapter: Path) -> bool:
    """Whether the chapter computes here on what its committed outputs come from."""
    if not real_sections_can_be_had():
        return False
    uses_encoder = ENCODER in chapter.read_text(encoding="utf-8")
    return not uses_encoder or (registered_encoder_can_be_had() and features_are_the_same())


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say so at the head of the report: nothing is left out silently."""
    if not config.option.nbval_lax:
        return None
    if not real_sections_can_be_had():
        return "chapters: no real sections within reach, so outputs are not compared with the committed ones"
    if not registered_encoder_can_be_had():
        return f"chapters: without the registered {ENCODER}, outputs of chapters that use it are not compared"
    if not features_are_the_same():
        return (
            f"chapters: this processor, or its number of threads, changes the last digits of {ENCODER}'s features, "
            "so outputs of chapters that use it are not compared"
        )
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
