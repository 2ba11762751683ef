"""One method trained several times from different seeds: their mean predicts, their disagreement is a spread."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from anndata import AnnData

from stlearn_lib.data.expression import Target
from stlearn_lib.errors import StlearnError
from stlearn_lib.methods.base import Method
from stlearn_lib.methods.mclstexp import MclSTExp
from stlearn_lib.methods.nh2st import NH2ST
from stlearn_lib.methods.rankbygene import RankByGene
from stlearn_lib.methods.trained import TrainedMethod
from stlearn_lib.methods.uncertainty import mean_and_spread
from stlearn_lib.saving import Scores

TRAINED: dict[str, type[TrainedMethod]] = {kind.__name__: kind for kind in (MclSTExp, NH2ST, RankByGene)}
"""Methods that train a network, by the name that a saved one has."""


class Ensemble(Method):
    r"""Averages networks that differ in their seed.

    $$\hat y = \frac{1}{M} \sum_m \hat y_m, \qquad s = \sqrt{\frac{1}{M - 1} \sum_m (\hat y_m - \hat y)^2}$$

    Networks that agree may all be wrong in the same way: the spread is what training leaves to chance, no more.

    Args:
        members: M methods of one kind and of the same settings, each with a seed, and a folder for its run, of its own.
        target: Genes and expression space to predict; the members' if None.

    Raises:
        StlearnError: If there are fewer than two members, or they differ in more than their seeds, or in less.

    Example:
        >>> Ensemble.of_seeds(NH2ST(features=["colour_texture"]), seeds=(0, 1, 2)).name
        'NH2ST (frozen colour_texture), 3 seeds'

    Reference:
        Lakshminarayanan, Pritzel and Blundell, Simple and scalable predictive uncertainty estimation using deep
        ensembles, NeurIPS 2017.
    """

    def __init__(self, members: Sequence[TrainedMethod], target: Target | None = None) -> None:
        if len(members) < 2:
            raise StlearnError(f"an ensemble has two members or more, not {len(members)}: give more seeds.")
        super().__init__(target or members[0].target)
        self.members = tuple(members)
        if len(set(self.seeds)) < len(members) or any(_but_seed(m) != _but_seed(members[0]) for m in members):
            raise StlearnError(
                "the members of an ensemble are of one method and of the same settings but for their seeds, which all "
                f"differ: use Ensemble.of_seeds. The seeds are {', '.join(map(str, self.seeds))}."
            )

    @classmethod
    def of_seeds(cls, method: TrainedMethod, seeds: Sequence[int]) -> Self:
        """Make an unfitted ensemble of a method.

        Args:
            method: What its members are but for the seed: settings, devices, target. Its folder for runs gets one for
                each seed.
            seeds: Two seeds or more.

        Returns:
            The ensemble.

        Raises:
            StlearnError: If there are fewer than two seeds, or one occurs twice.
        """
        settings = method.settings()
        members = [
            type(method)(
                compute=method.compute,
                folder=None if method.folder is None else Path(method.folder) / f"seed_{seed}",
                progress=method.progress,
                target=method.target,
                **(settings | {"training": settings["training"] | {"seed": seed}}),
            )
            for seed in seeds
        ]
        return cls(members)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The members' seeds."""
        return tuple(member.seed for member in self.members)

    @property
    def name(self) -> str:
        """The method's name in tables."""
        return f"{self.members[0].name}, {len(self.members)} seeds"

    @property
    def weights_id(self) -> str:
        """Which weights the image encoders started from."""
        return " + ".join(dict.fromkeys(member.weights_id for member in self.members))

    @property
    def spread_kind(self) -> str:
        """What `spread` returns, in plain words."""
        return f"standard deviation over {len(self.members)} networks of different seeds"

    def explained_by(self) -> tuple[type, ...]:
        """Return the classes whose docstrings say what this is."""
        return type(self), type(self.members[0])

    def settings(self) -> dict[str, Any]:
        """Return the members' method, settings and seeds."""
        kind, settings = _but_seed(self.members[0])
        return {"method": kind, "settings": settings, "seeds": list(self.seeds)}

    def save(self, folder: Path | str, scores: Scores | None = None) -> Path:
        """Write the ensemble: each member as a folder in it, ``member_00`` and so on, then its own files.

        Args:
            folder: Where to; made if need be.
            scores: What is known of how well it does, for the card.

        Returns:
            The folder.

        Raises:
            NotFittedError: If `fit` was not called.
        """
        self._check_fitted()
        for i, member in enumerate(self.members):
            member.save(_member_folder(Path(folder), i))
        return super().save(folder, scores)

    @classmethod
    def _unfitted_from(cls, facts: Mapping[str, Any], folder: Path) -> Self:
        settings = facts["settings"]
        kind = TRAINED[settings["method"]]
        ensemble = cls([kind.load(_member_folder(folder, i)) for i in range(len(settings["seeds"]))])
        return ensemble._described(facts)

    def _fit(
        self, sections: Sequence[AnnData], truths: list[np.ndarray], validation: Sequence[AnnData]
    ) -> dict[str, np.ndarray]:
        for member in self.members:
            member.target = self.target
            member.fit(sections, validation)
        return {}

    def _predict(self, section: AnnData) -> np.ndarray:
        return mean_and_spread(self._predictions(section))[0]

    def _spread(self, section: AnnData) -> np.ndarray:
        return mean_and_spread(self._predictions(section))[1]

    def _predictions(self, section: AnnData) -> Iterator[np.ndarray]:
        return (member._predict(section) for member in self.members)


def _but_seed(method: TrainedMethod) -> tuple[str, dict[str, Any]]:
    """What a member has to share with the others."""
    settings = method.settings()
    fields = {name: value for name, value in settings["training"].items() if name != "seed"}
    return type(method).__name__, settings | {"training": fields}


def _member_folder(folder: Path, i: int) -> Path:
    return folder / f"member_{i:02d}"
