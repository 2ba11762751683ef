"""What can stand in the way of a file: a full disk, a folder that is read-only, another process that writes there."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from stlearn_lib.errors import StlearnError, WriteError

if sys.platform != "win32":
    import fcntl

_SPACE = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "your quota is used up: free some space",
    errno.EFBIG: "the file would be larger than allowed: raise the limit",
}
_REASONS = _SPACE | {
    errno.EROFS: "it is read-only: make it writable",
    errno.EACCES: "you may not write there: ask for the right to",
    errno.EPERM: "you may not write there: ask for the right to",
    errno.ENOTDIR: "a file is in its place: move the file",
}


@contextmanager
def writing_in(folder: Path) -> Iterator[None]:
    """Say of a write that fails whether it is for want of space, or of the right to write in the folder.

    Args:
        folder: Where the block writes.

    Raises:
        WriteError: If so; any other error stays as it is.

    Example:
        >>> with writing_in(Path("full")):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
            ...
        stlearn_lib.errors.WriteError: full cannot be written, the disk is full: free some space, or choose another \
folder (STLEARN_CACHE, if it is the cache).
    """
    try:
        yield
    except StlearnError:
        raise
    except (OSError, RuntimeError) as error:
        reason = _REASONS.get(_fault(folder, error) or 0)
        if reason is None:
            raise
        raise WriteError(
            f"{folder} cannot be written, {reason}, or choose another folder (STLEARN_CACHE, if it is the cache)."
        ) from error


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a lock that the system releases when its process ends, however it ends.

    Args:
        path: A file for the lock alone; it is there while the lock is held.
        wait: Whether to wait until it is free.

    Yields:
        Whether it is held. Windows and some file systems have no such locks: there nobody is kept out.

    Raises:
        BlockingIOError: If another process holds it and `wait` is false.
    """
    if sys.platform == "win32":
        yield False
        return
    while True:
        with path.open("ab") as file:
            held = _lock(file, wait)
            if not _is_at(path, file):
                continue  # who held it before has removed it
            try:
                yield held
            finally:
                path.unlink(missing_ok=True)
            return


def _fault(folder: Path, error: Exception) -> int | None:
    """The number of what keeps a file from being written.

    An error that says that there is no space is believed. NumPy and torch do not say so, and what is forbidden may be
    to read another file: then one is written to see.
    """
    if isinstance(error, OSError) and error.errno in _SPACE:
        return error.errno
    try:
        while not folder.exists():
            folder = folder.parent
        with TemporaryFile(dir=folder) as probe:
            probe.write(bytes(1 << 16))
    except OSError as fault:
        return fault.errno
    return None


def _lock(file: IO[bytes], wait: bool) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            return False
        raise
    return True


def _is_at(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
