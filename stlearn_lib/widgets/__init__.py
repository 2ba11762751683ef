"""Widgets that work with a kernel and without one: a menu or slider over frames that were drawn beforehand."""

from stlearn_lib.widgets.frames import FramePicker, frame_picker
from stlearn_lib.widgets.genes import gene_picker
from stlearn_lib.widgets.hyperedges import hyperedge_explorer
from stlearn_lib.widgets.ranking import ranking_explorer
from stlearn_lib.widgets.retrieval import retrieval_viewer
from stlearn_lib.widgets.temperature import TEMPERATURES, temperature_explorer
from stlearn_lib.widgets.truth import truth_slider

__all__ = [
    "TEMPERATURES",
    "FramePicker",
    "frame_picker",
    "gene_picker",
    "hyperedge_explorer",
    "ranking_explorer",
    "retrieval_viewer",
    "temperature_explorer",
    "truth_slider",
]
