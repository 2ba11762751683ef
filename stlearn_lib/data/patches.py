"""Patches: the square of image around each spot, kept as one memory-mapped array per section."""

import hashlib
import json
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from stlearn_lib.cache import cache_folder, written_whole
from stlearn_lib.data.sections import image_path_of, metadata_of, open_section_image, section_name, um_per_px_of

PATCH_PX = 224
"""Side of the patches that methods look at."""


def cut_patches(section: AnnData, patch_px: int = PATCH_PX, *, patch_um: float | None = None) -> np.memmap:
    """Cut a square patch around each spot.

    Without ``patch_um`` a patch is ``patch_px`` pixels of the original scan, as the papers do: about 155 µm at 0.69 µm
    per pixel, and more tissue where the scan is coarser. With ``patch_um`` it is that many micrometres whatever the
    scan, resampled to ``patch_px``: the only choice that means the same on two scanners. Of a reduced copy of an image
    (``metadata["pixel_scale"]`` below 1) the same tissue is cut and enlarged; of a scan of higher resolution (above 1)
    it is cut and reduced. Of a whole slide only the windows are read.

    Patches are cut once and kept in the cache; they are cut again when the image, the spots or the settings change.
    What lies outside the image is white.

    Args:
        section: The section, with an image.
        patch_px: Side of the patch that is returned, in pixels.
        patch_um: Side of the tissue shown, in micrometres.

    Returns:
        Patches, (N, patch_px, patch_px, 3) uint8, RGB, memory-mapped and read-only.

    Raises:
        ImageError: If there is no image or it cannot be read.
        ValueError: If a size is not positive.
    """
    if patch_px < 1 or (patch_um is not None and patch_um <= 0):
        raise ValueError(f"patch sizes must be positive, not patch_px={patch_px}, patch_um={patch_um}.")
    path = cache_folder("patches") / f"{section_name(section)}-{fingerprint(section, patch_px, patch_um)}.npy"
    if not path.is_file():
        with written_whole(path) as temporary:
            _cut(section, patch_px, window_px(section, patch_px, patch_um), temporary)
    patches: np.memmap = np.load(path, mmap_mode="r")
    return patches


def window_px(section: AnnData, patch_px: int, patch_um: float | None = None) -> int:
    """Return the side of the window that `cut_patches` cuts, in pixels of the image on disk."""
    if patch_um is not None:
        return max(1, round(patch_um / um_per_px_of(section)))
    return max(1, round(patch_px * metadata_of(section).get("pixel_scale", 1.0)))


def fingerprint(section: AnnData, patch_px: int, patch_um: float | None = None) -> str:
    """Hash all that patches of `cut_patches` depend on; the image by its bytes, since a copy keeps name and date."""
    facts = {key: value for key, value in metadata_of(section).items() if key != "image_path"}
    path = image_path_of(section)
    digest = _hashed(path, path.stat().st_size, path.stat().st_mtime_ns).copy()
    digest.update(np.ascontiguousarray(section.obsm["spatial"]).tobytes())
    digest.update(json.dumps([patch_px, patch_um, facts], sort_keys=True, default=str).encode())
    return digest.hexdigest()


@lru_cache(maxsize=128)
def _hashed(path: Path, _size: int, _mtime_ns: int) -> Any:
    """Hash a file once in a process, as long as size and time of it stay: slides are large, and read block by block."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.blake2b, digest_size=12))


def _cut(section: AnnData, patch_px: int, window_px: int, path: Path) -> None:
    image = open_section_image(section)
    corners = np.floor(section.obsm["spatial"]).astype(int) - window_px // 2
    shape = (section.n_obs, patch_px, patch_px, 3)
    with path.open("wb") as file:  # not a memory map, whose pages stay in memory, and which a full disk kills
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for left, top in corners.tolist():
            file.write(image.window(left, top, window_px, patch_px).tobytes())
