"""The discrepancy ledger: every row is whole, every test that it names exists, and those that nothing else proves."""

import ast
import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from stlearn_lib.data.expression import SPACES, Target
from stlearn_lib.data.genes import read_gene_list
from stlearn_lib.errors import ReproductionError, UndefinedGeneWarning
from stlearn_lib.evaluation import heg
from stlearn_lib.losses import weighted_info_nce
from stlearn_lib.methods.nh2st import DualScaleTask, NH2STSettings
from stlearn_lib.methods.rankbygene import RankByGene
from stlearn_lib.methods.registry import create_method
from stlearn_lib.models.encoders import create_encoder
from stlearn_lib.models.mclstexp import MclSTExp
from stlearn_lib.models.nh2st import NH2ST
from stlearn_lib.reproduction import discrepancies
from stlearn_lib.reproduction.catalogue import EXPERIMENTS, SectionExperiment
from stlearn_lib.reproduction.comparison import Difference
from stlearn_lib.reproduction.discrepancies import (
    KINDS,
    chapter_values,
    compare_runs,
    kinds_of,
    ledger_html,
    measure_effects,
    read_discrepancies,
    read_together,
)
from stlearn_lib.training import TrainingSettings

ROOT = Path(__file__).parents[2]
TABLE = read_discrepancies()
ROWS = [pytest.param(row, id=row["id"]) for row in TABLE.to_dict("records")]
EFFECTS = [(row["id"], effect) for row in TABLE.to_dict("records") for effect in row["effects"]]


# ----------------------------------------------------------------------------------------------------- the file itself


@cache
def functions_of(file: str) -> set[str]:
    """The names of a file's test functions."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("row", ROWS)
def test_every_test_that_is_named_exists(row):
    for name in row["tests"]:
        file, _, function = name.partition("::")
        assert function in functions_of(file), name
    assert bool(row["tests"]) != bool(row["why_untested"]), "either tests, or why there are none"


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_whole(row):
    assert all(isinstance(row[key], str) and row[key].strip() for key in ("paper", "code", "here", "consequence"))
    assert row["paper_source"] and "@" in row["code_source"], "a commit"
    assert not (row["harmless"] and row["effects"]), "what changes nothing has nothing to be measured"


def test_there_are_rows_of_every_method_and_stage():
    assert set(TABLE["method"]) == set(discrepancies.METHODS) and set(TABLE["stage"]) == set(discrepancies.STAGES)
    assert TABLE["id"].is_unique and TABLE["title"].is_unique and len(TABLE) >= 30


@pytest.mark.parametrize(("row", "effect"), EFFECTS, ids=[f"{row}-{i}" for i, (row, _) in enumerate(EFFECTS)])
def test_every_effect_can_be_looked_up(row, effect):
    if "chapter" in effect:
        keys = effect["glue"] if isinstance(effect["glue"], list) else [effect["glue"]]
        assert 1 <= len(keys) <= 2 and set(keys) <= chapter_values(effect["chapter"]).keys(), keys
        assert {"chapter", "glue", "measure", "where"} <= effect.keys() <= {*effect.keys(), "sign"}
    else:
        pair = EXPERIMENTS[effect["experiment"]], EXPERIMENTS[effect["against"]]
        assert all(isinstance(one, SectionExperiment) for one in pair) and effect["measure"] in ("acg", "heg")
        assert [fold.test for fold in pair[0].folds({})] == [fold.test for fold in pair[1].folds({})]


def test_comparisons_of_several_rows_name_rows_and_experiments():
    together = read_together()
    assert set(together["experiment"]) | set(together["against"]) <= EXPERIMENTS.keys()
    assert {row for rows in together["rows"] for row in rows} <= set(TABLE["id"])
    assert list(together.columns) == ["experiment", "against", "rows", "value", "low", "high"]


def test_the_chapter_shows_what_the_other_chapters_found():
    """Its numbers are looked up in their outputs: executed again, they have to be looked up again."""
    own = chapter_values(14)
    if not own:
        pytest.skip("the chapter has not been executed")
    from_chapters = measure_effects(TABLE).query("source != 'runs'")
    shown = json.loads(own["c14_effects"].strip("'"))
    assert shown == {f"{one.id}, {one.where}, {one.measure}": f"{one.value:+.4f}" for one in from_chapters.itertuples()}


# ---------------------------------------------------------------------------------------------------------- the reader


def written(tmp_path, **changes):
    row = TABLE.to_dict("records")[0] | changes
    facts = {"sources": {}, "together": [], "rows": [{key: value for key, value in row.items() if value is not None}]}
    (tmp_path / "some.yaml").write_text(yaml.safe_dump(facts))
    return tmp_path / "some.yaml"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"consequence": None}, "gene-list lacks consequence"),
        ({"stage": "somewhere"}, "stage is none of data, model, .*: 'somewhere'"),
        ({"grade": "sure"}, "grade is none of"),
        ({"tests": []}, "neither tests nor why_untested"),
        ({"effects": [{"measure": "ACG"}]}, "an effect is of a chapter or of experiments, not"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, changes, message):
    with pytest.raises(ReproductionError, match=message):
        read_discrepancies(written(tmp_path, **changes))


def test_a_malformed_file_is_named(tmp_path):
    assert len(read_discrepancies(written(tmp_path))) == 1
    twice = tmp_path / "twice.yaml"
    rows = yaml.safe_load(written(tmp_path).read_text())["rows"]
    twice.write_text(yaml.safe_dump({"sources": {}, "together": [], "rows": rows * 2}))
    with pytest.raises(ReproductionError, match="gene-list is there twice"):
        read_discrepancies(twice)
    for text, message in (("- a", "must have sources, together and rows"), ("a: [", "cannot be read")):
        twice.write_text(text)
        with pytest.raises(ReproductionError, match=message):
            read_discrepancies(twice)


def test_effects_are_differences_and_text_is_its_middle():
    one = {"chapter": 99, "measure": "ACG", "where": "here"}
    effects = [one | {"glue": ["a", "b"]}, one | {"glue": "b", "sign": -1}, one | {"glue": "c"}, one | {"glue": "gone"}]
    table = pd.DataFrame([{"id": "x", "harmless": False, "effects": effects}])
    found = measure_effects(table, {99: {"a": 0.5, "b": "0.25", "c": "'+0.010 to +0.020'"}})["value"]
    np.testing.assert_allclose(found, [0.25, -0.25, 0.015, np.nan])


def test_kinds_follow_the_largest_effect():
    table = pd.DataFrame({"id": list("abcde"), "harmless": [False] * 4 + [True]})
    effects = pd.DataFrame(
        [("a", "ACG", 0.001), ("a", "ACG", -0.3), ("b", "ACG", 0.001), ("c", "MSE", 9.0), ("d", "ACG", np.nan)],
        columns=["id", "measure", "value"],
    )
    order = [KINDS[0], KINDS[1], KINDS[2], KINDS[4], KINDS[3]]
    assert kinds_of(table, effects, seed_noise=0.01).tolist() == order


def test_runs_are_compared_when_all_are_there(monkeypatch):
    pair = "within-C/ridge-both", "within-C/ridge-both-smoothed"
    tests = ["C2", "C3", "C4", "C5", "C6"]
    rows = pd.DataFrame(
        [{"experiment": name, "preset": "ridge-both", "fold": t, "test": t, "seed": 0, "date": "1", "key": name + t}
         for name in pair for t in tests]
    )  # fmt: skip
    genes = pd.DataFrame(
        [(name + t, name, 0, t, f"G{g}", r, g) for name, r in zip(pair, (0.2, 0.3), strict=True) for t in tests
         for g in range(60)],
        columns=["key", "experiment", "seed", "test", "gene", "r", "mean"],
    )  # fmt: skip
    monkeypatch.setattr(discrepancies, "_runs", lambda folder: (rows, genes))
    found = compare_runs(*pair)
    assert isinstance(found, Difference) and found.estimate == pytest.approx(-0.1)
    monkeypatch.setattr(discrepancies, "_runs", lambda folder: (rows[rows["test"] != "C4"], genes))
    assert compare_runs(*pair) is None, "half a comparison is none"
    monkeypatch.setattr(discrepancies, "_runs", lambda folder: (pd.DataFrame(), pd.DataFrame()))
    assert compare_runs(*pair) is None
    with pytest.raises(ReproductionError, match="no experiment on sections is called 'tcga-luad/rna'"):
        compare_runs("tcga-luad/rna", pair[0])


def test_the_ledger_as_a_page_escapes_and_folds():
    kinds = pd.Series("of some kind", index=TABLE["id"])
    page = ledger_html(TABLE.assign(title="a < b `c`").head(2), measure_effects(TABLE), kinds)
    assert page.count("<details") == 2 and "a &lt; b <code>c</code>" in page and "not measured here" in page


# ------------------------------------------------------------------------- rows that are proved nowhere else: mclSTExp


def test_images_enter_as_they_are():
    """Released: 0..1, whatever the weights were trained with."""
    images = torch.rand(2, 3, 8, 8)
    released = MclSTExp(n_genes=2, encoder="resnet18", weights=None).image_encoder
    torch.testing.assert_close(released.normalise(images), images)
    imagenet = create_encoder("resnet18", weights=None)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(imagenet.normalise(images), (images - mean) / std)


def test_visium_enters_as_raw_values():
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    for name, scale in (("mclstexp_alex10x", 1), ("mclstexp_alex10x_paper", 255), ("mclstexp_her2st", 255)):
        options = create_method(name).options
        encoder = create_encoder("resnet18", weights=None, mean=options.mean, std=options.std)
        torch.testing.assert_close(encoder.normalise(images), images / scale)


def test_positions_start_with_variance_one():
    torch.manual_seed(0)
    model = MclSTExp(n_genes=500, encoder=4, n_positions=64)
    column, row = model.x_position.weight, model.y_position.weight
    added = column[torch.randint(64, (4000,))] + row[torch.randint(64, (4000,))]
    assert added.var().item() == pytest.approx(2, rel=0.05)


def test_one_constant_gene_does_not_undo_a_section():
    """There the mean holds a NaN; here the gene is left out of it."""
    rng = np.random.default_rng(0)
    truth, prediction = rng.normal(5, 1, (2, 30, 60))
    prediction[:, np.argmax(truth.mean(axis=0))] = 1.0
    top = np.argsort(-truth.mean(axis=0))[:50]
    with np.errstate(invalid="ignore"):
        r = np.array([np.corrcoef(truth[:, g], prediction[:, g])[0, 1] for g in top])
    with pytest.warns(UndefinedGeneWarning):
        found = heg(truth, prediction)
    assert np.isnan(r.mean()) and found == pytest.approx(np.nanmean(r))


def test_gene_wise_the_highest_genes_are_the_most_even():
    """Shares of any gene add up to one; a concave function of them is largest where they are equal."""
    rng = np.random.default_rng(0)
    even, patchy = np.full(50, 2.0), rng.multinomial(100_000, rng.dirichlet(np.full(50, 0.1))).astype(float)
    counts = np.column_stack([even, patchy])
    gene_wise, spot_wise = (SPACES[f"{kind}_log10_10k"](counts, counts.sum(axis=1)) for kind in ("gene", "spot"))
    assert counts[:, 1].sum() > 100 * counts[:, 0].sum()
    assert gene_wise[:, 0].mean() == pytest.approx(np.log10(1 + 1e4 / 50))
    assert gene_wise[:, 0].mean() > gene_wise[:, 1].mean() and (patchy > 0).any()
    assert SPACES["gene_log10_10k"](counts * [1000, 1], counts.sum(axis=1)) == pytest.approx(gene_wise), "no level"
    assert spot_wise.shape == counts.shape


# ---------------------------------------------------------------------------- rows that are proved nowhere else: NH2ST


class Blank(torch.nn.Module):
    """An augmentation that leaves nothing, so that one sees whom it met."""

    def forward(self, images):
        return torch.zeros_like(images)


@pytest.mark.parametrize("sharing", [False, True])
def test_as_released_targets_alone_are_augmented(sharing):
    torch.manual_seed(0)
    model = NH2ST(n_genes=3, encoder="mobilenetv3_small_050", weights=None, width=8, patch_px=32)
    task = DualScaleTask(model, NH2STSettings(encoder="mobilenetv3_small_050", width=8, sharing=sharing)).train()
    task.augment, seen = Blank(), []
    encode = model.encode_images
    model.encode_images = lambda images: seen.append(bool(images.any())) or encode(images)
    task({
        "image": torch.ones(5, 32, 32, 3),
        "expression": torch.rand(5, 3),
        "neighbours": torch.tensor([[0, 1, 2], [3, 4, 0]]),
    })  # fmt: skip
    assert seen == ([False] if sharing else [False, True]), "a target's patches are augmented away, neighbours' are not"


def test_the_prediction_is_one_linear_map_of_the_features():
    torch.manual_seed(0)
    model = NH2ST(n_genes=7, encoder=20, width=8).eval()
    offset, features = model.predict(torch.zeros(1, 20)), torch.randn(40, 20)
    first, second = model.decoder
    matrix = second.weight @ first.weight @ model.image_projection.weight
    with torch.no_grad():
        torch.testing.assert_close(model.predict(features), features @ matrix.T + offset, rtol=1e-4, atol=1e-5)
    assert torch.linalg.matrix_rank(matrix) == 4, "half of the width"


def test_flattened_maps_are_alike_only_in_place():
    """The same feature in another corner: nothing alike place by place, all alike once pooled."""
    maps = torch.zeros(2, 3, 7, 7)
    maps[0, 1, 0, 0] = maps[1, 1, 6, 6] = 5.0
    flat, pooled = maps.flatten(1), maps.mean(dim=(2, 3))
    assert torch.cosine_similarity(*flat, dim=0).item() == 0
    assert torch.cosine_similarity(*pooled, dim=0).item() == pytest.approx(1)


def test_either_order_of_a_flattened_map_is_one_linear_layer():
    maps, weight = torch.randn(4, 3, 7, 7), torch.randn(5, 3 * 7 * 7)
    by_place = maps.permute(0, 2, 3, 1).flatten(1)
    reordered = weight.unflatten(1, (49, 3)).transpose(1, 2).flatten(1)
    torch.testing.assert_close(by_place @ weight.T, maps.flatten(1) @ reordered.T, rtol=1e-4, atol=1e-4)


def test_four_heads_are_never_used(reference_folder):
    """Their eight tensors lie in a checkpoint, and ours has no place for them."""
    theirs = json.loads((reference_folder / "nh2st_state_dict.json").read_text())
    unused = [name for name in theirs if name.startswith(("fc_target", "fc_neighbor", "fc_nuclei", "fc_global"))]
    assert len(unused) == 8
    ours = NH2ST(n_genes=40, weights=None).state_dict()
    assert len(ours) == len(theirs) - 8


def test_the_released_contrast_looks_one_way():
    """Two images alike, each fits the first expression: by hand, at a temperature of .05 and a weight of .1."""
    image, own = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    from_images = (np.log1p(np.exp(-20)) + np.log1p(np.exp(2))) / 2
    from_expression = (np.log1p(np.exp(2 - 20)) + np.log(2)) / 2
    assert weighted_info_nce(image, own).item() == pytest.approx(from_images)
    assert weighted_info_nce(own, image).item() == pytest.approx(from_expression)
    both = weighted_info_nce(image, own, symmetric=True).item()
    assert both == pytest.approx((from_images + from_expression) / 2) and from_images > 2 * from_expression


# ----------------------------------------------------------------------- rows that are proved nowhere else: RankByGene


def test_the_first_line_of_a_gene_list_is_a_gene(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("ERBB2\nFASN\nGNAS\n")
    assert read_gene_list(path) == ("ERBB2", "FASN", "GNAS")
    assert len(pd.read_csv(path)) == 2, "read as a table, the first is a header"


def test_without_validation_sections_nothing_is_validated(cohort):
    target = Target(tuple(cohort[0].var_names[:16]))
    training = TrainingSettings(epochs=1, batch_size=16, learning_rate=1e-3)
    settings = {"features": ["colour_texture"], "width": 8, "training": training, "predictor": training}
    alone, judged = (
        RankByGene(target=target, progress=False, **settings).fit([cohort[0][:32].copy()], validation).history
        for validation in (None, [cohort[1][:32].copy()])
    )
    assert not [column for column in alone if column.startswith("validation")]
    assert "validation_order_accuracy" in judged
