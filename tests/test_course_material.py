"""What is made from the chapters holds what they hold, and what is handed out holds no solution."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup

from book import course_material
from book.chapter_blocks import exercises, numbers, plain, read
from book.extensions.objectives import PLACEHOLDER, chapters, entry

ROOT = Path(__file__).parents[1]
NUMBERED = list(enumerate(chapters(), 1))
every_chapter = pytest.mark.parametrize(("number", "path"), NUMBERED, ids=[path.stem for _, path in NUMBERED])


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """Make everything once."""
    folder = tmp_path_factory.mktemp("course")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(course_material, "COURSE", folder)
        course_material.write_slides()
        course_material.write_exercises()
    return folder


def deck(course: Path, path: Path) -> BeautifulSoup:
    return BeautifulSoup((course / f"{path.stem}.html").read_text(encoding="utf-8"), "html.parser")


def solution_lines(path: Path) -> set[str]:
    """Return the lines that stand in solutions and nowhere else, read from the notebook line by line."""
    places = {True: set(), False: set()}
    inside = False
    for cell in nbformat.read(path, as_version=4).cells:
        for line in cell.source.splitlines():
            inside = inside or "{solution-start}" in line
            places[inside].add(line.strip())
            inside = inside and "{solution-end}" not in line
    return {line for line in places[True] - places[False] if len(line) > 20}


def test_all_chapters_are_known():
    assert [path for _, path in NUMBERED] == sorted((ROOT / "book").glob("[0-9][0-9]_*.ipynb"))


@every_chapter
def test_three_exercises_with_solutions(number, path):
    source = "".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    found = exercises(read(path))
    assert len(found) == source.count("{exercise}") == source.count("{solution-start}") == 3
    for exercise in found:
        assert f"{{exercise}} {exercise.title}\n" in source and len(exercise.text) > 50
        assert any(block.cell for block in exercise.solution), "a solution has code"
        assert any(block.kind == "paragraph" for block in exercise.solution), "and says what it means"


@every_chapter
def test_sheets_hold_no_solution(course, number, path):
    handed_out = course / f"{path.stem[:2]}_exercises.ipynb"
    sheet = nbformat.read(handed_out, as_version=4)
    nbformat.validate(sheet)
    text = "\n".join(cell.source for cell in sheet.cells) + handed_out.with_suffix(".md").read_text(encoding="utf-8")
    assert not [line for line in solution_lines(path) if line in text]
    assert not any(cell.get("outputs") for cell in sheet.cells)
    asked = [place for place, cell in enumerate(sheet.cells) if cell.source.startswith(f"## Exercise {number}.")]
    assert len(asked) == 3
    assert all(sheet.cells[place + 1].cell_type == "code" and not sheet.cells[place + 1].source for place in asked)


@every_chapter
def test_solutions_are_whole(course, number, path):
    solutions = nbformat.read(course / "solutions" / f"{path.stem[:2]}_solutions.ipynb", as_version=4)
    code = [cell.source for cell in solutions.cells if cell.cell_type == "code"]
    lines = solution_lines(path)
    assert len(code) >= 3
    assert {line.strip() for source in code for line in source.splitlines() if len(line.strip()) > 20} & lines


@every_chapter
def test_decks_hold_every_figure_outside_of_solutions(course, number, path):
    slides = deck(course, path)
    alternatives = [picture["alt"] for picture in slides.find_all("img")]
    inside = False
    for cell in nbformat.read(path, as_version=4).cells:
        inside = (re.findall(r"{solution-(start|end)}", cell.source) or [("end", "start")[inside]])[-1] == "start"
        page = cell.metadata.get("mystnb", {})
        pictures = [mime for output in cell.get("outputs", []) for mime in output.get("data", {}) if "image/" in mime]
        hidden = {"remove-cell", "remove-output"} & set(cell.metadata.get("tags", []))
        if pictures and not hidden:
            assert (page["image"]["alt"] in alternatives) != inside
    assert all(alternatives)


@every_chapter
def test_decks_need_no_network(course, number, path):
    for element in deck(course, path).select("[src], link[href]"):
        address = urlsplit(element.get("src") or element["href"])
        assert address.scheme == "data" or (course / address.path).is_file()
    style = (course / f"{path.stem}.html").read_text(encoding="utf-8")
    assert "@import" not in style and "url(http" not in style


@every_chapter
def test_decks_are_words_and_not_directives(course, number, path):
    for code in (slides := deck(course, path)).find_all(["pre", "script", "style"]):
        code.decompose()
    assert not re.search(r"\{[\w:]+\}`|^:::|\$\$|:label:", slides.get_text(), flags=re.MULTILINE)
    assert slides.find(string=re.compile("What you will be able to do"))
    assert len(slides.find_all("h1", string=re.compile("^Exercise: "))) == 3


@every_chapter
def test_equations_keep_their_numbers(course, number, path):
    text = unescape((course / f"{path.stem}.html").read_text(encoding="utf-8"))
    tags = re.findall(r"\\tag\{(\d+)\.(\d+)\}", text)
    assert [int(chapter) for chapter, _ in tags] == [number] * len(tags)
    assert [int(place) for _, place in tags] == list(range(1, len(tags) + 1))


def test_numbers_as_in_the_book():
    """Looked up on the page that Sphinx made of chapter 1."""
    assert numbers()["fig-section"] == "Fig. 1.1" and numbers()["fig-shift"] == "Fig. 1.4"
    assert numbers()["eq-poisson-zero"] == "(1.3)"


def test_roles_become_words():
    text = "{term}`spots <spot>`, {func}`~a.b.c`, {cite:t}`moon2020`, {cite}`stahl2016,hoerl1970ridge`, {doc}`cluster`"
    assert plain(text, {}) == "spots, `c`, Moon et al. 2020, (Ståhl et al. 2016; Hoerl et al. 1970), cluster"
    assert plain("{glue:text}`n:,.0f` and {glue:text}`name`", {"n": "1234.5", "name": "'C3'"}) == "1,234 and C3"


@every_chapter
def test_objectives_are_those_of_the_chapter(number, path):
    source = "\n\n".join(
        cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"
    )
    promised = source.split("## What you will be able to do")[1].split("\n## ")[0]
    shown = entry(number, path)
    assert shown.startswith(f"## {number} [") and f"({path.name})" in shown
    assert shown.count("\n- ") == promised.count("\n- ") >= 3
    for line in promised.splitlines():
        assert "{glue" in line or not line.startswith(("- ", "  ")) or line in shown
    for fact in ("Reading time", "Running time", "Prerequisites"):
        assert (f"{fact}: " in promised) == (f"\n{fact}\n: " in shown)
    assert "\nLast run\n: " in shown
    assert f"{{glue:text}}`{path.name}::" in shown and not re.search(r"\{glue:text\}`(?!\d\d_)", shown)


def test_nothing_is_copied_by_hand():
    assert PLACEHOLDER in (ROOT / "book" / "objectives.md").read_text(encoding="utf-8")


def test_the_plan_names_every_exercise():
    """Grading notes that lack an exercise, or name one that was renamed, are out of date."""
    plan = (ROOT / "book" / "course.md").read_text(encoding="utf-8")
    noted = re.findall(r"^\| (\d+\.\d) ([^|]+) \|", plan, flags=re.MULTILINE)
    titles = {int(path.stem[:2]): [exercise.title for exercise in exercises(read(path))] for path in chapters()}
    asked = [(f"{chapter}.{place}", title) for chapter in titles for place, title in enumerate(titles[chapter], 1)]
    assert noted == asked
