"""RankByGene against values of the authors' code, made with the recipe of `conftest` for weights and inputs."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from stlearn_lib.errors import ModelError
from stlearn_lib.losses import info_nce, ranking_consistency
from stlearn_lib.models.rankbygene import GenePredictor, RankByGene, RidgePredictor, teacher_momentum

SIZE = {
    "n_genes": 20,
    "encoder": "vit_tiny_patch16_224",
    "encoder_kwargs": {"img_size": 64, "init_values": 1e-5},
    "weights": None,
}


@pytest.fixture(scope="module")
def reference(reference_folder):
    return np.load(reference_folder / "rankbygene.npz")


@pytest.fixture(scope="module")
def released_states(recipe_state):
    """The tensors of each of the authors' modules; each is named within its module."""
    return recipe_state("rankbygene_state_dict.json")


@pytest.fixture(scope="module")
def inputs(recipe_input):
    """The reference's inputs, and what undoes that its images were brought into 0..1."""
    views = [recipe_input(f"rankbygene/{view}", (5, 3, 64, 64)) for view in ("student_view", "teacher_view")]
    low = min(float(view.min()) for view in views)
    spread = max(float(view.max()) for view in views) - low
    student, teacher = ((view - low) / spread for view in views)
    batch = {
        "student_view": student,
        "teacher_view": teacher,
        "expression": recipe_input("rankbygene/expr", (5, 20)).abs(),
    }
    return batch, {"mean": (-low / spread,) * 3, "std": (1 / spread,) * 3}


def released_model(states, normalisation):
    model = RankByGene(**SIZE, **normalisation)
    model.load_released_state_dict(states["image_encoder"], states["gene_encoder"])
    return model.eval()


@pytest.fixture(scope="module")
def model(released_states, inputs):
    return released_model(released_states, inputs[1])


@pytest.fixture(scope="module")
def output(model, inputs):
    return model(**inputs[0])


def test_outputs_equal_the_authors(output, reference):
    for name, values in output._asdict().items():
        expected = reference[f"eval_{name}"]
        np.testing.assert_allclose(values.detach(), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_losses_equal_the_authors(output, reference):
    gene, student, teacher = output.gene_embedding, output.student_embedding, output.teacher_embedding
    permutation = torch.from_numpy(reference["permutation5"])
    terms = {
        "loss_gene_image": info_nce(student, gene),
        "loss_rank": ranking_consistency(gene, student, permutation=permutation),
        "loss_consistency": info_nce(student, teacher),
    }
    for name, value in terms.items():
        assert value.item() == pytest.approx(float(reference[name]), rel=1e-4), name
    total = terms["loss_gene_image"] + 5 * terms["loss_rank"] + terms["loss_consistency"]
    assert total.item() == pytest.approx(float(reference["loss_total_alpha5_beta1"]), rel=1e-4)


def test_the_teachers_momentum_equals_the_authors(reference):
    expected = reference["ema_schedule_0.96_to_1_100epochs"]
    np.testing.assert_allclose([teacher_momentum(epoch, 100) for epoch in range(101)], expected, rtol=1e-12)


def test_the_update_of_the_teacher_equals_the_authors(released_states, inputs, reference):
    model = released_model(released_states, inputs[1])
    model.update_teacher(0.97)
    expected = reference["ema_teacher_head_fc_weight_row0_m0.97"]
    np.testing.assert_allclose(model.teacher_head.fc.weight[0], expected, rtol=1e-5, atol=1e-7)


def test_the_predictor_equals_the_authors(released_states, recipe_input, reference):
    predictor = GenePredictor(32, 10, n_hidden=16).eval()
    predictor.load_state_dict(released_states["predictor"])
    with torch.no_grad():
        found = predictor(recipe_input("rankbygene/features", (9, 32)))
    np.testing.assert_allclose(found, reference["predictor_output"], rtol=1e-4, atol=1e-6)


def test_the_predictor_sees_neither_scale_nor_offset_of_a_spot():
    predictor = GenePredictor(8, 3, n_hidden=4).eval()
    features = torch.rand(5, 8)
    torch.testing.assert_close(predictor(3 * features - 1), predictor(features))
    assert predictor(torch.ones(2, 8)).isfinite().all(), "features that are all alike have no spread to divide by"


def test_the_ridge_is_sklearns():
    rng = np.random.default_rng(0)
    features, expression = rng.normal(3, [1, 5, 0.1, 2], size=(40, 4)), rng.normal(size=(40, 3))
    features[:, 3] = 7.0  # a feature that never varies
    predictor = RidgePredictor(4, 3).solve(torch.from_numpy(features), torch.from_numpy(expression), alpha=2.0)
    spread = np.where(features.std(axis=0) > 0, features.std(axis=0), 1) * 2
    scaled = (features - features.mean(axis=0)) / spread
    expected = Ridge(alpha=2.0).fit(scaled, expression).predict(scaled)
    with torch.no_grad():
        np.testing.assert_allclose(predictor(torch.from_numpy(features).float()), expected, rtol=1e-4, atol=1e-4)


def test_the_teacher_starts_as_the_student_but_for_its_head():
    model = RankByGene(n_genes=2, encoder="resnet18", weights=None, projection_dim=4)
    pairs = zip(model.student_backbone.parameters(), model.teacher_backbone.parameters(), strict=True)
    assert all(torch.equal(student, teacher) for student, teacher in pairs)
    assert not torch.equal(model.student_head.fc.weight, model.teacher_head.fc.weight)


def test_the_teacher_learns_from_the_student_alone():
    model = RankByGene(n_genes=2, encoder="resnet18", weights=None, projection_dim=4)
    batch = {"student_view": torch.rand(2, 3, 64, 64), "teacher_view": torch.rand(2, 3, 64, 64)}
    sum(values.sum() for values in model(**batch, expression=torch.rand(2, 2))).backward()
    assert all(p.grad is None for part in (model.teacher_backbone, model.teacher_head) for p in part.parameters())
    assert model.student_backbone.backbone.conv1.weight.grad.abs().max() > 0
    model.update_teacher(0.0)
    student, teacher = (
        {**backbone.state_dict(), **head.state_dict()}
        for backbone, head in (
            (model.student_backbone, model.student_head),
            (model.teacher_backbone, model.teacher_head),
        )
    )
    torch.testing.assert_close(teacher, student)  # running statistics, too


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_lightning_checkpoint_holds_both_encoders(released_states, inputs, output, prefix):
    whole = {
        f"{prefix}{part}.{name}": tensor
        for part in ("image_encoder", "gene_encoder")
        for name, tensor in released_states[part].items()
    }
    model = RankByGene(**SIZE, **inputs[1]).eval()
    model.load_released_state_dict(whole)
    with torch.no_grad():
        again = model(**inputs[0])
    for ours, expected in zip(again, output, strict=True):
        torch.testing.assert_close(ours, expected)


def test_foreign_checkpoints_are_refused(released_states, model):
    image, gene = released_states["image_encoder"], released_states["gene_encoder"]
    with pytest.raises(ModelError, match=r"6 missing, first gene_head\.fc\.bias"):
        model.load_released_state_dict(image)
    with pytest.raises(ModelError, match="1 unknown, first epoch"):
        model.load_released_state_dict({**image, "epoch": torch.zeros(1)}, gene)
    with pytest.raises(ModelError, match=r"of another shape, first gene_head\.projection\.weight"):
        RankByGene(**(SIZE | {"n_genes": 21})).load_released_state_dict(image, gene)
