"""Every chapter is built alike: the same headings in the same order, and behind them what they announce.

Its files and outputs are looked at in test_notebooks.py, its exercises in test_course_material.py.
"""

import re
from pathlib import Path

import pytest

from book.chapter_blocks import read
from book.extensions.objectives import STATED, chapters

OBJECTIVES = "What you will be able to do"
ENDING = ["Exercises", "What stayed with you?", "You can now", "Reproducibility"]
SUMMARY = ["Scope", "Settings", "Data", "Hardware", "Software", "Time", "Beside the paper's", "What was hard"]
WIDGET = "application/vnd.jupyter.widget-view+json"

pytestmark = pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)


def sections(path: Path) -> dict[str, str]:
    """Return the chapter's prose under each of its headings of the second level, in their order."""
    prose = "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    _, *parts = re.split(r"^## (.+)\n", prose + "\n", flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def bullets(text: str) -> list[str]:
    return re.findall(r"^- .+(?:\n  .+)*", text, flags=re.MULTILINE)


def test_begins_and_ends_like_all_others(path):
    first, *others = sections(path)
    assert first == OBJECTIVES
    assert others[-len(ENDING) :] == ENDING


def test_a_picture_comes_before_the_objectives(path):
    for cell in read(path).cells:
        assert f"## {OBJECTIVES}" not in cell.source
        if any(mime.startswith("image/") for output in cell.get("outputs", []) for mime in output.get("data", {})):
            return


def test_what_is_promised_is_taken_up_at_the_end(path):
    promised, kept = (bullets(sections(path)[heading]) for heading in (OBJECTIVES, "You can now"))
    assert len(promised) == len(kept) >= 3


def test_says_how_long_it_takes_and_what_it_builds_on(path):
    for fact in STATED:
        assert f"{fact}: " in sections(path)[OBJECTIVES]


def test_asks_what_stayed(path):
    questions = re.findall(r"^:::\{dropdown\} (.+)\n(.+)", sections(path)["What stayed with you?"], flags=re.MULTILINE)
    assert len(questions) >= 3
    for question, answer in questions:
        assert len(question) > 20 and len(answer) > 20, question


def test_has_a_widget_and_a_numbered_equation(path):
    outputs = [output for cell in read(path).cells for output in cell.get("outputs", [])]
    assert any(WIDGET in output.get("data", {}) for output in outputs)
    assert any(re.search(r"^\$\$ \(eq-[\w-]+\)$", cell.source, flags=re.MULTILINE) for cell in read(path).cells)


def test_sums_up_what_it_takes_to_reproduce_it(path):
    rows = dict(re.findall(r"^\| ([^|]+?) \| (.+) \|$", sections(path)["Reproducibility"], flags=re.MULTILINE))
    assert [row for row in rows if row in SUMMARY] == SUMMARY
    for row in ("Hardware", "Software", "Time"):
        assert "{glue:text}" in rows[row], "measured where the chapter ran"
