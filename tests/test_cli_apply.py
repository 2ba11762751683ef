import re
import shutil
from pathlib import Path

import anndata
import numpy as np
import pytest

from stlearn_lib.data.section_files import write_section
from stlearn_lib.data.sections import image_path_of
from stlearn_lib.methods.registry import load_method


@pytest.fixture(scope="module")
def folder(cohort, tmp_path_factory):
    """Sections S1 and T1, and a list of genes of which one is not theirs."""
    folder = tmp_path_factory.mktemp("sections")
    for section in (cohort[0], cohort[2]):
        write_section(section[:60].copy(), folder)
    (folder / "genes.txt").write_text("GNAS\nNOBODY\nFASN\n")
    return folder


@pytest.fixture
def model(run, folder, tmp_path):
    """The folder of a ridge that the command trained on S1."""
    path = tmp_path / "ridge"
    options = ["--sections", folder, "--genes", folder / "genes.txt", "-o", path]
    done = run("train", "ridge-colour", "S1", *options)
    assert done.returncode == 0 and done.out.splitlines()[0] == str(path)
    assert f"stlearn-lib predict {path} SLIDE -o" in done.out
    assert "1 of 3 genes are left out" in done.err
    return path


def test_help_teaches(run):
    assert "SECTION" in run("train", "--help").out and "whole-slide file" in run("predict", "--help").out


def test_train_then_predict_an_image(run, model, folder, cohort, tmp_path):
    assert load_method(model).target.genes == ("GNAS", "FASN") and load_method(model).target.gene_list == "genes"
    image, output = image_path_of(cohort[2]), tmp_path / "slide.h5ad"
    done = run("predict", model, image, "--spots", folder / "T1.h5ad", "-o", output)
    assert done.returncode == 0 and done.out == f"{output}\n"
    found = anndata.read_h5ad(output)
    expected = load_method(model).predict(cohort[2][:60].copy())
    np.testing.assert_allclose(found.X, expected.X, rtol=1e-5)
    facts = found.uns["prediction"]
    assert facts["command"] == f"stlearn-lib predict {model} {image} --spots {folder / 'T1.h5ad'} -o {output}"
    said = re.findall(r"^warning: (.*)$", done.err, flags=re.MULTILINE)
    assert said == facts["warnings"].tolist() and said[0].startswith("the model was trained on simulated tissue")
    assert output.with_suffix(".png").is_file()


def test_predict_a_section_and_a_grid(run, model, folder, cohort, tmp_path):
    done = run("predict", model, folder / "T1.h5ad", "-o", tmp_path / "t1.h5ad", "--no-preview")
    assert done.returncode == 0 and not (tmp_path / "t1.png").exists()
    own = anndata.read_h5ad(tmp_path / "t1.h5ad")
    np.testing.assert_array_equal(own.obsm["spatial"], cohort[2].obsm["spatial"][:60])
    options = ["--grid", "dense", "--pitch-um", 400, "--um-per-px", 4 / 3, "--name", "mine", "--no-preview"]
    done = run("predict", model, image_path_of(cohort[0]), *options, "-o", tmp_path / "grid.h5ad")
    found = anndata.read_h5ad(tmp_path / "grid.h5ad")
    assert done.returncode == 0 and list(found.uns["spatial"]) == ["mine"]
    rows = found.obsm["spatial"][found.obs["array_y"] == found.obs["array_y"].iloc[0], 0]
    assert np.diff(rows).min() == pytest.approx(300), "400 µm at 4/3 µm per pixel"


def test_offline_with_all_at_hand(run, model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was tried"))
    assert run("predict", model, folder / "T1.h5ad", "-o", tmp_path / "a.h5ad", "--no-preview").returncode == 0


def test_user_errors_are_one_line(run, model, folder, cohort, tmp_path):
    image, output = image_path_of(cohort[0]), tmp_path / "out.h5ad"
    (tmp_path / "notes.txt").write_text("no image")
    shutil.copytree(model, tmp_path / "broken")
    (tmp_path / "broken/weights.safetensors").write_bytes(b"damaged")
    (tmp_path / "other.h5ad").write_bytes(b"something else")
    for command, message in [
        (["predict", tmp_path / "none", image, "-o", output], "holds no method that is known here"),
        (["predict", tmp_path / "broken", image, "-o", output], "holds no readable Ridge"),
        (["predict", model, tmp_path / "notes.txt", "-o", output], "is no readable image"),
        (["predict", model, image, "-o", output], "does not say its resolution: pass um_per_px (--um-per-px)"),
        (["predict", model, image, "--um-per-px", 1, "--grid", "hex", "-o", output], "unknown grid 'hex'"),
        (["predict", model, folder / "T1.h5ad", "-o", tmp_path / "other.h5ad"], "holds something else than"),
        (["predict", model, folder / "T1.h5ad", "-o", tmp_path / "notes.txt/a.h5ad"], "a file is in its place"),
        (["predict", model, folder / "T1.h5ad", "-o", tmp_path / "a.csv"], "a file that ends in .h5ad"),
        (["train", "lasso", "--sections", folder], "unknown method 'lasso'"),
        (["train", "oracle", "--sections", folder], "looks at the counts"),
        (["train", "ridge-colour", "--members", 2, "--sections", folder], "trains no network"),
        (["train", "mean"], "name the sections to train on"),
        (["train", "mean", "--sections", folder, "--genes", "mine"], "neither a file nor a published gene list"),
        (["train", "mean", "--sections", folder, "-o", model], "holds another model, ridge (colour_texture)"),
    ]:
        if command[0] == "train" and "--genes" not in command:
            command = [*command, "--genes", folder / "genes.txt"]
        done = run(*command)
        assert done.returncode == 1 and message in done.err, done
        assert done.err.splitlines()[-1].startswith("error:") and "Traceback" not in done.err
    assert not output.exists() and run("predict", model, image).returncode == 2
    assert not Path("model").exists()
