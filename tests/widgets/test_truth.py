import base64
from io import BytesIO

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.errors import GeneError
from stlearn_lib.methods.baselines import Ridge
from stlearn_lib.widgets import truth, truth_slider

TARGET = Target(("ERBB2", "FASN", "COL1A1"))


@pytest.fixture(scope="module")
def prediction(cohort):
    return Ridge(target=TARGET).fit(cohort[1:2]).predict(cohort[0])


@pytest.fixture(scope="module")
def page(cohort, prediction):
    return BeautifulSoup(truth_slider(cohort[0], TARGET, "FASN", prediction).data, "html.parser")


def pixels(image) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(image["src"].split(",")[1]))), dtype=int)


def test_both_pictures_are_told_with_their_scales_and_their_agreement(cohort, prediction, page):
    measured, predicted = (image["alt"] for image in page.find_all("img"))
    true, guess = expression(cohort[0], TARGET)[:, 1], prediction.X[:, 1]
    for text, values in ((measured, true), (predicted, guess)):
        low, high = np.percentile(values, (1, 99))
        assert f"mean {values.mean():.2f}, colour scale from {low:.2f} to {high:.2f}" in text
    assert measured.startswith("FASN measured in 168 spots of section S1")
    assert predicted.endswith(f"r = {np.corrcoef(true, guess)[0, 1]:.2f}.")


def test_the_prediction_lies_over_the_measurement_right_of_the_border(page):
    below, above = page.find_all("img")
    assert "clip-path" not in below["style"] and "clip-path: inset(0 0 0 var(--border))" in above["style"]
    (slider,) = page.select(".stlearn-slider label > input[type=range]")
    assert f"--border: {slider['value']}%" in page.select_one(".stlearn-slider")["style"], "drawn as the slider stands"
    assert "setProperty('--border', this.value + '%')" in slider["oninput"]
    assert "measured left of the border, predicted right of it" in slider.find_parent("label").text


def test_tissue_and_spots_lie_in_the_same_place(cohort, page, monkeypatch):
    below, above = (pixels(image) for image in page.find_all("img"))
    assert below.shape == above.shape
    kept = []
    monkeypatch.setattr(truth, "figure_jpeg", lambda figure, **settings: kept.append(figure) or b"jpeg")
    truth_slider(cohort[0], TARGET, "FASN", cohort[0])
    (one, bar), (other, other_bar) = (figure.axes for figure in kept)
    assert one.get_position().bounds == other.get_position().bounds
    assert (one.get_xlim(), one.get_ylim()) == (other.get_xlim(), other.get_ylim())
    assert bar.get_position().x1 < one.get_position().x0 and other_bar.get_position().x0 > other.get_position().x1


def test_needs_no_network_and_no_ids(page):
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.find_all("img"))
    assert not page.find_all(["script", "link"]) and not page.find_all(id=True)


def test_a_gene_that_is_missing_is_named(cohort, prediction):
    with pytest.raises(GeneError, match="MKI67"):
        truth_slider(cohort[0], TARGET, "MKI67", prediction)
    with pytest.raises(GeneError, match="ERBB2"):
        truth_slider(cohort[0], TARGET, "ERBB2", prediction[:, ["FASN"]])
