"""Sphinx extension: a page that takes values from a chapter's run is read again when the chapter has changed."""

import re
from pathlib import Path

from sphinx.application import Sphinx

TAKEN_FROM = re.compile(r"\{glue:text\}`(\w+\.ipynb)::")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("source-read", _depend)
    return {"parallel_read_safe": True}


def _depend(app: Sphinx, docname: str, source: list[str]) -> None:
    for chapter in sorted(set(TAKEN_FROM.findall(source[0]))):
        app.env.note_dependency(str(Path(app.env.doc2path(docname)).with_name(chapter)))
