r"""Sphinx extension: translate docstrings that are written to be read in an editor into what Sphinx reads.

Mathematics between ``$`` or ``$$`` and tables drawn with ``|`` become roles and directives; docstrings that use those
directly are left as they are. Types come from annotations, so what stands before a colon is never taken for one.
"""

import re
from collections.abc import Iterator

from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension: docstrings are translated before napoleon reads their sections."""
    app.connect("autodoc-process-docstring", _translate, priority=100)
    return {"parallel_read_safe": True}


def _translate(app: Sphinx, what: str, name: str, obj: object, options: dict, lines: list[str]) -> None:
    text = translated("\n".join(lines))
    lines[:] = (f": {text}" if what in ("data", "attribute") else text).split("\n")


def translated(text: str) -> str:
    r"""Return a docstring in reStructuredText.

    Args:
        text: The docstring.

    Returns:
        The same with formulas and tables as roles and directives, indented as they were.

    Example:
        >>> print(translated("The total $n_s$, and\n\n$$r =\n  1$$"))
        The total :math:`n_s`, and
        <BLANKLINE>
        .. math::
        <BLANKLINE>
           r = 1
        <BLANKLINE>
        >>> print(translated("| a | b |\n|---|---|\n| 1 | $x$ |"))
        .. list-table::
           :header-rows: 1
        <BLANKLINE>
           * - a
             - b
           * - 1
             - :math:`x`
        <BLANKLINE>
    """
    text = re.sub(r"^( *)\$\$(.+?)\$\$$", _display, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"(?<![$\\`\w])\$([^$\n]+)\$(?![$\w])", r":math:`\1`", text)
    text = re.sub(r"^( *(?:Returns|Yields):\n +)(?=\S)", r"\1: ", text, flags=re.MULTILINE)
    return re.sub(r"(?:^ *\|.*\|$\n?){3,}", _table, text, flags=re.MULTILINE)


def _display(match: re.Match[str]) -> str:
    indent, formula = match.groups()
    return f"{indent}.. math::\n\n{indent}   {' '.join(formula.split())}\n"


def _table(match: re.Match[str]) -> str:
    return "\n".join(_rows(match.group()))


def _rows(table: str) -> Iterator[str]:
    indent = re.match(" *", table).group()
    yield f"{indent}.. list-table::"
    yield f"{indent}   :header-rows: 1"
    yield ""
    for row in table.strip().splitlines():
        cells = [cell.strip() for cell in row.strip().strip("|").split(" | ")]
        if set(row.strip()) <= set("|-: "):
            continue
        for mark, cell in zip(["*"] + [" "] * len(cells), cells, strict=False):
            yield f"{indent}   {mark} - {cell}"
    yield ""
