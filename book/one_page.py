"""The pages of the built book as a single one, in the order of its contents: what is printed.

The pages are taken as Sphinx wrote them, so the numbers of figures, equations and exercises are those of the web pages.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urldefrag, urljoin

from bs4 import BeautifulSoup, Tag

STYLES_AND_FORMULAS = "link[rel=stylesheet], script:-soup-contains('window.MathJax'), script[src*=mathjax]"


@dataclass
class Page:
    """A page of the book. Its name begins the names of all places in it, and is one that CSS accepts."""

    name: str
    part: str
    nested: bool
    title: str
    body: Tag


def pages(folder: Path, toc: dict) -> tuple[list[Page], str]:
    """Read the built pages.

    Args:
        folder: Where the HTML is.
        toc: The table of contents, as in `_toc.yml`. Links to pages that it does not name become plain text.

    Returns:
        The pages, whose links lead to places of the single page, and the styles and scripts that show them. Files have
        addresses that begin at the folder.

    Raises:
        LookupError: If a link leads to no place of the book.
    """
    found, head = [], ""
    for part, file, nested in _files(toc):
        soup = BeautifulSoup((folder / f"{file}.html").read_text(encoding="utf-8"), "html.parser")
        _address_files(soup, file)
        head = head or "\n".join(map(str, soup.select(STYLES_AND_FORMULAS)))
        body = soup.select_one("article.bd-article")
        for dead in body.select(".headerlink, script"):
            dead.decompose()
        for picker in body.select(".stlearn-picker"):
            _show_first(picker)
        _address_places(body, file)
        found.append(Page(_name(file), part, nested, body.h1.get_text(), body))
    _resolve_links(found)
    return found, head


def _files(toc: dict) -> Iterator[tuple[str, str, bool]]:
    """Yield part, file and whether it stands below another one."""
    yield "", toc["root"], False
    for part in toc["parts"]:
        for chapter in part["chapters"]:
            yield part["caption"], chapter["file"], False
            for section in chapter.get("sections", []):
                yield part["caption"], section["file"], True


def _name(file: str) -> str:
    return f"page-{PurePosixPath(file).stem}"


def _address_files(soup: BeautifulSoup, file: str) -> None:
    """Pictures, styles and scripts: from the folder's root on, as the single page stands somewhere else."""
    for attribute, used in (("src", "img, script"), ("href", "link")):
        for tag in soup.select(f":is({used})[{attribute}]"):
            tag[attribute] = urljoin(f"/{file}.html", tag[attribute])


def _address_places(body: Tag, file: str) -> None:
    """Places get the page's name before their own, as several pages have an `id1`; links follow."""
    for place in body.select("[id]"):
        place["id"] = f"{_name(file)}.{place['id']}"
    for link in body.select("a[href]"):
        address, place = urldefrag(urljoin(f"/{file}.html", link["href"]))
        if address.startswith("/"):
            page = _name(address.removesuffix(".html"))
            link["href"] = f"#{page}.{place}" if place else f"#{page}"


def _show_first(picker: Tag) -> None:
    """A menu or slider over pictures becomes the first of them and a line that says so."""
    pictures = picker.select("img")
    for hidden in pictures[1:]:
        hidden.decompose()
    first = picker.select_one("option, output").get_text()
    for told in picker.select("output"):
        told.decompose()
    picker.label.name = "p"
    picker.select_one("select, input").replace_with(f"{first}. The web page shows {len(pictures)} such pictures.")


def _resolve_links(found: list[Page]) -> None:
    """Links to pages that are left out become text; a link that misses a page that is there is a mistake."""
    places = {f"#{page.name}" for page in found}
    places |= {f"#{place['id']}" for page in found for place in page.body.select("[id]")}
    for page in found:
        for link in page.body.select("a[href^='#']"):
            if link["href"].partition(".")[0] not in places:
                link.unwrap()
            elif link["href"] not in places:
                raise LookupError(f"A link of {page.name} leads to {link['href']}, which is nowhere in the book.")
