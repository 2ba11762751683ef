"""JSON files of facts to a dictionary: whatever is wrong with a file is a `SectionError` that names it."""

import json
from pathlib import Path
from typing import Any

from stlearn_lib.errors import SectionError


def read_facts(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.

    Returns:
        Its facts by name; none of them has been looked at.

    Raises:
        SectionError: If the file does not exist, is no JSON, or holds no object.
    """
    if not path.is_file():
        raise SectionError(f"{path} does not exist.")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SectionError(f"{path} is no readable JSON ({error}).") from error
    if not isinstance(facts, dict):
        raise SectionError(f"{path}: expected an object of facts by name.")
    return facts
