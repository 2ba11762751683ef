"""Is a slide like what a model was trained on? Numbers where it can be measured, and warnings in plain words."""

from typing import Any

from anndata import AnnData

from stlearn_lib.data.sections import metadata_of
from stlearn_lib.methods.base import Method
from stlearn_lib.methods.provenance import scan_um_per_px, spot_diameter_um

OTHER_SIZE = 1.25
"""From this ratio on, spots or fields of view count as being of another size."""


def likeness(model: Method, section: AnnData) -> dict[str, Any]:
    """Compare a slide with the sections that a model was trained on.

    Args:
        model: The fitted method.
        section: The slide; its counts are not looked at.

    Returns:
        ``likeness``, the numbers of `methods.appearance.Likeness`, none if the model does not know what its training
        sections looked like; and ``warnings``, what speaks against believing a prediction.

    Raises:
        ImageError: If the slide's image cannot be read.
    """
    warnings = _warnings(model, section)
    if model.appearance is None:
        unknown = "the model has no record of what its training sections look like."
        return {"likeness": {}, "warnings": [*warnings, unknown]}
    found = model.appearance.compare(section)
    numbers = {name: getattr(found, name) for name in ("stain_distance", "feature_distance", "share_unlike")}
    return {"likeness": numbers, "warnings": [*warnings, *found.warnings]}


def _warnings(model: Method, section: AnnData) -> list[str]:
    """What the records of both say, before any pixel is looked at."""
    training = model.training
    if training is None:
        return ["the model has no record of the spots and resolution that it was trained on."]
    found = []
    if training.simulated and not metadata_of(section).get("simulated"):
        found.append("the model was trained on simulated tissue: what it predicts of a real slide means nothing.")
    if _other_size(spot_diameter_um(section), training.spot_diameter_um):
        found.append(
            f"the slide's spots are {spot_diameter_um(section):.0f} µm wide, those of training "
            f"{training.spot_diameter_um:.0f} µm: a spot's expression is a mean over as much tissue."
        )
    if _other_size(scan_um_per_px(section), training.scan_um_per_px):
        found.append(
            f"patches show {training.patch_px * scan_um_per_px(section):.0f} µm of the slide, in training they showed "
            f"{training.field_of_view_um:.0f} µm."
        )
    return found


def _other_size(a: float, b: float) -> bool:
    return max(a / b, b / a) >= OTHER_SIZE
