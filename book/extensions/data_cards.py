"""Sphinx extension: write one card for every data set of the registry into the page that asks for them."""

import re

from sphinx.application import Sphinx

from data_registry import DATASETS, Dataset, File

PLACEHOLDER = "<!-- data cards -->"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension: the cards are written when a page with the placeholder is read."""
    app.connect("source-read", _insert_cards)
    return {"parallel_read_safe": True}


def _insert_cards(app: Sphinx, docname: str, source: list[str]) -> None:
    if PLACEHOLDER in source[0]:
        cards = "\n".join(card(name, dataset) for name, dataset in DATASETS.items())
        source[0] = source[0].replace(PLACEHOLDER, cards)


def card(name: str, dataset: Dataset) -> str:
    """Return a data set's card as MyST Markdown.

    Args:
        name: The data set's name in the registry.
        dataset: Its entry.

    Returns:
        A section with a heading, the facts and, folded, the files.

    Example:
        >>> print(card("her2st", DATASETS["her2st"]))  # doctest: +ELLIPSIS
        (data-her2st)=
        ## HER2-positive breast tumours, spatial transcriptomics
        ...
        Access
        : open: `stlearn-lib data fetch her2st`
        ...
    """
    facts = {
        "Name": f"`{name}`",
        "Format": dataset.format,
        "Size": dataset.size,
        "Licence": dataset.licence,
        "Citation": dataset.citation,
        "Access": f"open: `stlearn-lib data fetch {name}`" if dataset.access == "open" else dataset.access,
    }
    lines = [f"(data-{name})=", f"## {dataset.title}", "", _with_links(dataset.description), ""]
    for term, fact in facts.items():
        lines += [term, f": {_with_links(' '.join(fact.split()))}", ""]
    if dataset.files:
        files = f"{len(dataset.files)} files" if len(dataset.files) > 1 else "1 file"
        lines += [f":::{{dropdown}} {files} and what pins them", "", "| file | bytes | pin |", "|---|---:|---|"]
        lines += [_row(file) for file in dataset.files]
        lines += [":::", ""]
    return "\n".join(lines)


def _row(file: File) -> str:
    name = f"[{file.name}]({file.url})" if file.url else file.name
    size = "unknown" if file.size_bytes is None else f"{file.size_bytes:,}"
    kind, _, value = (file.pin or "none").partition(":")
    return f"| {name} | {size} | {kind} {f'`{value[:12]}`' if value else ''} |"


def _with_links(text: str) -> str:
    """Turn bare addresses and DOIs into links; a full stop or bracket after them is not part of them.

    >>> _with_links("Data: https://example.org/a (doi:10.1/b).")
    'Data: <https://example.org/a> ([doi:10.1/b](https://doi.org/10.1/b)).'
    """
    text = re.sub(r"(?<![(<])https?://[^\s)>,;]*[^\s)>,;.:]", r"<\g<0>>", text)
    return re.sub(r"doi:(10\.[^\s),;]*[^\s),;.:])", r"[doi:\1](https://doi.org/\1)", text)
