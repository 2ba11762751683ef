"""Read the chapters piece by piece, as plain Markdown: what slides and exercise sheets are made of.

Roles and directives belong to the book; here they become words, numbers and named pieces.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from myst_nb.core.variables import format_plain_text
from nbformat import NotebookNode
from pybtex.database import parse_file

from book.extensions.objectives import chapters

REFERENCES = Path(__file__).with_name("references.bib")
ROLE = re.compile(r"\{([\w:]+)\}`([^`]+)`")
EQUATION_LABEL = re.compile(r"^\$\$ \(([\w-]+)\)", flags=re.MULTILINE)
NAMES = {"func", "class", "mod", "meth"}  # roles of things in the library


def _mathematics(tex: str, options: dict) -> str:
    return escape(rf"\[{tex}\]" if options["display_mode"] else rf"\({tex}\)")


MARKDOWN = MarkdownIt("commonmark").enable("table").use(colon_fence_plugin)
MARKDOWN.use(dollarmath_plugin, allow_labels=False, renderer=_mathematics)


@dataclass
class Block:
    """A piece of a chapter: a paragraph, a directive, a code cell, ..., named as markdown-it or the directive is."""

    kind: str
    text: str = ""  # Markdown; of a code cell the caption of its picture
    title: str = ""
    cell: NotebookNode | None = None


@dataclass
class Exercise:
    """An exercise and its solution, text and code in their order."""

    title: str
    text: str
    solution: list[Block] = field(default_factory=list)


@cache
def read(path: Path) -> NotebookNode:
    """Return a chapter."""
    return nbformat.read(path, as_version=4)


def tags(cell: NotebookNode) -> set[str]:
    """Return a code cell's tags."""
    return set(cell.metadata.get("tags", []))


def on_page(cell: NotebookNode) -> dict:
    """Return what the page says of a cell's picture (alternative text, caption, name); nothing if it has none."""
    shown = not tags(cell) & {"remove-cell", "remove-output"}
    return cell.metadata.get("mystnb", {}) if shown and "figure" in cell.metadata.get("mystnb", {}) else {}


@cache
def numbers() -> dict[str, str]:
    """Return the numbers that the book gives to the figures and equations of all chapters, by their labels."""
    found = {}
    for chapter, path in enumerate(chapters(), 1):
        cells = read(path).cells
        figures = [on_page(cell)["figure"]["name"] for cell in cells if cell.cell_type == "code" and on_page(cell)]
        equations = EQUATION_LABEL.findall("\n".join(cell.source for cell in cells if cell.cell_type == "markdown"))
        found |= {label: f"Fig. {chapter}.{number}" for number, label in enumerate(figures, 1)}
        found |= {label: f"({chapter}.{number})" for number, label in enumerate(equations, 1)}
    return found


@cache
def cited(key: str) -> str:
    """Return author and year of a reference."""
    work = parse_file(REFERENCES).entries[key]
    first, *others = work.persons["author"]
    return f"{first.rich_last_names[0]}{' et al.' if others else ''} {work.fields['year']}"


def glued(notebook: NotebookNode) -> dict[str, str]:
    """Return the numbers that a chapter computed and its text uses, by name."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return {
        output.metadata["scrapbook"]["name"]: text
        for output in outputs
        for mime, text in output.get("data", {}).items()
        if "scrapbook" in output.metadata and mime.endswith("text/plain")
    }


def plain(text: str, values: dict[str, str]) -> str:
    """Return a chapter's Markdown without roles, and with the numbers of its equations: readable outside the book.

    Example:
        >>> plain("{term}`spots <spot>` of {glue:text}`n:.1f` µm", {"n": "2.04"})
        'spots of 2.0 µm'
    """

    def shown(match: re.Match[str]) -> str:
        role, content = match.groups()
        name, _, form = content.partition(":")
        if role == "glue:text":
            return format_plain_text(values[name], form)
        if role in ("numref", "eq"):
            return numbers()[content]
        if role.startswith("cite"):
            works = "; ".join(cited(key.strip()) for key in content.split(","))
            return works if role == "cite:t" else f"({works})"
        words = re.sub(r"\s*<.*>$", "", content, flags=re.DOTALL)
        return f"`{words.rpartition('.')[2] if '~' in words else words}`" if role.split(":")[-1] in NAMES else words

    text = EQUATION_LABEL.sub(lambda match: rf"\tag{{{numbers()[match[1]].strip('()')}}}" + "\n$$", text)
    return ROLE.sub(shown, text)


def blocks(notebook: NotebookNode) -> Iterator[Block]:
    """Yield a chapter piece by piece."""
    values = glued(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            yield Block("code", plain(on_page(cell).get("figure", {}).get("caption", ""), values), cell=cell)
            continue
        text = plain(cell.source, values)
        lines = text.split("\n")
        for node in SyntaxTreeNode(MARKDOWN.parse(text)).children:
            directive = re.match(r"\{([\w-]+)\} *(.*)", node.info)
            source = "\n".join(lines[slice(*node.map)])
            if directive:
                yield Block(directive[1], re.sub(r"\A(?::[\w-]+:.*\n)+\n?", "", node.content), directive[2])
            else:
                yield Block(node.type, source, source.lstrip("# "))


def without_solutions(pieces: Iterable[Block]) -> Iterator[Block]:
    """Yield what stands outside of the solutions."""
    inside = False
    for block in pieces:
        inside = (inside or block.kind == "solution-start") and block.kind != "solution-end"
        if not inside and block.kind != "solution-end":
            yield block


def exercises(notebook: NotebookNode) -> list[Exercise]:
    """Return a chapter's exercises with their solutions."""
    found: list[Exercise] = []
    inside = False
    for block in blocks(notebook):
        if block.kind == "exercise":
            found.append(Exercise(block.title, block.text))
        elif block.kind in ("solution-start", "solution-end"):
            inside = block.kind == "solution-start"
        elif inside:
            found[-1].solution.append(block)
    return found
