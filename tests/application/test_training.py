import pytest

from stlearn_lib.application.training import N_BOOTSTRAP, listed_genes, new_method, train, training_sections
from stlearn_lib.data.section_files import write_section
from stlearn_lib.data.sections import section_name
from stlearn_lib.datasets import load_gene_list
from stlearn_lib.errors import GeneError, SectionError, SplitError, StlearnError
from stlearn_lib.methods import presets
from stlearn_lib.methods.baselines import TrainingMean
from stlearn_lib.methods.ensemble import Ensemble
from stlearn_lib.methods.nh2st import NH2ST
from stlearn_lib.methods.presets import Preset
from stlearn_lib.methods.registry import METHODS, load_method
from stlearn_lib.training.run import Run

SHORT = {"epochs": 3, "batch_size": 84, "learning_rate": 1e-3}


@pytest.fixture
def network(monkeypatch):
    """A preset of a small network, by the name that it returns."""
    preset = Preset(NH2ST, {"features": ["colour_texture"], "width": 32, "training": SHORT}, "", "", "", "")
    monkeypatch.setitem(presets.PRESETS, "small", preset)
    monkeypatch.setitem(METHODS, "small", preset.create)
    return "small"


@pytest.fixture(scope="module")
def folder(cohort, tmp_path_factory):
    """A folder of three sections."""
    folder = tmp_path_factory.mktemp("sections")
    for section in cohort[:3]:
        write_section(section, folder)
    return folder


def test_sections_of_a_folder(folder, tmp_path):
    assert [section_name(section) for section in training_sections([], folder)] == ["S1", "S2", "T1"]
    assert [section_name(section) for section in training_sections(["T1", "S1"], folder)] == ["T1", "S1"]
    with pytest.raises(SectionError, match=r"B4\.h5ad does not exist"):
        training_sections(["B4"], folder)
    with pytest.raises(SectionError, match=r"holds no \.h5ad section"):
        training_sections([], tmp_path)
    with pytest.raises(SectionError, match="name the sections to train on, such as C2 C3"):
        training_sections([])


def test_sections_and_genes_by_name(mirror):
    (section,) = training_sections(["C2"])
    assert section_name(section) == "C2"
    assert listed_genes("nh2st_stnet") == load_gene_list("nh2st_stnet", allow_simulated=False)


def test_genes_of_a_file(tmp_path):
    file = tmp_path / "genes.txt"
    file.write_text("GNAS\nFASN\n")
    assert listed_genes(str(file)) == ("GNAS", "FASN")
    with pytest.raises(GeneError, match="mine is neither a file nor a published gene list; known: mclstexp_her2st"):
        listed_genes("mine")


def test_methods_that_say_how_sure_they_are(network):
    ridge = new_method("ridge-colour-section")
    assert ridge.settings() == METHODS["ridge-colour-section"]().settings() | {"n_bootstrap": N_BOOTSTRAP}
    assert isinstance(new_method("mean"), TrainingMean) and isinstance(new_method(network), NH2ST)
    ensemble = new_method(network, members=3)
    assert isinstance(ensemble, Ensemble) and ensemble.seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("name", "members", "message"),
    [
        ("lasso", 1, "unknown method 'lasso'"),
        ("oracle", 1, "looks at the counts that it should predict: on a new slide there are none"),
        ("ridge-colour", 3, "ridge-colour trains no network: an ensemble of 3 would be 3 times the same"),
    ],
)
def test_methods_that_cannot_be_trained(name, members, message):
    with pytest.raises(StlearnError, match=message):
        new_method(name, members=members)


def test_a_model_is_trained_once(cohort, target, tmp_path):
    model = train("ridge-colour", cohort[:2], target, tmp_path / "models" / "ridge")
    assert {path.name for path in model.iterdir()} == {"README.md", "method.json", "weights.safetensors"}
    assert [path.name for path in model.parent.iterdir()] == ["ridge"]
    before = (model / "weights.safetensors").stat().st_mtime_ns
    assert train("ridge-colour", cohort[:2], target, model) == model
    assert (model / "weights.safetensors").stat().st_mtime_ns == before
    for name, sections, of in [
        ("ridge-colour", cohort[:1], target),
        ("ridge-colour-section", cohort[:2], target),
        ("mean", cohort[:2], target),
        ("ridge-colour", cohort[:2], target.in_space("spot_ln_1m")),
    ]:
        with pytest.raises(StlearnError, match=r"holds another model, ridge \(colour_texture\) trained on S1, S2"):
            train(name, sections, of, model)
    with pytest.raises(StlearnError, match="is there already and holds no model"):
        train("mean", cohort[:2], target, tmp_path)


@pytest.mark.parametrize("members", [1, 2])
def test_a_stopped_training_goes_on(network, members, cohort, target, tmp_path, monkeypatch):
    """The same weights as of an undisturbed one; then nothing is left of its checkpoints, unless asked for."""
    whole = train(network, cohort[:2], target, tmp_path / "whole", members=members, folder=tmp_path / "runs")
    assert len(list((tmp_path / "runs").rglob("last.ckpt"))) == members
    end_epoch, ended = Run.end_epoch, []

    def stop(self, row):
        end_epoch(self, row)
        ended.append(row["epoch"])
        if len(ended) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "end_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        train(network, cohort[:2], target, tmp_path / "stopped", members=members)
    assert not (tmp_path / "stopped").exists()
    stopped = train(network, cohort[:2], target, tmp_path / "stopped", members=members)
    assert ended == [1, 2, 3, 1, 2, 3][: 3 * members], "no epoch twice"
    for file in whole.rglob("*.safetensors"):
        assert file.read_bytes() == (stopped / file.relative_to(whole)).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "stopped", "whole"]


def test_patients_are_held_back(network, cohort, target, tmp_path):
    model = load_method(train(network, cohort[:3], target, tmp_path / "model", validation=0.5))
    assert model.training.sections == ("S1", "S2") and model.training.validation == ("T1",)
    assert train(network, cohort[:3], target, tmp_path / "model", validation=0.5) == tmp_path / "model"
    with pytest.raises(StlearnError, match="holds another model"):
        train(network, cohort[:2], target, tmp_path / "model")
    with pytest.raises(SplitError, match="leaves none to train on"):
        train(network, cohort[:1], target, tmp_path / "other", validation=0.5)
