"""Sphinx extension: pages without the kernel's widgets, which show themselves there as plain HTML.

What is left out is the state of these widgets, all of their frames once more, and scripts from the network to draw it.
"""

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("env-updated", _forget)
    return {"parallel_read_safe": True}


def _forget(app: Sphinx, env: BuildEnvironment) -> None:
    for page in env.nb_metadata.values():
        scripts = page.get("js_files", {})
        for name in [name for name in scripts if name.startswith("ipywidgets")]:
            del scripts[name]
