"""Whatever is killed, fifty times and at any moment, leaves nothing half-written and ends as if undisturbed."""

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks processes")


@pytest.mark.parametrize("work", ["download", "patches", "features", "training", "reproduction"])
def test_killed_at_any_moment(script, work):
    seen, _ = script("kills.py", work)
    assert seen["kills"] == 50
    assert seen["sizes"] >= 3, "they hit early and late: what they leave on the disk differs"
    assert seen["hidden"] <= 4, "two folders with a temporary file and its lock: what the dead leave does not pile up"
    assert not seen["elsewhere"]
