"""Classification and survival: what they share, what they learn on a simulated cohort, and what they refuse."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stlearn_lib.datasets import load_sections
from stlearn_lib.errors import BagError, EvaluationError, NotFittedError, SplitError, TrainingError
from stlearn_lib.methods.features import build_features
from stlearn_lib.slides.averages import AverageClassifier, AverageSurvival, average_bags
from stlearn_lib.slides.bags import Bag
from stlearn_lib.slides.classification import SlideClassifier, classification_scores
from stlearn_lib.slides.cohorts import Cohort, neighbour_bags, read_cohort
from stlearn_lib.slides.cross_validation import cross_validate_slides, scores_by_fold
from stlearn_lib.slides.folds import stratified_folds, with_validation
from stlearn_lib.slides.hazards import concordance_index
from stlearn_lib.slides.pooling import TRAINING, AttentionPooling, BagTable
from stlearn_lib.slides.survival import SlideSurvival, survival_scores

SHORT = replace(TRAINING, epochs=2)


def test_pooling_is_the_published_formula():
    network = AttentionPooling(5, 3, width=8, attention_width=4).eval()
    network.mean, network.spread = torch.randn(5), torch.rand(5) + 0.5
    x = torch.randn(7, 5)
    with torch.no_grad():
        pooled = network(x[None], torch.ones(1, 7))
        h = torch.relu(network.embed[0]((x - network.mean) / network.spread))
        v, u, w = network.pool.fc1.module, network.pool.fc_gated.module, network.pool.fc2
        a = torch.softmax(w(torch.tanh(v(h)) * torch.sigmoid(u(h))).squeeze(), dim=0)
        torch.testing.assert_close(pooled.attention[0], a)
        torch.testing.assert_close(pooled.output[0], network.head(a @ h))


def test_what_fills_a_bag_up_is_not_seen(simulated):
    cohort = Cohort(simulated.table.iloc[:2], {"simulated 1": Bag("simulated 1", np.ones((3, 16))), **{
        "simulated 2": simulated.bag("simulated 2")}})  # fmt: skip
    rows = BagTable(cohort, {"label": np.arange(2)}).rows([0, 1])
    assert rows["features"].shape == (2, 64, 16) and rows["mask"].sum(dim=1).tolist() == [3, 64]
    network = AttentionPooling(16, 2).eval()
    with torch.no_grad():
        together = network(rows["features"], rows["mask"])
        alone = network(rows["features"][:1, :3], torch.ones(1, 3))
    torch.testing.assert_close(together.output[0], alone.output[0])
    assert not together.attention[0, 3:].any() and together.attention[0, :3].sum() == pytest.approx(1)


def test_read_only_features_are_taken(simulated):
    features = simulated.bag("simulated 1").features.copy()
    features.flags.writeable = False  # as those from a cache or a memory map
    cohort = Cohort(simulated.table, {**simulated.bags, "simulated 1": Bag("simulated 1", features)})
    model = SlideClassifier(training=SHORT, progress=False).fit(cohort)
    np.testing.assert_array_equal(
        model.attention(cohort.bag("simulated 1")), model.attention(simulated.bag("simulated 1"))
    )


def test_features_are_standardised_by_the_training_instances(simulated):
    model = SlideClassifier(training=SHORT, progress=False).fit(simulated)
    instances = np.concatenate([simulated.bag(slide).features for slide in simulated.table.index])
    np.testing.assert_allclose(model._network.mean, instances.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(model._network.spread, instances.std(axis=0), rtol=1e-4)


def test_classes_are_learnt_and_attention_finds_the_tumour(simulated):
    folds = stratified_folds(simulated.table, n_splits=3)[:1]
    model = SlideClassifier(progress=False)
    predictions = cross_validate_slides(model, simulated, folds)
    assert classification_scores(predictions)["auc"] > 0.9
    np.testing.assert_allclose(predictions[["p_high", "p_low"]].sum(axis=1), 1)
    model.fit(simulated.subset(folds[0].train))
    found = []
    for slide in folds[0].test:
        bag = simulated.bag(slide)
        attention = model.attention(bag)
        assert attention.shape == (64,) and attention.sum() == pytest.approx(1, abs=1e-5)
        centre = bag.coords[attention.argsort()[-5:]].mean(axis=0)
        near = np.hypot(*(bag.coords - centre).T) < 2 * 256
        found.append(attention[near].sum() / near.mean())
    assert np.mean(found) > 1.5, "attention lies together, as the tumour does"


def test_regions_of_a_real_section_are_told_apart(mirror):
    """What the pathologist saw in A1, in blocks of tissue that training did not see; the average does it better."""
    (section,) = load_sections(["A1"], allow_simulated=False)
    cohort = neighbour_bags(section, build_features("colour_texture")(section))
    blocks = cohort.table.groupby("label")["patient"].nunique()
    cohort = cohort.subset(cohort.table.index[cohort.table["label"].map(blocks) >= 3])
    assert set(cohort.table["label"]) == {"invasive cancer", "cancer in situ", "connective tissue"}
    folds = stratified_folds(cohort.table, n_splits=3)
    for model, auc in ((SlideClassifier(progress=False), 0.65), (AverageClassifier(), 0.85)):
        predictions = cross_validate_slides(model, cohort, folds)
        assert scores_by_fold(predictions, classification_scores)["auc"].mean() > auc


@pytest.mark.parametrize("loss", ["cox", "discrete"])
def test_survival_is_learnt_nearly_as_well_as_the_known_hazard_allows(simulated, loss):
    folds = stratified_folds(simulated.table, n_splits=3)[:1]
    model = SlideSurvival(loss=loss, progress=False)
    scored = scores_by_fold(cross_validate_slides(model, simulated, folds), survival_scores)["c_index"].iloc[0]
    truth = simulated.table.loc[list(folds[0].test)]
    ceiling = concordance_index(truth["log_hazard"], truth["time"], truth["event"])
    assert ceiling > 0.65 and scored > ceiling - 0.1


def test_a_run_is_repeated_exactly_and_goes_on_where_it_stopped(on_disk, tmp_path):
    folder, rows = on_disk
    cohort = read_cohort(rows, folder, time="time", event="event")
    first = SlideSurvival(training=SHORT, progress=False, folder=tmp_path).fit(cohort)
    again = SlideSurvival(training=SHORT, progress=False, folder=tmp_path).fit(cohort)  # is read, not trained
    pd.testing.assert_frame_equal(first.history, again.history)
    pd.testing.assert_frame_equal(first.predict(cohort), again.predict(cohort))
    with pytest.raises(TrainingError, match="holds another run"):
        SlideSurvival(training=SHORT, progress=False, folder=tmp_path).fit(cohort.subset(cohort.table.index[:20]))
    with pytest.raises(TrainingError, match="dropout"):
        SlideSurvival(training=SHORT, progress=False, folder=str(tmp_path), dropout=0.5).fit(cohort)


def test_validation_stops_early_and_each_fold_keeps_its_run(simulated, tmp_path):
    training = replace(TRAINING, epochs=4, patience=1)
    model = SlideSurvival(training=training, progress=False, folder=tmp_path)
    folds = with_validation(stratified_folds(simulated.table, n_splits=2), simulated.table)
    predictions = cross_validate_slides(model, simulated, folds)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fold 1", "fold 2"]
    assert sorted(predictions.index) == sorted(simulated.table.index)
    assert model.history.empty, "the model that was handed over stays as it was"


def test_high_risk_is_judged_by_the_training_slides(simulated):
    (fold,) = stratified_folds(simulated.table, n_splits=3)[:1]
    predictions = cross_validate_slides(AverageSurvival(), simulated, [fold])
    model = AverageSurvival().fit(simulated.subset(fold.train))
    threshold = model.predict(simulated.subset(fold.train))["risk"].median()
    np.testing.assert_array_equal(
        predictions["high_risk"], model.predict(simulated.subset(fold.test))["risk"] > threshold
    )


def test_patients_never_leak(simulated):
    table = simulated.table.assign(patient="one")[["patient"]]
    (fold,) = stratified_folds(simulated.table, n_splits=2)[:1]
    with pytest.raises(SplitError, match="fold 1 tests on patients whom it trains on: one"):
        cross_validate_slides(AverageSurvival(), replace(simulated, table=table), [fold])


def test_average_bags_and_their_classifier(simulated):
    averages = average_bags(simulated)
    np.testing.assert_allclose(
        averages.loc["simulated 7"], simulated.bag("simulated 7").features.mean(axis=0), atol=1e-6
    )
    predictions = cross_validate_slides(AverageClassifier(), simulated, stratified_folds(simulated.table, n_splits=3))
    assert scores_by_fold(predictions, classification_scores)["auc"].min() > 0.8


@pytest.mark.parametrize("labels", ["high low", "a b c"])
def test_the_average_classifier_is_sklearns(simulated, labels):
    labels = np.array(labels.split())[np.arange(120) % len(labels.split())]
    cohort = replace(simulated, table=simulated.table.assign(label=labels))
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
    expected = make_pipeline(StandardScaler(), model).fit(average_bags(cohort).to_numpy(), labels)
    predicted = AverageClassifier().fit(cohort).predict(cohort)
    shares = predicted[[f"p_{name}" for name in expected.classes_]]
    np.testing.assert_allclose(shares, expected.predict_proba(average_bags(cohort).to_numpy()), rtol=1e-9)
    np.testing.assert_array_equal(predicted["predicted"], expected.predict(average_bags(cohort).to_numpy()))


def test_scores_are_those_of_sklearn():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([1, 1, 1], 50)
    table = pd.DataFrame(shares, columns=["p_a", "p_b", "p_c"])
    table["label"], table["predicted"] = rng.choice(list("abc"), 50), np.array(list("abc"))[shares.argmax(axis=1)]
    scores = classification_scores(table)
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(table["label"], table["predicted"]))
    assert scores["auc"] == pytest.approx(roc_auc_score(table["label"], shares, multi_class="ovr"))
    assert np.isnan(classification_scores(table[table["label"] == "a"])["auc"])
    with pytest.raises(EvaluationError, match="label, predicted and p_CLASS"):
        classification_scores(table[["label"]])
    with pytest.raises(EvaluationError, match=r"need the column\(s\) risk"):
        survival_scores(pd.DataFrame({"patient": [], "time": [], "event": []}))


@pytest.mark.parametrize("model", [SlideClassifier, SlideSurvival, AverageClassifier, AverageSurvival])
def test_nothing_is_predicted_before_a_fit(model, simulated):
    with pytest.raises(NotFittedError, match="fitted first"):
        model().predict(simulated)


def test_what_cannot_be_learnt(simulated):
    table = simulated.table
    for model in (SlideClassifier(progress=False), AverageClassifier()):
        with pytest.raises(BagError, match=r"one class|all 120 slides have the class|two classes"):
            model.fit(replace(simulated, table=table.assign(label="a")))
        with pytest.raises(BagError, match="needs the column label"):
            model.fit(replace(simulated, table=table[["patient"]]))
    for survival in (SlideSurvival(progress=False), AverageSurvival()):
        with pytest.raises(BagError, match=r"none of 120 .* has an event"):
            survival.fit(replace(simulated, table=table.assign(event=False)))
        with pytest.raises(BagError, match="survival needs the column"):
            survival.fit(replace(simulated, table=table[["patient"]]))
    with pytest.raises(BagError, match="loss is cox or discrete"):
        SlideSurvival(loss="squared")


def test_bags_and_labels_that_do_not_fit(simulated):
    mixed = Cohort(simulated.table, {**simulated.bags, "simulated 3": Bag("simulated 3", np.ones((4, 7)))})
    for model in (SlideClassifier(progress=False), AverageClassifier()):
        with pytest.raises(BagError, match="bag simulated 3 has 7 features, others have 16"):
            model.fit(mixed)
    fitted = SlideClassifier(training=SHORT, progress=False).fit(simulated)
    with pytest.raises(BagError, match="7 features, others have 16"):
        fitted.attention(Bag("other", np.ones((4, 7))))
    unknown = replace(simulated, table=simulated.table.assign(label="third"))
    with pytest.raises(BagError, match="the class 'third' is unknown to training, which has high, low"):
        SlideClassifier(training=SHORT, progress=False).fit(simulated, validation=unknown)
