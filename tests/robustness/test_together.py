"""Two processes that want the same at once both get it, or one of them is told why not."""

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks processes")


@pytest.mark.parametrize("work", ["download", "patches", "features", "reproduction"])
def test_both_get_it(script, work):
    seen, _ = script("together.py", work)
    assert not seen["refused"]


def test_one_run_is_trained_by_one_process(script):
    seen, said = script("together.py", "training")
    assert seen["refused"] >= 5, "of ten; a second that comes late finds the run finished"
    assert said.count("another process trains in ") == seen["refused"]
