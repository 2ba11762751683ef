"""A fitted method on a slide that nobody measured: predicted expression as one ``.h5ad`` file, and a picture of it."""

import hashlib
import json
import shutil
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from PIL import Image

import stlearn_lib
from stlearn_lib.application.blocks import Predicted, predict_in_blocks
from stlearn_lib.application.likeness import likeness
from stlearn_lib.application.preview import draw_preview
from stlearn_lib.cache import cache_in, written_whole
from stlearn_lib.data.expression import SPACES, Target
from stlearn_lib.data.h5ad import read_h5ad
from stlearn_lib.data.patches import PATCH_PX, fingerprint, window_px
from stlearn_lib.data.sections import (
    attach_image,
    image_path_of,
    metadata_of,
    section_name,
    um_per_px_of,
    without_counts,
)
from stlearn_lib.errors import NotFittedError, SectionError, StlearnError
from stlearn_lib.methods.base import Method
from stlearn_lib.storage import locked, writing_in

HIRES_PX, LOWRES_PX = 2000, 600


def predict_slide(
    model: Method,
    section: AnnData,
    output: Path | str,
    *,
    block: int = 512,
    preview: bool = True,
    progress: bool = True,
    command: str = "",
) -> AnnData:
    """Predict the expression of a slide's spots and write it as an ``.h5ad`` file that scanpy and squidpy draw.

    What is done lies beside the file, block by block, until all is: a run that was stopped goes on after its last whole
    block. The file appears whole or not at all, and the same slide, model and settings give the same file.

    The file holds ``X`` (N, G) float32, the predicted expression in the target's space; ``layers["spread"]`` where the
    model has one; ``uns["spatial"]`` with reduced images and scale factors; and ``uns["prediction"]``: the model, its
    weights and their hashes, training sections, space and its formula, the slide and its hash, resolution, how unlike
    the training the slide is, and warnings.

    Args:
        model: A fitted method.
        section: The slide, see `application.slides.open_slide`; its counts are not looked at.
        output: The file, ``.h5ad``.
        block: Spots at a time.
        preview: Whether to draw ``OUTPUT.png`` beside it.
        progress: Whether to show a bar, on a terminal.
        command: How it was asked for, to be kept in the file.

    Returns:
        What the file holds. A file that is there already of the same slide, model and settings is left as it is.

    Raises:
        StlearnError: If the file is there with something else, or the model looks at counts.
        NotFittedError: If the model is not fitted.
        ImageError: If the slide's image cannot be read.
    """
    output = Path(output)
    if output.suffix != ".h5ad":
        raise StlearnError(f"{output}: a prediction is a file that ends in .h5ad.")
    if model.needs_test_counts:
        raise StlearnError(f"{model.name} looks at the counts that it should predict: a slide has none.")
    section = _unmeasured(section)
    facts = _facts(model, section)
    key = _key(facts, section, block)
    parts = output.with_name(f".{output.stem}-{key}")
    with writing_in(output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
        with locked(output.with_name(f".{output.stem}.lock"), wait=True):  # the same command twice at the same time
            if not output.exists():
                predicted = predict_in_blocks(model, section, parts, block=block, progress=progress)
                with cache_in(parts):
                    facts |= likeness(model, section)
                prediction = _assemble(section, predicted, _target_of(model), facts | {"command": command, "key": key})
                _write(prediction, parts, output, preview)
            there = _read_same(output, key)
            shutil.rmtree(parts, ignore_errors=True)  # also those of a run that was killed before it could
    return there


def _target_of(model: Method) -> Target:
    if model.target is None:
        raise NotFittedError(f"{model.name} has no target, it has not been fitted: there is nothing to predict.")
    return model.target


def _unmeasured(section: AnnData) -> AnnData:
    """The section without counts, and with facts of its own, which will be added to."""
    section = without_counts(section)
    section.uns["spatial"] = deepcopy(section.uns["spatial"])
    return section


def _facts(model: Method, section: AnnData) -> dict[str, Any]:
    """Where a prediction comes from."""
    target = _target_of(model)
    with image_path_of(section).open("rb") as file:
        slide_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "method": model.name,
        "weights": model.weights_id,
        "model_sha256": _hashes(model),
        "trained_on": list(model.trained_on),
        "patients": sorted(set(model.training.patients)) if model.training is not None else [],
        "gene_list": target.gene_list,
        "space": target.space,
        "formula": str(SPACES[target.space].__doc__).partition("\n")[0],
        "smooth": target.smooth,
        "spread_kind": model.spread_kind,
        "slide": image_path_of(section).name,
        "slide_sha256": slide_sha256,
        "spots": str(metadata_of(section).get("source", "unknown")),
        "um_per_px": um_per_px_of(section),
        "field_of_view_um": window_px(section, PATCH_PX) * um_per_px_of(section),
        "stlearn_lib": stlearn_lib.__version__,
    }


def _hashes(model: Method) -> list[str]:
    """SHA-256 and name of each file that a saved model predicts with, as ``sha256sum`` prints them."""
    with TemporaryDirectory() as folder:
        files = sorted(path for path in model.save(folder).rglob("*") if path.suffix in (".json", ".safetensors"))
        return [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}" for path in files]


def _key(facts: dict[str, Any], section: AnnData, block: int) -> str:
    """Hash what decides the prediction."""
    seen = [facts, section_name(section), fingerprint(section, PATCH_PX), section.obs.to_csv(), block]
    return hashlib.blake2b(json.dumps(seen).encode(), digest_size=8).hexdigest()


def _read_same(path: Path, key: str) -> AnnData:
    """Read a prediction, if it is the one with this key."""
    try:
        there = read_h5ad(path)
        same = there.uns["prediction"]["key"] == key
    except (SectionError, KeyError, TypeError, IndexError):
        same = False
    if not same:
        raise StlearnError(f"{path} holds something else than this prediction: remove it, or choose another name.")
    return there


def _assemble(section: AnnData, predicted: Predicted, target: Target, facts: dict[str, Any]) -> AnnData:
    """Put a prediction together as scanpy and squidpy expect a section."""
    attach_image(section, HIRES_PX)
    entry = section.uns["spatial"][section_name(section)]
    lowres = Image.fromarray(entry["images"]["hires"])
    lowres.thumbnail((LOWRES_PX, LOWRES_PX))
    entry["images"]["lowres"] = np.asarray(lowres)
    shrunk = lowres.width / entry["images"]["hires"].shape[1]
    entry["scalefactors"]["tissue_lowres_scalef"] = entry["scalefactors"]["tissue_hires_scalef"] * shrunk
    return AnnData(
        X=predicted.expression,
        obs=section.obs.copy(),
        var=pd.DataFrame(index=pd.Index(target.genes, dtype=object)),
        obsm={"spatial": section.obsm["spatial"].copy()},
        layers={} if predicted.spread is None else {"spread": predicted.spread},
        uns={"spatial": section.uns["spatial"], "prediction": facts},
    )


def _write(prediction: AnnData, parts: Path, output: Path, preview: bool) -> None:
    """Put file and picture in their places when they are whole; the file comes last, as a sign that all is done."""
    if preview:
        draw_preview(prediction, parts / "preview.png").replace(output.with_suffix(".png"))
    with written_whole(parts / output.name) as path:
        prediction.write_h5ad(path, compression="gzip")
    (parts / output.name).replace(output)
