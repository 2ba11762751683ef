"""A method trained for use on new slides: sections and genes in, a model's folder out."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anndata import AnnData

from stlearn_lib.data.expression import Target
from stlearn_lib.data.genes import read_gene_list
from stlearn_lib.data.section_files import SUFFIX, read_section
from stlearn_lib.data.sections import patient_of, section_name
from stlearn_lib.data.splits import Fold, validation_from_training
from stlearn_lib.datasets import GENE_LISTS, load_gene_list, load_sections
from stlearn_lib.errors import GeneError, SectionError, StlearnError
from stlearn_lib.methods.base import Method
from stlearn_lib.methods.baselines import Ridge
from stlearn_lib.methods.ensemble import Ensemble
from stlearn_lib.methods.presets import PRESETS
from stlearn_lib.methods.provenance import Training
from stlearn_lib.methods.registry import create_method, load_method
from stlearn_lib.methods.trained import TrainedMethod
from stlearn_lib.training import Compute, is_first_process

N_BOOTSTRAP = 20
"""Ridges beside the one that predicts, whose disagreement is its spread."""


def training_sections(names: Sequence[str], folder: Path | None = None) -> list[AnnData]:
    """Read the sections to train on.

    Args:
        names: Their names; without any, all of the folder.
        folder: Of ``.h5ad`` sections, see `data.section_files.write_section`; without one, names are those of HER2+
            sections of the registry.

    Returns:
        The sections.

    Raises:
        SectionError: If there is none, or a file is none.
        StlearnError: If a section of the registry cannot be had.
        data_registry.DataError: If there is none of this name.
    """
    if folder is None:
        if not names:
            raise SectionError("name the sections to train on, such as C2 C3, or a folder of them with --sections.")
        return load_sections(names, allow_simulated=False)
    files = [folder / f"{name}{SUFFIX}" for name in names] or sorted(folder.glob(f"*{SUFFIX}"))
    if not files:
        raise SectionError(f"{folder} holds no {SUFFIX} section: `data.section_files.write_section` writes them.")
    return [read_section(file) for file in files]


def listed_genes(genes: str) -> tuple[str, ...]:
    """Read a gene list.

    Args:
        genes: A published list by its name in `datasets.GENE_LISTS`, or a file, see `data.genes.read_gene_list`.

    Returns:
        The genes, in the list's order.

    Raises:
        GeneError: If there is neither such a list nor such a file.
    """
    if genes in GENE_LISTS:
        return load_gene_list(genes, allow_simulated=False)
    if Path(genes).is_file():
        return read_gene_list(genes)
    raise GeneError(f"{genes} is neither a file nor a published gene list; known: {', '.join(GENE_LISTS)}.")


def new_method(name: str, *, members: int = 1, folder: Path | None = None, compute: Compute | None = None) -> Method:
    """Make an unfitted method that, where it can, tells how unsure its predictions are.

    A ridge has `N_BOOTSTRAP` further ones, each fitted on resampled spots; of a network several are trained if asked.

    Args:
        name: A name in `methods.registry.METHODS`, but for an oracle's.
        members: Networks of an ensemble, each trained from another seed.
        folder: Where networks keep checkpoints.
        compute: Devices and precision of networks.

    Returns:
        The method, without a target.

    Raises:
        StlearnError: If it is unknown, needs counts to predict, or trains no network while asked for several.
    """
    training: dict[str, Any] = {"folder": folder, "compute": compute} if name in PRESETS else {}
    method = create_method(name, **training)
    if method.needs_test_counts:
        raise StlearnError(f"{name} looks at the counts that it should predict: on a new slide there are none.")
    if isinstance(method, TrainedMethod):
        return Ensemble.of_seeds(method, range(members)) if members > 1 else method
    if members > 1:
        raise StlearnError(f"{name} trains no network: an ensemble of {members} would be {members} times the same.")
    return Ridge(**(method.settings() | {"n_bootstrap": N_BOOTSTRAP})) if isinstance(method, Ridge) else method


def train(
    name: str,
    sections: Sequence[AnnData],
    target: Target,
    output: Path | str,
    *,
    members: int = 1,
    validation: float | None = None,
    folder: Path | None = None,
    compute: Compute | None = None,
) -> Path:
    """Train a method on sections and save it, to be applied to slides that nobody measured.

    A network's training that was stopped goes on with the next call. The model's folder appears whole or not at all.

    Args:
        name: A name in `methods.registry.METHODS`.
        sections: The training sections.
        target: What is predicted.
        output: The model's folder.
        members: Networks of an ensemble, see `new_method`.
        validation: Share of the training patients (of the sections, where all are of one patient) to hold back for
            methods that stop early.
        folder: Where networks keep checkpoints; without one, beside the model's folder until the model is saved.
        compute: Devices and precision of networks.

    Returns:
        The model's folder. A model that is there already of the same method, settings, target and sections is left as
        it is.

    Raises:
        StlearnError: As of `new_method`, or if the folder holds something else.
        SplitError: If a validation part is asked for that leaves nothing to train on.
        TrainingError: If networks cannot be trained as asked.
    """
    output = Path(output)
    beside = output.with_name(f".{output.name}-training")
    method = new_method(name, members=members, folder=folder or beside / "runs", compute=compute)
    method.target = target
    fitted_on, held_back = _divided(sections, validation)
    if output.exists():
        _check_same(output, method, fitted_on, held_back)
        return output
    beside.mkdir(parents=True, exist_ok=True)
    method.fit(fitted_on, held_back)
    if is_first_process():
        method.save(beside / output.name).replace(output)
        shutil.rmtree(beside)
    return output


def _divided(sections: Sequence[AnnData], validation: float | None) -> tuple[list[AnnData], list[AnnData]]:
    """The sections to fit on, and those to stop by."""
    if validation is None:
        return list(sections), []
    by_name = {section_name(section): section for section in sections}
    whole = Fold("training", train=tuple(by_name), test=("a new slide",))
    patients = {name: patient_of(section) for name, section in by_name.items()}
    fold = validation_from_training(whole, patients, fraction=validation, seed=0)
    return [by_name[name] for name in fold.train], [by_name[name] for name in fold.validation]


def _check_same(folder: Path, method: Method, sections: Sequence[AnnData], validation: Sequence[AnnData]) -> None:
    """Raise unless the folder holds what would be trained."""
    try:
        model = load_method(folder)
    except StlearnError as error:
        raise StlearnError(f"{folder} is there already and holds no model: choose another folder. {error}") from error
    same = isinstance(model, type(method)) and model.settings() == method.settings() and model.target == method.target
    if not same or model.training != Training.of(sections, validation):
        raise StlearnError(
            f"{folder} holds another model, {model.name} trained on {', '.join(model.trained_on)}, or of other genes "
            "or settings: remove it, or choose another folder."
        )
