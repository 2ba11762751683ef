"""The glossary: in order, and linked where a chapter first uses a word, as every chapter may be read first."""

import re
from pathlib import Path

import nbformat
import pytest

from book.extensions.objectives import chapters

GLOSSARY = (Path(__file__).parents[1] / "book" / "glossary.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^(\S.*)$", re.search(r"```\{glossary\}\n(.*?)\n```", GLOSSARY, re.DOTALL)[1], re.MULTILINE)
# Words that English also uses otherwise ("it counts", "a key to", "evenly spread"): no rule can tell which was meant.
EVERYDAY = {
    *("array", "attention", "bag", "collapse", "count", "feature", "fold", "gradient", "hub", "key", "ledger"),
    *("loss", "neighbourhood", "normalisation", "parameter", "preset", "protocol", "section", "spread", "target"),
    *("task", "token", "tower"),
}
LINK = re.compile(r"\{term\}`(?:[^`<]*<([^`>]+)>|([^`]+))`")
NOT_PROSE = re.compile(
    r"""^\$\$.*?^\$\$.*?$    # equations
    | \$[^$]+\$              # mathematics
    | ^\#.*?$                # headings
    | ^[`:]{3,}.*?$          # first and last lines of directives
    | ^:[\w-]+:.*?$          # and their options
    | ^\|.*?$                # tables
    | \{[\w:]+\}`[^`]+`      # roles
    | `+[^`]+`+              # code
    | \[[^\]]*\]\([^)]*\)    # links""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


def blanks(match: re.Match[str]) -> str:
    """Return spaces in a text's place, so that what stands behind it keeps its position."""
    return re.sub(r"[^\n]", " ", match[0])


def pattern(term: str) -> re.Pattern[str]:
    """Return what finds a term and its plural; abbreviations and names only in their own capitals."""
    words = r"\s+".join(map(re.escape, term.split()))
    ending = "" if term.isupper() else "(?:s|es)?"
    named = term[1:] != term[1:].lower() or term in {"Adam", "Transformer", "Visium"}
    return re.compile(rf"(?<![\w-]){words}{ending}(?![\w-])", 0 if named else re.IGNORECASE)


def mentions(text: str) -> dict[str, re.Match[str]]:
    """Return each term's first mention in prose that is no link; "spot" is not one where "spot-wise ..." stands."""
    prose, found = NOT_PROSE.sub(blanks, text), {}
    for term in sorted(TERMS, key=len, reverse=True):
        if first := pattern(term).search(prose):
            found[term] = first
        prose = pattern(term).sub(blanks, prose)
    return found


def links(text: str) -> dict[str, int]:
    """Return where each term is first linked."""
    found: dict[str, int] = {}
    for match in LINK.finditer(text):
        found.setdefault(" ".join((match[1] or match[2]).split()), match.start())
    return found


def text_of(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_terms_stand_in_order():
    keys = [re.sub(r"[^a-z0-9 ]", "", term.lower().replace("-", " ")) for term in TERMS]
    assert keys == sorted(set(keys))
    assert set(TERMS) >= EVERYDAY


def test_the_rule_sees_what_it_should():
    text = (
        "# Spots\n\nA {term}`spot` has spot-wise normalisation and, in `spots`, no\n\n$$\nspot\n$$ (eq-spot)\n\nspots."
    )
    assert mentions(text)["spot"].start() == len(text) - len("spots.")
    assert "normalisation" not in mentions(text)
    assert links("{term}`many\nspots <spot>`") == {"spot": 0}


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_first_mentions_are_links(path):
    text = text_of(path)
    linked = links(text)
    late = {
        term: text[max(first.start() - 40, 0) : first.end() + 20]
        for term, first in mentions(text).items()
        if term not in EVERYDAY and first.start() < linked.get(term, len(text))
    }
    assert not late, "\n".join(f"{term}: ...{context!r}" for term, context in late.items())
