import warnings

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from lifelines.utils import concordance_index as of_lifelines
from sklearn.decomposition import PCA

import data_registry
from stlearn_lib.errors import BagError, NotFittedError
from stlearn_lib.slides.cross_validation import cross_validate_slides, scores_by_fold
from stlearn_lib.slides.folds import stratified_folds
from stlearn_lib.slides.profiles import CoxRidge, Profiles, read_mcat_profiles
from stlearn_lib.slides.simulated import simulate_profiles
from stlearn_lib.slides.survival import survival_scores


def lifelines_fit(inputs, table, penalty):
    """Fit the same penalised likelihood with lifelines, which standardises by the sample's spread."""
    columns = pd.DataFrame(inputs).assign(time=table["time"].to_numpy(), event=table["event"].to_numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas and NumPy, from within lifelines
        return CoxPHFitter(penalizer=penalty, l1_ratio=0).fit(columns, "time", "event")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_weights_are_those_of_lifelines(tied, penalty):
    profiles = simulate_profiles(150, seed=0)
    if tied:
        profiles = Profiles(profiles.table.assign(time=np.ceil(profiles.table["time"] / 12)), profiles.values)
    model = CoxRidge(n_components=5, penalty=penalty).fit(profiles)
    fitted = lifelines_fit(model.inputs(profiles), profiles.table, penalty)
    np.testing.assert_allclose(model.weights, fitted.params_, atol=2e-3)


def test_components_are_sklearns_whitened():
    profiles = simulate_profiles(60, seed=0)
    values = profiles.values.to_numpy()
    scaled = np.clip((values - values.mean(axis=0)) / values.std(axis=0), -3, 3)
    expected = PCA(4, whiten=True, random_state=0).fit_transform(scaled)
    np.testing.assert_allclose(CoxRidge(n_components=4).fit(profiles).inputs(profiles), expected, atol=1e-9)


def test_other_columns_are_refused():
    profiles = simulate_profiles(60, seed=0)
    model = CoxRidge().fit(profiles)
    for values in (profiles.values.iloc[:, ::-1], profiles.values.iloc[:, :4]):
        with pytest.raises(BagError, match="fitted on 10 columns, 0 to 9, not on these"):
            model.predict(Profiles(profiles.table, values))


def test_the_known_hazard_is_found():
    profiles = simulate_profiles(400, seed=1)
    weights = CoxRidge(n_components=None, penalty=0.0).fit(profiles).weights
    assert abs(weights[0] - 1) < 0.2 and np.abs(weights[1:]).max() < 0.2


def test_nothing_is_learnt_from_tested_patients():
    profiles = simulate_profiles(60, seed=0)
    (fold,) = stratified_folds(profiles.table, n_splits=3)[:1]
    changed = profiles.values.copy()
    changed.loc[list(fold.test[1:])] = 1e3
    risks = [
        cross_validate_slides(CoxRidge(n_components=3), Profiles(profiles.table, values), [fold])["risk"].iloc[0]
        for values in (profiles.values, changed)
    ]
    assert risks[0] == pytest.approx(risks[1], rel=1e-9)


def test_tcga_luad_gives_the_c_index_of_lifelines_on_the_same_folds(mirror):
    path = data_registry.fetch("tcga_luad")["tcga_luad_all_clean.csv.zip"]
    profiles = read_mcat_profiles(path)
    assert profiles.values.shape == (453, 2812) and profiles.table["event"].sum() == 158  # 516 slides of 453 patients
    folds = stratified_folds(profiles.table, n_splits=5, seed=0)
    scores = scores_by_fold(cross_validate_slides(CoxRidge(), profiles, folds), survival_scores)["c_index"]
    for fold in folds:
        train, test = profiles.subset(fold.train), profiles.subset(fold.test)
        model = CoxRidge().fit(train)
        fitted = lifelines_fit(model.inputs(train), train.table, model.penalty)
        risk = fitted.predict_log_partial_hazard(pd.DataFrame(model.inputs(test))).to_numpy()
        expected = of_lifelines(test.table["time"], -risk, test.table["event"])
        assert scores[fold.name] == pytest.approx(expected, abs=2e-3)
    assert 0.55 < scores.mean() < 0.65


def test_a_patient_of_many_slides_counts_once(tmp_path):
    rows = {
        "case_id": ["P", "P", "Q"],
        "survival_months": [3.0, 3.0, 5.0],
        "censorship": [0, 0, 1],
        "A_rnaseq": [1, 1, 2],
    }
    pd.DataFrame(rows | {"A_cnv": 0}).to_csv(tmp_path / "t.csv")
    profiles = read_mcat_profiles(tmp_path / "t.csv")
    assert profiles.table.to_dict("list") == {"patient": ["P", "Q"], "time": [3.0, 5.0], "event": [True, False]}
    assert list(profiles.values) == ["A_rnaseq"]


def test_wrong_tables_and_settings(tmp_path):
    (tmp_path / "t.csv").write_text("case_id,survival_months\nP,3\n")
    with pytest.raises(BagError, match="no column censorship: is it a table of MCAT"):
        read_mcat_profiles(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("case_id,survival_months,censorship\nP,3,\n")
    with pytest.raises(BagError, match="nobody knows whether P died"):
        read_mcat_profiles(tmp_path / "t.csv")
    with pytest.raises(BagError, match="no readable table"):
        read_mcat_profiles(tmp_path / "none.csv")
    profiles = simulate_profiles(20, seed=0)
    with pytest.raises(BagError, match="not finite, first 3"):
        Profiles(profiles.table, profiles.values.mask(profiles.values.columns.to_numpy()[None].repeat(20, 0) == 3))
    with pytest.raises(BagError, match="of the same patients"):
        Profiles(profiles.table, profiles.values.iloc[::-1])
    with pytest.raises(BagError, match="no profiles of P"):
        profiles.subset(["P"])
    with pytest.raises(BagError, match="none of 20 patients has an event"):
        CoxRidge().fit(Profiles(profiles.table.assign(event=0), profiles.values))
    with pytest.raises(BagError, match="not -1 and 20"):
        CoxRidge(penalty=-1)
    with pytest.raises(NotFittedError):
        CoxRidge().predict(profiles)
