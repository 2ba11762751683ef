"""Saved models: the same predictions wherever they are loaded, and a typed error for whatever is no saved model."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stlearn_lib.errors import BagError, NotFittedError, StlearnError
from stlearn_lib.slides.averages import AverageClassifier, AverageSurvival
from stlearn_lib.slides.bags import Bag, write_bag
from stlearn_lib.slides.classification import SlideClassifier
from stlearn_lib.slides.pooling import TRAINING, SlideModel
from stlearn_lib.slides.prediction import load_slide_model, predict_files, write_attention
from stlearn_lib.slides.profiles import CoxRidge
from stlearn_lib.slides.simulated import simulate_profiles
from stlearn_lib.slides.survival import SlideSurvival

SHORT = {"training": replace(TRAINING, epochs=2, patience=1), "progress": False, "width": 8}
MODELS = {
    "classes": SlideClassifier(**SHORT),
    "cox": SlideSurvival(**SHORT),
    "discrete": SlideSurvival(loss="discrete", n_intervals=3, **SHORT),
    "average classes": AverageClassifier(),
    "average survival": AverageSurvival(),
}


@pytest.fixture(scope="module")
def halves(simulated):
    slides = simulated.table.index
    return simulated.subset(slides[:60]), simulated.subset(slides[60:])


@pytest.fixture(params=MODELS)
def fitted(request, halves):
    return MODELS[request.param].unfitted().fit(*halves)


def test_a_loaded_model_says_the_same(fitted, halves, tmp_path):
    _, test = halves
    fitted.save(tmp_path / "model")
    files = ["README.md", "method.json", "weights.safetensors"]
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == files
    for loaded in (type(fitted).load(tmp_path / "model"), load_slide_model(str(tmp_path / "model"))):
        pd.testing.assert_frame_equal(loaded.predict(test), fitted.predict(test), check_exact=True)
        assert loaded.trained_on == tuple(halves[0].table.index) and loaded.settings() == fitted.settings()
        if isinstance(fitted, SlideModel):
            bag = test.bag(test.table.index[0])
            np.testing.assert_array_equal(loaded.attention(bag), fitted.attention(bag))
            pd.testing.assert_frame_equal(loaded.history, fitted.history)
            assert len(fitted.history) and loaded.unfitted().history.empty


def test_a_loaded_model_can_be_fitted_anew(fitted, halves, tmp_path):
    train, test = halves
    loaded = load_slide_model(fitted.save(tmp_path))
    expected = fitted.predict(test)
    pd.testing.assert_frame_equal(loaded.fit(train, test).predict(test), expected)
    with pytest.raises(NotFittedError):
        loaded.unfitted().predict(test)


@pytest.mark.parametrize("n_components", [3, None])
def test_a_model_of_profiles(n_components, tmp_path):
    profiles = simulate_profiles(60, seed=0)
    model = CoxRidge(n_components=n_components, penalty=0.2).fit(profiles)
    loaded = CoxRidge.load(model.save(tmp_path))
    assert loaded.settings() == {"n_components": n_components, "penalty": 0.2}
    pd.testing.assert_frame_equal(loaded.predict(profiles), model.predict(profiles), check_exact=True)
    with pytest.raises(StlearnError, match=r"no saved model of slides \('CoxRidge'\); known: SlideClassifier"):
        load_slide_model(tmp_path)


SCRIPT = """
import sys
from pathlib import Path
from stlearn_lib.slides.prediction import load_slide_model, predict_files, write_attention
from stlearn_lib.slides.bags import read_bag
folder, bag = map(Path, sys.argv[1:])
model = load_slide_model(folder)
predict_files(model, [bag]).to_json(folder / "predicted.json", double_precision=15)
write_attention(model, read_bag(bag), folder)
"""


def test_another_process_says_the_same(halves, tmp_path):
    train, test = halves
    bag = test.bag(test.table.index[0])
    path = write_bag(bag, tmp_path / f"{bag.slide}.h5")
    model = SlideClassifier(**SHORT).fit(train, test)
    subprocess.run([sys.executable, "-c", SCRIPT, model.save(tmp_path / "model"), path], check=True, timeout=120)
    predicted = pd.read_json(tmp_path / "model" / "predicted.json", precise_float=True)
    expected = predict_files(model, [path])
    pd.testing.assert_frame_equal(predicted, expected, rtol=1e-12)
    table = pd.read_csv(tmp_path / "model" / f"{bag.slide}.csv")
    np.testing.assert_array_equal(table[["x", "y"]], bag.coords)
    np.testing.assert_allclose(table["attention"], model.attention(bag), rtol=1e-6)


@pytest.mark.parametrize("model", [*MODELS.values(), CoxRidge()])
def test_nothing_is_saved_before_a_fit(model, tmp_path):
    with pytest.raises(NotFittedError, match=r"fitted first: call fit, or load\(folder\)"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_fit_that_fails_leaves_no_fitted_model(halves, tmp_path):
    model = SlideClassifier(**SHORT).fit(*halves)
    table = halves[0].table.assign(label=["x", "y"] * 30)
    with pytest.raises(BagError, match="unknown to training"):
        model.fit(replace(halves[0], table=table), halves[1])
    with pytest.raises(NotFittedError):
        model.save(tmp_path)


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edited(**facts):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | facts))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("method.json", lambda path: path.unlink(), "No such file"),
        ("weights.safetensors", lambda path: path.unlink(), "No such file"),
        ("method.json", truncated, "Expecting|Unterminated|delimiter"),
        ("method.json", lambda path: path.write_bytes(b"\xff\xfe"), "decode"),
        ("method.json", lambda path: path.write_text("[]"), "indices must be integers"),
        ("method.json", lambda path: path.write_text('{"method": "SlideClassifier"}'), "settings"),
        ("method.json", edited(settings={"depth": 3}), "depth"),
        ("method.json", edited(settings={"width": 9}), "size mismatch"),
        ("method.json", edited(learnt={"classes": ["a"]}), "size mismatch"),
        ("method.json", edited(method="Mystery"), "Mystery"),
        ("weights.safetensors", truncated, "(?i)header|incomplete|buffer"),
        ("weights.safetensors", lambda path: path.write_bytes(b""), "(?i)header"),
    ],
)
def test_damaged_folders_are_named(halves, tmp_path, name, damage, message):
    folder = SlideClassifier(**SHORT).fit(*halves).save(tmp_path / "model")
    damage(folder / name)
    for load in (SlideClassifier.load, load_slide_model):
        with pytest.raises(StlearnError, match=message) as raised:
            load(folder)
        assert str(folder) in str(raised.value)


def test_an_empty_folder_and_another_class(halves, tmp_path):
    for load in (SlideSurvival.load, load_slide_model):
        with pytest.raises(StlearnError, match=r"holds no .*No such file"):
            load(tmp_path)
    folder = AverageSurvival().fit(halves[0]).save(tmp_path)
    with pytest.raises(StlearnError, match="holds the model AverageSurvival, not SlideSurvival"):
        SlideSurvival.load(folder)


def test_files_that_do_not_fit_a_model(fitted, halves, tmp_path):
    train, test = halves
    seen = write_bag(train.bag("simulated 1"), tmp_path / "simulated 1.h5")
    new = write_bag(test.bag("simulated 61"), tmp_path / "simulated 61.h5")
    predicted = predict_files(fitted, [seen, new])
    assert predicted["trained_on"].to_dict() == {"simulated 1": True, "simulated 61": False}
    other = write_bag(Bag("other", np.ones((3, 7)), np.zeros((3, 2))), tmp_path / "other.h5")
    with pytest.raises(BagError, match="bag other has 7 features, others have 16"):
        predict_files(fitted, [new, other])
    with pytest.raises(BagError, match="does not exist"):
        predict_files(fitted, [tmp_path / "none.h5"])
    with pytest.raises(BagError, match="occurs more than once"):
        predict_files(fitted, [new, new])
    message = "no coordinates" if isinstance(fitted, SlideModel) else "has no attention"
    with pytest.raises(BagError, match=message):
        write_attention(fitted, replace(test.bag("simulated 61"), coords=None), tmp_path / "maps")
    assert not (tmp_path / "maps").exists()
