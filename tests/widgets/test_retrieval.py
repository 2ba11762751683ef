import re

import numpy as np
import pytest

from stlearn_lib.data.expression import Target, expression
from stlearn_lib.data.sections import section_name
from stlearn_lib.errors import GeneError, NotFittedError, RetrievalError, SectionError
from stlearn_lib.methods.mclstexp import MclSTExp
from stlearn_lib.training import TrainingSettings
from stlearn_lib.widgets import retrieval_viewer

SETTINGS = {
    "features": ["colour_texture"],
    "training": TrainingSettings(epochs=1, batch_size=64, learning_rate=1e-3),
    "k": 20,
    "target": Target(("ERBB2", "FASN", "COL1A1")),
}


@pytest.fixture(scope="module")
def method(cohort):
    return MclSTExp(**SETTINGS).fit(cohort[:2])


def titles(figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes]


def test_the_evidence_in_words_is_the_evidence_of_the_prediction(method, cohort, figures):
    section, row, column = cohort[2], 7, 1
    spot = section.obs_names[row]
    viewer = retrieval_viewer(method, section, cohort[1::-1], [spot], "FASN", n=4)
    (text,) = viewer._descriptions.values()
    found = method.neighbours(section)
    heaviest = np.argsort(-found.weights[row], kind="stable")[:4]
    values = np.concatenate([expression(s, method.target)[:, column] for s in cohort[:2]])
    names = [f"{section_name(s)} {spot}" for s in cohort[:2] for spot in s.obs_names]
    expected = ", ".join(f"{names[i]} ({values[i]:.2f})" for i in found.indices[row, heaviest])
    assert f"with their values: {expected};" in text
    predicted = (found.weights[row] * values[found.indices[row]]).sum()
    measured = expression(section, method.target)[row, column]
    assert f"FASN: measured {measured:.2f}, predicted {predicted:.2f} from 20 training spots" in text
    from_first = int((found.indices[row] < cohort[0].n_obs).sum())
    assert f"{from_first} of S1, {20 - from_first} of S2" in text


def test_a_frame_shows_patches_values_and_places(method, cohort, figures):
    spot = cohort[2].obs_names[3]
    retrieval_viewer(method, cohort[2], cohort[:2], [spot], "ERBB2", n=5)
    (figure,) = figures
    shown = titles(figure)
    assert shown[0].startswith(f"T1 {spot}")
    assert len([title for title in shown if re.fullmatch(r"S[12] \d+x\d+\n\d+\.\d\d%", title)]) == 5
    borrowed = [int(title.split()[1]) for title in shown if title.endswith("borrowed")]
    assert len(borrowed) == 2 and sum(borrowed) == 20
    (values,) = (ax for ax in figure.axes if ax.get_ylabel() == "ERBB2, spot_log10_10k")
    assert len(values.collections[0].get_offsets()) == 20 and len(values.collections[1].get_offsets()) == 5
    prediction = method.predict(cohort[2])[spot, "ERBB2"].X.item()
    assert values.lines[0].get_ydata()[0] == pytest.approx(prediction)


def test_the_menu_names_places_and_labels_and_works_without_a_kernel(method, cohort):
    section = cohort[2].copy()
    first, second = section.obs_names[[0, 50]]
    section.obs["label"] = section.obs["label"].astype(object)
    section.obs.loc[second, "label"] = np.nan
    viewer = retrieval_viewer(method, section, cohort[:2], [first, second], "FASN", n=2)
    assert list(viewer._frames) == [f"spot {first} ({section.obs['label'].iloc[0]})", f"spot {second}"]
    page = viewer.to_html()
    assert page.count("data:image/jpeg;base64,") == 2 and page.count(" hidden>") == 1
    del section.obs["label"]
    assert list(retrieval_viewer(method, section, cohort[:2], [first], "FASN")._frames) == [f"spot {first}"]


def test_a_loaded_method_shows_the_same(method, cohort, tmp_path, figures):
    spots = [cohort[2].obs_names[9]]
    loaded = MclSTExp.load(method.save(tmp_path))
    first, second = (retrieval_viewer(m, cohort[2], cohort[:2], spots, "FASN") for m in (method, loaded))
    assert first._descriptions == second._descriptions


def test_what_does_not_fit_is_named(method, cohort):
    section, spot = cohort[2], [cohort[2].obs_names[0]]
    with pytest.raises(SectionError, match="T1 has no spot 99x99"):
        retrieval_viewer(method, section, cohort[:2], ["99x99"], "FASN")
    with pytest.raises(SectionError, match="fitted on section S2 too"):
        retrieval_viewer(method, section, cohort[:1], spot, "FASN")
    with pytest.raises(SectionError, match=r"168 spots of S2, not on 5"):
        retrieval_viewer(method, section, [cohort[0], cohort[1][:5]], spot, "FASN")
    with pytest.raises(GeneError, match="MKI67 is none of the 3 genes"):
        retrieval_viewer(method, section, cohort[:2], spot, "MKI67")
    for n in (0, 21):
        with pytest.raises(RetrievalError, match=f"n = {n} patches of 20"):
            retrieval_viewer(method, section, cohort[:2], spot, "FASN", n=n)
    with pytest.raises(NotFittedError):
        retrieval_viewer(MclSTExp(**SETTINGS), section, cohort[:2], spot, "FASN")
