"""A section as a file, ``NAME.h5ad`` with its image beside it: prepared once, read wherever it is needed."""

import shutil
from pathlib import Path

from anndata import AnnData
from anndata.io import write_elem

from stlearn_lib.cache import hdf5_written_whole, written_whole
from stlearn_lib.data.h5ad import read_h5ad
from stlearn_lib.data.sections import check_section, image_path_of, metadata_of, section_name
from stlearn_lib.errors import ImageError, SectionError

SUFFIX = ".h5ad"
_SEVERAL_FILES = (".mrxs", ".vms", ".vmu", ".dcm")


def write_section(section: AnnData, folder: Path | str) -> Path:
    """Write a section, ``NAME.h5ad``, and a copy of its image, so that the folder can be moved as a whole.

    The image is copied byte by byte: a whole slide keeps its pyramid, takes its size on the disk again, and no memory.

    Args:
        section: The section.
        folder: Where to; made if need be.

    Returns:
        The ``.h5ad`` file. Its metadata name the image relative to the folder.

    Raises:
        SectionError: If it is no section, or its name cannot name a file.
        ImageError: If its image is gone, or is a slide of several files (MRXS, VMS, DICOM), of which one is no image.
        WriteError: If the folder cannot be written.

    Example:
        >>> from tempfile import mkdtemp
        >>> from stlearn_lib.data.synthetic import simulate_section
        >>> path = write_section(simulate_section("S1", Path(mkdtemp())), mkdtemp())
        >>> path.name, read_section(path).shape
        ('S1.h5ad', (168, 200))
    """
    check_section(section)
    name, folder = section_name(section), Path(folder)
    if Path(name).name != name:
        raise SectionError(f"section {name!r}: its name cannot name a file.")
    copy = section.copy()
    if "image_path" in metadata_of(section):
        image = image_path_of(section)
        if image.suffix.lower() in _SEVERAL_FILES:
            raise ImageError(
                f"section {name}: {image} is one of several files. Make one of them first: vips tiffsave {image.name} "
                f"{image.stem}.tif --tile --pyramid --bigtiff --compression jpeg --Q 90"
            )
        kept = folder / f"{name}{image.suffix}"
        if not (kept.exists() and kept.samefile(image)):
            with written_whole(kept) as path:
                shutil.copyfile(image, path)
        metadata_of(copy)["image_path"] = kept.name
    copy.strings_to_categoricals()
    with hdf5_written_whole(folder / f"{name}{SUFFIX}") as file:
        write_elem(file, "/", copy, dataset_kwargs={"compression": "gzip"})
    return folder / f"{name}{SUFFIX}"


def read_section(path: Path | str) -> AnnData:
    """Read a section that `write_section` wrote, or any ``.h5ad`` that keeps the section contract.

    Args:
        path: The file.

    Returns:
        The section; the path of its image is resolved against the file's folder.

    Raises:
        SectionError: If the file cannot be read, or holds no section.
        ImageError: If its image is gone.
    """
    path = Path(path)
    section = read_h5ad(path)
    try:
        if len(section.uns.get("spatial", {})) == 1 and "image_path" in metadata_of(section):
            metadata_of(section)["image_path"] = str(path.parent / metadata_of(section)["image_path"])
        check_section(section)
    except SectionError as error:
        raise type(error)(f"{path}: {error}") from error
    except (AttributeError, KeyError, TypeError) as error:  # of other layouts than ours
        raise SectionError(f"{path}: not a section: its uns['spatial'] is laid out otherwise ({error}).") from error
    return section
