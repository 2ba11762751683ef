"""Where an experiment finds its data: HER2+ in the registry, all else in a folder that someone has prepared.

::

    FOLDER/cscc/P2_ST_rep1.h5ad           sections, written by `stlearn-lib data section`
    FOLDER/tcga_brca/clinical.tsv         a cohort's table
    FOLDER/tcga_brca/TCGA-A1-A0SB....h5   and its bags

``FOLDER`` is ``prepared`` in the cache unless another is named.
"""

import glob
import hashlib
import shlex
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path

import anndata
from anndata import AnnData

import data_registry
from stlearn_lib.cache import cache_folder
from stlearn_lib.data.section_files import SUFFIX, read_section
from stlearn_lib.datasets import load_sections
from stlearn_lib.errors import ReproductionError, SectionError
from stlearn_lib.protocols import PATIENT_OF
from stlearn_lib.reproduction.identity import key_of

IN_REGISTRY = "her2st"
_FORMATS = {"cscc": "cscc", "alex_10x": "visium", "stimage_1k4m": "stimage", "hest_1k": "hest"}
_KEPT_IN_MEMORY = 64
_FILES = f"[!.]*{SUFFIX}"  # not those that a killed process left half written
_HERE: set[str] = set()  # sections of HER2+ whose files were compared with their hashes


def prepared_folder(folder: Path | str | None = None) -> Path:
    """Return the folder of prepared data: the one named, or the cache's."""
    return Path(folder) if folder is not None else cache_folder("prepared")


def patients_of(data: str, folder: Path | str | None = None) -> dict[str, str]:
    """Return the patient of each section of a data set; folds are built on it.

    Args:
        data: ``"her2st"``, or a folder's name below the prepared one.
        folder: See `prepared_folder`.

    Raises:
        ReproductionError: If nothing has been prepared; it says where it should be and how to get it.
        SectionError: If a file is no section.
    """
    if data == IN_REGISTRY:
        return dict(PATIENT_OF)
    files = sorted((prepared_folder(folder) / data).glob(_FILES))
    if not files:
        raise ReproductionError(missing_sections(data, folder))
    return {path.stem: _patient(path, path.stat().st_mtime_ns) for path in files}


def load_prepared(data: str, names: Sequence[str], folder: Path | str | None = None) -> list[AnnData]:
    """Load sections of a data set; those of HER2+ are real or an error.

    Raises:
        StlearnError: If a section cannot be had.
        data_registry.DataError: Likewise.
    """
    home = str(prepared_folder(folder))
    return [_load(data, name, home, fingerprint(data, [name], folder)) for name in names]


def fingerprint(data: str, names: Sequence[str], folder: Path | str | None = None) -> str:
    """Hash sections of a data set: what the registry pins of HER2+, or the bytes of prepared files and their images.

    Raises:
        ReproductionError: If a prepared section is not there.
    """
    if data == IN_REGISTRY:
        return pins_hash(data, sorted(names))
    home = prepared_folder(folder) / data
    files = {name: sorted(path for path in home.glob(f"{glob.escape(name)}.*")) for name in sorted(names)}
    if missing := [name for name, found in files.items() if not found]:
        raise ReproductionError(f"{home} has no section {', '.join(missing)}.")
    return key_of({name: [content_hash(path) for path in found] for name, found in files.items()})


def pins_hash(data: str, sections: Sequence[str] | None) -> str:
    """Hash what the registry says that files of a data set are: of some sections, or all."""
    pins = {file.name: file.pin for file in data_registry.describe(data).files}
    if sections is None:
        return key_of(pins)
    of_sections = data_registry.section_files(data, sections)
    return key_of({name: pins[name] for files in of_sections.values() for name in files.values()})


def content_hash(path: Path) -> str:
    """Hash a file's bytes, once as long as its size and date stay as they are."""
    found = path.stat()
    return _content_hash(path, found.st_size, found.st_mtime_ns)


def missing_sections(data: str, folder: Path | str | None = None, *, sections: Iterable[str] | None = None) -> str:
    """Say what is missing of a data set's sections, and how to get it; empty if nothing is.

    Args:
        data: ``"her2st"``, or a name in the registry, perhaps with a part: ``"hest_1k/int"``.
        folder: See `prepared_folder`.
        sections: Of HER2+, the sections that are wanted.
    """
    if data == IN_REGISTRY:
        absent = [name for name in sorted(sections or PATIENT_OF) if not _is_here(name)]
        how = "they are fetched when they are needed, or with: stlearn-lib data fetch her2st"
        return f"{len(absent)} sections are not here yet, {', '.join(absent[:6])} ...: {how}" if absent else ""
    home = prepared_folder(folder) / data
    if any(home.glob(_FILES)):
        return ""
    form = _FORMATS.get(data.split("/")[0], "plain")
    return (
        f"no sections in {home}. {how_to_get(data)} Then write its sections there: "
        f"stlearn-lib data section {form} SOURCE SECTION=PATIENT ... -o {shlex.quote(str(home))} (see its --help)."
    )


def how_to_get(data: str) -> str:
    """Say in one sentence how a data set can be had, from the registry."""
    name = data.split("/")[0]
    entry = data_registry.describe(name)
    how = f"stlearn-lib data fetch {name}" if entry.access == "open" and entry.files else entry.access
    return f"{entry.title}: {how.rstrip('.')}."


@lru_cache(_KEPT_IN_MEMORY)
def _load(data: str, name: str, folder: str, version: str) -> AnnData:
    if data == IN_REGISTRY:
        (section,) = load_sections([name], allow_simulated=False)
        return section
    return read_section(Path(folder) / data / f"{name}{SUFFIX}")


def _is_here(section: str) -> bool:
    if section not in _HERE:
        files = data_registry.section_files(IN_REGISTRY, section, roles=["counts", "spots", "image"])[section]
        if any(status.state != "ok" for status in data_registry.verify(IN_REGISTRY, files.values()).values()):
            return False
        _HERE.add(section)
    return True


@cache
def _content_hash(path: Path, size: int, date: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _patient(path: Path, date: int) -> str:
    try:
        section = anndata.read_h5ad(path, backed="r")
        section.file.close()
        return str(section.obs["patient"].iloc[0])
    except (OSError, KeyError, IndexError, ValueError, TypeError) as error:
        raise SectionError(f"{path} is no section ({str(error).splitlines()[0]}).") from error
