"""A small book is printed as the large one is: all is there, in order, and what leads somewhere still does."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader

from book import pdf
from book.browser import chromium
from book.one_page import pages

ROOT = Path(__file__).parents[1]
CONFIG = {"title": "A small book", "author": "Its authors", "html": {"extra_footer": "<p>CC BY 4.0</p>"}}
TOC = {
    "root": "book/intro",
    "parts": [
        {"caption": "Chapters", "chapters": [{"file": "book/02_second"}, {"file": "book/01_first"}]},
        {"caption": "To look up", "chapters": [{"file": "book/words", "sections": [{"file": "book/more"}]}]},
    ],
}
PICTURE = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/%3E"
LONG = "1. A first chapter, the title of which is so very long that it has to be broken into two lines, or three"
BOOK = {
    "intro": ("A small book", f'<img src="{PICTURE}" alt=""> <a href="01_first.html#id1">there</a>'),
    "02_second": (
        "2. Second",
        r"""<p id="id1">The other <a href="01_first.html">chapter</a>, <a href="api.html#f">left out</a>,
            <a href="https://example.org/">elsewhere</a></p> <div class="math">\[ D = 256 \]</div>
            <details class="hide above-input"><summary>Show</summary><pre>folded_code</pre></details>
            <details><summary>Question</summary><p>The answer.</p></details>""",
    ),
    "01_first": (
        LONG,
        f"""<p id="id1"><a href="02_second.html#id1">the other</a>, <a href="#id1">this one</a></p>
            <div class="stlearn-picker"><label>Gene: <select><option>FASN</option><option>ERBB2</option></select>
            </label><img alt="first" src="{PICTURE}"><img alt="second" src="{PICTURE}" hidden></div>
            <table><tr>{"<td>unbreakable_cell</td>" * 20}</tr></table>""",
    ),
    "words": ("Words", "<h2>Below</h2>"),
    "more": ("More words", "<p>The last</p>"),
}
HTML = """<html><head><link rel="stylesheet" media="print" href="../_static/print.css">
<script>window.MathJax = {}</script><script defer src="../_static/mathjax/tex-chtml.js"></script></head>
<body><nav>sidebar</nav>
<article class="bd-article"><h1>%s<a class="headerlink" href="#top">#</a></h1>%s</article></body>"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the folder of a small built book."""
    folder = tmp_path_factory.mktemp("html")
    mathjax = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    shutil.copytree(mathjax, folder / "_static" / "mathjax")
    shutil.copy(ROOT / "book" / "_static" / "print.css", folder / "_static")
    (folder / "book").mkdir()
    for name, page in BOOK.items():
        (folder / "book" / f"{name}.html").write_text(HTML % page)
    return folder


@pytest.fixture(scope="module")
def printed(built):
    """Print it."""
    try:
        with chromium():
            pass
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    return pdf.print_book(pdf.html(*pages(built, TOC), CONFIG), built)


def text(printed: PdfReader, number: int) -> str:
    return " ".join(printed.pages[number - 1].extract_text().split())


def targets(printed: PdfReader, number: int) -> list[int]:
    """Return the pages that the links of a page lead to."""
    links = [link.get_object() for link in printed.pages[number - 1].get("/Annots", [])]
    places = [printed.named_destinations[link["/Dest"]] for link in links if "/Dest" in link]
    return [printed.get_destination_page_number(place) + 1 for place in places]


def test_order_bookmarks_and_contents(printed):
    titles = ["A small book", "2. Second", LONG, "Words", "More words"]
    assert pdf.chapters(printed) == list(zip(titles, range(3, 8), strict=True))
    pdf.check(printed, titles)
    assert [mark.title for mark in printed.outline if isinstance(mark, list) for mark in mark] == ["Below"]
    assert "Its authors" in text(printed, 1) and "CC BY 4.0" in text(printed, 1)
    contents = text(printed, 2)
    assert "Chapters 2. Second 4" in contents and "To look up Words 6 More words 7" in contents
    assert targets(printed, 2) == [3, 4, 5, 6, 7]
    assert text(printed, 7).startswith("More words 7") and "The last" in text(printed, 7)


def test_links_lead_to_the_page_that_they_name(printed):
    assert targets(printed, 3) == [5]
    assert targets(printed, 4) == [5]
    assert targets(printed, 5) == [4, 5]  # both places are called id1
    addresses = [link.get_object().get("/A", {}).get("/URI") for link in printed.pages[3]["/Annots"]]
    assert "https://example.org/" in addresses
    assert "left out" in text(printed, 4)


def test_nothing_is_folded_and_formulas_are_text(printed):
    second, first = text(printed, 4), text(printed, 5)
    assert "D = 256" in second
    assert "The answer." in second and "folded_code" not in second
    assert "Gene: FASN. The web page shows 2 such pictures." in first and "ERBB2" not in first
    assert "sidebar" not in second + first and "#" not in second + first


def test_wide_tables_are_on_the_page_whole(printed):
    right = []
    printed.pages[4].extract_text(
        visitor_text=lambda part, around, own, font, size: right.append((part, around[4])) if "cell" in part else None
    )
    assert text(printed, 5).count("unbreakable_cell") == 20
    assert max(place for _, place in right) < float(printed.pages[4].mediabox.width)


def test_a_link_into_nothing_is_refused(built):
    page = built / "book" / "words.html"
    whole = page.read_text()
    page.write_text(HTML % ("Words", '<a href="01_first.html#gone">lost</a>'))
    with pytest.raises(LookupError, match=r"page-words leads to #page-01_first\.gone"):
        pages(built, TOC)
    page.write_text(whole)


def test_what_does_not_fit_is_refused(built, printed):
    found, head = pages(built, TOC)
    found[-1].body.append("unbreakable" * 50)
    with pytest.raises(ValueError, match="Wider than the page"):
        pdf.print_book(pdf.html(found, head, CONFIG), built)


def test_a_broken_book_is_refused(built, printed):
    titles = [title for title, _ in pdf.chapters(printed)]
    with pytest.raises(ValueError, match="not the chapters"):
        pdf.check(printed, titles[::-1])
    found, head = pages(built, TOC)
    found[0].body.append(BeautifulSoup('<div style="break-before: page; height: 9px"></div>', "html.parser"))
    with pytest.raises(ValueError, match=r"Nothing is on pages \[4\]"):
        pdf.check(pdf.print_book(pdf.html(found, head, CONFIG), built), titles)
