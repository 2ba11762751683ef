"""Print the built book as one PDF: ``python -m book.pdf``, after ``make book``.

Chromium prints it, so nobody needs LaTeX. It is printed twice: the first time says on which pages the chapters begin.
"""

from collections.abc import Sequence
from datetime import date
from io import BytesIO
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader
from playwright.sync_api import Page as Tab
from pypdf import PdfReader, PdfWriter
from pypdf.generic import Destination

import stlearn_lib
from book.browser import chromium, served
from book.one_page import Page, pages
from stlearn_lib.cache import written_whole

ROOT = Path(__file__).parents[1]
PDF = ROOT / "_build" / "pdf" / "from_tissue_image_to_gene_expression.pdf"
REFERENCE = "book/api"  # of the library: 230 pages that nobody reads on paper
PATIENCE_S = 600  # a thousand formulas, and some hundred pages
WIDTH_PX = 658  # of the text on A4, as in print.css

# Tables and formulas that are too wide are made smaller, all of one as much as it takes.
FIT = """() => {
  for (const wide of document.querySelectorAll("table, div.math > mjx-container")) {
    const room = wide.parentElement.clientWidth, needed = wide.scrollWidth;
    if (needed > room) wide.style.zoom = room / needed;
  }
}"""
# If anything still is too wide, Chromium prints every page smaller.
TOO_WIDE = """width => [...document.querySelectorAll("body :not(mjx-container, mjx-container *)")]
  .filter(part => part.getBoundingClientRect().left + part.scrollWidth * part.currentCSSZoom > width + 1)
  .map(part => part.outerHTML.slice(0, 100))"""
NUMBER = """numbers => document.querySelectorAll(".book-page").forEach((place, i) => place.textContent = numbers[i])"""


def html(found: list[Page], head: str, config: dict) -> str:
    """Return the book as one page, with a cover and a table of contents."""
    environment = Environment(loader=FileSystemLoader(ROOT / "book"), trim_blocks=True)
    return environment.get_template("book.html.jinja").render(
        pages=found,
        head=head,
        title=config["title"],
        author=config["author"],
        licence=config["html"]["extra_footer"],
        picture=found[0].body.img["src"],
        version=stlearn_lib.__version__,
        date=date.today().strftime("%-d %B %Y"),
    )


def print_book(text: str, folder: Path) -> PdfReader:
    """Print the page, with bookmarks, and with the numbers of pages in its contents.

    Args:
        text: The page.
        folder: Where the files are that it names.

    Returns:
        The PDF.

    Raises:
        ValueError: If something does not fit on the page, or the contents give other numbers than the pages have.
    """
    with chromium() as browser, served(folder) as address:
        tab = browser.new_page(viewport={"width": WIDTH_PX, "height": 1000})
        tab.set_default_timeout(PATIENCE_S * 1000)
        tab.emulate_media(media="print")
        tab.route(f"{address}/print", lambda route: route.fulfill(body=text, content_type="text/html; charset=utf-8"))
        tab.goto(f"{address}/print")
        tab.wait_for_function("MathJax.startup.promise.then(() => document.fonts.ready).then(() => true)")
        tab.evaluate(FIT)
        if too_wide := tab.evaluate(TOO_WIDE, WIDTH_PX):
            raise ValueError(f"Wider than the page, the last one within the others: {too_wide}")
        told = chapters(_printed(tab))
        tab.evaluate(NUMBER, [number for _, number in told])
        book = _printed(tab)
    if chapters(book) != told:
        raise ValueError(f"The contents say {told}, but the chapters are at {chapters(book)}.")
    return book


def _printed(tab: Tab) -> PdfReader:
    return PdfReader(BytesIO(tab.pdf(prefer_css_page_size=True, print_background=True, outline=True, tagged=True)))


def chapters(book: PdfReader) -> list[tuple[str, int]]:
    """Return title and page number of the chapters, from the bookmarks of the highest level."""
    marks = [mark for mark in book.outline if isinstance(mark, Destination)]
    return [(mark.title, book.get_destination_page_number(mark) + 1) for mark in marks]


def check(book: PdfReader, titles: Sequence[str]) -> None:
    """Raise a ValueError if chapters are missing or in disorder, a link leads nowhere, or a page is empty."""
    found = [title for title, _ in chapters(book)]
    if found != list(titles):
        raise ValueError(f"The bookmarks are not the chapters: {found}")
    links = [link.get_object() for page in book.pages for link in page.get("/Annots", [])]
    lost = {link["/Dest"] for link in links if "/Dest" in link} - book.named_destinations.keys()
    if lost or not links:
        raise ValueError(f"Of {len(links)} links these lead nowhere: {sorted(lost)}")
    # Only what belongs to the text is marked, running titles and page numbers are not.
    empty = [number for number, page in enumerate(book.pages, 1) if b"/MCID" not in page.get_contents().get_data()]
    if empty:
        raise ValueError(f"Nothing is on pages {empty}.")


def main() -> None:
    """Print the book, and keep it if it is whole."""
    config, toc = (yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in ("_config.yml", "_toc.yml"))
    for part in toc["parts"]:
        part["chapters"] = [chapter for chapter in part["chapters"] if chapter["file"] != REFERENCE]
    folder = ROOT / "_build" / "html"
    found, head = pages(folder, toc)
    book = print_book(html(found, head, config), folder)
    check(book, [page.title for page in found])
    writer = PdfWriter(book.stream, incremental=True)
    writer.add_metadata({"/Title": config["title"], "/Author": config["author"]})
    with written_whole(PDF) as path:
        writer.write(path)
    print(f"{PDF.relative_to(ROOT)}: {len(book.pages)} pages, {PDF.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
