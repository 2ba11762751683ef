"""Small simulated cohorts, in memory and on disk."""

from pathlib import Path

import pytest
from anndata import AnnData

from stlearn_lib.data.synthetic import simulate_section
from stlearn_lib.slides.bags import write_bag
from stlearn_lib.slides.cohorts import Cohort
from stlearn_lib.slides.simulated import simulate_cohort


@pytest.fixture(scope="session")
def one_section(tmp_path_factory) -> AnnData:
    return simulate_section("S1", tmp_path_factory.mktemp("one"))


@pytest.fixture
def section(one_section) -> AnnData:
    """Return a simulated section, free to be changed; one is enough here, and four take as long as all else."""
    return one_section.copy()


@pytest.fixture(scope="session")
def simulated() -> Cohort:
    return simulate_cohort(120, seed=1)


@pytest.fixture(scope="session")
def on_disk(tmp_path_factory) -> tuple[Path, Path]:
    """Return a folder of 24 bags and the table of their slides."""
    folder, cohort = tmp_path_factory.mktemp("bags"), simulate_cohort(24, seed=2)
    for slide in cohort.table.index:
        write_bag(cohort.bag(slide), folder / f"{slide}.h5")
    table = folder / "table.csv"
    cohort.table.astype({"event": int}).to_csv(table, index_label="slide")
    return folder, table
