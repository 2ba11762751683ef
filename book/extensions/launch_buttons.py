"""Sphinx extension: no launch buttons as long as ``_config.yml`` has no address that they could lead to."""

from sphinx.application import Sphinx
from sphinx.config import Config


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("config-inited", _without_dead_buttons)
    return {"parallel_read_safe": True}


def _without_dead_buttons(app: Sphinx, config: Config) -> None:
    if not config.html_theme_options.get("repository_url"):
        config.html_theme_options.pop("launch_buttons", None)
