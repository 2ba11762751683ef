"""Widgets that work with a kernel and without one: a menu over frames that were drawn beforehand."""

from stlearn_lib.widgets.frames import FramePicker, frame_picker
from stlearn_lib.widgets.genes import gene_picker
from stlearn_lib.widgets.hyperedges import hyperedge_explorer
from stlearn_lib.widgets.retrieval import retrieval_viewer

__all__ = ["FramePicker", "frame_picker", "gene_picker", "hyperedge_explorer", "retrieval_viewer"]
