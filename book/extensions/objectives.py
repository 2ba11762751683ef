"""Sphinx extension: write what every chapter promises, asks for and takes into the page that asks for it.

All of it is read from the chapters themselves, so the page says what they say, and nothing that they do not state.
"""

import re
from pathlib import Path

import nbformat
import yaml
from sphinx.application import Sphinx

PLACEHOLDER = "<!-- objectives -->"
ROOT = Path(__file__).parents[2]
STATED = ("Reading time", "Running time", "Prerequisites")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension: the index is written when a page with the placeholder is read."""
    app.connect("source-read", _insert_index)
    return {"parallel_read_safe": True}


def _insert_index(app: Sphinx, docname: str, source: list[str]) -> None:
    if PLACEHOLDER in source[0]:
        for path in chapters():
            app.env.note_dependency(str(path))
        entries = "\n".join(entry(number, path) for number, path in enumerate(chapters(), 1))
        source[0] = source[0].replace(PLACEHOLDER, entries)


def chapters() -> list[Path]:
    """Return the notebooks of the book's numbered part, in its order."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    return [ROOT / f"{chapter['file']}.ipynb" for part in parts if part.get("numbered") for chapter in part["chapters"]]


def entry(number: int, path: Path) -> str:
    """Return what a chapter says about itself, as MyST Markdown.

    Args:
        number: The chapter's number in the book.
        path: Its notebook.

    Returns:
        A section with a linked heading, the objectives, and those facts that the chapter states.

    Example:
        >>> print(entry(1, chapters()[0]))  # doctest: +ELLIPSIS
        ## 1 [One section, looked at closely](01_one_section.ipynb)
        <BLANKLINE>
        - Read a section as an {term}`AnnData`, and say what every number in it counts.
        ...
    """
    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    title = re.search(r"^# (.+)$", text, flags=re.MULTILINE)[1]
    promised = re.search(r"^## What you will be able to do\n(.*?)(?=^## )", text, flags=re.MULTILINE | re.DOTALL)[1]
    bullets = re.findall(r"^- .+(?:\n  .+)*", promised, flags=re.MULTILINE)
    lines = [f"## {number} [{title}]({path.name})", "", *bullets, ""]
    for name, fact in _facts(promised, text).items():
        lines += [name, f": {' '.join(fact.split())}", ""]
    return _glued_from(path, "\n".join(lines))


def _facts(promised: str, text: str) -> dict[str, str]:
    """Return what is stated beside the objectives, and the time in the chapter's summary."""
    facts = {name: re.search(rf"{name}: (.+?)\.(?=\s|$)", promised, flags=re.DOTALL) for name in STATED}
    facts["Last run"] = re.search(r"^\| (?:Time|hardware and time) \| (.+?) \|$", text, flags=re.MULTILINE)
    return {name: found[1] for name, found in facts.items() if found}


def _glued_from(path: Path, text: str) -> str:
    """Let the numbers that a chapter computes be looked up in that chapter's outputs.

    Across pages a name is only found with a format behind it: without one, it is looked for as text.

    >>> _glued_from(Path("a.ipynb"), "{glue:text}`seconds:.0f` s on {glue:text}`hardware`")
    '{glue:text}`a.ipynb::seconds:.0f` s on {glue:text}`a.ipynb::hardware:s`'
    """

    def addressed(match: re.Match[str]) -> str:
        return f"{{glue:text}}`{path.name}::{match[1]}:{match[2] or 's'}`"

    return re.sub(r"\{glue:text\}`([^`:]+):?([^`]*)`", addressed, text)
