import pytest

from stlearn_lib.reproduction.catalogue import EXPERIMENTS
from stlearn_lib.reproduction.published import read_published

# Read in the sources once more, by hand: paper, data, setting -> experiment and values.
FACTS = [
    ("mclSTExp", "HER2+", "", "mclstexp/her2st", {"acg": 0.2304, "heg": 0.3866, "mse": 0.5897, "mae": 0.5813}),
    ("mclSTExp", "cSCC", "", "mclstexp/cscc", {"acg": 0.3235, "heg": 0.4261, "mse": 0.4302, "mae": 0.5208}),
    ("mclSTExp", "Alex+10x", "", "mclstexp/alex10x", {"acg": 0.1949, "heg": 0.3611, "mse": 0.2329, "mae": 0.3897}),
    ("mclSTExp", "HER2+", "no position", "mclstexp/her2st-no-position", {"acg": 0.2105, "heg": 0.3578}),
    ("mclSTExp", "HER2+", "L2 distance", "mclstexp/her2st-l2", {"acg": 0.2306, "mse": 0.5811}),
    ("mclSTExp", "cSCC", "ViT", "mclstexp/cscc-vit", {"acg": 0.2994}),
    ("mclSTExp", "Alex+10x", "ResNet-50", "mclstexp/alex10x-resnet50", {"acg": 0.1801}),
    ("mclSTExp", "HER2+", "clusters of labelled sections", "mclstexp/her2st", {"ari": 0.2646, "nmi": 0.2853}),
    ("NH2ST", "STNet", "", "nh2st/stnet", {"mse": 0.161}),
    ("NH2ST", "Skin", "", "nh2st/skin", {"mse": 0.208}),
    ("NH2ST", "PCW", "", "nh2st/pcw", {"mse": 0.029}),
    ("NH2ST", "Mouse", "", "nh2st/mouse", {"mse": 0.039}),
    ("NH2ST", "INT", "", "nh2st/int", {"mse": 0.22}),
    ("NH2ST", "ZEN", "", "nh2st/zen", {"mse": 0.108}),
    ("RankByGene", "Breast-ST1", "", "rankbygene/breast-st1", {"mae": 0.472}),
    ("RankByGene", "Breast-ST2", "", "rankbygene/breast-st2", {"mae": 0.447}),
    ("RankByGene", "Lung-ST", "", "rankbygene/lung-st", {"mae": 0.648}),
    ("RankByGene", "Lung-ST", "top 250", "rankbygene/lung-st-top250", {"mae": 0.276}),
    ("RankByGene", "TCGA-BRCA survival", "", "rankbygene/tcga-brca-survival", {"c_index": 0.681}),
]


@pytest.fixture(scope="module")
def published():
    return read_published()


@pytest.mark.parametrize(("method", "data", "setting", "experiment", "values"), FACTS)
def test_facts_stand_as_they_were_published(published, method, data, setting, experiment, values):
    rows = published[published["experiment"] == experiment]
    rows = rows[(rows["method"] == method) & (rows["data"] == data) & (rows["setting"] == setting)]
    found = rows.set_index("measure")["value"]
    assert found.index.is_unique and {name: found[name] for name in values} == values


def test_every_number_has_a_source_and_a_grade(published):
    assert set(published["grade"]) == {"primary", "secondary", "quoted"}
    assert (published[["paper", "method", "data", "measure", "where", "protocol"]] != "").all(axis=None)
    assert published["value"].between(0, 2).all() and not published["value"].isna().any()
    assert not published.duplicated(["paper", "where", "method", "data", "setting", "measure"]).any()


def test_numbers_and_experiments_name_each_other(published):
    named = set(published["experiment"]) - {""}
    assert named <= set(EXPERIMENTS)
    repeated = {name for name in EXPERIMENTS if name.startswith(("mclstexp/", "nh2st/", "rankbygene/"))}
    assert repeated - named == {name for name in EXPERIMENTS if name.startswith("rankbygene/bcnb-")}
    ours = published[published["experiment"] != ""]
    assert all(
        EXPERIMENTS[row.experiment].what.startswith(row.method)
        for row in ours.itertuples()
        if "tcga" not in row.experiment
    )
