"""Protocols on the HER2+ sections, by name: what the book and the command line compare methods on."""

from collections.abc import Callable, Mapping, Sequence

from data_registry import HER2ST_SECTIONS
from stlearn_lib.data.splits import Fold, held_out, leave_one_section_out, published_split
from stlearn_lib.errors import SplitError

PATIENT_OF: Mapping[str, str] = {section: section[0] for section in HER2ST_SECTIONS}
WITHIN_C = ("C2", "C3", "C4", "C5", "C6")


def _within_c() -> tuple[Fold, ...]:
    """Leave one of C2-C6 out: adjacent slices of the same tumour stay in training, so patient C leaks."""
    return leave_one_section_out({section: "C" for section in WITHIN_C}, allow_leak=True)


def _to(section: str) -> Callable[[], tuple[Fold, ...]]:
    return lambda: held_out(PATIENT_OF, train=WITHIN_C, test=[section])


PROTOCOLS: dict[str, tuple[str, Callable[[], tuple[Fold, ...]]]] = {
    "within-C": ("leave one of C2-C6 out; the patient leaks", _within_c),
    "C-to-B4": ("train on C2-C6, test on B4, another patient", _to("B4")),
    "C-to-A1": ("train on C2-C6, test on A1, another patient, stain and scanner", _to("A1")),
    "mclstexp_her2st": (
        "the published one: leave one of the 32 sections A2-G3 out; patients leak",
        lambda: published_split("mclstexp_her2st", PATIENT_OF),
    ),
}
"""What each protocol is, and a function that builds its folds."""


def folds_of(protocol: str) -> tuple[Fold, ...]:
    """Build the folds of a protocol by its name.

    Args:
        protocol: A key of `PROTOCOLS`.

    Returns:
        The folds.

    Raises:
        SplitError: If the name is unknown.

    Example:
        >>> [fold.test for fold in folds_of("C-to-A1")]
        [('A1',)]
    """
    if protocol not in PROTOCOLS:
        raise SplitError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[protocol][1]()


def sections_of(folds: Sequence[Fold]) -> list[str]:
    """Return the names of all sections that folds use, sorted.

    Example:
        >>> sections_of(folds_of("C-to-B4"))
        ['B4', 'C2', 'C3', 'C4', 'C5', 'C6']
    """
    return sorted({name for fold in folds for name in (*fold.train, *fold.validation, *fold.test)})
