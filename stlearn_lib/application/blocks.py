"""A section predicted block by block: in bounded memory and disk space, and a run that was stopped goes on.

No method looks at a spot's neighbours when it predicts (NH2ST's do their work in training), so a block's spots get what
they would get among all of them. A method that measures the section as a whole sees it as one block.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from anndata import AnnData
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from stlearn_lib.cache import cache_in, written_whole
from stlearn_lib.data.sections import section_name
from stlearn_lib.errors import StlearnError
from stlearn_lib.methods.base import Method
from stlearn_lib.methods.baselines import FeatureMethod
from stlearn_lib.methods.ensemble import Ensemble
from stlearn_lib.methods.mclstexp import MclSTExp

_SCRATCH = "patches"


class Predicted(NamedTuple):
    """What a model says of a section's spots."""

    expression: np.ndarray
    """(N, G) float32."""
    spread: np.ndarray | None
    """See `methods.base.Method.spread`: (N, G) float32, where the model has one."""


def predict_in_blocks(
    model: Method, section: AnnData, folder: Path, *, block: int = 512, progress: bool = True
) -> Predicted:
    """Predict a section, a block of neighbouring spots at a time.

    What is done lies in the folder, a file for each block, and is not done again. Patches and features of a block lie
    there too while it is predicted, and nowhere else.

    Args:
        model: A fitted method.
        section: The section, with an image; its counts are not looked at.
        folder: Of this model, this section and these blocks, and nothing else; made if need be.
        block: Spots at a time.
        progress: Whether to show a bar, on a terminal.

    Returns:
        What the model says of all spots.

    Raises:
        StlearnError: If a block has no spot.
        ImageError: If the image cannot be read.
    """
    blocks = [np.arange(section.n_obs)] if looks_at_all_spots(model) else spatial_blocks(section, block)
    folder.mkdir(parents=True, exist_ok=True)
    bar = tqdm(blocks, desc=section_name(section), unit="block", disable=None if progress else True)
    for i, rows in enumerate(bar):
        if not _part(folder, i).is_file():
            _predict_block(model, section[rows].copy(), folder, _part(folder, i))
    together: dict[str, np.ndarray] = {}
    for i, rows in enumerate(blocks):
        for name, values in load_file(_part(folder, i)).items():
            together.setdefault(name, np.empty((section.n_obs, values.shape[1]), np.float32))[rows] = values
    return Predicted(together["expression"], together.get("spread"))


def spatial_blocks(section: AnnData, size: int) -> list[np.ndarray]:
    """Divide a section's spots along the rows of its grid, so that a block's patches lie side by side in the image.

    Args:
        section: The section.
        size: Spots of a block; the last has the rest.

    Returns:
        Numbers of the spots of each block; each spot once.

    Raises:
        StlearnError: If a block has no spot.
    """
    if size < 1:
        raise StlearnError(f"a block has 1 spot or more, not {size}.")
    x, y = section.obs["array_x"].to_numpy(), section.obs["array_y"].to_numpy()
    along = np.lexsort((x, np.rint(y)))
    return np.split(along, np.arange(size, len(along), size))


def looks_at_all_spots(model: Method) -> bool:
    """Return whether a spot's prediction depends on the section's other spots.

    So it does where features are standardised by the section's own mean and spread, and where test images are augmented
    at random, in the order of the spots.

    Example:
        >>> from stlearn_lib.methods.registry import create_method
        >>> [looks_at_all_spots(create_method(name)) for name in ("ridge-colour", "ridge-colour-section")]
        [False, True]
    """
    if isinstance(model, Ensemble):
        return any(looks_at_all_spots(member) for member in model.members)
    if isinstance(model, FeatureMethod):
        return model.inputs.standardize == "section"
    return isinstance(model, MclSTExp) and bool(model.options.augment_test)


def _part(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.safetensors"


def _predict_block(model: Method, section: AnnData, folder: Path, part: Path) -> None:
    scratch = folder / _SCRATCH
    with cache_in(scratch):
        arrays = {"expression": np.asarray(model.predict(section).X, dtype=np.float32)}
        spread = model.spread(section)
    if spread is not None:
        arrays["spread"] = np.ascontiguousarray(spread, dtype=np.float32)
    with written_whole(part) as path:
        save_file(arrays, path)
    shutil.rmtree(scratch, ignore_errors=True)  # the training mean looks at no patch, and has none
