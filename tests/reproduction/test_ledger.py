"""The ledger read, on tables made by hand."""

import pandas as pd
import pytest

from stlearn_lib.errors import ReproductionError
from stlearn_lib.reproduction.ledger import (
    compare_published,
    keys_of,
    newest,
    read_genes,
    read_ledger,
    summarise_seeds,
)


def row(experiment, fold, seed, acg, *, preset="own", test=None, date=1, **more):
    names = {"experiment": experiment, "preset": preset, "fold": fold, "test": test or fold, "seed": seed}
    return names | {"acg": acg, "date": f"2026-01-0{date}T00:00:00+00:00", "key": f"{fold}{seed}{date}"} | more


@pytest.fixture
def rows():
    return pd.DataFrame(
        [
            row("mclstexp/cscc", "A", 0, 0.9, date=1),
            row("mclstexp/cscc", "A", 0, 0.1, date=2),  # the newer one counts
            row("mclstexp/cscc", "B", 0, 0.3),
            row("mclstexp/cscc", "A", 1, 0.5),
            row("mclstexp/cscc", "B", 1, 0.7),
            row("mclstexp/cscc", "A", 2, 5.0),  # this seed lacks B
            row("mclstexp/cscc", "A", 0, 0.4, preset="ridge"),
            row("across-patients/mean", "A+B", 0, None, test="A"),
            row("across-patients/mean", "A+B", 0, None, test="B"),
            row("across-patients/mean", "A+B", 0, 7.0, test="pooled"),
            row("across-patients/ridge-both", "A+B", 0, 0.2, test="A"),
            row("across-patients/ridge-both", "A+B", 0, 0.4, test="B"),
            row("across-patients/ridge-both", "A+B", 0, 9.0, test="pooled"),
        ]
    )


def test_the_newest_of_each_result_is_kept(rows):
    kept = newest(rows)
    assert len(kept) == len(rows) - 1 and 0.9 not in set(kept["acg"])
    pd.testing.assert_frame_equal(newest(rows.iloc[::-1]).sort_index(), kept.sort_index())


def test_seeds_are_averaged_over_their_sections(rows):
    found = summarise_seeds(rows, "acg").set_index(["experiment", "preset"])
    assert found.loc[("mclstexp/cscc", "own")].to_dict() == pytest.approx(
        {"mean": 0.4, "low": 0.2, "high": 0.6, "n_seeds": 2, "n_tests": 2}
    )
    assert found.loc[("mclstexp/cscc", "ridge"), "n_tests"] == 1
    both = found.loc[("across-patients/ridge-both", "own")]
    assert both.to_dict() == pytest.approx({"mean": 0.3, "low": 0.3, "high": 0.3, "n_seeds": 1, "n_tests": 2})
    assert len(found) == 3, "a measure that is undefined everywhere is not found"


def test_a_section_without_the_measure_does_not_count():
    rows = pd.DataFrame([row("e", "A", 0, 0.2, ari=0.5), row("e", "B", 0, 0.4, ari=None)])
    (found,) = summarise_seeds(rows, "ari").to_dict("records")
    assert (found["mean"], found["n_tests"]) == (0.5, 1)
    with pytest.raises(ReproductionError, match="no measure 'nmi'"):
        summarise_seeds(rows, "nmi")


def test_found_stands_beside_published(rows):
    names = ["nh2st/stnet", "mclstexp/cscc", "across-patients/ridge-both", "across-patients/mean"]
    table = compare_published(rows, names, ["acg", "mse"])
    found = table.set_index(["experiment", "preset", "measure"])
    assert table["experiment"].tolist() == sorted(table["experiment"], key=names.index)
    assert found.index.tolist() == [
        ("nh2st/stnet", "", "mse"),
        ("mclstexp/cscc", "own", "acg"),
        ("mclstexp/cscc", "ridge", "acg"),
        ("mclstexp/cscc", "", "mse"),
        ("across-patients/ridge-both", "own", "acg"),
    ]
    own = found.loc[("mclstexp/cscc", "own", "acg")]
    assert own["published"] == "0.3235 0.3235" and own["mean"] == pytest.approx(0.4) and own["n_seeds"] == 2
    absent = found.loc[("nh2st/stnet", "", "mse")]
    assert (absent["published"], absent["n_seeds"], absent["n_tests"]) == ("0.161", 0, 0)
    assert found.loc[("across-patients/ridge-both", "own", "acg"), "published"] == ""


def test_published_stands_alone_before_anything_was_run():
    table = compare_published(pd.DataFrame(), ["nh2st/zen", "within-C/mean"], ["mse", "acg"])
    assert table[["experiment", "measure", "published", "n_seeds"]].to_numpy().tolist() == [
        ["nh2st/zen", "mse", "0.108", 0]
    ]
    assert compare_published(pd.DataFrame(), ["within-C/mean"], ["acg"]).empty
    with pytest.raises(ReproductionError, match="neither the papers nor the ledger have a measure agc"):
        compare_published(pd.DataFrame(), ["within-C/mean"], ["acg", "agc"])


def test_keys_are_those_of_the_newest_results(rows):
    assert keys_of(rows, "mclstexp/cscc") == sorted(["A02", "B01", "A11", "B11", "A21"])
    assert keys_of(rows, "mclstexp/cscc", "ridge") == ["A01"]
    assert keys_of(rows, "across-patients/ridge-both") == ["A+B01"]
    for name, preset in (("mclstexp/her2st", None), ("mclstexp/cscc", "mean")):
        with pytest.raises(ReproductionError, match=f"no results of {name}"):
            keys_of(rows, name, preset)
    with pytest.raises(ReproductionError, match="no results of mclstexp/cscc"):
        keys_of(pd.DataFrame(), "mclstexp/cscc")


def test_the_projects_own_ledger_is_read():
    rows, genes = read_ledger(), read_genes()
    if rows.empty:
        pytest.skip("nothing has been committed yet")
    assert not rows.duplicated(["key", "test"]).any() and rows["date"].is_monotonic_decreasing
    assert not genes.duplicated(["key", "test", "gene"]).any() and set(genes["key"]) <= set(rows["key"])
