"""Fitted slide models as folders, laid out like those of `stlearn_lib.methods.base`: safetensors and readable JSON."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from stlearn_lib import __version__
from stlearn_lib.cache import written_whole
from stlearn_lib.errors import NotFittedError, StlearnError
from stlearn_lib.methods.base import SETTINGS_FILE, WEIGHTS_FILE


class SavedModel:
    """What can be saved once it is fitted, and loaded where none of its slides is.

    A subclass says which arguments build it again (`settings`). What its `fit` learns are arrays (`state`) and facts
    that JSON can hold (`learnt`).
    """

    def __init__(self) -> None:
        self.state: dict[str, np.ndarray] = {}
        self.learnt: dict[str, Any] = {}
        self.trained_on: tuple[str, ...] = ()
        """The slides, or the patients, that it was fitted on; empty before."""

    def settings(self) -> dict[str, Any]:
        """Return the arguments that build this model again; plain JSON values."""
        return {}

    def unfitted(self) -> Self:
        """Return a model of the same settings that has learnt nothing."""
        return type(self)(**self.settings())

    def save(self, folder: Path | str) -> Path:
        """Write the fitted model: ``method.json`` and ``weights.safetensors``.

        Args:
            folder: Where to; made if need be.

        Returns:
            The folder.

        Raises:
            NotFittedError: Before `fit`.
        """
        self._check_fitted()
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "method": type(self).__name__,
            "settings": self.settings(),
            "learnt": self.learnt,
            "trained_on": self.trained_on,
            "stlearn_lib": __version__,
        }
        with written_whole(folder / WEIGHTS_FILE) as path:
            save_file({name: np.ascontiguousarray(array) for name, array in self.state.items()}, path)
        with written_whole(folder / SETTINGS_FILE) as path:
            path.write_text(json.dumps(facts, indent=1))
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read a model that `save` wrote; where it is not known which one, `prediction.load_slide_model` finds out.

        Args:
            folder: The folder.

        Returns:
            The fitted model.

        Raises:
            StlearnError: If the folder holds no such model, or a file of it is missing or broken.
        """
        folder = Path(folder)
        try:
            facts, state = json.loads((folder / SETTINGS_FILE).read_text()), load_file(folder / WEIGHTS_FILE)
            if facts["method"] != cls.__name__:
                raise StlearnError(f"{folder} holds the model {facts['method']}, not {cls.__name__}.")
            model = cls(**facts["settings"])
            model._set_learnt(state, facts["learnt"], facts["trained_on"])
        except (OSError, ValueError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
            raise StlearnError(f"{folder} holds no readable {cls.__name__}: {error}. Save it again.") from error
        return model

    def _set_learnt(self, state: dict[str, np.ndarray], learnt: dict[str, Any], trained_on: Iterable[str]) -> None:
        """Take what was learnt, by `fit` or before it was saved, and make of it whatever else predicting needs."""
        self.state, self.learnt, self.trained_on = state, learnt, tuple(map(str, trained_on))

    def _check_fitted(self) -> None:
        if not self.trained_on:
            raise NotFittedError(f"{type(self).__name__} has to be fitted first: call fit, or load(folder).")
