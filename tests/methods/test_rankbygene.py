from dataclasses import replace

import numpy as np
import pytest
import torch

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.errors import StlearnError
from stlearn_lib.methods.rankbygene import RankByGene, RankByGeneSettings, RankingTask
from stlearn_lib.models import rankbygene
from stlearn_lib.models.rankbygene import teacher_momentum
from stlearn_lib.training import TrainingSettings

SHORT = TrainingSettings(epochs=2, batch_size=16, learning_rate=1e-3)
FROZEN = {"features": ["colour_texture"], "width": 16, "training": SHORT, "predictor": SHORT}
TRAINED = {"encoder": "mobilenetv3_small_050", "encoder_weights": None} | {
    name: value for name, value in FROZEN.items() if name != "features"
}


def task_of(**changes):
    torch.manual_seed(0)
    model = rankbygene.RankByGene(n_genes=6, encoder=5, projection_dim=8)
    return RankingTask(model, RankByGeneSettings(features=["colour_texture"], training=SHORT, **changes))


def batch(n=12):
    generator = torch.Generator().manual_seed(1)
    return {"image": torch.randn(n, 5, generator=generator), "expression": torch.rand(n, 6, generator=generator)}


def test_the_loss_is_the_weighted_sum_of_its_terms():
    task = task_of(rank_weight=3.0, teacher_weight=0.5, variant="ordered", shifts=None).eval()
    terms = task(batch())
    torch.testing.assert_close(terms["loss"], terms["contrast"] + 3 * terms["rank"] + 0.5 * terms["teacher"])
    assert {"row_correlation", "order_accuracy"} <= terms.keys() and "row_correlation" not in task.train()(batch())


@pytest.mark.parametrize("teacher_update", ["epoch", "step"])
def test_the_teacher_follows(teacher_update):
    task = task_of(teacher_update=teacher_update)
    expected = task.model.teacher_head.fc.weight.clone()
    student = task.model.student_head.fc.weight
    for epoch in range(2):
        for step in range(3):
            task.after_step(epoch, step, 3)
            if teacher_update == "step" or step == 2:
                time = epoch + step / 3 if teacher_update == "step" else epoch
                expected = expected.lerp(student, 1 - teacher_momentum(time, SHORT.epochs))
            torch.testing.assert_close(task.model.teacher_head.fc.weight, expected)


def test_the_gene_tower_has_its_own_learning_rate_and_nothing_is_left_out():
    task = task_of(gene_rate=7.0)
    (others, one), (genes, seven) = task.learning_rates()
    assert (one, seven) == (1.0, 7.0)
    assert {id(p) for p in genes} == {id(p) for p in task.model.gene_head.parameters()}
    assert {id(p) for p in [*others, *genes]} == {id(p) for p in task.parameters() if p.requires_grad}


def test_the_teacher_sees_another_view_than_the_student(sections, target, monkeypatch):
    method = RankByGene(target=target, **TRAINED).fit(sections[:2])
    task = RankingTask(method._fitted_model().towers, method.options)
    forward, seen = rankbygene.RankByGene.forward, {}
    monkeypatch.setattr(
        rankbygene.RankByGene, "forward", lambda self, **views: seen.update(views) or forward(self, **views)
    )
    images = torch.randint(0, 255, (4, 64, 64, 3), dtype=torch.uint8)
    for training in (True, False):
        task.train(training)({"image": images, "expression": torch.rand(4, 32)})
        assert seen["student_view"].shape == (4, 3, 64, 64)
        assert torch.equal(seen["student_view"], seen["teacher_view"]) != training


def test_parts_of_a_batch_are_compared_by_themselves(sections, target):
    """As released, whose micro-batches are of 8: ln 8 is what guessing costs there."""
    parts = replace(SHORT, accumulate=2, epochs=1, learning_rate=1e-9)
    whole = replace(SHORT, epochs=1, learning_rate=1e-9)
    losses = [
        RankByGene(target=target, **(FROZEN | {"training": training})).fit(sections[:2]).history["train_contrast"][0]
        for training in (parts, whole)
    ]
    assert losses[0] < losses[1] - 0.3, "fewer spots to be confused with"


@pytest.mark.parametrize(("predict_from", "regressor"), [("features", "mlp"), ("embedding", "ridge")])
def test_expression_is_predicted_from_the_teacher(sections, target, predict_from, regressor):
    method = RankByGene(target=target, predict_from=predict_from, regressor=regressor, **TRAINED).fit(sections[:2])
    pipeline = method._fitted_model()
    images = torch.from_numpy(method._images(sections[2], method.state).copy()).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = pipeline.towers.teacher_backbone(images)
        if predict_from == "embedding":
            features = pipeline.towers.teacher_head(features)
        expected = pipeline.predictor(features)
    np.testing.assert_allclose(method.predict(sections[2]).X, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(method.features(sections[2]), features, rtol=1e-3, atol=1e-4)
    assert len(method.learnt.get("predictor_history", [])) == (SHORT.epochs if regressor == "mlp" else 0)


def test_it_learns_what_the_simulated_image_shows(cohort):
    target = Target(tuple(cohort[0].var_names))
    training = TrainingSettings(epochs=15, batch_size=64, learning_rate=1e-3)
    options = {"width": 32, "training": training, "predict_from": "embedding", "variant": "ordered", "shifts": None}
    method = RankByGene(features=["colour_texture"], predictor=training, target=target, **options)
    method.fit(cohort[:2], validation=cohort[3:])
    assert method.history["train_contrast"].iloc[-1] < np.log(64)
    assert method.history["validation_order_accuracy"].max() > 0.5
    prediction, truth = method.predict(cohort[2]).X, expression(cohort[2], target)
    varying = truth.std(axis=0) > 0
    r = [np.corrcoef(prediction[:, g], truth[:, g])[0, 1] for g in np.flatnonzero(varying)]
    assert np.mean(r) > 0.1


def test_unknown_choices_are_refused():
    with pytest.raises(StlearnError, match="teacher_update must be one of epoch, step, not 'never'"):
        RankByGene(teacher_update="never")
    with pytest.raises(StlearnError, match="predict_from must be one of features, embedding, not 'image'"):
        RankByGene(predict_from="image")
