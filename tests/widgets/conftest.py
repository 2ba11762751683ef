"""What tests of widgets share: no window, and the figures, which widgets close."""

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

from stlearn_lib.widgets import frames


@pytest.fixture(autouse=True)
def _no_window():
    mpl.use("agg")
    yield
    plt.close("all")


@pytest.fixture
def figures(monkeypatch):
    """Keep the figures of a widget's frames."""
    kept = []
    monkeypatch.setattr(frames, "figure_jpeg", lambda figure: kept.append(figure) or b"jpeg")
    return kept
