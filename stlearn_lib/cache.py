"""Where patches and features are kept between runs, and how a file gets there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pooch


def cache_folder(kind: str) -> Path:
    """Return the folder for one kind of cached file, made if need be.

    Args:
        kind: For example ``"patches"``. The parent is the environment variable ``STLEARN_CACHE``, else the
            user's cache.

    Returns:
        The folder.
    """
    root = os.environ.get("STLEARN_CACHE")
    folder = (Path(root) if root else Path(pooch.os_cache("stlearn-lib"))) / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move it there when the block ends well.

    A process that is killed leaves no half file under the final name, and two that write the same file do not mix.

    Args:
        path: The final path.

    Yields:
        The path to write to; it has the same suffix.
    """
    temporary = path.with_name(f".{path.stem}-{uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
