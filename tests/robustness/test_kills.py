"""Whatever is killed, fifty times and at any moment, leaves nothing half-written and ends as if undisturbed."""

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks processes")


@pytest.mark.parametrize("work", ["download", "patches", "features", "training", "reproduction"])
def test_killed_at_any_moment(script, work):
    seen, _ = script("kills.py", work)
    assert sum(seen["quarters"]) == 50
    assert min(seen["quarters"][:3]) >= 3, "they hit early and late; in the last quarter much is done before"
    assert seen["sizes"] >= 3, "and what they leave on the disk differs"
    assert seen["hidden"] <= 4, "two folders with a temporary file and its lock: what the dead leave does not pile up"
    assert not seen["elsewhere"]
