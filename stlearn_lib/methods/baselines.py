"""Simple methods that every claim has to be set beside.

`TrainingMean` knows nothing of the image, `TotalCountOracle` knows one number about each test spot that no image
method is given, and between them `Ridge` and `NearestSpots` see the image through fixed features.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from sklearn.linear_model import Ridge as SklearnRidge

from stlearn_lib.data.expression import Target, library_size
from stlearn_lib.errors import StlearnError
from stlearn_lib.methods.base import Method
from stlearn_lib.methods.features import FeatureInputs
from stlearn_lib.methods.uncertainty import borrowed_spread, hierarchical_resample, mean_and_spread, weighted_ridge
from stlearn_lib.retrieval import nearest_keys, retrieve


class TrainingMean(Method):
    """Predicts each gene's mean over the training spots, everywhere: no correlation, and an MSE to beat."""

    @property
    def name(self) -> str:
        """The method's name in tables."""
        return "training mean"

    def _fit(
        self, sections: Sequence[AnnData], truths: list[np.ndarray], validation: Sequence[AnnData]
    ) -> dict[str, np.ndarray]:
        return {"mean": np.concatenate(truths).mean(axis=0)}

    def _predict(self, section: AnnData) -> np.ndarray:
        return np.tile(self.state["mean"], (section.n_obs, 1))


class TotalCountOracle(Method):
    r"""Predicts every gene from one thing it should not know: how many reads the test spot has.

    $$\hat y_{sg} = a_g + b_g \log_{10}(1 + n_s), \qquad n_s = \textstyle\sum_g c_{sg},$$

    fitted by least squares on the training spots. What it scores in a space is what that space gives away to anything
    that can see how dense the tissue is.
    """

    needs_test_counts = True

    @property
    def name(self) -> str:
        """The method's name in tables."""
        return "total-count oracle"

    def _fit(
        self, sections: Sequence[AnnData], truths: list[np.ndarray], validation: Sequence[AnnData]
    ) -> dict[str, np.ndarray]:
        design = np.concatenate([self._design(section) for section in sections])
        return {"coefficients": np.linalg.lstsq(design, np.concatenate(truths), rcond=None)[0]}

    def _predict(self, section: AnnData) -> np.ndarray:
        return self._design(section) @ self.state["coefficients"]

    @staticmethod
    def _design(section: AnnData) -> np.ndarray:
        return np.stack([np.ones(section.n_obs), np.log10(1 + library_size(section))], axis=1)


class FeatureMethod(Method):
    """Shared by the methods that see a patch through fixed features, see `methods.features.FeatureInputs`.

    Args:
        features: Blocks of features, side by side: names such as ``"colour_texture"`` or ``"deep:mobilenetv2_100"``.
        standardize: Whose mean and spread.
        n_components: Principal components kept of a wide block.
        target: Genes and expression space to predict.
        encoder_weights: Weights of deep features, see `models.encoders.create_encoder`.
    """

    def __init__(
        self,
        features: Sequence[str] = ("colour_texture",),
        *,
        standardize: Literal["training", "section"] = "training",
        n_components: int = 256,
        target: Target | None = None,
        encoder_weights: str | None = "auto",
    ) -> None:
        super().__init__(target)
        self.features = tuple(features)
        self.encoder_weights = encoder_weights
        self.inputs = FeatureInputs(
            features, standardize=standardize, n_components=n_components, encoder_weights=encoder_weights
        )

    @property
    def weights_id(self) -> str:
        """Which pretrained weights the features use."""
        return self.inputs.weights_id

    def settings(self) -> dict[str, Any]:
        """Return the arguments, other than the target, that build this method again."""
        return {
            "features": list(self.features),
            "standardize": self.inputs.standardize,
            "n_components": self.inputs.n_components,
            "encoder_weights": self.encoder_weights,
        }

    def _label(self, kind: str) -> str:
        within = ", per section" if self.inputs.standardize == "section" else ""
        return f"{kind} ({' + '.join(self.features)}{within})"

    def _fit_inputs(self, sections: Sequence[AnnData]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the training spots' inputs (N, D), and what is needed to make inputs of new spots."""
        state = self.inputs.fit(sections)
        return np.concatenate([self.inputs(section, state) for section in sections]), state


class Ridge(FeatureMethod):
    r"""Ridge regression on fixed features of a patch.

    $$\min_W \lVert Y - XW \rVert_F^2 + \alpha \lVert W \rVert_F^2$$

    with features $X$ scaled as `FeatureMethod` says and centred expression $Y$; the intercept is not penalised.

    Args:
        features: Blocks of features, see `FeatureMethod`.
        alpha: Strength of the penalty.
        standardize: Whose mean and spread, see `FeatureMethod`.
        n_components: Principal components kept of a wide block.
        n_bootstrap: Refits on resampled training spots, whose spread `spread` returns; 0 for none. Sections are drawn
            with replacement, then spots within each; what features are scaled by stays as it is.
        target: Genes and expression space to predict.
        encoder_weights: Weights of deep features.

    Raises:
        StlearnError: If there is a single refit, which has no spread, or less than none.

    Reference:
        Hoerl and Kennard, Technometrics 12 (1970) 55.
    """

    def __init__(
        self,
        features: Sequence[str] = ("colour_texture",),
        *,
        alpha: float = 10.0,
        n_bootstrap: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(features, **kwargs)
        if n_bootstrap < 0 or n_bootstrap == 1:
            raise StlearnError(f"n_bootstrap is 0, for no spread, or 2 or more, not {n_bootstrap}.")
        self.alpha, self.n_bootstrap = alpha, n_bootstrap

    @property
    def name(self) -> str:
        """The method's name in tables."""
        return self._label("ridge")

    def settings(self) -> dict[str, Any]:
        """Return the arguments, other than the target, that build this method again."""
        return super().settings() | {"alpha": self.alpha, "n_bootstrap": self.n_bootstrap}

    @property
    def spread_kind(self) -> str:
        """What `spread` returns, in plain words; empty without refits."""
        if not self.n_bootstrap:
            return ""
        return f"standard deviation over {self.n_bootstrap} refits on resampled training sections and spots"

    def _fit(
        self, sections: Sequence[AnnData], truths: list[np.ndarray], validation: Sequence[AnnData]
    ) -> dict[str, np.ndarray]:
        inputs, state = self._fit_inputs(sections)
        model = SklearnRidge(alpha=self.alpha).fit(inputs, np.concatenate(truths))
        state |= {"weights": model.coef_.T, "intercept": model.intercept_}
        return state | self._refits(inputs, truths) if self.n_bootstrap else state

    def _refits(self, inputs: np.ndarray, truths: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Weights (B, D, G) and intercepts (B, G) of B fits on resampled spots."""
        rng, values = np.random.default_rng(0), np.concatenate(truths)
        refits = [
            weighted_ridge(inputs, values, hierarchical_resample([len(truth) for truth in truths], rng), self.alpha)
            for _ in range(self.n_bootstrap)
        ]
        weights, intercepts = (np.stack(part).astype(np.float32) for part in zip(*refits, strict=True))
        return {"refitted_weights": weights, "refitted_intercepts": intercepts}

    def _predict(self, section: AnnData) -> np.ndarray:
        return self.inputs(section, self.state) @ self.state["weights"] + self.state["intercept"]

    def _spread(self, section: AnnData) -> np.ndarray:
        inputs = self.inputs(section, self.state)
        refits = zip(self.state["refitted_weights"], self.state["refitted_intercepts"], strict=True)
        return mean_and_spread(inputs @ weights + intercept for weights, intercept in refits)[1]


class NearestSpots(FeatureMethod):
    """Borrows the expression of the training spots whose patches look most alike.

    The k most cosine-similar training spots, weighted by the inverse square of their distance: mclSTExp's way to
    predict, with fixed features in the place of learnt embeddings.

    Args:
        features: Blocks of features, see `FeatureMethod`.
        k: Training spots to borrow from.
        standardize: Whose mean and spread, see `FeatureMethod`.
        n_components: Principal components kept of a wide block.
        target: Genes and expression space to predict.
        encoder_weights: Weights of deep features.
    """

    def __init__(self, features: Sequence[str] = ("colour_texture",), *, k: int = 50, **kwargs: Any) -> None:
        super().__init__(features, **kwargs)
        self.k = k

    @property
    def name(self) -> str:
        """The method's name in tables."""
        return self._label(f"{self.k} nearest spots")

    def settings(self) -> dict[str, Any]:
        """Return the arguments, other than the target, that build this method again."""
        return super().settings() | {"k": self.k}

    def _fit(
        self, sections: Sequence[AnnData], truths: list[np.ndarray], validation: Sequence[AnnData]
    ) -> dict[str, np.ndarray]:
        inputs, state = self._fit_inputs(sections)
        return state | {"keys": inputs, "values": np.concatenate(truths)}

    def _predict(self, section: AnnData) -> np.ndarray:
        return retrieve(
            self.inputs(section, self.state), self.state["keys"], self.state["values"], k=self.k, distance="l2"
        )

    @property
    def spread_kind(self) -> str:
        """What `spread` returns, in plain words."""
        return f"weighted standard deviation of the expression of the {self.k} training spots that it is borrowed from"

    def _spread(self, section: AnnData) -> np.ndarray:
        found = nearest_keys(self.inputs(section, self.state), self.state["keys"], k=self.k, distance="l2")
        return borrowed_spread(found, self.state["values"])
