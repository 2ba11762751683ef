"""mclSTExp against values of the authors' code, made with the recipe of `conftest` for weights and inputs."""

import numpy as np
import pytest
import torch

from stlearn_lib.errors import ModelError
from stlearn_lib.losses import clip_loss
from stlearn_lib.models.mclstexp import MclSTExp

POSITION = torch.tensor([[3, 5], [4, 5], [5, 5], [3, 6], [4, 6], [30, 17]])
GRADIENTS = {
    "x_embed.weight": "x_position.weight",
    "y_embed.weight": "y_position.weight",
    "image_encoder.model.0.conv0.weight": "image_encoder.backbone.features.conv0.weight",
    "image_encoder.model.0.norm5.weight": "image_encoder.backbone.features.norm5.weight",
    "spot_encoder.0.attn.fn.to_qkv.weight": "spot_encoder.0.to_qkv.weight",
    "image_projection.fc.weight": "image_projection.fc.weight",
    "spot_projection.projection.weight": "spot_projection.projection.weight",
}


@pytest.fixture(scope="module")
def reference(reference_folder):
    return np.load(reference_folder / "mclstexp.npz")


@pytest.fixture(scope="module")
def released_state(recipe_state):
    return recipe_state("mclstexp_state_dict.json")


@pytest.fixture(scope="module")
def inputs(recipe_input):
    return {
        "image": recipe_input("mclstexp/image", (6, 3, 96, 96)),
        "expression": recipe_input("mclstexp/expression", (6, 32)).abs(),
    }


def build(released_state, image, **kwargs):
    """The model, whose normalisation undoes what brings the reference's images into 0..1."""
    low, spread = float(image.min()), float(image.max() - image.min())
    model = MclSTExp(n_genes=32, weights=None, mean=(-low / spread,) * 3, std=(1 / spread,) * 3, **kwargs)
    model.load_released_state_dict(released_state)
    return model, (image - low) / spread


def run(model, image, inputs):
    return model(image=image, expression=inputs["expression"], position=POSITION)


def test_embeddings_and_loss_equal_the_authors(reference, released_state, inputs):
    model, image = build(released_state, inputs["image"])
    with torch.no_grad():
        output = run(model.eval(), image, inputs)
    for name in ("image_features", "image_embedding", "spot_tokens", "spot_embedding"):
        expected = reference[f"eval_{name}"]
        np.testing.assert_allclose(getattr(output, name), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    loss = clip_loss(output.spot_embedding, output.image_embedding)
    assert loss.item() == pytest.approx(float(reference["eval_loss"]), rel=1e-4)


def test_training_equals_the_authors(reference, released_state, inputs):
    model, image = build(released_state, inputs["image"])
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-3)
    losses, gradients = [], {}
    for step in range(4):
        output = run(model.train(), image, inputs)
        loss = clip_loss(output.spot_embedding, output.image_embedding)
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            gradients = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
        optimiser.step()
        losses.append(loss.item())
    for theirs, ours in GRADIENTS.items():
        assert gradients[ours] == pytest.approx(float(reference[f"gradnorm::{theirs}"]), rel=1e-3), ours
    assert losses[0] == pytest.approx(float(reference["train_loss"]), rel=1e-4)
    np.testing.assert_allclose(losses[:2], reference["train_losses_4_adam_steps"][:2], rtol=1e-3)
    np.testing.assert_allclose(losses[2:], reference["train_losses_4_adam_steps"][2:], rtol=3e-2)


def test_checkpoints_of_several_gpus_and_larger_tables_give_the_same(released_state, inputs):
    model, image = build(released_state, inputs["image"])
    prefixed, _ = build({f"module.{key}": tensor for key, tensor in released_state.items()}, inputs["image"])
    wide, _ = build(released_state, inputs["image"], n_positions=1000)
    with torch.no_grad():
        expected = run(model.eval(), image, inputs)
        for other in (prefixed, wide):
            for mine, theirs in zip(run(other.eval(), image, inputs), expected, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_the_paper_keeps_the_relu(released_state, inputs):
    """Ledger: the released code pools DenseNet's last batch norm without its ReLU."""
    released, image = build(released_state, inputs["image"])
    paper, _ = build(released_state, inputs["image"], variant="paper")
    with torch.no_grad():
        ours, theirs = (run(model.eval(), image, inputs).image_features for model in (released, paper))
    assert (theirs >= 0).all() and (ours < 0).any()


def test_a_spot_depends_on_its_batch_mates(released_state, inputs):
    """Ledger: tokens of a batch attend to one another, so a key is not a property of its spot alone."""
    model, _ = build(released_state, inputs["image"])
    with torch.no_grad():
        _, together = model.eval().embed_spots(inputs["expression"], POSITION)
        _, alone = model.embed_spots(inputs["expression"][:1], POSITION[:1])
    assert (together[:1] - alone).abs().max() > 0.1


@pytest.mark.parametrize("encoder", ["resnet18", "resnet50", "resnet101", "vit_base_patch16_224"])
def test_encoders_of_the_paper(encoder):
    model = MclSTExp(n_genes=4, encoder=encoder, weights=None)
    side = model.image_encoder.input_px if encoder.startswith("vit") else 64
    with torch.no_grad():
        output = model.eval()(
            image=torch.rand(1, 3, side, side),
            expression=torch.rand(1, 4),
            position=torch.zeros(1, 2, dtype=torch.long),
        )
    assert output.image_embedding.shape == output.spot_embedding.shape == (1, 256)
    assert model.image_encoder.weights_id == "random(seed=0)"


def test_errors_name_what_does_not_fit(released_state, inputs):
    model = MclSTExp(n_genes=32, encoder="densenet121", weights=None, n_positions=16)
    with pytest.raises(ModelError, match=r"array position \[30, 17\] of spot 5 of the batch lies outside 0\.\.15"):
        model.embed_spots(inputs["expression"], POSITION)
    with pytest.raises(ModelError, match=r"array position \[-1, 0\] of spot 0"):
        model.embed_spots(inputs["expression"][:1], torch.tensor([[-1, 0]]))
    with pytest.raises(ModelError, match="variant must be 'released' or 'paper', not 'fast'"):
        MclSTExp(n_genes=32, variant="fast")
    foreign = dict(released_state)
    foreign["head.weight"] = foreign.pop("spot_projection.fc.weight")
    foreign["spot_projection.fc.bias"] = torch.zeros(3)
    with pytest.raises(ModelError) as caught:
        model.load_released_state_dict(foreign)
    message = str(caught.value)
    assert "1 missing, first spot_projection.fc.weight" in message
    assert "1 unknown, first head.weight" in message and "1 of another shape, first spot_projection.fc.bias" in message
