"""What decides a result, as a short name."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import stlearn_lib

# A change of code in one of these makes every result a new one.
_CODE = ("data", "evaluation", "losses", "methods", "models", "retrieval.py", "training")


@cache
def code_version(*more: str) -> str:
    """Return the library's version with a hash of the code that results depend on.

    Args:
        *more: Further parts of the library that they depend on.
    """
    root, digest = Path(stlearn_lib.__file__).parent, hashlib.blake2b(digest_size=4)
    for part in (*_CODE, *more):
        for path in [root / part] if part.endswith(".py") else sorted((root / part).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return f"{stlearn_lib.__version__}+{digest.hexdigest()}"


def key_of(identity: Mapping[str, Any]) -> str:
    """Hash what decides a result: sixteen hexadecimal digits.

    Example:
        >>> key_of({"seed": 0, "fold": "C3"}) == key_of({"fold": "C3", "seed": 0}) != key_of({"fold": "C3", "seed": 1})
        True
    """
    return hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=8).hexdigest()
