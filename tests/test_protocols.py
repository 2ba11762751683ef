"""A protocol's name stands for folds, space and genes, and says who leaks."""

import numpy as np
import pytest

from data_registry import HER2ST_SECTIONS
from stlearn_lib.data.expression import SPACES
from stlearn_lib.data.splits import leaks
from stlearn_lib.datasets import GENE_LISTS
from stlearn_lib.errors import SplitError
from stlearn_lib.evaluation import score
from stlearn_lib.protocols import PATIENT_OF, PROTOCOLS, folds_of, protocol_of, sections_of


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_name_is_whole_and_says_whether_patients_leak(name):
    protocol = protocol_of(name)
    assert protocol.space in SPACES and protocol.gene_list in GENE_LISTS and folds_of(name) is protocol.folds
    leaked = any(leaks(fold, PATIENT_OF) for fold in protocol.folds)
    assert leaked == ("leak" in protocol.what.replace("nobody leaks", ""))


def test_the_released_evaluation():
    released = protocol_of("mclstexp_her2st")
    tested = [fold.test for fold in released.folds]
    assert tested == [(name,) for name in sorted(HER2ST_SECTIONS)[1:33]]
    assert (tested[0], tested[-1]) == (("A2",), ("G3",))
    assert all(len(fold.train) == 31 for fold in released.folds)
    assert (released.space, released.gene_list) == ("gene_log10_10k", "mclstexp_her2st")

    at_hand = protocol_of("mclstexp_her2st_within_C")
    assert (at_hand.space, at_hand.gene_list) == (released.space, released.gene_list)
    assert at_hand.folds == folds_of("within-C") and sections_of(at_hand.folds) == ["C2", "C3", "C4", "C5", "C6"]


def test_ours_tests_every_section_once_on_patients_never_seen():
    ours = protocol_of("her2st_by_patient")
    assert sorted(name for fold in ours.folds for name in fold.test) == sorted(HER2ST_SECTIONS)
    assert not any(leaks(fold, PATIENT_OF) for fold in ours.folds) and len(ours.folds) == 8
    assert (ours.space, ours.gene_list) == ("spot_log10_10k", "mclstexp_her2st")


def test_heg_takes_the_50_genes_of_highest_mean_in_the_truth_of_each_section():
    rng = np.random.default_rng(0)
    truth = rng.gamma(2.0, rng.uniform(1, 9, 80), (60, 80))
    prediction = truth + rng.normal(0, 5, truth.shape)
    sections = ["A"] * 25 + ["B"] * 35
    scores = score(truth, prediction, sections=sections).sections
    for name, rows in (("A", slice(0, 25)), ("B", slice(25, 60))):
        genes = np.argsort(truth[rows].mean(0))[::-1][:50]
        r = [np.corrcoef(truth[rows, gene], prediction[rows, gene])[0, 1] for gene in genes]
        assert scores[name].heg == pytest.approx(np.mean(r))


def test_unknown_names():
    for function in (protocol_of, folds_of):
        with pytest.raises(SplitError, match="unknown protocol 'mine'; known: within-C"):
            function("mine")
