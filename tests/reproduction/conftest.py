"""Tiny simulated sections in the shape of each paper's data, prepared as a user would prepare them."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from PIL import Image

from stlearn_lib.data.section_files import write_section
from stlearn_lib.data.sections import make_section, spot_ids
from stlearn_lib.data.synthetic import gene_names
from stlearn_lib.datasets import load_gene_list
from stlearn_lib.methods.presets import PRESETS
from stlearn_lib.methods.registry import METHODS
from stlearn_lib.protocols import PATIENT_OF
from stlearn_lib.reproduction import prepared as prepared_data
from stlearn_lib.reproduction import tasks
from stlearn_lib.reproduction.engines import run_here
from stlearn_lib.reproduction.store import Store
from stlearn_lib.reproduction.tasks import Result, Task

SIDE, PITCH_PX = 3, 12

SECTIONS = {
    "cscc": {f"P{patient}_ST_rep{n}": f"P{patient}" for patient in (2, 5, 9, 10) for n in (1, 2, 3)},
    "alex_10x": {f"block{n}": f"patient{n}" for n in range(1, 10)},
    "stnet": {f"BC{n}_1": f"BC{n}" for n in range(1, 24)},
    "stimage_1k4m/pcw": {f"week{week}_{n}": f"week{week}" for week in (6, 7, 9) for n in (1, 2)},
    "stimage_1k4m/mouse": {f"mouse{n}": f"mouse{n}" for n in range(8)},
    "hest_1k/int": {f"INT{n}": f"INT{n}" for n in range(1, 9)},
    "hest_1k/zen": {f"ZEN{n}": f"ZEN{n}" for n in range(40, 50)},
    "hest_1k/breast-st1": {f"TENX{n}": f"TENX{n}" for n in range(6)},
    "hest_1k/breast-st2": {f"SPA{n}": f"SPA{n}" for n in range(6)},
    "hest_1k/lung-st": {f"NCBI{n}": f"NCBI{n}" for n in range(6)},
}
"""Section to patient: as many of both as the published splits divide, or a few where the authors list none."""

GENE_LISTS_OF = {
    "cscc": ("mclstexp_cscc", "nh2st_skin"),
    "alex_10x": ("mclstexp_alex10x",),
    "stnet": ("nh2st_stnet",),
    "stimage_1k4m/pcw": ("nh2st_pcw",),
    "stimage_1k4m/mouse": ("nh2st_mouse",),
    "hest_1k/int": ("nh2st_int",),
    "hest_1k/zen": ("nh2st_zen",),
    "hest_1k/breast-st1": ("rankbygene_breast",),
    "hest_1k/breast-st2": ("rankbygene_breast",),
    "hest_1k/lung-st": ("rankbygene_lung",),
}


def tiny_section(name: str, patient: str, genes: Sequence[str], folder: Path) -> AnnData:
    """Nine spots on a noisy image; the first sections of a patient have labels."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(SIDE), np.arange(SIDE)))
    pixels = rng.integers(60, 220, (SIDE * PITCH_PX, SIDE * PITCH_PX, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{name}.png")
    spots = pd.DataFrame(
        {
            "array_x": x,
            "array_y": y,
            "pixel_x": x * PITCH_PX + PITCH_PX / 2,
            "pixel_y": y * PITCH_PX + PITCH_PX / 2,
        },
        index=spot_ids(x, y),
    )
    if name.endswith("1"):
        spots["label"] = np.where(x > 0, "tumour", "stroma")
    counts = rng.poisson(rng.gamma(2, 2, len(genes)), (SIDE**2, len(genes)))
    facts = {"simulated": True}
    return make_section(
        counts,
        genes,
        spots,
        name=name,
        patient=patient,
        image_path=folder / f"{name}.png",
        um_per_px=10.0,
        metadata=facts,
    )


def prepare(folder: Path, data: str, genes: Sequence[str], scans: Path) -> None:
    """Write the sections of a data set where an experiment looks for them."""
    for name, patient in SECTIONS[data].items():
        write_section(tiny_section(name, patient, genes, scans), folder / data)


@pytest.fixture(scope="module")
def her2st(tmp_path_factory, mirror):
    """Take tiny sections with the names and the genes of HER2+ for those that the registry has."""
    genes, scans = load_gene_list("mclstexp_her2st", allow_simulated=False), tmp_path_factory.mktemp("scans")

    def load(names, **_):
        return [tiny_section(name, PATIENT_OF[name], genes, scans) for name in names]

    prepared_data._load.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared_data, "load_sections", load)
        yield
    prepared_data._load.cache_clear()


@pytest.fixture
def simulated_genes(monkeypatch):
    """Take the simulated tissue's genes for every gene list: what needs no real list runs without the mirror."""
    monkeypatch.setattr(tasks, "load_gene_list", lambda name, **_: gene_names())


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """Return a prepared folder with the twelve sections of cSCC, of simulated genes. Not to be changed."""
    folder = tmp_path_factory.mktemp("small")
    prepare(folder, "cscc", gene_names(), tmp_path_factory.mktemp("scans"))
    return folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, mirror) -> Path:
    """Return a prepared folder with the sections of every published data set, of the published genes."""
    folder, scans = tmp_path_factory.mktemp("prepared"), tmp_path_factory.mktemp("scans")
    for data, lists in GENE_LISTS_OF.items():
        genes = dict.fromkeys(gene for name in lists for gene in load_gene_list(name, allow_simulated=False))
        prepare(folder, data, list(genes), scans)
    return folder


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def compute():
    """Run tasks here; none may fail."""

    def compute(tasks: Sequence[Task]) -> list[Result]:
        outcomes = list(run_here(tasks))
        assert [outcome.error for outcome in outcomes] == [""] * len(outcomes)
        return [outcome.result for outcome in outcomes]

    return compute


@pytest.fixture
def short_preset(monkeypatch):
    """Give a preset one epoch, few neighbours and perhaps other settings; the rest stays as it is."""

    def short_preset(name: str, **settings: Any) -> None:
        preset = PRESETS[name]
        training = replace(preset.create().options.training, epochs=1, warmup_epochs=0, batch_size=16)
        few = {"k": 20} if "k" in preset.settings else {}
        settings = {**preset.settings, **few, "training": training, **settings}
        monkeypatch.setitem(PRESETS, name, replace(preset, settings=settings))
        monkeypatch.setitem(METHODS, name, PRESETS[name].create)

    return short_preset
