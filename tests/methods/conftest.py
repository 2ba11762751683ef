"""What the tests of methods that train a network share: small sections and few genes."""

import pytest

from stlearn_lib.data.expression import Target
from stlearn_lib.training import TrainingSettings

N_SPOTS = 24  # kept of each section: an encoder is trained here


@pytest.fixture(scope="session")
def sections(cohort):
    return [section[:N_SPOTS].copy() for section in cohort]


@pytest.fixture(scope="session")
def target(cohort):
    return Target(tuple(cohort[0].var_names[:32]))


@pytest.fixture(scope="session")
def short():
    """Settings of a training of seconds."""
    return TrainingSettings(epochs=2, batch_size=16, learning_rate=1e-3)


@pytest.fixture(scope="session")
def frozen_options(short):
    """Options of a method on frozen features."""
    return {"features": ["colour_texture"], "training": short}


@pytest.fixture(scope="session")
def trained_options(short):
    """Options of a method that trains an encoder, from random weights."""
    return {"encoder": "mobilenetv3_small_050", "encoder_weights": None, "training": short}
