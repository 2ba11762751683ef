import numpy as np
import pandas as pd
import pytest

from stlearn_lib.errors import BagError
from stlearn_lib.slides.bags import Bag, write_bag
from stlearn_lib.slides.cohorts import (
    Cohort,
    layout_of,
    neighbour_bags,
    read_cohort,
    read_gdc_survival,
    read_tcga_cohort,
)


def table(**columns):
    return pd.DataFrame({"patient": ["P", "Q"]} | columns, index=["s1", "s2"])


BAGS = {slide: Bag(slide, np.ones((2, 3))) for slide in ("s1", "s2")}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (table().rename(index={"s2": "s1"}), "the slide 's1' occurs more than once"),
        (table().rename(index={"s2": "s3"}), "no bag is given for s3"),
        (table()[["patient"]].iloc[:0], "0 rows"),
        (table(label=["a", None]), "1 slides have no label, first s2"),
        (table(label=["a", " "]), "no label, first s2"),
        (table(patient=[None, "Q"]), "no patient, first s1"),
        (table(time=[1.0, 2.0]), "survival needs the column.s. event"),
        (table(time=[1.0, np.nan], event=[1, 0]), "1 times are not positive numbers, first .*nan.* of s2"),
        (table(time=[1.0, 0.0], event=[1, 0]), "not positive numbers, first .*0.0.* of s2"),
        (table(time=["a", 1.0], event=[1, 0]), "not positive numbers, first 'a' of s1"),
        (table(patient="P", time=[1.0, 2.0], event=[1, 1]), "slides of patient P disagree on time or event"),
        (table(time=[1.0, 2.0], event=[1, 2]), "an event is 1 .seen. or 0 .*2.* of s2"),
        (table(time=[1.0, 2.0], event=[1, np.nan]), "nan.* of s2"),
    ],
)
def test_wrong_tables_are_named(rows, message):
    with pytest.raises(BagError, match=message):
        Cohort(rows, BAGS)


def test_subsets_and_unknown_slides():
    cohort = Cohort(table(label=["a", "b"]), BAGS)
    assert len(cohort.subset(["s2"])) == 1 and cohort.bag("s2").patient == "Q"
    with pytest.raises(BagError, match="no slides s3, s4, s5 and 1 more"):
        cohort.subset(["s6", "s5", "s4", "s3", "s1"])
    with pytest.raises(BagError, match="no slide 's3'"):
        cohort.bag("s3")


def test_a_cohort_is_read_and_its_bags_stay_on_disk(on_disk):
    folder, rows = on_disk
    cohort = read_cohort(rows, folder, label="label", time="time", event="event")
    assert len(cohort) == 24 and all(path.is_file() for path in cohort.bags.values())
    assert cohort.bag("simulated 3").patient == "patient 3" and set(cohort.table["label"]) == {"high", "low"}


def test_layouts_name_columns(tmp_path):
    write_bag(BAGS["s1"], tmp_path / "7.h5")
    pd.DataFrame({"Patient ID": [7], "ALN status": ["N0"]}).to_csv(tmp_path / "bcnb.csv", index=False)
    cohort = read_cohort(tmp_path / "bcnb.csv", tmp_path, label="ALN status", **layout_of("bcnb")._asdict())
    assert cohort.table.loc["7"].to_dict() == {"patient": "7", "label": "N0"}
    pd.DataFrame({"slide_id": ["7.svs"], "case_id": ["P"], "label": [1]}).to_csv(tmp_path / "clam.csv", index=False)
    cohort = read_cohort(tmp_path / "clam.csv", tmp_path, label="label", **layout_of("clam")._asdict())
    assert cohort.table.loc["7"].to_dict() == {"patient": "P", "label": "1"}
    with pytest.raises(BagError, match="unknown layout 'mine'; known: ours, clam, bcnb"):
        layout_of("mine")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, {}, "does not exist"),
        ("", {}, "no readable table"),
        ("slide,patient\ns1,P,3\ns2,Q\nx,y,z,w\n", {}, "no readable table"),
        ("slide,patient\ns1,P\n", {"label": "grade"}, "no column grade; it has slide, patient"),
        ("slide,patient\ns1,P\ns2,Q\n", {}, "1 of 2 slides have no bag in .*, first s2.h5"),
        ("slide,patient\ns1,P\ns1,P\n", {}, "'s1' occurs more than once"),
        (
            "slide,patient,label\ns1,P,x\n",
            {"label": "label", "classes": ["a", "b"]},
            "unknown label 'x'; known are a, b",
        ),
        ("slide,patient,label\ns1,P,\n", {"label": "label"}, "no label, first s1"),
    ],
)
def test_wrong_files_are_named(tmp_path, text, options, message):
    write_bag(BAGS["s1"], tmp_path / "s1.h5")
    if text is not None:
        (tmp_path / "t.csv").write_text(text)
    with pytest.raises(BagError, match=message):
        read_cohort(tmp_path / "t.csv", tmp_path, **options)


def test_a_workbook_is_refused(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(BagError, match="save its sheet as CSV"):
        read_cohort(tmp_path / "t.xlsx", tmp_path)


OLD = (
    "case_submitter_id\tvital_status\tdays_to_death\tdays_to_last_follow_up\n"
    "TCGA-A1-A0SB\tAlive\t'--\t259\nTCGA-A1-A0SB\tAlive\t'--\t259\n"
    "TCGA-A1-A0SD\tDead\t730.5\t'--\nTCGA-A1-A0SE\tAlive\t'--\t'--\nTCGA-A1-A0SF\tNot Reported\t'--\t365.25\n"
)


def test_survival_of_the_gdc_in_old_and_new_words(tmp_path):
    (tmp_path / "old.tsv").write_text(OLD)
    rest = OLD.splitlines()[1:]
    words = ["cases.submitter_id", "demographic.vital_status", "demographic.days_to_death"]
    (tmp_path / "new.tsv").write_text("\n".join(["\t".join([*words, "diagnoses.days_to_last_follow_up"]), *rest]))
    survival = read_gdc_survival(tmp_path / "old.tsv")
    pd.testing.assert_frame_equal(survival, read_gdc_survival(tmp_path / "new.tsv"))
    assert survival.index.tolist() == ["TCGA-A1-A0SB", "TCGA-A1-A0SD", "TCGA-A1-A0SF"]
    np.testing.assert_allclose(survival["time"], [259 * 12 / 365.25, 24, 12])
    assert survival["event"].tolist() == [False, True, False]
    (tmp_path / "bad.tsv").write_text("case_submitter_id\tvital_status\nTCGA-A1-A0SB\tAlive\n")
    with pytest.raises(BagError, match=r"no column days_to_death, days_to_last_follow_up: is it the GDC's"):
        read_gdc_survival(tmp_path / "bad.tsv")


def test_tcga_is_joined_by_barcode(tmp_path):
    (tmp_path / "clinical.tsv").write_text(OLD)
    diagnostic = ["TCGA-A1-A0SB-01Z-00-DX1.AB", "TCGA-A1-A0SB-01Z-00-DX2.CD", "TCGA-A1-A0SD-01Z-00-DX1.EF"]
    others = ["TCGA-A1-A0SD-01A-01-TSA.AA", "TCGA-A1-A0SE-01Z-00-DX1.BB", "TCGA-ZZ-ZZZZ-01Z-00-DX1.CC"]
    for slide in [*diagnostic, *others]:
        write_bag(Bag(slide, np.ones((2, 3))), tmp_path / "TCGA-BRCA" / f"{slide}.h5")
    cohort = read_tcga_cohort(tmp_path / "clinical.tsv", tmp_path)
    assert cohort.table.index.tolist() == diagnostic
    assert cohort.table["patient"].tolist() == ["TCGA-A1-A0SB", "TCGA-A1-A0SB", "TCGA-A1-A0SD"]
    assert len(cohort.bag(diagnostic[0])) == 2
    with pytest.raises(BagError, match="none of 0 diagnostic slides"):
        read_tcga_cohort(tmp_path / "clinical.tsv", tmp_path / "elsewhere")


def test_neighbours_never_cross_a_block(section):
    features = np.column_stack([np.arange(168), np.zeros(168)]).astype(float)
    cohort = neighbour_bags(section, features, k=9, n_blocks=12)
    spots = {slide: set(cohort.bag(slide).features[:, 0].astype(int)) for slide in cohort.table.index}
    of_block = {block: set.union(*(spots[s] for s in rows.index)) for block, rows in cohort.table.groupby("patient")}
    assert sum(map(len, of_block.values())) == 168 == len(set.union(*of_block.values())), "no spot in two blocks"
    labels = section.obs["label"].astype(str).to_numpy()
    for slide, label in cohort.table["label"].items():
        counts = pd.Series(labels[list(spots[slide])]).value_counts()
        assert counts[label] == counts.max()
    assert cohort.simulated


def test_labels_that_are_no_class_are_left_out(section):
    everything = neighbour_bags(section, np.ones((168, 2)), n_blocks=12)
    without = neighbour_bags(section, np.ones((168, 2)), n_blocks=12, ignore=["tumour"])
    assert len(without) == (everything.table["label"] != "tumour").sum() and "tumour" not in set(without.table["label"])
    with pytest.raises(BagError, match="200 blocks need labels and 200 spots"):
        neighbour_bags(section, np.ones((168, 2)), n_blocks=200)
    del section.obs["label"]
    with pytest.raises(BagError, match="need labels"):
        neighbour_bags(section, np.ones((168, 2)))
