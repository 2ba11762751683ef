"""Classes of slides from bags of features: attention pooling, a cross-entropy, and scores that see rare classes."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import accuracy_score, roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from stlearn_lib.errors import BagError, EvaluationError
from stlearn_lib.slides.cohorts import Cohort
from stlearn_lib.slides.pooling import AttentionPooling, PoolingTask, SlideModel

PROBABILITY = "p_"


class SlideClassifier(SlideModel):
    r"""Predicts the class of a slide.

    $$L = -\frac{1}{B} \sum_b w_{y_b} \ln \mathrm{softmax}(f(x_b))_{y_b}, \qquad w_c = \frac{N}{C N_c}$$

    with weights that give each class the same say, however rare it is among the N training slides.

    Arguments are those of `SlideModel`.

    Example:
        >>> from stlearn_lib.slides.simulated import simulate_cohort
        >>> cohort = simulate_cohort(24, seed=0)
        >>> model = SlideClassifier(progress=False).fit(cohort)
        >>> model.predict(cohort).columns.tolist()
        ['predicted', 'p_high', 'p_low']

    Reference:
        Ilse, Tomczak and Welling, ICML 2018.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the training slides, sorted; none before `fit`."""
        return tuple(self.learnt.get("classes", ()))

    def _learn_targets(self, cohort: Cohort) -> dict[str, Any]:
        if "label" not in cohort.table:
            raise BagError("classification needs the column label.")
        counts = cohort.table["label"].astype(str).value_counts().sort_index()
        if len(counts) < 2:
            raise BagError(f"all {len(cohort)} slides have the class {counts.index[0]!r}: there is nothing to learn.")
        weights = len(cohort) / (len(counts) * counts)
        return {"classes": counts.index.tolist(), "class_weights": weights.tolist()}

    def _targets(self, cohort: Cohort) -> dict[str, np.ndarray]:
        labels = cohort.table["label"].astype(str)
        if unknown := sorted(set(labels) - set(self.classes)):
            raise BagError(f"the class {unknown[0]!r} is unknown to training, which has {', '.join(self.classes)}.")
        return {"label": np.searchsorted(self.classes, labels.to_numpy(str))}

    def _task(self, network: AttentionPooling) -> PoolingTask:
        return _ClassTask(network, torch.tensor(self.learnt["class_weights"]))

    @property
    def _n_outputs(self) -> int:
        return len(self.classes)

    def _describe(self, outputs: np.ndarray) -> pd.DataFrame:
        probabilities = torch.from_numpy(outputs).softmax(dim=1).numpy()
        predicted = pd.DataFrame({"predicted": np.array(self.classes)[outputs.argmax(axis=1)]})
        return predicted.assign(**{f"{PROBABILITY}{c}": probabilities[:, i] for i, c in enumerate(self.classes)})


class _ClassTask(PoolingTask):
    weights: Tensor

    def __init__(self, network: AttentionPooling, weights: Tensor) -> None:
        super().__init__(network)
        self.register_buffer("weights", weights)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self.network(batch["features"], batch["mask"]).output
        # Not divided by the weights of the batch, as torch would: the sum over an epoch is then that of its slides.
        each = F.cross_entropy(logits, batch["label"], weight=self.weights, reduction="none")
        return {"loss": each.mean(), "accuracy": (logits.argmax(dim=1) == batch["label"]).float().mean()}


def classification_scores(predictions: pd.DataFrame) -> dict[str, float]:
    """Score predicted classes.

    Args:
        predictions: A row for each slide: ``label``, ``predicted`` and ``p_CLASS`` for each class.

    Returns:
        ``accuracy``; ``majority``, the accuracy of always saying the most frequent class of these slides;
        ``balanced_accuracy``, the mean recall of the classes that occur; ``auc``, of each class against the others,
        averaged over the classes that occur; NaN where only one does.

    Raises:
        EvaluationError: If there is no row, or a column is missing.

    Example:
        >>> table = pd.DataFrame({"label": list("aab"), "predicted": list("aaa"), "p_a": [0.9, 0.8, 0.7]})
        >>> scores = classification_scores(table.assign(p_b=1 - table["p_a"]))
        >>> {name: round(value, 2) for name, value in scores.items()}
        {'accuracy': 0.67, 'majority': 0.67, 'balanced_accuracy': 0.5, 'auc': 1.0}
    """
    classes = [name.removeprefix(PROBABILITY) for name in map(str, predictions) if name.startswith(PROBABILITY)]
    if predictions.empty or not classes or not {"label", "predicted"} <= set(predictions):
        raise EvaluationError(f"scores need rows with label, predicted and p_CLASS, not {list(predictions)}.")
    truth, predicted = predictions["label"].astype(str), predictions["predicted"].astype(str)
    present = [name for name in classes if 0 < (truth == name).sum() < len(truth)]
    areas = [roc_auc_score(truth == name, predictions[f"{PROBABILITY}{name}"]) for name in present]
    recalls = [(predicted[truth == name] == name).mean() for name in sorted(set(truth))]
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "majority": float(truth.value_counts(normalize=True).max()),
        "balanced_accuracy": float(np.mean(recalls)),
        "auc": float(np.mean(areas)) if areas else np.nan,
    }
