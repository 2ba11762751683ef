"""The contract that every method keeps, from the training mean to the deep ones.

``fit(sections)`` learns, ``predict(section)`` returns an `AnnData` of the same spots and the target's genes,
``save(folder)`` and ``load(folder)`` keep weights as safetensors and everything else as readable JSON. For a stranger's
slide it also carries what it was trained on (`training`), what that looked like (`appearance`), and may say how unsure
it is (`spread`).
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from anndata import AnnData

from stlearn_lib import __version__
from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.sections import check_section, section_name
from stlearn_lib.errors import NotFittedError, StlearnError
from stlearn_lib.methods.appearance import Appearance
from stlearn_lib.methods.card import model_card
from stlearn_lib.methods.provenance import Training
from stlearn_lib.saving import Saved, Scores

_APPEARANCE = "appearance."


class Method(Saved):
    """Predicts the expression of a section's spots from its image.

    A subclass says how it learns (`_fit`) and predicts (`_predict`), and which settings rebuild it (`settings`). What
    it learns are arrays (`state`), and perhaps facts that JSON can hold (`learnt`).

    Args:
        target: Genes and expression space to predict. Cross-validation sets it from the protocol.
    """

    kind: ClassVar[str] = "method"

    needs_test_counts: ClassVar[bool] = False
    """Whether `predict` looks at the counts of the section it predicts: true of oracles only."""

    def __init__(self, target: Target | None = None) -> None:
        super().__init__()
        self.target = target
        self.training: Training | None = None
        """What it was fitted on; None before, and of what an earlier version saved."""
        self.appearance: Appearance | None = None
        """What that looked like; None where a training section has no image."""

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
        self.training, self.appearance = Training.of(sections, validation or ()), Appearance.of(sections)
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

    @property
    def spread_kind(self) -> str:
        """What `spread` returns, in plain words; empty if it returns nothing."""
        return ""

    def spread(self, section: AnnData) -> np.ndarray | None:
        """Return how unsure each prediction is: how far it would move, or among what it was chosen.

        It is no error bar: what a method cannot see, or saw in no training section, is in no spread.

        Args:
            section: The section; its counts are not looked at.

        Returns:
            What `spread_kind` says, in the target's space, (N, G) float32; None where the method has nothing to say.

        Raises:
            NotFittedError: If `fit` was not called.
        """
        self._check_fitted()
        return self._spread(section).astype(np.float32) if self.spread_kind else None

    def explained_by(self) -> tuple[type, ...]:
        """Return the classes whose docstrings say what this is, and which papers to cite."""
        return (type(self),)

    def card(self, scores: Scores | None = None) -> str:
        """Return the model card, see `methods.card`."""
        return model_card(self, scores)

    def _spread(self, section: AnnData) -> np.ndarray:
        """Return what `spread_kind` says, (N, G)."""
        raise NotImplementedError

    def _facts(self) -> dict[str, Any]:
        training = None if self.training is None else self.training.plain()
        return super()._facts() | {"target": asdict(self._target()), "training": training}

    def _arrays(self) -> dict[str, np.ndarray]:
        appearance = self.appearance.arrays() if self.appearance is not None else {}
        return self.state | {_APPEARANCE + name: array for name, array in appearance.items()}

    @classmethod
    def _unfitted_from(cls, facts: Mapping[str, Any], folder: Path) -> Self:
        return cls(**facts["settings"])._described(facts)

    def _described(self, facts: Mapping[str, Any]) -> Self:
        """Take the target, and what was trained on, from what ``method.json`` says; old ones do not say the latter."""
        self.target = Target(**(facts["target"] | {"genes": tuple(facts["target"]["genes"])}))
        self.training = Training.from_plain(facts["training"]) if facts.get("training") else None
        return self

    def _set_learnt(self, state: dict[str, np.ndarray], learnt: dict[str, Any], trained_on: Iterable[str]) -> None:
        looks = {name: array for name, array in state.items() if name.startswith(_APPEARANCE)}
        own = {name: array for name, array in state.items() if name not in looks}
        if looks:
            self.appearance = Appearance.from_arrays(
                {name.removeprefix(_APPEARANCE): array for name, array in looks.items()}
            )
        super()._set_learnt(own, learnt, trained_on)

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
