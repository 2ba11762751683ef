"""Whatever is fitted as a folder: arrays as safetensors, facts as readable JSON, and a page that says what it is."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from stlearn_lib import __version__
from stlearn_lib.cache import written_whole
from stlearn_lib.errors import NotFittedError, StlearnError

SETTINGS_FILE = "method.json"
WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "README.md"

Scores = Mapping[str, float | str]
"""What is known of how well something does, by the name of the measure."""

UNREADABLE = (OSError, ValueError, SafetensorError, KeyError, TypeError, AttributeError, RuntimeError)
"""What a broken folder, or one that was written to do harm, may raise while it is read."""


class Saved(ABC):
    """What can be saved once it is fitted, and loaded where none of its data is.

    A subclass says which arguments build it again (`settings`) and what its page says (`card`). What it learns are
    arrays (`state`) and facts that JSON can hold (`learnt`).
    """

    kind: ClassVar[str] = "model"
    """What messages call it."""

    def __init__(self) -> None:
        self.state: dict[str, np.ndarray] = {}
        self.learnt: dict[str, Any] = {}
        self.trained_on: tuple[str, ...] = ()
        """The names of what it was fitted on: sections, slides or patients; empty before."""

    def settings(self) -> dict[str, Any]:
        """Return the arguments that build this again; plain JSON values."""
        return {}

    @abstractmethod
    def card(self, scores: Scores | None = None) -> str:
        """Return the page that says what this is, what it was fitted on and what it is not good for, in Markdown.

        Args:
            scores: What is known of how well it does; that nothing is known is said, too.

        Returns:
            The page, with the front matter of a model card of the Hugging Face hub.
        """

    def save(self, folder: Path | str, scores: Scores | None = None) -> Path:
        """Write what was fitted: ``weights.safetensors``, ``method.json`` and ``README.md``, its model card.

        Args:
            folder: Where to; made if need be.
            scores: What is known of how well it does, for the card.

        Returns:
            The folder.

        Raises:
            NotFittedError: Before `fit`.
            WriteError: If the folder cannot be written.
        """
        self._check_fitted()
        folder = Path(folder)
        with written_whole(folder / WEIGHTS_FILE) as path:  # save_file leaves a file of its own when it is killed
            path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in self._arrays().items()}))
        with written_whole(folder / SETTINGS_FILE) as path:
            path.write_text(json.dumps(self._facts(), indent=1))
        with written_whole(folder / CARD_FILE) as path:
            path.write_text(self.card(scores), encoding="utf-8")
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read what `save` wrote; nothing in the folder is ever run.

        Args:
            folder: The folder.

        Returns:
            What was fitted.

        Raises:
            StlearnError: If the folder holds something else, or a file of it is missing or broken.
        """
        folder = Path(folder)
        try:
            facts = json.loads((folder / SETTINGS_FILE).read_text())
            if facts["method"] != cls.__name__:
                raise StlearnError(f"{folder} holds the {cls.kind} {facts['method']}, not {cls.__name__}.")
            fitted = cls._unfitted_from(facts, folder)
            fitted._set_learnt(load_file(folder / WEIGHTS_FILE), facts["learnt"], facts["trained_on"])
        except UNREADABLE as error:
            raise StlearnError(f"{folder} holds no readable {cls.__name__}: {error}. Save it again.") from error
        return fitted

    def _facts(self) -> dict[str, Any]:
        """What ``method.json`` says."""
        return {
            "method": type(self).__name__,
            "settings": self.settings(),
            "learnt": self.learnt,
            "trained_on": self.trained_on,
            "stlearn_lib": __version__,
        }

    def _arrays(self) -> dict[str, np.ndarray]:
        """What ``weights.safetensors`` holds."""
        return self.state

    @classmethod
    def _unfitted_from(cls, facts: Mapping[str, Any], folder: Path) -> Self:
        """Build it again from what ``method.json`` says."""
        return cls(**facts["settings"])

    def _set_learnt(self, state: dict[str, np.ndarray], learnt: dict[str, Any], trained_on: Iterable[str]) -> None:
        """Take what was learnt, by `fit` or before it was saved, and make of it whatever else predicting needs."""
        self.state, self.learnt, self.trained_on = state, learnt, tuple(map(str, trained_on))

    def _check_fitted(self) -> None:
        if not self.trained_on:
            raise NotFittedError(f"{type(self).__name__} has to be fitted first: call fit, or load(folder).")


def saved_kind(folder: Path | str) -> str:
    """Return the name of the class that a folder says it holds.

    Args:
        folder: What `Saved.save` wrote.

    Raises:
        OSError: If there is no ``method.json``.
        ValueError: If it is no JSON.
        KeyError: If it does not say what it holds.
        TypeError: If it holds no object.
    """
    return str(json.loads((Path(folder) / SETTINGS_FILE).read_text())["method"])
