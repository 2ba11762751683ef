"""Look at the pages that `make book` made. `make check-book` runs this: the other tests come before there are pages."""

import os
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
CHAPTERS = [chapter["file"] for part in TOC["parts"] if part.get("numbered") for chapter in part["chapters"]]
ENTRIES = [chapter for part in TOC["parts"] for chapter in part["chapters"]]
ENTRIES += [section for chapter in ENTRIES for section in chapter.get("sections", [])]
PAGES = [HTML / f"{file}.html" for file in [TOC["root"], *(entry["file"] for entry in ENTRIES)]]
REAL_DATA_REQUIRED = os.environ.get("STLEARN_REQUIRE_REAL_DATA") == "1"

every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
every_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda file: Path(file).name)


@cache
def page(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def places(path: Path) -> set[str]:
    """Return what a link may name on a page."""
    return {place["id"] for place in page(path).select("[id]")} | {a["name"] for a in page(path).select("a[name]")}


def content(path: Path) -> BeautifulSoup:
    """Return what the author wrote, without the theme's frame."""
    return page(path).find("article")


def test_the_book_opens():
    redirect = page(HTML / "index.html").find("meta", attrs={"http-equiv": re.compile("refresh", re.IGNORECASE)})
    assert (HTML / redirect["content"].partition("url=")[2]).is_file()
    assert len(CHAPTERS) >= 5


@every_chapter
def test_says_which_data_it_computed_on(chapter):
    article = content(HTML / f"{chapter}.html")
    real, simulated = article.select(".stlearn-data-real"), article.select(".stlearn-data-simulated")
    assert real or simulated, "the chapter shows no data_notice(sections)"
    assert not (real and simulated)
    assert real or not REAL_DATA_REQUIRED, "simulated tissue, but STLEARN_REQUIRE_REAL_DATA=1"


@every_page
def test_no_dead_links(path):
    dead = []
    for attribute in ("href", "src"):
        for element in page(path).select(f"[{attribute}]"):
            parts = urlsplit(element[attribute])
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            names_a_place = parts.fragment and target.suffix == ".html"
            if not target.is_file() or (names_a_place and unquote(parts.fragment) not in places(target)):
                dead.append(element[attribute])
    assert not dead


@every_page
def test_every_picture_has_an_alternative_text(path):
    for picture in page(path).find_all("img"):
        alt = picture.get("alt", "").strip()
        embedded = picture["src"].startswith("data:")
        # docutils writes the file's name where the author wrote nothing
        assert alt and (embedded or Path(picture["src"]).name not in alt), f"{alt!r}: {picture['src'][:80]}"


@every_page
def test_every_picture_of_the_author_has_a_caption(path):
    for picture in content(path).find_all("img"):
        figure = picture.find_parent("figure")
        widget = picture.find_parent(class_=["stlearn-picker", "stlearn-slider"])  # its label says what is shown
        assert widget or (figure and figure.find("figcaption")), picture["src"][:80]


@every_page
def test_nothing_went_wrong_on_the_page(path):
    outputs = "".join(output.get_text() for output in content(path).select(".cell_output"))
    assert "Traceback (most recent call last)" not in outputs
    text = content(path).get_text()
    assert not re.search(r"\{(glue|cite|ref|numref|doc|term|eq)(:\w+)?\}", text), "a role that was not rendered"
