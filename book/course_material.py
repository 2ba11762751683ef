"""Make slides and exercise sheets from the chapters: ``python -m book.course_material slides`` or ``exercises``.

Everything is written to ``_build/course`` and taken from the notebooks by rule, so it follows the chapters.
"""

import re
import shutil
import sys
from dataclasses import dataclass, field
from html import escape
from importlib.util import find_spec
from pathlib import Path

import nbformat
from jinja2 import Template
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from book.chapter_blocks import MARKDOWN, Block, blocks, exercises, numbers, on_page, read, tags, without_solutions
from book.extensions.objectives import chapters
from stlearn_lib.cache import written_whole

COURSE = Path(__file__).parents[1] / "_build" / "course"
TEMPLATE = Path(__file__).with_name("slides.html.jinja")
MATHJAX = "mathjax.js"
LONGEST_LIST = 120  # words that fit on a slide
SHEET = "The folded cells are the chapter's: run them first. Figures and equations have the numbers of the book."


@dataclass
class Slide:
    """What is shown under a title, and what the chapter says about it."""

    title: str
    shown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def slides(notebook: NotebookNode) -> list[Slide]:
    """Return a chapter's slides.

    A heading begins a slide, with the first sentence after it. Figures, computed tables, exercises, equations (with the
    paragraph before them) and code whose printed result the tests hold have one each. Tables, short lists and questions
    of the text are shown as well. All prose becomes notes, with the answers to the questions. Solutions are left out.
    """
    deck: list[Slide] = []
    heading = paragraph = ""
    for block in without_solutions(blocks(notebook)):
        html = MARKDOWN.render(block.text)
        if block.kind == "heading":
            heading = block.title
            deck.append(Slide(heading))
        elif block.kind == "code":
            deck += [Slide(heading, [shown]) for shown in (figure(block) or result(block),) if shown]
        elif block.kind == "exercise":
            deck.append(Slide(f"Exercise: {block.title}", [html]))
        elif block.kind == "math_block":
            deck.append(Slide(heading, [MARKDOWN.render(paragraph), html]))
        elif block.kind == "dropdown":
            on_open_slide(deck, heading).shown.append(MARKDOWN.render(f"- {block.title}"))
            deck[-1].notes.append(MARKDOWN.render(f"**{block.title}** {block.text}"))
        elif block.kind == "table" or (block.kind.endswith("_list") and len(block.text.split()) <= LONGEST_LIST):
            on_open_slide(deck, heading).shown.append(html)
        else:
            if not deck[-1].shown:
                deck[-1].shown.append(MARKDOWN.render(first_sentence(block.text)))
            deck[-1].notes.append(html)
            paragraph = block.text
    return [slide for slide in deck if not slide.title.startswith("Reproducibility")]


def on_open_slide(deck: list[Slide], heading: str) -> Slide:
    """Return the last slide, or a new one under the same heading if a figure, code or equation fills the last."""
    if any(re.search("<figure|<pre|math block", shown) for shown in deck[-1].shown):
        deck.append(Slide(heading))
    return deck[-1]


def first_sentence(text: str) -> str:
    """Return a paragraph's first sentence that is one.

    Example:
        >>> first_sentence("*Trade-off.* A wide neighbourhood says more. A narrow one may be empty.")
        '*Trade-off.* A wide neighbourhood says more.'
    """
    return re.match(r".{25,}?[.?!]\**(?=\s|$)|.*", text, flags=re.DOTALL)[0]


def figure(block: Block) -> str:
    """Return the figure of a code cell, a picture or a menu with its pictures; empty if it shows none."""
    page = on_page(block.cell)
    for output in block.cell.outputs if page else []:
        for mime, data in output.get("data", {}).items():
            number = numbers()[page["figure"]["name"]]
            caption = f"<figcaption><b>{number}</b> {MARKDOWN.renderInline(block.text)}</figcaption>"
            if mime in ("image/png", "image/jpeg"):
                alt = escape(page["image"]["alt"])
                return f'<figure><img alt="{alt}" src="data:{mime};base64,{data.strip()}">{caption}</figure>'
            if mime == "text/html":
                return f"<figure>{data}{caption}</figure>"
    return ""


def result(block: Block) -> str:
    """Return a cell's code and what it printed, if a test holds that; of other cells their tables and menus."""
    marks = tags(block.cell)
    if marks & {"remove-cell", "remove-output"}:
        return ""
    held = "nbval-check-output" in marks and "hide-input" not in marks
    code = highlight(block.cell.source, PythonLexer(), HtmlFormatter(nowrap=True))
    shown = [f'<pre class="highlight">{code}</pre>'] if held else []
    for output in block.cell.outputs:
        data = output.get("data", {})
        html = data.get("text/html", "")
        if held:
            shown.append(html or f"<pre>{escape(output.get('text') or data['text/plain'])}</pre>")
        elif "<table" in html or "stlearn-picker" in html or "stlearn-slider" in html:
            shown.append(html)
    return "\n".join(shown)


def sheet(number: int, notebook: NotebookNode) -> NotebookNode:
    """Return a chapter's exercises as a notebook: the chapter's code before them, folded, and room for each answer."""
    pieces = list(blocks(notebook))
    first = next(place for place, block in enumerate(pieces) if block.kind == "exercise")
    title = next(block.title for block in pieces if block.kind == "heading")
    folded = [block.cell.source for block in pieces[:first] if block.cell]
    cells = [new_markdown_cell(f"# Exercises of chapter {number}: {title}\n\n{SHEET}")]
    cells += [new_code_cell(source, metadata={"jupyter": {"source_hidden": True}}) for source in folded]
    for text, _ in tasks(number, notebook):
        cells += [new_markdown_cell(text), new_code_cell()]
    return new_notebook(cells=cells, metadata={"kernelspec": notebook.metadata.kernelspec})


def solutions(number: int, notebook: NotebookNode) -> NotebookNode:
    """Return the same exercises with their solutions, code as it was executed."""
    cells = []
    for text, solution in tasks(number, notebook):
        cells.append(new_markdown_cell(text))
        cells += [block.cell or new_markdown_cell(block.text) for block in solution]
    return new_notebook(cells=cells, metadata={"kernelspec": notebook.metadata.kernelspec})


def tasks(number: int, notebook: NotebookNode) -> list[tuple[str, list[Block]]]:
    """Return a chapter's exercises under the book's numbers, each with its solution."""
    found = enumerate(exercises(notebook), 1)
    return [(f"## Exercise {number}.{place}: {one.title}\n\n{one.text.strip()}", one.solution) for place, one in found]


def write(text: str, *place: str) -> None:
    """Write a file of the course."""
    with written_whole(COURSE.joinpath(*place)) as path:
        path.write_text(text, encoding="utf-8")


def write_slides() -> None:
    """Write a deck for each chapter, and beside them the script that draws their formulas."""
    template = Template(TEMPLATE.read_text(encoding="utf-8"), trim_blocks=True)
    for path in chapters():
        deck = slides(read(path))
        style = HtmlFormatter().get_style_defs(".highlight")
        write(template.render(title=deck[0].title, slides=deck, mathjax=MATHJAX, code_style=style), f"{path.stem}.html")
    package = Path(find_spec("sphinx-mathjax-offline").origin).parent
    shutil.copyfile(package / "static" / "mathjax" / "tex-svg.js", COURSE / MATHJAX)


def write_exercises() -> None:
    """Write a sheet for each chapter, as a notebook and as text, and the solutions into a folder of their own."""
    for number, path in enumerate(chapters(), 1):
        notebook = read(path)
        handed_out = sheet(number, notebook)
        text = "\n\n".join(cell.source for cell in handed_out.cells if cell.cell_type == "markdown")
        name = f"{path.stem[:2]}_exercises"
        write(nbformat.writes(handed_out), f"{name}.ipynb")
        write(text + "\n", f"{name}.md")
        write(nbformat.writes(solutions(number, notebook)), "solutions", f"{path.stem[:2]}_solutions.ipynb")


if __name__ == "__main__":
    {"slides": write_slides, "exercises": write_exercises}[sys.argv[1]]()
