import json

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from stlearn_lib.data.expression import Target, expression, library_size
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.sections import without_counts
from stlearn_lib.data.statistics import colour_texture_statistics
from stlearn_lib.errors import GeneError, NotFittedError, StlearnError
from stlearn_lib.methods.baselines import NearestSpots, Ridge, TotalCountOracle, TrainingMean
from stlearn_lib.methods.features import build_features
from stlearn_lib.methods.registry import METHODS, create_method, load_method

GENES = ("ERBB2", "FASN", "COL1A1", "SIM020", "SIM100")
TARGET = Target(GENES)
IMAGE_METHODS = [
    TrainingMean(TARGET),
    Ridge(target=TARGET),
    Ridge(standardize="section", target=TARGET),
    NearestSpots(k=20, target=TARGET),
]


@pytest.fixture(scope="module")
def data(cohort):
    return cohort[:2], cohort[2]


def statistics(section):
    return colour_texture_statistics(cut_patches(section))


@pytest.mark.parametrize("method", [*IMAGE_METHODS, TotalCountOracle(TARGET)], ids=lambda m: m.name)
def test_prediction_keeps_the_contract(method, data):
    train, test = data
    prediction = method.fit(train).predict(test)
    assert prediction.obs_names.equals(test.obs_names) and tuple(prediction.var_names) == GENES
    assert prediction.X.shape == (test.n_obs, len(GENES)) and np.isfinite(prediction.X).all()
    np.testing.assert_array_equal(prediction.obsm["spatial"], test.obsm["spatial"])
    facts = prediction.uns["prediction"]
    assert facts["space"] == "spot_log10_10k" and facts["trained_on"] == ["S1", "S2"] and facts["weights"] == "none"


@pytest.mark.parametrize("method", IMAGE_METHODS, ids=lambda m: m.name)
def test_image_methods_do_not_look_at_test_counts(method, data):
    train, test = data
    assert not method.needs_test_counts
    method.fit(train)
    np.testing.assert_array_equal(method.predict(test).X, method.predict(without_counts(test)).X)


@pytest.mark.parametrize("method", [*IMAGE_METHODS, TotalCountOracle(TARGET)], ids=lambda m: m.name)
def test_saved_methods_predict_the_same(method, data, tmp_path):
    train, test = data
    expected = method.fit(train).predict(test).X
    method.save(tmp_path)
    for loaded in (type(method).load(tmp_path), load_method(tmp_path)):
        assert loaded.name == method.name and loaded.target == TARGET
        np.testing.assert_array_equal(loaded.predict(test).X, expected)


def test_training_mean(data):
    train, test = data
    truth = np.concatenate([expression(section, TARGET) for section in train])
    np.testing.assert_allclose(
        TrainingMean(TARGET).fit(train).predict(test).X, np.tile(truth.mean(0), (168, 1)), rtol=1e-6
    )


def test_oracle_is_a_straight_line_in_the_log_count(data):
    train, test = data
    prediction = TotalCountOracle(TARGET).fit(train).predict(test).X
    reads = np.concatenate([library_size(section) for section in train])
    truth = np.concatenate([expression(section, TARGET) for section in train])
    for g in range(len(GENES)):
        slope, offset = np.polyfit(np.log10(1 + reads), truth[:, g], 1)
        np.testing.assert_allclose(prediction[:, g], offset + slope * np.log10(1 + library_size(test)), rtol=1e-5)


def test_ridge_is_the_closed_form(data):
    train, test = data
    scaler = StandardScaler().fit(np.concatenate([statistics(section) for section in train]))
    x = np.concatenate([scaler.transform(statistics(section)) for section in train]) / np.sqrt(26)
    y = np.concatenate([expression(section, TARGET) for section in train])
    weights = np.linalg.solve(x.T @ x + 3.0 * np.eye(26), x.T @ (y - y.mean(axis=0)))
    expected = scaler.transform(statistics(test)) / np.sqrt(26) @ weights + y.mean(axis=0)
    np.testing.assert_allclose(
        Ridge(alpha=3.0, target=TARGET).fit(train).predict(test).X, expected, rtol=1e-4, atol=1e-5
    )


def test_ridge_scaled_within_each_section(data):
    train, test = data
    x = np.concatenate([StandardScaler().fit_transform(statistics(section)) for section in train]) / np.sqrt(26)
    y = np.concatenate([expression(section, TARGET) for section in train])
    weights = np.linalg.solve(x.T @ x + 10.0 * np.eye(26), x.T @ (y - y.mean(axis=0)))
    expected = StandardScaler().fit_transform(statistics(test)) / np.sqrt(26) @ weights + y.mean(axis=0)
    made = Ridge(standardize="section", target=TARGET).fit(train).predict(test).X
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)


def test_wide_blocks_become_principal_components(data):
    train, test = data
    made = Ridge(n_components=5, target=TARGET).fit(train).predict(test).X
    x = np.concatenate([statistics(section) for section in train])
    scaler = StandardScaler().fit(x)
    pca = PCA(5).fit(scaler.transform(x))
    inputs = pca.transform(scaler.transform(x)) / np.sqrt(26)
    y = np.concatenate([expression(section, TARGET) for section in train])
    weights = np.linalg.solve(inputs.T @ inputs + 10.0 * np.eye(5), inputs.T @ (y - y.mean(axis=0)))
    expected = pca.transform(scaler.transform(statistics(test))) / np.sqrt(26) @ weights + y.mean(axis=0)
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-4)


def test_nearest_spots_of_a_training_section_are_itself(data):
    train, _ = data
    truth = expression(train[0], TARGET)
    np.testing.assert_allclose(NearestSpots(k=5, target=TARGET).fit(train).predict(train[0]).X, truth, rtol=1e-5)


def test_image_predicts_simulated_genes(data):
    """The simulated image shows the region that decides the counts; ridge must find it."""
    train, test = data
    target = Target(tuple(train[0].var_names))
    prediction, truth = Ridge(target=target).fit(train).predict(test).X, expression(test, target)
    varying = truth.std(axis=0) > 0
    r = [np.corrcoef(prediction[:, g], truth[:, g])[0, 1] for g in np.flatnonzero(varying)]
    assert np.mean(r) > 0.15


def test_errors_say_what_to_do(data, tmp_path):
    train, test = data
    with pytest.raises(NotFittedError, match=r"call fit\(sections\) or load"):
        Ridge(target=TARGET).predict(test)
    with pytest.raises(NotFittedError, match="nothing to save"):
        Ridge(target=TARGET).save(tmp_path)
    with pytest.raises(StlearnError, match="no target: pass target="):
        Ridge().fit(train)
    with pytest.raises(StlearnError, match="no section to fit on"):
        Ridge(target=TARGET).fit([])
    with pytest.raises(GeneError, match="section S1 lacks 1 of 1 genes: NOGENE"):
        Ridge(target=Target(("NOGENE",))).fit(train)
    with pytest.raises(ValueError, match="standardize must be 'training' or 'section', not 'test'"):
        Ridge(standardize="test")
    with pytest.raises(ValueError, match="unknown features 'shape': use 'colour_texture' or 'deep:ENCODER'"):
        build_features("shape")
    with pytest.raises(StlearnError, match="unknown method 'lasso'; known: mean, oracle"):
        create_method("lasso")


@pytest.mark.parametrize("damage", ["settings", "weights", "kind", "missing"])
def test_broken_folders_are_named(data, tmp_path, damage):
    Ridge(target=TARGET).fit(data[0]).save(tmp_path)
    if damage == "settings":
        (tmp_path / "method.json").write_text("{")
    elif damage == "weights":
        (tmp_path / "weights.safetensors").write_bytes(b"\0" * 20)
    elif damage == "kind":
        facts = json.loads((tmp_path / "method.json").read_text())
        (tmp_path / "method.json").write_text(json.dumps(facts | {"method": "Oracle"}))
    else:
        (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(StlearnError, match=str(tmp_path)):
        load_method(tmp_path)


def test_a_folder_of_another_method_is_refused(data, tmp_path):
    TrainingMean(TARGET).fit(data[0]).save(tmp_path)
    with pytest.raises(StlearnError, match="holds the method TrainingMean, not Ridge"):
        Ridge.load(tmp_path)


@pytest.mark.parametrize("name", METHODS)
def test_methods_by_name_are_new_and_unfitted(name):
    first, second = create_method(name), create_method(name)
    assert first is not second and not first.trained_on and first.target is None
