"""The ridge baselines against an earlier, independent implementation's scores on the same real sections."""

import pytest
import yaml

from stlearn_lib.data.expression import Target
from stlearn_lib.datasets import load_gene_list, load_sections
from stlearn_lib.evaluation import Protocol, cross_validate
from stlearn_lib.methods.registry import create_method
from stlearn_lib.protocols import folds_of, sections_of

FOLDS = (*folds_of("within-C"), *folds_of("C-to-B4"))
TOLERANCE_ACG = 0.02


@pytest.fixture(scope="module")
def reference(reference_folder):
    return yaml.safe_load((reference_folder / "ridge_baselines.yaml").read_text())


@pytest.fixture(scope="module")
def sections(mirror):
    return load_sections(sections_of(FOLDS))


@pytest.mark.parametrize(
    ("space", "features"),
    [
        ("spot_log10_10k", "colour"),
        ("spot_log10_10k", "deep"),
        ("spot_log10_10k", "both"),
        ("gene_log10_10k", "colour"),
    ],
)
def test_ridge_reaches_the_reference_on_every_fold(sections, reference, space, features):
    target = Target(load_gene_list("mclstexp_her2st"), space)
    table = cross_validate(
        create_method(f"ridge-{features}"), sections, Protocol("reference", FOLDS, target), progress=False
    )
    expected = reference[space][features]
    assert set(table["test"]) == set(expected)
    for row in table.itertuples():
        assert row.acg == pytest.approx(expected[row.test]["acg"], abs=TOLERANCE_ACG), row.test
