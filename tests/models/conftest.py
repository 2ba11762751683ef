"""What the tests of the published models share: the recipe that the authors' reference values were made with."""

import json
import zlib

import numpy as np
import pytest
import torch


def recipe_tensor(key, shape):
    """Return the deterministic tensor for a name in a state dict."""
    rs = np.random.RandomState(zlib.crc32(key.encode()))
    if key.endswith("running_var"):
        values = 0.5 + rs.random_sample(shape)
    elif key.endswith("running_mean"):
        values = 0.1 * rs.standard_normal(shape)
    elif key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    elif len(shape) >= 2:
        values = rs.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    elif key.endswith("weight"):
        values = 1 + 0.1 * rs.standard_normal(shape)
    else:
        values = 0.1 * rs.standard_normal(shape)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


@pytest.fixture(scope="session")
def recipe_input():
    """Return the function that makes an input of a shape by its name."""

    def make(tag, shape):
        rs = np.random.RandomState(zlib.crc32(tag.encode()))
        return torch.from_numpy(rs.standard_normal(shape).astype(np.float32))

    return make


@pytest.fixture(scope="session")
def recipe_state(reference_folder):
    """Return the function that makes the state dict, or that of each module, whose names and shapes a file holds."""

    def filled(shapes):
        return {k: filled(v) if isinstance(v, dict) else recipe_tensor(k, v) for k, v in shapes.items()}

    def make(file):
        return filled(json.loads((reference_folder / file).read_text()))

    return make
