"""Does a chapter that ran again say what its committed outputs say?

Compared is what readers see: what cells print that are tagged ``nbval-check-output``, and every value that prose takes
from the run, in the digits that it shows. Words and whole numbers have to be the same. A decimal may differ by one in
its last place, as threads and processors add numbers in another order, and a rounding may then fall to the other side.

What a run takes and where it ran are not compared: values whose names say so (``..._seconds``, ``..._hardware``), and
those of cells tagged ``nbval-ignore-output``, which follow from them.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from itertools import zip_longest
from pathlib import Path

from myst_nb.core.variables import format_plain_text
from nbformat import NotebookNode

from book.chapter_blocks import glued, tags

BOOK = Path(__file__).parent
CITED = re.compile(r"\{glue:text\}`(?:[\w.]+::)?([^`:]+):?([^`]*)`")
NUMBER = re.compile(r"([+-]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e[+-]?\d+)?)")
OF_THE_RUN = re.compile(r"(?:^|_)(?:s|seconds|hardware|versions?)$")
MARKUP = re.compile(r"<style.*?</style>|<[^>]*>", flags=re.DOTALL)


def agree(stored: str, fresh: str) -> bool:
    """Whether two texts have the same words and whole numbers, and decimals that differ by one in the last place.

    Example:
        >>> agree("ACG 0.154 of 180 spots", "ACG 0.155 of 180 spots")
        True
        >>> agree("ACG 0.154 of 180 spots", "ACG 0.154 of 181 spots")
        False
    """
    # Split at a group, a text alternates between words and numbers; the width of columns is no difference.
    pieces = zip_longest(NUMBER.split(" ".join(stored.split())), NUMBER.split(" ".join(fresh.split())))
    return all(old == new or (place % 2 and _close(old, new)) for place, (old, new) in enumerate(pieces))


def _close(old: str | None, new: str | None) -> bool:
    if not (old and new and all(re.search(r"[.e]", number) for number in (old, new))):
        return False
    a, b = (Decimal(number.replace(",", "")) for number in (old, new))
    return abs(a - b) <= max(Decimal(1).scaleb(number.as_tuple().exponent) for number in (a, b))


@cache
def cited() -> dict[str, set[str]]:
    """Return the formats in which the book shows each value that it takes from a run, by the value's name."""
    formats = defaultdict(set)
    for path in [*BOOK.glob("*.ipynb"), *BOOK.glob("*.md")]:
        for name, form in CITED.findall(path.read_text(encoding="utf-8")):
            formats[name].add(form)
    return formats


def printed(outputs: list[NotebookNode]) -> str:
    """Return what a cell prints and shows as text or as a table, without pictures and values for the prose."""
    streams = [output.text for output in outputs if output.output_type == "stream" and output.name == "stdout"]
    shown = [output.data for output in outputs if "data" in output and "scrapbook" not in output.metadata]
    tables = [MARKUP.sub(" ", data.get("text/html", data.get("text/plain", ""))) for data in shown]
    return "".join(streams) + "\n".join(tables)


def disagreements(cell: NotebookNode, fresh: list[NotebookNode], sanitize: Callable[[str], str]) -> Iterator[str]:
    """Yield what a cell says otherwise than its committed outputs do.

    Args:
        cell: The code cell as it is committed.
        fresh: The outputs of its new run.
        sanitize: Replaces in what is printed what may differ.
    """
    if "nbval-ignore-output" in tags(cell):
        return
    if "nbval-check-output" in tags(cell):
        old, new = sanitize(printed(cell.outputs)), sanitize(printed(fresh))
        if not agree(old, new):
            yield f"committed:\n{old}\nnow:\n{new}"
    old, new = (glued(NotebookNode(cells=[NotebookNode(outputs=outputs)])) for outputs in (cell.outputs, fresh))
    for name in sorted(old.keys() | new.keys()):
        for form in () if OF_THE_RUN.search(name) else sorted(cited().get(name, ())):
            was, now = (format_plain_text(values[name], form) if name in values else "nothing" for values in (old, new))
            if not agree(was, now):
                yield f"{name}: committed {was}, now {now}"
