"""The methods by the names that the command line uses, and saved methods of any kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stlearn_lib.errors import StlearnError
from stlearn_lib.methods.base import Method
from stlearn_lib.methods.baselines import NearestSpots, Ridge, TotalCountOracle, TrainingMean
from stlearn_lib.methods.ensemble import TRAINED, Ensemble
from stlearn_lib.methods.presets import PRESETS
from stlearn_lib.saving import UNREADABLE, saved_kind

DEEP = "deep:mobilenetv2_100"

METHODS: dict[str, Callable[..., Method]] = {
    "mean": TrainingMean,
    "oracle": TotalCountOracle,
    "ridge-colour": Ridge,
    "ridge-colour-section": lambda: Ridge(standardize="section"),
    "ridge-deep": lambda: Ridge([DEEP]),
    "ridge-both": lambda: Ridge(["colour_texture", DEEP]),
    "nearest-both": lambda: NearestSpots(["colour_texture", DEEP]),
    **{name: preset.create for name, preset in PRESETS.items()},
}
"""Each call makes a new, unfitted method."""

_KINDS: dict[str, type[Method]] = {
    **{kind.__name__: kind for kind in (TrainingMean, TotalCountOracle, Ridge, NearestSpots, Ensemble)},
    **TRAINED,
}


def create_method(name: str, **training: Any) -> Method:
    """Make an unfitted method by its name.

    Args:
        name: A key of `METHODS`.
        **training: For a preset of a method that trains a network: ``compute``, ``folder``, ``seed`` and ``changes``,
            see `methods.presets.Preset.create`.

    Returns:
        The method, without a target.

    Raises:
        StlearnError: If the name is unknown, or something of ``training`` is given for a method that trains no network.

    Example:
        >>> create_method("ridge-colour").name
        'ridge (colour_texture)'
    """
    if name not in METHODS:
        raise StlearnError(f"unknown method {name!r}; known: {', '.join(METHODS)}.")
    if training and name not in PRESETS:
        raise StlearnError(f"{name} trains no network: leave out {', '.join(training)}.")
    return METHODS[name](**training)


def load_method(folder: Path | str) -> Method:
    """Read a saved method, whichever it is.

    Args:
        folder: What `Method.save` wrote.

    Returns:
        The fitted method.

    Raises:
        StlearnError: If the folder holds no method that is known here.
    """
    try:
        kind = _KINDS[saved_kind(folder)]
    except UNREADABLE as error:
        raise StlearnError(f"{folder} holds no method that is known here ({error}).") from error
    return kind.load(folder)
