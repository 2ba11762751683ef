import os
import pickle

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hypothesis import given, settings
from hypothesis import strategies as st

from stlearn_lib.data.genes import read_gene_list, select_genes, shared_genes
from stlearn_lib.datasets import GENE_LISTS, load_gene_list
from stlearn_lib.errors import GeneError


@pytest.mark.parametrize("name", GENE_LISTS)
def test_published_lists_are_read(mirror, name):
    genes = load_gene_list(name)
    assert len(genes) == len(set(genes)) == GENE_LISTS[name][1]
    file = mirror / "gene_lists" / GENE_LISTS[name][0]
    if file.suffix == ".csv":
        assert list(genes) == file.read_text().split()
    elif file.suffix == ".npy":  # the mirror's bytes were checked against their hash by load_gene_list
        assert list(genes) == np.load(file, allow_pickle=True).tolist()


def test_unknown_list_is_named():
    with pytest.raises(GeneError, match="unknown gene list 'mine'; known: mclstexp_her2st"):
        load_gene_list("mine")


@pytest.mark.parametrize("suffix", [".npy", ".txt"])
@settings(max_examples=20, deadline=None)
@given(genes=st.lists(st.from_regex(r"[A-Z][A-Z0-9.-]{0,8}", fullmatch=True), min_size=1, max_size=20, unique=True))
def test_what_is_written_is_read(tmp_path_factory, suffix, genes):
    path = tmp_path_factory.mktemp("genes") / f"list{suffix}"
    if suffix == ".npy":
        np.save(path, np.array(genes))
    else:
        path.write_text("\n".join(genes) + "\n")
    assert read_gene_list(path) == tuple(genes)


class Evil:
    def __reduce__(self):
        return os.mkdir, (Evil.folder,)


@pytest.mark.parametrize("suffix", [".pkl", ".npy"])
def test_a_pickle_cannot_run_code(tmp_path, suffix):
    Evil.folder = str(tmp_path / "owned")
    path = tmp_path / f"evil{suffix}"
    if suffix == ".npy":
        np.save(path, np.array([Evil()], dtype=object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(GeneError, match="it asks for"):
        read_gene_list(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("file", "raw", "message"),
    [
        ("empty.txt", b"", "no gene names"),
        ("twice.txt", b"A\nB\nA\n", "names 'A' twice"),
        ("binary.txt", b"\xff\xfe\x00", "no readable gene list"),
        ("cut.npy", b"\x93NUMPY\x01\x00", "no readable gene list"),
        ("cut.pkl", b"\x80\x04", "no readable gene list"),
        ("vast.pkl", b"\x80\x04]r\xff\xff\xff\xff.", r"LONG_BINPUT 4294967295 in 9 bytes"),  # a memo of 64 GB
        ("numbers.pkl", pickle.dumps([1, 2]), "no gene names"),
    ],
)
def test_broken_lists_are_named(tmp_path, file, raw, message):
    (tmp_path / file).write_bytes(raw)
    with pytest.raises(GeneError, match=message) as caught:
        read_gene_list(tmp_path / file)
    assert file in str(caught.value)


def test_missing_list_is_named(tmp_path):
    with pytest.raises(GeneError, match="nowhere"):
        read_gene_list(tmp_path / "nowhere.npy")


def test_shared_genes_keep_their_order(cohort):
    fewer = cohort[1][:, ["ACTB", "FASN", "SIM011"]]
    assert shared_genes([cohort[0], fewer], ["SIM011", "SIM012", "ACTB"]) == ("SIM011", "ACTB")
    with pytest.raises(GeneError, match="share none"):
        shared_genes([cohort[0], fewer], ["SIM012"])


def test_selection_is_the_union_of_sections_cut_by_spots(cohort):
    proposed = set()
    for section in cohort[:2]:
        part = section.copy()
        sc.pp.normalize_total(part, target_sum=1e4)
        sc.pp.log1p(part)
        sc.pp.highly_variable_genes(part, n_top_genes=40)
        proposed |= set(part.var_names[part.var["highly_variable"]])
    together = pd.concat([pd.DataFrame(s.X.toarray() > 0, columns=s.var_names) for s in cohort[:2]])
    expected = sorted(gene for gene in proposed if together[gene].sum() >= 100)
    assert list(select_genes(cohort[:2], n_top=40, min_spots=100)) == expected


def test_selection_looks_at_nothing_but_its_sections(cohort):
    before = [section.X.copy() for section in cohort[:2]]
    select_genes(cohort[:2], n_top=40, min_spots=100)
    assert all((x != section.X).nnz == 0 for section, x in zip(cohort[:2], before, strict=True))


def test_impossible_selection(cohort):
    with pytest.raises(GeneError, match="seen in 100000 spots of 2 sections"):
        select_genes(cohort[:2], min_spots=100000)
