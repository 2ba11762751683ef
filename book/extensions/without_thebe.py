"""Sphinx extension: pages without Thebe, which the book does not use.

Jupyter Book puts it into every page, twice in some builds, and then each page reports an error: its settings are
declared already. It would also run the code on a server that the reader did not choose.
"""

from sphinx.application import Sphinx
from sphinx.config import Config


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("config-inited", _silence)
    return {"parallel_read_safe": True}


def _silence(app: Sphinx, config: Config) -> None:
    for event in ("env-before-read-docs", "doctree-resolved"):
        for listener in list(app.events.listeners[event]):
            if listener.handler.__module__ == "sphinx_thebe":
                app.disconnect(listener.id)
