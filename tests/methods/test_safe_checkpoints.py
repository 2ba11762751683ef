"""Nothing that is read is ever run: pickles with code in them, and JSON that was written to do harm, are refused."""

import ast
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import stlearn_lib
from stlearn_lib.data.expression import Target
from stlearn_lib.data.genes import read_gene_list
from stlearn_lib.errors import StlearnError
from stlearn_lib.methods.baselines import Ridge
from stlearn_lib.methods.ensemble import Ensemble
from stlearn_lib.methods.mclstexp import MclSTExp
from stlearn_lib.methods.nh2st import NH2ST
from stlearn_lib.methods.rankbygene import RankByGene
from stlearn_lib.methods.registry import load_method
from stlearn_lib.models.encoders import create_encoder

SOURCES = sorted(Path(stlearn_lib.__file__).parent.rglob("*.py"))
KINDS = {MclSTExp: {"k": 10}, NH2ST: {"width": 16}, RankByGene: {"width": 16}}


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, sprung):
        self.sprung = sprung

    def __reduce__(self):
        return Path.touch, (self.sprung,)


@pytest.fixture(params=["torch", "torch, inside", "pickle"])
def set_trap(request, tmp_path):
    """Return the function that writes a pickle with code to a path, and the file that shows that it ran."""
    sprung = tmp_path / "sprung"

    def write(path):
        trap = Trap(sprung)
        if request.param == "pickle":
            path.write_bytes(pickle.dumps(trap, 2))
        else:
            torch.save(trap if request.param == "torch" else {"weight": torch.ones(2), "epoch": trap}, path)
        return path

    yield write
    assert not sprung.exists()


def test_the_trap_would_spring(tmp_path):
    torch.save(Trap(tmp_path / "sprung"), tmp_path / "trap.pt")
    torch.load(tmp_path / "trap.pt", weights_only=False)
    assert (tmp_path / "sprung").exists()


# -------------------------------------------------------------------------------------------------------------- folders


@pytest.fixture(scope="module")
def networks(sections, target, frozen_options):
    return {kind: kind(target=target, **frozen_options, **KINDS[kind]).fit(sections[:1]) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.title)
def test_a_method_is_not_read_from_a_pickle(kind, networks, set_trap, tmp_path):
    folder = networks[kind].save(tmp_path / "model")
    set_trap(folder / "weights.safetensors")
    for load in (kind.load, load_method):
        with pytest.raises(StlearnError, match="model holds no"):
            load(folder)


def test_nor_is_a_member_of_an_ensemble(sections, target, frozen_options, set_trap, tmp_path):
    method = NH2ST(target=target, **frozen_options, **KINDS[NH2ST])
    folder = Ensemble.of_seeds(method, (0, 1)).fit(sections[:1]).save(tmp_path / "model")
    set_trap(folder / "member_01" / "weights.safetensors")
    with pytest.raises(StlearnError, match="member_01 holds no"):
        load_method(folder)


def changed(folder, *path, value):
    facts = json.loads((folder / "method.json").read_text())
    inner = facts
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / "method.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    "change",
    [
        {"path": ["method"], "value": "builtins.eval"},
        {"path": ["method"], "value": ["Ridge"]},
        {"path": ["method"], "value": "__class__"},
        {"path": ["settings"], "value": []},
        {"path": ["settings"], "value": {"__class__": "os.system"}},
        {"path": ["settings", "training", "epochs"], "value": -1},
        {"path": ["target"], "value": None},
        {"path": ["target", "genes"], "value": []},
        {"path": ["target", "genes"], "value": 7},
        {"path": ["target", "space"], "value": "eval"},
        {"path": ["training"], "value": {"sections": 1}},
        {"path": ["training"], "value": "yes"},
        {"path": ["learnt"], "value": []},
        {"path": ["learnt", "encoder"], "value": {"name": "no_such_backbone"}},
        {"path": ["learnt", "encoder"], "value": -5},
        {"path": ["trained_on"], "value": 3},
    ],
    ids=str,
)
def test_odd_values_are_refused(networks, tmp_path, change):
    folder = networks[MclSTExp].save(tmp_path / "model")
    changed(folder, *change["path"], value=change["value"])
    with pytest.raises(StlearnError, match="model"):
        load_method(folder)


@pytest.mark.parametrize("text", ["", "null", "NaN", "[" * 100_000, '{"method": "Ridge"', '"\\ud800"', "\ufeff{}"])
def test_what_is_no_json_object_is_refused(tmp_path, text):
    (tmp_path / "method.json").write_text(text, encoding="utf-8")
    for load in (Ridge.load, load_method):
        with pytest.raises(StlearnError, match="holds no"):
            load(tmp_path)


def test_a_saved_encoder_cannot_name_a_checkpoint(networks, set_trap, tmp_path):
    """`timm.create_model` would open it."""
    folder, path = networks[NH2ST].save(tmp_path / "model"), set_trap(tmp_path / "trap.pth")
    changed(folder, "learnt", "encoder", value={"name": "resnet18", "checkpoint_path": str(path)})
    with pytest.raises(StlearnError, match="read through weights=, not through timm's checkpoint_path"):
        load_method(folder)


# ---------------------------------------------------------------------------------------------------------- checkpoints


def test_an_authors_checkpoint_is_not_read_from_such_a_pickle(sections, target, set_trap, tmp_path):
    path = set_trap(tmp_path / "best_0.pt")
    method = MclSTExp(checkpoint=str(path), encoder_weights=None, k=10, target=target)
    with pytest.raises(StlearnError, match=r"best_0\.pt is no checkpoint that can be read"):
        method.fit(sections[:1])


@pytest.mark.parametrize(
    "content", [torch.ones(3), [torch.ones(3)], 3, None], ids=lambda content: type(content).__name__
)
def test_nor_from_what_holds_no_tensors_by_name(sections, target, content, tmp_path):
    torch.save(content, tmp_path / "best_0.pt")
    method = MclSTExp(checkpoint=str(tmp_path / "best_0.pt"), encoder_weights=None, k=10, target=target)
    with pytest.raises(StlearnError, match=r"best_0\.pt is no checkpoint that can be read"):
        method.fit(sections[:1])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.title)
def test_weights_of_an_encoder_are_not_read_from_such_a_pickle(kind, sections, target, short, set_trap, tmp_path):
    path = str(set_trap(tmp_path / "trap.pth"))
    options = {"encoder": "mobilenetv3_small_050", "encoder_weights": path, "training": short}
    with pytest.raises(StlearnError, match="could run what it holds"):
        kind(target=target, **options, **KINDS[kind]).fit(sections[:1])


def test_a_backbone_takes_no_checkpoint_of_timm(tmp_path):
    with pytest.raises(StlearnError, match="read through weights="):
        create_encoder("resnet18", None, checkpoint_path=str(tmp_path))


def test_a_run_is_not_taken_up_from_such_a_pickle(sections, target, frozen_options, set_trap, tmp_path):
    method = NH2ST(target=target, folder=tmp_path / "runs", **frozen_options, **KINDS[NH2ST]).fit(sections[:1])
    (last,) = (tmp_path / "runs").rglob("last.ckpt")
    set_trap(last)
    with pytest.raises(StlearnError, match="is no checkpoint that can be read"):
        method.fit(sections[:1])


def test_genes_are_not_read_from_such_a_pickle(set_trap, tmp_path):
    with pytest.raises(StlearnError):
        read_gene_list(set_trap(tmp_path / "genes.pkl"))


# ----------------------------------------------------------------------------------------------------------- the source


def test_the_library_asks_for_no_pickle():
    """Every torch.load says weights_only=True, no np.load allows pickles, and nothing unpickles or evaluates."""
    found = []
    for path in SOURCES:
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if (
                (name == "torch.load" and said.get("weights_only") != "True")
                or said.get("allow_pickle", "False") != "False"
                or name in ("pickle.load", "pickle.loads", "pd.read_pickle", "joblib.load", "eval", "exec")
            ):
                found.append(f"{path}:{call.lineno} {ast.unparse(call)}")
    assert not found


def test_the_target_of_a_method_is_plain_text(cohort, tmp_path):
    method = Ridge(target=Target(("ERBB2", "FASN"))).fit(cohort[:1])
    np.testing.assert_array_equal(load_method(method.save(tmp_path)).state["weights"], method.state["weights"])
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors", ".md"}
