"""Where patches and features are kept between runs, and how a file gets there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from uuid import uuid4

import h5py
import pooch

from stlearn_lib.storage import locked, writing_in

_MARK = ".writing"
_FOLDER: ContextVar[Path | None] = ContextVar("folder of the cache", default=None)


def cache_folder(kind: str) -> Path:
    """Return the folder for one kind of cached file, made if need be.

    Args:
        kind: For example ``"patches"``. The parent is the folder of `cache_in`, else the environment variable
            ``STLEARN_CACHE``, else the user's cache.

    Returns:
        The folder.

    Raises:
        WriteError: If it cannot be made.
    """
    root = _FOLDER.get() or os.environ.get("STLEARN_CACHE") or pooch.os_cache("stlearn-lib")
    return _made(Path(root) / kind)


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """Keep what the block caches in `folder`, for example a temporary one: the patches of whole slides fill a disk.

    Args:
        folder: The folder.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, cache_in(Path(folder)):
        ...     cache_folder("patches").parent == Path(folder)
        True
    """
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move it there when the block ends well.

    A process that is killed leaves no half file under the final name, and two that write the same file do not mix. What
    it leaves under the temporary name is removed when a file is next written in the folder.

    Args:
        path: The final path; its folder is made if need be.

    Yields:
        The path to write to; it has the same suffix.

    Raises:
        WriteError: If the disk is full, or the folder cannot be written.
    """
    if path.parent == Path("/dev"):  # /dev/stdout is no file to be replaced
        yield path
        return
    remove_leftovers(_made(path.parent))
    temporary = path.with_name(f".{path.stem}-{uuid4().hex}{path.suffix}")
    try:
        with writing_in(path.parent), locked(temporary.with_name(temporary.name + _MARK)):
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):  # it is gone, or its folder is read-only
            temporary.unlink()


@contextmanager
def hdf5_written_whole(path: Path) -> Iterator[h5py.File]:
    """Yield an HDF5 file in memory, and write it to `path` when the block ends well.

    On a full disk HDF5 can neither write its file nor close it, and Python may crash at its end.

    Args:
        path: The final path; its folder is made if need be.

    Yields:
        The file to write to.

    Raises:
        WriteError: If the disk is full, or the folder cannot be written.
    """
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        yield file
        file.flush()
        content = file.id.get_file_image()
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes were writing into a folder when they were killed; `written_whole` does so by itself.

    Args:
        folder: The folder. What is being written there stays.
    """
    for mark in folder.glob(f".*-{'[0-9a-f]' * 32}*{_MARK}"):
        with suppress(OSError), locked(mark) as held:  # an error if it is being written, or is not ours
            if held:
                mark.with_name(mark.name.removesuffix(_MARK)).unlink(missing_ok=True)


def _made(folder: Path) -> Path:
    with writing_in(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder
