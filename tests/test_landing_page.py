"""The landing page shows every chapter; the course plan has a week for every chapter."""

import re
from pathlib import Path

from book.extensions.objectives import chapters

ROOT = Path(__file__).parents[1]
LANDING = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
STEMS = [path.stem for path in chapters()]


def test_every_chapter_is_listed_once_and_in_order():
    listed = re.findall(r"^(\d+)\. \[\]\((\w+)\.ipynb\)", LANDING, flags=re.MULTILINE)
    assert listed == [(str(number), stem) for number, stem in enumerate(STEMS, 1)]


def test_the_two_commands_exist():
    commands = re.findall(r"^make ([\w-]+)$", LANDING, flags=re.MULTILINE)
    targets = re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(commands) == 2 and set(commands) <= set(targets)


def test_every_chapter_has_its_week():
    seminar = re.search(
        r"## A seminar of .+?(?=^### A project)",
        (ROOT / "book" / "course.md").read_text("utf-8"),
        re.DOTALL | re.MULTILINE,
    )[0]
    prepared = re.findall(r"<(\d\d_\w+)>", " ".join(re.findall(r"\*\*Prepare\*\*.+?\*\*Paper\*\*", seminar, re.DOTALL)))
    assert sorted(prepared) == STEMS
