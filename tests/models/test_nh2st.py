"""NH2ST against values of the authors' code, made with the recipe of `conftest` for weights and inputs."""

import copy

import numpy as np
import pytest
import torch

from stlearn_lib.errors import ModelError
from stlearn_lib.losses import weighted_info_nce
from stlearn_lib.models.nh2st import NH2ST

SIZE = {"n_genes": 40, "weights": None}
GRADIENTS = {
    "target_encoder.0.weight": "image_encoder.backbone.conv1.weight",
    "exp_encoder.0.weight": "expression_encoder.0.weight",
    "neighbor_encoder.layer1.conv.lin.weight": "neighbor_image_encoder.first.linear.weight",
    "neighbor_exp_encoder.layer2.conv.lin.weight": "neighbor_expression_encoder.second.linear.weight",
    "cross_encoder.fusion_layer.layers.0.0.fn.to_kv.weight": "fusion.blocks.0.to_kv.weight",
    "fc.weight": "image_projection.weight",
    "decoder.fc2.weight": "decoder.1.weight",
}


@pytest.fixture(scope="module")
def reference(reference_folder):
    return np.load(reference_folder / "nh2st.npz")


@pytest.fixture(scope="module")
def released_state(recipe_state):
    return recipe_state("nh2st_state_dict.json")


@pytest.fixture(scope="module")
def inputs(recipe_input):
    """The reference's inputs, and what undoes that its images were brought into 0..1."""
    patch = recipe_input("nh2st/patch", (3, 1, 3, 224, 224))[:, 0]
    neighbor_patch = recipe_input("nh2st/neighbor_patch", (3, 9, 3, 224, 224))
    low = min(float(patch.min()), float(neighbor_patch.min()))
    spread = max(float(patch.max()), float(neighbor_patch.max())) - low
    batch = {
        "patch": (patch - low) / spread,
        "expression": recipe_input("nh2st/expression", (3, 40)).abs(),
        "neighbor_patch": (neighbor_patch - low) / spread,
        "neighbor_expression": recipe_input("nh2st/neighbor_expression", (3, 9, 40)).abs(),
    }
    return batch, {"mean": (-low / spread,) * 3, "std": (1 / spread,) * 3}


@pytest.fixture(scope="module")
def model(released_state, inputs):
    model = NH2ST(**SIZE, **inputs[1])
    model.load_released_state_dict(released_state)
    return model.eval()


@pytest.fixture(scope="module")
def output(model, inputs):
    return model(**inputs[0])


def losses(output, expression):
    return {
        "patch": weighted_info_nce(output.patch_embedding, output.expression_embedding),
        "neighbor": weighted_info_nce(output.neighbor_patch_embedding, output.neighbor_expression_embedding),
        "reconstruction": torch.nn.functional.mse_loss(output.prediction, expression),
    }


def test_outputs_equal_the_authors(output, reference):
    for name, values in output._asdict().items():
        expected = reference[f"eval_{name}"]
        np.testing.assert_allclose(values.detach(), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_losses_and_gradients_equal_the_authors(model, output, inputs, reference):
    terms = losses(output, inputs[0]["expression"])
    for name, value in terms.items():
        assert value.item() == pytest.approx(float(reference[f"eval_loss_{name}"]), rel=1e-4)
    total = terms["patch"] + 0.5 * terms["neighbor"] + terms["reconstruction"]
    assert total.item() == pytest.approx(float(reference["eval_loss_total"]), rel=1e-4)
    model.zero_grad()
    total.backward(retain_graph=True)
    gradients = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    for theirs, ours in GRADIENTS.items():
        assert gradients[ours] == pytest.approx(float(reference[f"gradnorm::{theirs}"]), rel=1e-3), ours


def test_hyperedges_equal_the_authors(model, inputs, reference):
    features = model.encode_images(inputs[0]["neighbor_patch"][0])
    np.testing.assert_allclose(features.detach().norm(dim=1), reference["neighbor_feature_norms_item0"], rtol=1e-5)
    nodes, edges = reference["hyperedge_index_item0"]
    expected = np.zeros((9, 9))
    expected[nodes, edges] = 1
    np.testing.assert_array_equal(model.hyperedges(features, torch.arange(9)[None])[0], expected)


def test_every_parameter_learns(model, output, inputs):
    """The released model has eight that never receive a gradient; here are none, but one that learns nothing."""
    model.zero_grad()
    sum(losses(output, inputs[0]["expression"]).values()).backward(retain_graph=True)
    steepest = {name: p.grad.abs().max().item() for name, p in model.named_parameters()}
    # The query map of a single-token attention: its softmax runs over one number, and only rounding is left.
    assert steepest.pop("fusion.blocks.0.to_q.weight") < 1e-5
    assert min(steepest.values()) > 1e-4


def test_neighbours_and_expression_reach_the_prediction_through_the_losses_only(model, inputs, output):
    changed = inputs[0] | {name: values.flip(0) for name, values in inputs[0].items() if name != "patch"}
    with torch.no_grad():
        again = model(**changed)
    torch.testing.assert_close(again.prediction, output.prediction, rtol=0, atol=0)
    assert not torch.allclose(again.patch_embedding, output.patch_embedding, atol=1e-2)


def test_the_query_of_a_single_token_changes_nothing(model, inputs):
    """Its softmax runs over one number: the fusion is the value of the other, whatever is asked."""
    fusion, (a, b) = copy.deepcopy(model.fusion), torch.randn(2, 4, 512, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = fusion(a, b)
        fusion.blocks[0].to_q.weight.normal_(std=9)
        torch.testing.assert_close(fusion(a, b), before)


def test_the_expression_encoder_is_one_linear_map(model, inputs):
    first, second = model.expression_encoder
    with torch.no_grad():
        once = inputs[0]["expression"] @ (second.weight @ first.weight).T + second.weight @ first.bias + second.bias
        torch.testing.assert_close(model.expression_encoder(inputs[0]["expression"]), once, rtol=1e-4, atol=1e-4)


def test_in_the_paper_both_ask_the_other_as_it_was(released_state, inputs, output):
    model = NH2ST(**SIZE, **inputs[1], variant="paper").eval()
    model.load_released_state_dict(released_state)
    batch = inputs[0]
    with torch.no_grad():
        patch = model.image_projection(model.encode_images(batch["patch"]))
        own = model.expression_encoder(batch["expression"])
        paper = model(**batch)
        torch.testing.assert_close(paper.expression_embedding, model.fusion(own, patch), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(paper.patch_embedding, output.patch_embedding, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(paper.expression_embedding, output.expression_embedding, atol=1e-2)


def test_random_hyperedges_do_not_see_the_images(inputs):
    model = NH2ST(n_genes=2, encoder=5, width=8, hyperedges="random")
    features, neighbours = torch.ones(9, 5), torch.arange(9).repeat(500, 1)
    torch.manual_seed(0)
    incidence = model.hyperedges(features, neighbours)
    assert (incidence.sum(dim=1) == 4).all() and (torch.diagonal(incidence, dim1=1, dim2=2) == 1).all()
    others = incidence.mean(dim=0)[~torch.eye(9, dtype=torch.bool)]
    torch.testing.assert_close(others, torch.full((72,), 3 / 8), rtol=0, atol=0.1)  # each of 8 as often


@pytest.mark.parametrize("wrong", [{"variant": "ours"}, {"hyperedges": "near"}])
def test_unknown_kinds_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ModelError, match=f"{name} must be one of .*, not {value!r}"):
        NH2ST(n_genes=2, encoder=5, **wrong)


def test_encoding_each_spot_once_gives_the_same(model, inputs, output):
    """Two neighbourhoods that share spots: as patches of their own, and as rows of one table."""
    patches = inputs[0]["neighbor_patch"].flatten(end_dim=1)[:12]
    expression = inputs[0]["neighbor_expression"].flatten(end_dim=1)[:12]
    neighbours = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 8], [11, 3, 4, 5, 6, 7, 8, 9, 10]])
    targets = neighbours[:, 0]
    with torch.no_grad():
        naive = model(
            patch=patches[targets],
            expression=expression[targets],
            neighbor_patch=patches[neighbours],
            neighbor_expression=expression[neighbours],
        )
        features = model.encode_images(patches)
        once = model.embed(features[targets], expression[targets], features, expression, neighbours)
        for ours, theirs in zip(once, naive, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.predict(patches[targets]), naive.prediction, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_foreign_checkpoints_are_refused(released_state, inputs, prefix):
    model = NH2ST(**SIZE, **inputs[1])
    model.load_released_state_dict({prefix + name: tensor for name, tensor in released_state.items()})
    with pytest.raises(ModelError, match="1 unknown, first epoch"):
        model.load_released_state_dict({**released_state, "epoch": torch.zeros(1)})
    with pytest.raises(ModelError, match=r"1 missing, first decoder\.0\.bias"):
        model.load_released_state_dict({n: t for n, t in released_state.items() if n != "decoder.fc1.bias"})
    with pytest.raises(ModelError, match=r"of another shape, first decoder\.1\.bias"):
        NH2ST(n_genes=41, weights=None).load_released_state_dict(released_state)


def test_a_neighbourhood_may_be_smaller(model, inputs):
    """A section with fewer spots than a neighbourhood has: four nodes or fewer are joined by every hyperedge."""
    small = {name: values[:, :3] if name.startswith("neighbor") else values for name, values in inputs[0].items()}
    with torch.no_grad():
        output = model(**small)
    assert all(values.isfinite().all() for values in output)


# ------------------------------------------------------------------------------------ what the contrastive terms can do


def small(**settings):
    torch.manual_seed(0)
    return NH2ST(n_genes=8, encoder=12, width=32, dropout=0.0, **settings)


def spots(n=48):
    """Images and expression that have nothing to do with one another, and neighbourhoods of three."""
    generator = torch.Generator().manual_seed(1)
    features, expression = (torch.randn(n, d, generator=generator) for d in (12, 8))
    row = torch.arange(n)
    return features, expression, torch.stack([row, row.roll(1), row.roll(-1)], dim=1)


def test_on_frozen_features_the_neighbours_loss_has_no_way_into_the_prediction():
    """A row of the ledger: their images reach it through the encoder alone, which is frozen here."""
    model, (features, expression, neighbours) = small(), spots()
    output = model.embed(features, expression, features, expression, neighbours)
    loss = weighted_info_nce(output.neighbor_patch_embedding, output.neighbor_expression_embedding)
    predicting = [*model.image_projection.parameters(), *model.decoder.parameters()]
    gradients = torch.autograd.grad(loss, predicting, allow_unused=True)
    assert all(gradient is None for gradient in gradients)


def matched(**settings):
    """Train on the textbook contrast of patches alone; return the shares of right and of wrong images that match."""
    model, (features, expression, neighbours) = small(**settings), spots()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        output = model.embed(features, expression, features, expression, neighbours)
        pair = output.patch_embedding, output.expression_embedding
        optimiser.zero_grad()
        weighted_info_nce(*pair, negative_weight=1.0).backward()
        optimiser.step()

    def share(images):
        with torch.no_grad():
            output = model.embed(images, expression, features, expression, neighbours)
        patch, own = (torch.nn.functional.normalize(output[i], dim=1) for i in (0, 1))
        return ((patch @ own.T).argmax(dim=1) == torch.arange(len(own))).float().mean().item()

    return share(features), share(features.flip(0))


def test_the_textbook_contrast_is_met_by_copying():
    """A row of the ledger: the attention hands each its partner's embedding, so that wrong images match as well."""
    right, wrong = matched()
    assert right > 0.95 and wrong > 0.9
    _, wrong = matched(depth=0)
    assert wrong < 0.2
