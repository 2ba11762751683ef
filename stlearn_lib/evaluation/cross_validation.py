"""Cross-validation: any method, any protocol, one tidy table whose rows say how they came about."""

import copy
import hashlib
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from tqdm import tqdm

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.sections import image_path_of, metadata_of, patient_of, section_name, without_counts
from stlearn_lib.data.splits import Fold, leaks
from stlearn_lib.errors import SplitError, UndefinedGeneWarning
from stlearn_lib.evaluation.measures import Scores, score
from stlearn_lib.evaluation.spatial import morans_i, spatial_weights
from stlearn_lib.methods.base import Method

# The last two are computed here, the others are fields of `Scores`.
MEASURES = ("acg", "heg", "best", "spearman", "per_spot", "mse", "mae", "r2", "moran_truth", "moran_prediction")
POOLED = "pooled"
_VERSIONS_OF = ("stlearn-lib", "numpy", "scikit-learn", "torch", "timm")


@dataclass(frozen=True)
class Protocol:
    """How methods are compared: which folds, which genes in which space.

    Args:
        name: The protocol's name in tables.
        folds: Training and test sections of each fold, see `data.splits`.
        target: Genes and space; or a function of the *training* sections that returns them, so that a choice of genes
            never sees the test sections.
    """

    name: str
    folds: tuple[Fold, ...]
    target: Target | Callable[[Sequence[AnnData]], Target]


def cross_validate(
    method: Method,
    sections: Sequence[AnnData],
    protocol: Protocol,
    *,
    progress: bool = True,
    on_prediction: Callable[[Fold, AnnData, AnnData], None] | None = None,
) -> pd.DataFrame:
    """Fit and score a method on every fold of a protocol.

    Each fold starts from an unfitted copy of the method. A method predicts sections from which the counts have been
    taken away; only an oracle, which says so (`Method.needs_test_counts`), is handed them.

    Args:
        method: The method; it is left as it is.
        sections: All sections that the folds name.
        protocol: Folds, genes and space.
        progress: Whether to show a bar.
        on_prediction: Called with each fold, test section and prediction, to keep or to draw it.

    Returns:
        One row for each test section of each fold, and one, ``test == "pooled"``, over the spots of all of a fold's
        sections where there are several. Columns: protocol, fold, test, patient, leaked_patients, method, weights,
        space, smooth, gene_list, n_spots, n_genes, n_undefined_genes, the `MEASURES`, and what is needed to trust them:
        simulated, seed, trained_on, selected_on, data_hash, fit_s, predict_s, hardware, versions.

    Raises:
        SplitError: If a fold names a section that is not there, or two sections have one name.
        StlearnError: Whatever the method raises.
    """
    by_name = _by_name(sections)
    for fold in protocol.folds:
        lacking = [name for name in (*fold.train, *fold.validation, *fold.test) if name not in by_name]
        if lacking:
            raise SplitError(f"protocol {protocol.name}, fold {fold.name}: no section {', '.join(lacking)} was given.")
    bar = tqdm(protocol.folds, desc=f"{method.name}, {protocol.name}", unit="fold", disable=not progress, leave=False)
    return pd.DataFrame([row for fold in bar for row in _evaluate_fold(method, by_name, protocol, fold, on_prediction)])


def _by_name(sections: Sequence[AnnData]) -> dict[str, AnnData]:
    by_name = {section_name(section): section for section in sections}
    if len(by_name) < len(sections):
        raise SplitError("two sections have one name.")
    return by_name


def _evaluate_fold(
    method: Method,
    sections: Mapping[str, AnnData],
    protocol: Protocol,
    fold: Fold,
    on_prediction: Callable[[Fold, AnnData, AnnData], None] | None,
) -> Iterator[dict[str, Any]]:
    train, validation, test = ([sections[name] for name in part] for part in (fold.train, fold.selected_on, fold.test))
    fitted = copy.deepcopy(method)
    fitted.target = target = protocol.target if isinstance(protocol.target, Target) else protocol.target(train)
    start = time.perf_counter()
    fitted.fit(train, validation or None)
    fit_s = time.perf_counter() - start
    predicted = [_predict(fitted, section) for section in test]
    predict_s = time.perf_counter() - start - fit_s
    if on_prediction is not None:
        for section, prediction in zip(test, predicted, strict=True):
            on_prediction(fold, section, prediction)
    predictions = [np.asarray(prediction.X, dtype=np.float64) for prediction in predicted]

    shared = {
        "protocol": protocol.name,
        "fold": fold.name,
        "leaked_patients": " ".join(leaks(fold, {name: patient_of(section) for name, section in sections.items()})),
        "method": fitted.name,
        "weights": fitted.weights_id,
        "space": target.space,
        "smooth": target.smooth,
        "gene_list": target.gene_list,
    }
    provenance = {
        "simulated": any(metadata_of(section)["simulated"] for section in train + test),
        "seed": getattr(fitted, "seed", None),
        "trained_on": " ".join(fold.train),
        "selected_on": " ".join(fold.selected_on),
        "data_hash": data_hash(train + test),
        "fit_s": fit_s,
        "predict_s": predict_s,
        "hardware": hardware(),
        "versions": versions(),
    }
    truths = [expression(section, target) for section in test]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedGeneWarning)  # the table counts them
        scores = _score(test, truths, predictions)
        morans = [_morans(*parts) for parts in zip(test, truths, predictions, strict=True)]
    for section, moran in zip(test, morans, strict=True):
        own = scores.sections[section_name(section)]
        yield (
            shared
            | {"test": section_name(section), "patient": patient_of(section)}
            | _measures(own, moran)
            | provenance
        )
    if len(test) > 1:
        patients = " ".join(sorted({patient_of(section) for section in test}))
        mean_moran = tuple(np.mean(morans, axis=0))
        yield shared | {"test": POOLED, "patient": patients} | _measures(scores, mean_moran) | provenance


def _predict(method: Method, section: AnnData) -> AnnData:
    return method.predict(section if method.needs_test_counts else without_counts(section))


def _score(sections: Sequence[AnnData], truths: Sequence[np.ndarray], predictions: Sequence[np.ndarray]) -> Scores:
    names = np.repeat([section_name(section) for section in sections], [section.n_obs for section in sections])
    return score(np.concatenate(truths), np.concatenate(predictions), sections=list(names))


def _morans(section: AnnData, truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    """Mean Moran's I over the genes for which it is defined; NaN where there is none."""
    weights = spatial_weights(section.obs[["array_x", "array_y"]].to_numpy())
    both = (morans_i(values, weights) for values in (truth, prediction))
    return tuple(float(np.nanmean(i)) if np.isfinite(i).any() else float("nan") for i in both)  # type: ignore[return-value]


def _measures(scores: Scores, moran: tuple[float, float]) -> dict[str, Any]:
    counts = ("n_spots", "n_genes", "n_undefined_genes")
    values = {name: getattr(scores, name) for name in (*counts, *MEASURES[:-2])}
    return values | {"moran_truth": moran[0], "moran_prediction": moran[1]}


def data_hash(sections: Sequence[AnnData]) -> str:
    """Hash what was computed on: counts, genes, positions and image bytes of the sections.

    Args:
        sections: The sections, in order.

    Returns:
        Sixteen hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=8)
    for section in sections:
        digest.update("\t".join([section_name(section), *section.obs_names, *section.var_names]).encode())
        for part in (section.X.data, section.X.indices, section.X.indptr, section.obsm["spatial"]):
            digest.update(np.ascontiguousarray(part).tobytes())
        if "image_path" in metadata_of(section):
            digest.update(image_path_of(section).read_bytes())
    return digest.hexdigest()


def hardware() -> str:
    """Name the processor architecture, how many cores there are, and the GPU where there is one."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.machine()}, {os.cpu_count()} cores{gpu}"


def versions() -> str:
    """Name the versions that a result depends on."""
    return f"python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in _VERSIONS_OF)


def summarise(table: pd.DataFrame, measures: Sequence[str] = MEASURES) -> pd.DataFrame:
    """Average a table of `cross_validate` over its test sections.

    Args:
        table: One or several such tables, one below the other.
        measures: The measures to keep.

    Returns:
        One row for each protocol, space and method, in order of appearance: the mean of each measure over the test
        sections, and ``n_sections``.
    """
    rows = table[table["test"] != POOLED].groupby(["protocol", "space", "method"], sort=False)
    return rows[list(measures)].mean().assign(n_sections=rows.size()).reset_index()
