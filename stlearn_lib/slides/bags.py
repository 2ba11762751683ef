"""Bags of features: one file for each slide, one row for each of its patches, and a table that says what is predicted.

The files are HDF5 as TRIDENT and CLAM write them, and as `write_bag` does: a data set ``features`` (N, D), perhaps with
a leading axis of 1, and ``coords`` (N, 2), the upper left corner of each patch in pixels of the full image.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from anndata import AnnData

from stlearn_lib.cache import hdf5_written_whole
from stlearn_lib.data.sections import metadata_of, patient_of, section_name
from stlearn_lib.errors import BagError

FEATURES, COORDS = "features", "coords"
Plain = str | int | float | bool


@dataclass(frozen=True)
class Bag:
    """The features of one slide.

    Args:
        slide: The slide's name.
        features: One row for each patch or spot, (N, D), kept as float32.
        coords: Where each lies in the image, (N, 2) pixels (x, y), or None if nobody knows.
        patient: Whose slide it is, where that is known.
        provenance: What the features were computed with, in plain values; ``simulated`` is true of simulated ones.

    Raises:
        BagError: If the arrays are not of that shape, hold no row, or numbers that are not finite.

    Example:
        >>> Bag("slide", np.zeros((3, 8)), np.zeros((3, 2))).features.shape
        (3, 8)
    """

    slide: str
    features: np.ndarray
    coords: np.ndarray | None = None
    patient: str = ""
    provenance: Mapping[str, Plain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        features = np.asarray(self.features)
        if features.ndim != 2 or not features.size:
            raise BagError(f"bag {self.slide}: features are (N, D) with N and D above 0, not {features.shape}.")
        if not np.issubdtype(features.dtype, np.floating):
            raise BagError(f"bag {self.slide}: features are floating-point numbers, not {features.dtype}.")
        with np.errstate(over="ignore"):  # what is too large for float32 is named below
            features = features.astype(np.float32, copy=False)
        wrong = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(wrong):
            raise BagError(
                f"bag {self.slide}: {len(wrong)} of {len(features)} rows of features are not finite, first row "
                f"{wrong[0]}: extract the slide's features again."
            )
        object.__setattr__(self, "features", features)
        if self.coords is not None:
            coords = np.asarray(self.coords)
            if coords.shape != (len(features), 2) or not np.issubdtype(coords.dtype, np.number):
                raise BagError(
                    f"bag {self.slide}: coords are numbers ({len(features)}, 2), not {coords.dtype} {coords.shape}."
                )
            if not np.isfinite(coords).all():
                raise BagError(f"bag {self.slide}: coords are not finite: nobody knows where these patches lie.")
            object.__setattr__(self, "coords", coords)

    def __len__(self) -> int:
        return len(self.features)


def read_bag(path: Path | str, *, slide: str | None = None, patient: str | None = None) -> Bag:
    """Read a bag as TRIDENT, CLAM and this library write it.

    Args:
        path: The ``.h5`` file.
        slide: The slide's name; without one, the name that the file states, or else its file name.
        patient: Whose slide it is; without one, whom the file states.

    Returns:
        The bag; a leading axis of 1 is taken away, half precision becomes float32, and the file's attributes are its
        provenance.

    Raises:
        BagError: If the file is missing, truncated or no HDF5, a data set is missing, was not written to its end or is
            too large for memory, or what is in it is no bag.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = write_bag(Bag("S1", np.ones((3, 8)), provenance={"encoder": "uni"}), Path(mkdtemp()) / "S1.h5")
        >>> read_bag(path).features.shape, dict(read_bag(path).provenance)
        ((3, 8), {'encoder': 'uni'})

    Reference:
        TRIDENT, arXiv 2502.06750; CLAM, Lu et al., Nature Biomedical Engineering 5 (2021) 555.
    """
    path = Path(path)
    if not path.is_file():
        raise BagError(f"the bag {path} does not exist.")
    try:
        with h5py.File(path, "r") as file:
            features = _dataset(file, path, FEATURES)
            if features is None:
                raise BagError(f"{path} has no data set 'features'; it holds {', '.join(map(str, file)) or 'nothing'}.")
            coords, facts = _dataset(file, path, COORDS), _attributes(file)
    except BagError:
        raise
    except (OSError, RuntimeError, MemoryError, KeyError, TypeError, ValueError) as error:  # h5py's words for damage
        raise BagError(f"{path} cannot be read as HDF5 ({error}): copy or extract it again.") from error
    named, owner = str(facts.pop("slide", path.stem)), str(facts.pop("patient", ""))
    try:
        return Bag(slide or named, features, coords, patient if patient is not None else owner, facts)
    except BagError as error:
        raise BagError(f"{path}: {error}") from error


def write_bag(bag: Bag, path: Path | str) -> Path:
    """Write a bag so that TRIDENT's and CLAM's readers find what they look for; whole or not at all.

    Args:
        bag: The bag; its provenance becomes attributes of the file.
        path: Where to, ``.h5``.

    Returns:
        The path.

    Raises:
        WriteError: If the folder cannot be written.
    """
    path = Path(path)
    with hdf5_written_whole(path) as file:
        file[FEATURES] = bag.features
        if bag.coords is not None:
            file[COORDS] = bag.coords
            sizes = {name: value for name, value in bag.provenance.items() if name.startswith("patch_size")}
            file[COORDS].attrs.update(sizes)  # where TRIDENT looks for them when it draws a heat map
        file.attrs.update({**bag.provenance, "slide": bag.slide, "patient": bag.patient})
    return path


def section_bag(section: AnnData, features: np.ndarray, provenance: Mapping[str, Plain] | None = None) -> Bag:
    """Put the features of a section's spots into one bag.

    Args:
        section: The section.
        features: Features of its spots, (N, D).
        provenance: What they were computed with.

    Returns:
        The bag, with the spots' centres as coordinates.

    Raises:
        BagError: If the features do not fit the spots.
    """
    if len(features) != section.n_obs:
        raise BagError(f"section {section_name(section)}: {len(features)} rows of features, {section.n_obs} spots.")
    facts = {"simulated": bool(metadata_of(section)["simulated"]), **(provenance or {})}
    return Bag(section_name(section), features, section.obsm["spatial"], patient_of(section), facts)


def unknown_slides(asked: Iterable[str], known: Iterable[str]) -> str:
    """Name the slides that are asked for and not known, at most three, or nothing."""
    missing = sorted(set(asked) - set(known))
    return ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")


def _dataset(file: h5py.File, path: Path, name: str) -> np.ndarray | None:
    found = file.get(name)
    if found is None:
        return None
    if not isinstance(found, h5py.Dataset):
        raise BagError(f"{path}: {name!r} is a group, not a data set.")
    if found.size and found.chunks is not None:  # HDF5 reads zeros where nothing was written
        blocks = int(np.prod([-(-side // length) for side, length in zip(found.shape, found.chunks, strict=True)]))
        if (written := found.id.get_num_chunks()) < blocks:
            raise BagError(f"{path}: {name!r} {found.shape} has {written} of {blocks} blocks: extract it again.")
    values: np.ndarray = np.asarray(found[()])
    return values[0] if values.ndim == 3 and len(values) == 1 else values


def _attributes(file: h5py.File) -> dict[str, Plain]:
    """The plain attributes of the file and of its data sets, in which TRIDENT and CLAM keep patch size and encoder."""
    facts: dict[str, Any] = {}
    for holder in (file.get(COORDS), file.get(FEATURES), file):
        facts |= dict(holder.attrs) if holder is not None else {}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in facts.items()}
    return {name: value for name, value in plain.items() if isinstance(value, str | int | float | bool)}
