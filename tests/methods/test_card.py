"""Model cards: everything that a stranger has to know, and nothing that was not computed."""

import pytest
import yaml

from stlearn_lib.data.expression import SPACES, Target
from stlearn_lib.data.sections import metadata_of
from stlearn_lib.errors import NotFittedError
from stlearn_lib.methods.baselines import Ridge, TrainingMean
from stlearn_lib.methods.ensemble import Ensemble
from stlearn_lib.methods.mclstexp import MclSTExp
from stlearn_lib.methods.nh2st import NH2ST
from stlearn_lib.saving import CARD_FILE

GENES = ("ERBB2", "FASN", "COL1A1")


def parts(card):
    """Return front matter, title and first line, and text by heading."""
    _, front, text = card.split("---\n", 2)
    first, *others = text.split("\n## ")
    return yaml.safe_load(front), first.strip(), dict(other.split("\n\n", 1) for other in others)


@pytest.fixture
def ridge(cohort):
    return Ridge(n_bootstrap=2, target=Target(GENES, smooth=True, gene_list="mine")).fit(cohort[:2], cohort[2:3])


def test_a_card_says_what_it_is(ridge):
    front, first, text = parts(ridge.card())
    assert front["library_name"] == "stlearn-lib" and "histology" in front["tags"] and "license" not in front
    assert first.startswith("# ridge (colour_texture)\n\n**Trained on simulated tissue.** Ridge regression")
    details = text["Model details"]
    assert "3 genes of the list mine: ERBB2, FASN, COL1A1;" in details
    assert "`spot_log10_10k`, averaged over the 3x3 grid of spots. Scale each spot to 10,000 counts" in details
    assert "standard deviation over 2 refits" in details
    training = text["Training"]
    assert "Sections: S1, S2 (simulated)." in training and "Patients: S." in training and "chosen on: T1." in training
    assert "Spots: 336, of 100 µm, 200 µm apart." in training and "1.33 µm per pixel" in training
    assert "224 px of the scan, 299 µm" in training  # 224 x 200 / 150
    assert '"n_bootstrap": 2' in text["Settings"] and "Hoerl and Kennard" in text["Citation"]
    assert "stlearn-lib predict FOLDER SLIDE -o OUT.h5ad" in text["Uses"] and "load_method" in text["Uses"]
    assert "not for diagnosis" in text["Out-of-scope use and limitations"]


def test_only_what_is_known_of_its_scores_is_said(ridge, tmp_path):
    assert "Not evaluated here" in parts(ridge.card())[2]["Evaluation"]
    ridge.save(tmp_path, {"mean r on C3": 0.12345, "protocol": "her2st"})
    text = (tmp_path / CARD_FILE).read_text(encoding="utf-8")
    assert "| mean r on C3 | 0.1235 |\n| protocol | her2st |" in text and "Not evaluated" not in text


def test_real_sections_are_not_called_simulated(cohort):
    section = cohort[0].copy()
    metadata_of(section).update(simulated=False, source="a hospital")
    card = TrainingMean(Target(GENES)).fit([section]).card()
    assert "simulated" not in card and "Source: a hospital." in card
    assert "Citation" not in card  # nobody's


@pytest.mark.parametrize("space", SPACES)
def test_every_space_has_its_formula(space, cohort):
    text = parts(TrainingMean(Target(GENES, space)).fit(cohort[:1]).card())[2]["Model details"]
    assert f"`{space}`. Scale each" in text and "(1 + x)" in text


def test_a_network_tells_its_history(target, sections, frozen_options, tmp_path):
    method = MclSTExp(target=target, k=10, **frozen_options).fit(sections[:2])
    last = method.history.iloc[-1]
    _, _, text = parts(method.card())
    assert f"Epochs: 2; in the last: train_loss {last['train_loss']:.4g}" in text["Training"]
    assert "Min, Shi et al., arXiv 2407.08216" in text["Citation"]
    assert parts(MclSTExp.load(method.save(tmp_path)).card()) == parts(method.card())


def test_an_ensemble_cites_its_members(target, sections, frozen_options):
    ensemble = Ensemble.of_seeds(NH2ST(target=target, width=16, **frozen_options), (0, 1)).fit(sections[:1])
    _, first, text = parts(ensemble.card())
    assert "Averages networks that differ in their seed. Predicts a spot's expression from its own patch" in first
    assert "Lakshminarayanan" in text["Citation"] and "arXiv 2506.23827" in text["Citation"]


def test_nothing_is_said_before_a_fit(tmp_path):
    with pytest.raises(NotFittedError):
        TrainingMean(Target(GENES)).save(tmp_path)
    assert not list(tmp_path.iterdir())
