"""A page that shows values of a chapter's run is read again when the chapter has changed."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from book.extensions import taken_values

BOOK = Path(__file__).parents[1] / "book"


def dependencies(page: Path) -> set[str]:
    """Return what Sphinx is told when it reads a page."""
    listeners, noted = {}, set()
    env = SimpleNamespace(doc2path=lambda docname: str(BOOK / f"{docname}.md"), note_dependency=noted.add)
    app = SimpleNamespace(env=env, connect=listeners.__setitem__)
    taken_values.setup(app)
    listeners["source-read"](app, page.stem, [page.read_text(encoding="utf-8")])
    return noted


@pytest.mark.parametrize("page", sorted(BOOK.glob("*.md")), ids=lambda page: page.stem)
def test_every_chapter_that_a_page_takes_values_from(page):
    taken = {
        str(chapter) for chapter in BOOK.glob("*.ipynb") if f"{chapter.name}::" in page.read_text(encoding="utf-8")
    }
    assert dependencies(page) == taken


def test_the_landing_page_takes_its_results_from_the_tables():
    assert str(BOOK / "13_benchmark_tables.ipynb") in dependencies(BOOK / "intro.md")
