"""Fetch the sections that the chapters read, and print ``real`` or, where they cannot be had, ``simulated``."""

import sys
import warnings

from data_registry import DataError, NetworkError, fetch_sections

SECTIONS = ("A1", "B4", "C2", "C3", "C4", "C5", "C6")


def main() -> None:
    """Print where the sections came from; end with a message where real data is required and cannot be had."""
    try:
        fetch_sections("her2st", SECTIONS)
    except NetworkError:
        simulate()
        print("simulated")
    except DataError as error:
        sys.exit(str(error))
    else:
        print("real")


def simulate() -> None:
    """Let simulated tissue take the place of the sections, and warn."""
    from stlearn_lib.datasets import SimulatedDataWarning, load_sections  # seconds, where the data is real for nothing
    from stlearn_lib.errors import StlearnError

    warnings.simplefilter("always", SimulatedDataWarning)
    try:
        load_sections(SECTIONS)
    except StlearnError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
