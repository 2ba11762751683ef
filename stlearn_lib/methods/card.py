"""The page that goes with a saved method: what it is, what it saw, and what it is not good for.

The form is that of the Hugging Face hub's model cards. Nothing is claimed that was not computed.
"""

import inspect
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stlearn_lib import __version__
from stlearn_lib.data.expression import SPACES, Target
from stlearn_lib.methods.provenance import Training
from stlearn_lib.saving import Scores

if TYPE_CHECKING:  # which imports this
    from stlearn_lib.methods.base import Method

_N_GENES_NAMED = 10

_LIMITS = (
    "It is no medical device: not for diagnosis, nor for any decision about a patient.",
    "It is not known to work on other organs, stains, scanners or resolutions than those of its training. Whether a "
    "slide looks unlike them, `method.appearance.compare(section)` tells; on one that looks alike it may still fail.",
    "It does not predict absolute counts, but relative expression in the space named above.",
    "Many genes leave no trace in an image. Trust a gene only where its correlation was measured on patients that "
    "training did not see.",
    "Its spread, where it has one, is no error bar: what an image does not show, and what no training section has, is "
    "in no spread.",
)


def model_card(method: "Method", scores: Scores | None = None) -> str:
    """Write a fitted method's model card.

    Args:
        method: A fitted method.
        scores: What is known of how well it does, by the measure's name.

    Returns:
        Markdown with the front matter of the Hugging Face hub.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from stlearn_lib.data.synthetic import simulate_section
        >>> from stlearn_lib.methods.baselines import TrainingMean
        >>> section = simulate_section("S1", Path(mkdtemp()))
        >>> card = model_card(TrainingMean(Target(("ERBB2", "GNAS"))).fit([section]))
        >>> "# training mean" in card, "2 genes of the list custom" in card, "Not evaluated here" in card
        (True, True, True)
    """
    training, kinds = method.training, method.explained_by()
    simulated = training is not None and training.simulated
    return card_page(
        method.name,
        tags=("spatial-transcriptomics", "histology", "gene-expression"),
        first_line=" ".join(["**Trained on simulated tissue.**"] * simulated + [summary_of(kind) for kind in kinds]),
        parts={
            "Model details": bullets(_details(method)),
            "Uses": f"Research: to predict the expression of genes in the spots of H&E slides.\n\n{_LOADING}",
            "Out-of-scope use and limitations": bullets(_LIMITS),
            "Training": bullets([*_trained_on(method, training), *history_lines(method.learnt)]),
            "Settings": settings_block(method.settings()),
            "Evaluation": evaluation_text(scores, "`stlearn-lib evaluate --help`"),
            "Citation": bullets(reference for kind in kinds if (reference := reference_of(kind))),
        },
    )


_LOADING = """```python
from stlearn_lib.methods.registry import load_method

method = load_method("FOLDER")  # this folder
prediction = method.predict(section)  # AnnData: spots x genes
```

```shell
stlearn-lib predict FOLDER SLIDE -o OUT.h5ad
```"""


def _details(method: "Method") -> list[str]:
    target: Target = method._target()
    named = ", ".join(target.genes[:_N_GENES_NAMED]) + (", ..." if len(target.genes) > _N_GENES_NAMED else "")
    smooth = ", averaged over the 3x3 grid of spots" if target.smooth else ""
    return [
        f"Method: {method.name}.",
        f"Predicts: {len(target.genes)} genes of the list {target.gene_list}: {named}; all in `method.json`.",
        f"Expression space: `{target.space}`{smooth}. {summary_of(SPACES[target.space])}",
        f"Weights that its image encoder started from: {method.weights_id}.",
        f"Spread: {method.spread_kind or 'none'}.",
        f"Written by {versions_text()}.",
    ]


def _trained_on(method: "Method", training: Training | None) -> list[str]:
    if training is None:
        return [
            f"Sections: {', '.join(method.trained_on)}.",
            "Patients, resolution and spots are not known: an earlier version of the library saved this method.",
        ]
    low, high = training.scan_um_per_px_range
    pitch = "" if training.spot_pitch_um is None else f", {training.spot_pitch_um:.0f} µm apart"
    validation = [f"Stopped by, or epochs chosen on: {', '.join(training.validation)}."] if training.validation else []
    return [
        f"Sections: {', '.join(training.sections)}" + (" (simulated)." if training.simulated else "."),
        f"Patients: {', '.join(dict.fromkeys(training.patients))}.",
        *validation,
        f"Spots: {sum(training.n_spots)}, of {training.spot_diameter_um:.0f} µm{pitch}.",
        f"Resolution of the scans: {training.scan_um_per_px:.3g} µm per pixel ({low:.3g} to {high:.3g}).",
        f"Field of view of a patch: {training.patch_px} px of the scan, {training.field_of_view_um:.0f} µm.",
        f"Source: {', '.join(training.sources)}. The data's own licence is to be found there, and may bind what was "
        "learnt from it.",
    ]


# --------------------------------------------------------------------------------- what cards of slide models share


def card_page(title: str, *, tags: Sequence[str], first_line: str, parts: Mapping[str, str]) -> str:
    """Put a model card together.

    Args:
        title: Its title.
        tags: By which the hub finds it.
        first_line: What it is, in a sentence or two.
        parts: Text by heading; a heading without text is left out.

    Returns:
        Markdown with front matter.
    """
    front = "\n".join(["---", "library_name: stlearn-lib", "tags:", *(f"- {tag}" for tag in tags), "---"])
    written = [f"## {heading}\n\n{text}" for heading, text in parts.items() if text]
    return "\n\n".join([front, f"# {title}", first_line, *written]) + "\n"


def bullets(lines: Iterable[str]) -> str:
    """Return lines as a list."""
    return "\n".join(f"- {line}" for line in lines)


def settings_block(settings: Mapping[str, Any]) -> str:
    """Return settings as a block of JSON."""
    return f"```json\n{json.dumps(settings, indent=1)}\n```"


def history_lines(learnt: Mapping[str, Any]) -> list[str]:
    """Say how many epochs were trained, and what the losses of the last were; nothing without a history."""
    history = learnt.get("history") or []
    if not history:
        return []
    last = ", ".join(f"{name} {value:.4g}" for name, value in history[-1].items() if "loss" in name)
    return [f"Epochs: {len(history)}; in the last: {last}."]


def evaluation_text(scores: Scores | None, see: str) -> str:
    """Say what is known of how well it does, or that nothing is."""
    if not scores:
        return f"Not evaluated here; see {see}."
    values = ((name, value if isinstance(value, str) else f"{value:.4g}") for name, value in scores.items())
    rows = (f"| {name} | {value} |" for name, value in values)
    return "\n".join(["| measure | value |", "|---|---|", *rows])


def versions_text() -> str:
    """Name the versions with which a model was fitted and saved."""
    return (
        f"stlearn-lib {__version__}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"numpy {np.__version__}"
    )


def reference_of(kind: type) -> str:
    """Return the reference in a class's docstring; empty if there is none."""
    text = inspect.cleandoc(kind.__doc__ or "")
    _, found, reference = text.partition("Reference:\n")
    return " ".join(reference.split()) if found else ""


def summary_of(what: Any) -> str:
    """Return the first line of a docstring."""
    return inspect.cleandoc(what.__doc__ or "").partition("\n")[0]
