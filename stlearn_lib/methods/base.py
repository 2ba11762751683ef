"""The contract that every method keeps, from the training mean to the deep ones.

``fit(sections)`` learns, ``predict(section)`` returns an `AnnData` of the same spots and the target's genes,
``save(folder)`` and ``load(folder)`` keep weights as safetensors and everything else as readable JSON.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from anndata import AnnData
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from stlearn_lib import __version__
from stlearn_lib.cache import written_whole
from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.sections import check_section, section_name
from stlearn_lib.errors import NotFittedError, StlearnError

SETTINGS_FILE = "method.json"
WEIGHTS_FILE = "weights.safetensors"


class Method(ABC):
    """Predicts the expression of a section's spots from its image.

    A subclass says how it learns (`_fit`) and predicts (`_predict`), and which settings rebuild it (`settings`). What
    it learns are arrays (`state`), and perhaps facts that JSON can hold (`learnt`).

    Args:
        target: Genes and expression space to predict. Cross-validation sets it from the protocol.
    """

    needs_test_counts: ClassVar[bool] = False
    """Whether `predict` looks at the counts of the section it predicts: true of oracles only."""

    def __init__(self, target: Target | None = None) -> None:
        self.target = target
        self.state: dict[str, np.ndarray] = {}
        self.learnt: dict[str, Any] = {}
        self.trained_on: tuple[str, ...] = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """The method's name in tables."""

    @property
    def weights_id(self) -> str:
        """Which pretrained weights it uses; ``"none"`` if it uses none."""
        return "none"

    def settings(self) -> dict[str, Any]:
        """Return the arguments, other than the target, that build this method again; plain JSON values."""
        return {}

    @abstractmethod
    def _fit(
        self, sections: Sequence[AnnData], truths: list[np.ndarray], validation: Sequence[AnnData]
    ) -> dict[str, np.ndarray]:
        """Return what was learnt from the sections and their expression, each (N, G)."""

    @abstractmethod
    def _predict(self, section: AnnData) -> np.ndarray:
        """Return the predicted expression, (N, G)."""

    def fit(self, sections: Sequence[AnnData], validation: Sequence[AnnData] | None = None) -> Self:
        """Learn from sections.

        Args:
            sections: The training sections.
            validation: Sections to stop by; only methods that train in epochs look at them.

        Returns:
            The method itself.

        Raises:
            StlearnError: If there is no section or no target.
            SectionError: If a section is malformed, or its counts are not finite.
            GeneError: If a section lacks a gene of the target.
        """
        if not sections:
            raise StlearnError(f"{self.name}: there is no section to fit on.")
        target = self._target()
        for section in (*sections, *(validation or ())):
            check_section(section)
        truths = [expression(section, target) for section in sections]
        self.state = self._fit(sections, truths, validation or ())
        self.trained_on = tuple(section_name(section) for section in sections)
        return self

    def predict(self, section: AnnData) -> AnnData:
        """Predict a section.

        Args:
            section: The section; its counts are not looked at, unless the method is an oracle.

        Returns:
            The same spots with the target's genes: ``X`` (N, G) float32 predicted expression in the target's space,
            ``uns["prediction"]`` method, weights, space and training sections, ``uns["spatial"]`` as in the section.

        Raises:
            NotFittedError: If `fit` was not called.
        """
        self._check_fitted()
        target = self._target()
        return AnnData(
            X=self._predict(section).astype(np.float32),
            obs=section.obs.copy(),
            var=pd.DataFrame(index=pd.Index(target.genes, dtype=object)),
            obsm={"spatial": section.obsm["spatial"].copy()},
            uns={
                "spatial": section.uns["spatial"],
                "prediction": {
                    "method": self.name,
                    "weights": self.weights_id,
                    "space": target.space,
                    "smooth": target.smooth,
                    "gene_list": target.gene_list,
                    "trained_on": list(self.trained_on),
                    "stlearn_lib": __version__,
                },
            },
        )

    def save(self, folder: Path | str) -> Path:
        """Write the fitted method: ``method.json`` and ``weights.safetensors``.

        Args:
            folder: Where to; made if need be.

        Returns:
            The folder.

        Raises:
            NotFittedError: If `fit` was not called.
        """
        self._check_fitted()
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "method": type(self).__name__,
            "settings": self.settings(),
            "target": asdict(self._target()),
            "learnt": self.learnt,
            "trained_on": self.trained_on,
            "stlearn_lib": __version__,
        }
        with written_whole(folder / WEIGHTS_FILE) as path:
            save_file({key: np.ascontiguousarray(value) for key, value in self.state.items()}, path)
        with written_whole(folder / SETTINGS_FILE) as path:
            path.write_text(json.dumps(facts, indent=1))
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read a method that `save` wrote.

        Args:
            folder: The folder.

        Returns:
            The fitted method.

        Raises:
            StlearnError: If the folder holds no such method, or a file of it is missing or broken.
        """
        folder = Path(folder)
        try:
            facts = json.loads((folder / SETTINGS_FILE).read_text())
            state = load_file(folder / WEIGHTS_FILE)
            kind, target = facts["method"], facts["target"] | {"genes": tuple(facts["target"]["genes"])}
            if kind != cls.__name__:
                raise StlearnError(f"{folder} holds the method {kind}, not {cls.__name__}.")
            method = cls(**facts["settings"], target=Target(**target))
            method.learnt, method.trained_on = facts["learnt"], tuple(facts["trained_on"])
        except (OSError, json.JSONDecodeError, SafetensorError, KeyError, TypeError) as error:
            raise StlearnError(f"{folder} holds no readable method: {error}.") from error
        method.state = state
        return method

    def _target(self) -> Target:
        if self.target is None:
            raise StlearnError(f"{self.name} has no target: pass target=Target(genes, space).")
        return self.target

    def _check_fitted(self) -> None:
        if not self.trained_on:
            raise NotFittedError(
                f"{self.name} has not been fitted, there is nothing to save or to predict with: call fit(sections) or "
                "load(folder) first."
            )
