"""Fetch the sections that the chapters read, and print ``real`` or, where they cannot be had, ``simulated``."""

import sys
import warnings

from stlearn_lib.data.sections import metadata_of
from stlearn_lib.datasets import SimulatedDataWarning, load_sections
from stlearn_lib.errors import StlearnError

SECTIONS = ("A1", "B4", "C2", "C3", "C4", "C5", "C6")


def main() -> None:
    """Print where the sections came from; end with a message where real data is required and cannot be had."""
    warnings.simplefilter("always", SimulatedDataWarning)
    try:
        sections = load_sections(SECTIONS)
    except StlearnError as error:
        sys.exit(str(error))
    print("simulated" if any(metadata_of(section)["simulated"] for section in sections) else "real")


if __name__ == "__main__":
    main()
