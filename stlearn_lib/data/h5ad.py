"""Any ``.h5ad`` file to an `AnnData`: whatever is wrong with it is a `SectionError` that names it."""

import warnings
from pathlib import Path

import anndata
from anndata import AnnData
from anndata._io.specs.registry import IORegistryError  # an error without a public name
from scipy import sparse

from stlearn_lib.errors import SectionError

# What anndata raises for files that are damaged, or that others wrote otherwise.
_UNREADABLE = (
    OSError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    IndexError,
    MemoryError,
    IORegistryError,
)


def read_h5ad(path: Path) -> AnnData:
    """Read a file.

    Args:
        path: The file.

    Returns:
        What it holds. Names may be doubled: who needs them unique looks.

    Raises:
        SectionError: If it does not exist or cannot be read.
    """
    if not path.is_file():
        raise SectionError(f"{path} does not exist.")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* names are not unique", category=UserWarning)
            table = anndata.read_h5ad(path)
        if sparse.issparse(table.X):
            table.X.check_format(full_check=True)  # SciPy reads memory wherever its indices point
        return table
    except _UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SectionError(f"{path} is no readable .h5ad file ({reason}).") from error
