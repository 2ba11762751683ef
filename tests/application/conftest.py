import pytest

from stlearn_lib.data.expression import Target
from stlearn_lib.data.synthetic import gene_names
from stlearn_lib.methods.baselines import Ridge

TARGET = Target(gene_names()[:12])


@pytest.fixture(scope="session")
def target():
    return TARGET


@pytest.fixture(scope="session")
def ridge(cohort):
    """A ridge that was trained on two simulated sections, and can tell its spread."""
    return Ridge(target=TARGET, n_bootstrap=3).fit(cohort[:2])
