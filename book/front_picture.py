"""Copy chapter 5's first figure to the landing page and the README: ``python book/front_picture.py``.

The picture is the chapter's own output, so that it shows what the chapter computed. Run this after ``make notebooks``.
"""

import base64
from pathlib import Path

import nbformat

BOOK = Path(__file__).parent
CHAPTER = BOOK / "05_colour_statistics.ipynb"
FIGURE = "fig-baselines-front"
PICTURE = BOOK / "images" / "prediction_C3.png"


def front_figure(chapter: Path) -> bytes:
    """Return the chapter's first figure.

    Args:
        chapter: The executed notebook.

    Returns:
        The figure, PNG.

    Raises:
        LookupError: If the notebook holds no such figure.
    """
    for cell in nbformat.read(chapter, as_version=4).cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == FIGURE:
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    return base64.b64decode(output["data"]["image/png"])
    raise LookupError(f"{chapter} holds no picture {FIGURE}: execute it first, with `make notebooks`.")


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(front_figure(CHAPTER))
