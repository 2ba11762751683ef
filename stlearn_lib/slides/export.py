"""Features of sections as files for other tools: one ``.h5`` each, as TRIDENT and CLAM write them."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
from anndata import AnnData
from tqdm import tqdm

import stlearn_lib
from stlearn_lib.cache import cache_in, written_whole
from stlearn_lib.data.images import PlainImage
from stlearn_lib.data.patches import PATCH_PX, cut_patches, fingerprint, window_px
from stlearn_lib.data.sections import image_path_of, metadata_of, open_section_image, section_name, um_per_px_of
from stlearn_lib.data.statistics import colour_texture_statistics
from stlearn_lib.errors import BagError
from stlearn_lib.methods.features import DeepFeatures, build_features
from stlearn_lib.models.encoders import extract_features
from stlearn_lib.slides.bags import Bag, Plain, section_bag, write_bag
from stlearn_lib.training import Compute


def export_features(
    section: AnnData,
    features: str,
    folder: Path | str,
    *,
    weights: str | None = "auto",
    chunk: int = 256,
    progress: bool = True,
) -> Path:
    """Write the features of a section's patches into ``FOLDER/SECTION.h5``.

    Patches are seen in chunks, and what is done of them lies beside the file until all are: a run that was stopped goes
    on after its last whole chunk. The file itself appears whole or not at all. An encoder runs on a GPU where there is
    one. Patches of a whole slide are cut for each chunk and not kept: all of them would fill gigabytes of disk.

    The file holds ``features`` (N, D) float32, ``coords`` (N, 2), the upper left corners of the patches in pixels of
    the image, and in its attributes the encoder, its weights, the patches' size, the resolution, and whether the
    section is simulated.

    Args:
        section: The section, with an image.
        features: ``"colour_texture"``, or ``"deep:"`` and the name of a timm backbone.
        folder: Where the file goes.
        weights: Of a deep encoder, see `models.encoders.create_encoder`.
        chunk: Patches at a time.
        progress: Whether to show a bar.

    Returns:
        The file's path. A file that is there already of the same features is left as it is.

    Raises:
        BagError: If the file is there with other features, or the features are unknown.
        ImageError: If the section has no image.
        WeightsError: If the encoder's weights cannot be had.
        WriteError: If the folder or the cache cannot be written.
    """
    if chunk < 1:
        raise BagError(f"a chunk has 1 patch or more, not {chunk}.")
    extract, facts = _extractor(features, weights)
    name, seen = section_name(section), fingerprint(section, PATCH_PX)
    key = hashlib.blake2b(f"{name}-{seen}.npy {facts} {chunk}".encode(), digest_size=8).hexdigest()
    path = Path(folder) / f"{name}.h5"
    parts = path.with_name(f".{name}-{key}")
    if path.is_file():
        if _key_of(path) != key:
            raise BagError(f"{path} holds other features: remove it, or choose another folder.")
        shutil.rmtree(parts, ignore_errors=True)  # of a run that was killed before it could
        return path
    starts = range(0, section.n_obs, chunk)
    for start in tqdm(starts, desc=f"{name} {features}", unit="chunk", disable=None if progress else True):
        part = parts / f"{start:08}.npy"
        if not part.is_file():
            with written_whole(part) as temporary:
                np.save(temporary, extract(_patches(section, start, start + chunk)).astype(np.float32))
    values = np.concatenate([np.load(parts / f"{start:08}.npy") for start in starts])
    side = window_px(section, PATCH_PX)
    bag = section_bag(section, values, {**facts, **_facts_of(section), "patch_size_level0": side, "key": key})
    corners = np.floor(section.obsm["spatial"]).astype(np.int64) - side // 2
    write_bag(Bag(bag.slide, bag.features, corners, bag.patient, bag.provenance), parts / path.name).replace(path)
    shutil.rmtree(parts)
    return path


def _patches(section: AnnData, start: int, stop: int) -> np.ndarray:
    if isinstance(open_section_image(section), PlainImage):  # decoded as a whole, so all its patches are cut at once
        return np.asarray(cut_patches(section, PATCH_PX)[start:stop])
    with TemporaryDirectory() as folder, cache_in(Path(folder)):
        return np.array(cut_patches(section[start:stop], PATCH_PX))


def _extractor(features: str, weights: str | None) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, Plain]]:
    """What maps patches (N, H, W, 3) to features, and what it is, in plain values."""
    try:
        block = build_features(features, weights)
        encoder = block.encoder if isinstance(block, DeepFeatures) else None
    except ValueError as error:
        raise BagError(str(error)) from error
    facts: dict[str, Plain] = {"encoder": features, "patch_size": PATCH_PX, "stlearn_lib": stlearn_lib.__version__}
    if encoder is None:
        return colour_texture_statistics, facts
    encoder.to(Compute().fabric().device)
    facts |= {"weights": encoder.weights_id, "weights_hash": encoder.fingerprint()}
    return lambda patches: extract_features(patches, encoder, progress=False), facts


def _facts_of(section: AnnData) -> dict[str, Plain]:
    metadata = metadata_of(section)
    source = str(metadata.get("source", ""))
    return {"um_per_px": um_per_px_of(section), "source": source, "image": image_path_of(section).name}


def _key_of(path: Path) -> str | None:
    """The key of a file of ours; None of others."""
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("key"))
    except OSError:
        return None
