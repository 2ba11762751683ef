"""Archives of published data, unpacked with suspicion: nothing leaves the folder, and nothing grows without a limit."""

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from stlearn_lib.cache import written_whole
from stlearn_lib.errors import ArchiveError

MAX_FILES = 10_000
MAX_BYTES = 200 * 2**30
_BLOCK = 2**20
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,  # gzip's and bz2's word for damage
    NotImplementedError,  # compression that Python does not know
    RuntimeError,  # an encrypted zip
    ValueError,
)


class _Member(NamedTuple):
    name: str
    is_folder: bool
    is_file: bool
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path | str, folder: Path | str, *, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES
) -> list[Path]:
    """Unpack a tar (plain or compressed) or a zip into a folder.

    All names are looked at before anything is written, more strictly than by tarfile's ``data`` filter: absolute paths,
    ``..``, links, devices, and one name twice are refused, and neither modes nor owners are taken over. Sizes are
    counted as they are written, whatever the archive says of them. Each file appears whole or not at all: done again
    after it was stopped, unpacking finishes.

    Args:
        archive: The archive; a zip if its name ends so.
        folder: Where to; made if need be.
        max_files: More members than this are refused.
        max_bytes: More bytes than this, unpacked, are refused.

    Returns:
        The files, in the archive's order.

    Raises:
        ArchiveError: Naming the archive and the member, if it is broken, cut short, or one of the above.
        WriteError: If the disk is full, or the folder cannot be written.

    Example:
        >>> from tempfile import mkdtemp
        >>> archive = Path(mkdtemp()) / "raw.zip"
        >>> with zipfile.ZipFile(archive, "w") as file:
        ...     file.writestr("counts/A1.tsv", "3")
        >>> [path.name for path in unpack(archive, archive.parent / "raw")]
        ['A1.tsv']
    """
    archive, folder = Path(archive), Path(folder)
    with _opened(archive) as members:
        files = _checked(archive, members, max_files)
        left, written = max_bytes, []
        for member in files:
            path = folder / PurePosixPath(member.name)
            with _named(archive, member.name):
                stream = member.open()
            left -= _copy(stream, path, left, f"{archive}: {member.name}")
            written.append(path)
    return written


def decompress(path: Path | str, *, max_bytes: int = MAX_BYTES) -> Path:
    """Decompress a gzip file beside itself, unless that has been done.

    Args:
        path: The file, ``NAME.gz``.
        max_bytes: More bytes than this, decompressed, are refused.

    Returns:
        ``NAME``.

    Raises:
        ArchiveError: If it is missing, broken or too large.
    """
    path = Path(path)
    plain = path.with_suffix("")
    if not plain.exists():
        with _named(path):
            if not path.stat().st_size:  # which gzip takes for a file of nothing
                raise EOFError("it is empty")
            stream = gzip.open(path)  # noqa: SIM115 - _copy closes it
        _copy(stream, plain, max_bytes, str(path))
    return plain


@contextmanager
def _opened(archive: Path) -> Iterator[Iterable[_Member]]:
    if not archive.is_file():
        raise ArchiveError(f"{archive} does not exist.")
    with _named(archive):
        is_zip = archive.suffix.lower() == ".zip"
        file = zipfile.ZipFile(archive) if is_zip else tarfile.open(archive)  # noqa: SIM115 - closed below
    with file:
        yield _zip_members(file) if isinstance(file, zipfile.ZipFile) else _tar_members(archive, file)


def _zip_members(file: zipfile.ZipFile) -> Iterator[_Member]:
    for info in file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where no Unix made it
        is_folder = info.filename.endswith("/") and kind in (0, stat.S_IFDIR)
        is_file = not info.filename.endswith("/") and kind in (0, stat.S_IFREG)
        yield _Member(info.filename, is_folder, is_file, partial(file.open, info))


def _tar_members(archive: Path, file: tarfile.TarFile) -> Iterator[_Member]:
    for info in file:
        yield _Member(info.name, info.isdir(), info.isfile(), partial(_tar_stream, file, info))
    if file.fileobj is not None:  # tarfile takes what is cut off between two members for the end
        file.fileobj.seek(file.offset)
        if file.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ArchiveError(f"{archive} is cut short: it has no end.")


def _tar_stream(file: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = file.extractfile(info)
    if stream is None:
        raise tarfile.ReadError("no file")
    return stream


def _checked(archive: Path, members: Iterable[_Member], max_files: int) -> list[_Member]:
    """The files of an archive, if all its members may be unpacked."""
    files: dict[PurePosixPath, _Member] = {}
    n_members = 0
    with _named(archive):
        for member in members:
            n_members += 1
            if n_members > max_files:
                raise ArchiveError(f"{archive}: more than {max_files} members, the last seen {member.name!r}.")
            path = _safe(archive, member)
            if not (member.is_file or member.is_folder):
                raise ArchiveError(f"{archive}: {member.name!r} is a link or a device, not a file.")
            if path in files:
                raise ArchiveError(f"{archive}: {member.name!r} is there twice.")
            if member.is_file:
                files[path] = member
    for path, member in files.items():
        if any(parent in files for parent in path.parents):
            raise ArchiveError(f"{archive}: {member.name!r} lies in what is a file.")
    return list(files.values())


def _safe(archive: Path, member: _Member) -> PurePosixPath:
    name, path = member.name, PurePosixPath(member.name)
    special = any(character in name for character in "\\:\0")  # Windows' separators and drives
    if path.is_absolute() or ".." in path.parts or special or (member.is_file and not path.parts):
        raise ArchiveError(f"{archive}: {name!r} would be written outside the folder.")
    return path


def _copy(stream: IO[bytes] | gzip.GzipFile, path: Path, max_bytes: int, what: str) -> int:
    """Write a stream to a file, whole or not at all, and return its size."""
    size = 0
    with stream, written_whole(path) as temporary, temporary.open("wb") as file:
        while True:
            with _named(what):
                block = stream.read(_BLOCK)
            if not block:
                return size
            size += len(block)
            if size > max_bytes:
                raise ArchiveError(
                    f"{what} is larger, unpacked, than the {max_bytes:,} bytes that are left of the limit."
                )
            file.write(block)


@contextmanager
def _named(what: Path | str, member: str = "") -> Iterator[None]:
    """Turn what reading raises into an error that names the archive; not what writing raises, a full disk."""
    try:
        yield
    except ArchiveError:
        raise
    except _BROKEN as error:
        raise ArchiveError(f"{what}{f': {member}' if member else ''} is broken ({error}).") from error
