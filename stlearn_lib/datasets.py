"""Sections and gene lists by name: the registry's files, read.

``load_sections(["C2", "C3"])`` gives real HER2-positive breast cancer sections. Where they can be had neither from the
local mirror nor from the network, it gives simulated ones of the same names and says so, loudly: in a warning, in each
section's metadata, and, through `data_notice`, on the page of the book that used them.
"""

import html
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anndata import AnnData
from IPython.display import HTML

import data_registry
from stlearn_lib.cache import cache_folder
from stlearn_lib.data import synthetic
from stlearn_lib.data.genes import read_gene_list
from stlearn_lib.data.readers import read_st
from stlearn_lib.data.sections import metadata_of, section_name
from stlearn_lib.errors import GeneError, StlearnError

GENE_LISTS: dict[str, tuple[str, int]] = {
    "mclstexp_her2st": ("mclstexp/her_hvg_cut_1000.npy", 785),
    "mclstexp_cscc": ("mclstexp/skin_hvg_cut_1000.npy", 171),
    "mclstexp_alex10x": ("mclstexp/1000hvg_common.pkl", 685),
    "nh2st_stnet": ("nh2st/genes_stnet.npy", 250),
    "nh2st_skin": ("nh2st/genes_skin.npy", 250),
    "nh2st_pcw": ("nh2st/genes_PCW.npy", 250),
    "nh2st_mouse": ("nh2st/genes_Mouse.npy", 250),
    "nh2st_int": ("nh2st/genes_INT.npy", 250),
    "nh2st_zen": ("nh2st/genes_ZEN.npy", 250),
    "rankbygene_breast": ("rankbygene/breast_survival.csv", 447),
    "rankbygene_lung": ("rankbygene/lung_survival.csv", 1916),
}
"""Published gene lists: file in the registry's ``gene_lists``, number of genes."""

# The reduced image of A1: 2,000 px wide where the spot file's scan has 6,954; what is no tissue was painted black, and
# an annotated thumbnail sits in the top right corner.
HER2ST_IMAGE_FACTS: dict[str, dict[str, Any]] = {
    "A1": {"pixel_scale": 2000 / 6954, "black_background": True, "white_boxes": [[1500, 0, 2000, 535]]},
}


class SimulatedDataWarning(UserWarning):
    """Simulated sections stand in the place of real ones."""


def load_sections(names: Sequence[str], *, images: bool = True, allow_simulated: bool = True) -> list[AnnData]:
    """Load HER2-positive breast cancer sections by name, from the mirror, the cache or the network.

    Args:
        names: For example ``["C2", "B4"]``; the letter is the patient.
        images: Whether the images are wanted: all 36 sections' tables are small, their images are not.
        allow_simulated: Whether simulated sections may take the place of real ones; ``STLEARN_REQUIRE_REAL_DATA=1``
            forbids it everywhere.

    Returns:
        One section for each name. Either all are real or all are simulated.

    Raises:
        StlearnError: If real data cannot be had and simulated data is not allowed.
        data_registry.DataError: If a name is unknown, or a file does not have its hash.
    """
    roles = ["counts", "spots", "labels", *(["image"] if images else [])]
    try:
        files = data_registry.fetch_sections("her2st", names, roles=roles)
    except data_registry.NetworkError as error:
        _simulated_or_error("her2st", error, allow_simulated)
        folder = cache_folder("simulated")
        return [synthetic.simulate_section(name, folder) for name in names]
    return [read_her2st(name, files[name]) for name in names]


def read_her2st(name: str, files: Mapping[str, Path]) -> AnnData:
    """Read one HER2+ section from its files.

    Args:
        name: The section's name, for example ``"C2"``.
        files: ``counts``, ``spots`` and, where there are, ``image`` and ``labels``.

    Returns:
        The section. A1 comes with its reduced image: see ``metadata["pixel_scale"]``.

    Raises:
        SectionError: If a file is missing or malformed.

    Reference:
        Andersson et al., Nature Communications 12 (2021) 6012.
    """
    facts = {"source": "almaan/her2st"} | (HER2ST_IMAGE_FACTS.get(name, {}) if "image" in files else {})
    return read_st(
        files["counts"],
        files["spots"],
        files.get("image"),
        files.get("labels"),
        name=name,
        patient=name[0],
        pixel_scale=facts.get("pixel_scale", 1.0),
        metadata=facts,
    )


def load_gene_list(name: str, *, allow_simulated: bool = True) -> tuple[str, ...]:
    """Load a published gene list by name.

    Args:
        name: A key of `GENE_LISTS`.
        allow_simulated: Whether the simulated tissue's genes may take the list's place, see `load_sections`.

    Returns:
        The genes, in the published order; of the simulated tissue all genes where the list cannot be had.

    Raises:
        GeneError: If the name is unknown, or the file does not hold the published number of genes.
        StlearnError: If it cannot be had and simulated data is not allowed.
    """
    if name not in GENE_LISTS:
        raise GeneError(f"unknown gene list {name!r}; known: {', '.join(GENE_LISTS)}.")
    file, n_genes = GENE_LISTS[name]
    try:
        path = data_registry.fetch("gene_lists", [file])[file]
    except data_registry.NetworkError as error:
        _simulated_or_error(f"gene list {name}", error, allow_simulated)
        return synthetic.gene_names()
    genes = read_gene_list(path)
    if len(genes) != n_genes:
        raise GeneError(f"{path} holds {len(genes)} genes, but {name} has {n_genes}.")
    return genes


def _simulated_or_error(what: str, cause: Exception, allow_simulated: bool) -> None:
    if not allow_simulated or os.environ.get("STLEARN_REQUIRE_REAL_DATA") == "1":
        raise StlearnError(f"{what}: real data is required, but it cannot be had. {cause}") from cause
    warnings.warn(
        f"{what}: simulated tissue takes the place of real data, because: {cause}", SimulatedDataWarning, stacklevel=3
    )


def data_notice(sections: Sequence[AnnData]) -> HTML:
    """Say on a page which data it computed on.

    Args:
        sections: The sections that were used.

    Returns:
        A line for real data, a box for simulated data, shown by a notebook.
    """
    names = html.escape(", ".join(section_name(section) for section in sections))
    if any(metadata_of(section)["simulated"] for section in sections):
        return HTML(
            '<div class="stlearn-data-simulated admonition warning"><p class="admonition-title">Simulated tissue</p>'
            f"<p>The real sections {names} could not be had when this page was built. Every number and picture on it "
            "comes from a simulated tissue and says nothing about breast cancer.</p></div>"
        )
    return HTML(
        f'<p class="stlearn-data-real">Computed on real sections: {names} (HER2-positive breast cancer, '
        "almaan/her2st).</p>"
    )
