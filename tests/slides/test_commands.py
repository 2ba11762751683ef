"""The commands over slides, called in this process."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stlearn_lib.data.sections import read_image
from stlearn_lib.slides.averages import AverageSurvival
from stlearn_lib.slides.bags import Bag, read_bag, write_bag
from tests.slide_files import write_slide


@pytest.mark.parametrize("command", ["classify", "survive"])
def test_one_command_from_bags_to_scores(run, on_disk, tmp_path, command):
    folder, table = on_disk
    output, figure = tmp_path / "predictions.csv", tmp_path / "curves.png"
    drawn = ["--figure", figure] if command == "survive" else []
    done = run("slides", command, folder, table, "--folds", 2, "--epochs", 3, "--output", output, *drawn)
    assert done.returncode == 0 and {"attention,", "average,", "mean"} <= set(done.out.split())
    predictions = pd.read_csv(output, index_col="slide")
    assert len(predictions) == 24 and set(predictions["fold"]) == {"fold 1", "fold 2"}
    assert not drawn or figure.stat().st_size > 1000


@pytest.mark.parametrize(
    ("command", "columns"), [("classify", ["predicted", "p_high", "p_low"]), ("survive", ["risk"])]
)
def test_a_saved_model_predicts_slides_that_no_table_names(run, on_disk, tmp_path, command, columns):
    folder, table = on_disk
    short = ["--folds", 2, "--epochs", 2, *(["--patience", 1] if command == "classify" else [])]
    saved = run("slides", command, folder, table, *short, "--save", tmp_path / "models")
    assert saved.returncode == 0 and {str(tmp_path / "models" / name) for name in ("attention", "average")} <= set(
        saved.out.split("\n")
    )
    bag = replace(read_bag(folder / "simulated 1.h5"), slide="new")
    new, output = write_bag(bag, tmp_path / "new.h5"), tmp_path / "predictions.csv"
    for model, maps in (("attention", ["--attention", tmp_path / "maps"]), ("average", [])):
        known = folder / "simulated 1.h5"
        done = run("slides", "predict", tmp_path / "models" / model, known, new, "-o", output, *maps)
        assert (done.returncode, done.err) == (0, "")
        predicted = pd.read_csv(output, index_col="slide")
        assert predicted.columns.tolist() == [*columns, "trained_on"] and not predicted.loc["new", "trained_on"]
        assert predicted.loc["new", columns].equals(predicted.loc["simulated 1", columns].rename("new"))
    attention = pd.read_csv(tmp_path / "maps" / "new.csv")
    assert attention["attention"].sum() == pytest.approx(1, abs=1e-5) and (attention[["x", "y"]] == bag.coords).all(
        None
    )
    assert (tmp_path / "maps" / "new.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("model", "bags", "message"),
    [
        ("nothing", ["whole.h5"], "holds no saved model of slides"),
        ("average", ["none.h5"], "does not exist"),
        ("average", ["wide.h5"], "bag wide has 7 features, others have 16"),
        ("average", ["cut.h5"], "cannot be read as HDF5"),
        ("average", ["whole.h5", "whole.h5"], "occurs more than once"),
        ("average", ["whole.h5"], "has no attention: load another model"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(run, simulated, tmp_path, model, bags, message):
    AverageSurvival().fit(simulated).save(tmp_path / "average")
    whole = write_bag(simulated.bag("simulated 1"), tmp_path / "whole.h5")
    write_bag(Bag("wide", np.ones((3, 7))), tmp_path / "wide.h5")
    (tmp_path / "cut.h5").write_bytes(whole.read_bytes()[:1000])
    files = [tmp_path / name for name in bags]
    done = run(
        "slides", "predict", tmp_path / model, *files, "-o", tmp_path / "p.csv", "--attention", tmp_path / "maps"
    )
    assert done.returncode == 1 and done.err.startswith("error:") and message in done.err
    assert not (tmp_path / "maps").exists()


def test_rna_of_tcga_luad(run, mirror, tmp_path):
    done = run("slides", "rna", "--output", tmp_path / "risks.csv")
    assert done.returncode == 0 and "453 patients" in done.out
    assert len(pd.read_csv(tmp_path / "risks.csv")) == 453


def test_features_of_a_real_section(run, mirror, tmp_path):
    done = run("features", "A1", "--features", "colour_texture", "--output", tmp_path)
    assert done.returncode == 0 and done.out.strip() == str(tmp_path / "A1.h5")
    assert read_bag(tmp_path / "A1.h5").features.shape == (346, 26)


def test_features_of_a_whole_slide(run, section, tmp_path):
    """Spots lie on a dense grid over the tissue, unless another grid or a table is asked for."""
    slide = write_slide(tmp_path / "slide.svs", read_image(section), 0.69, quality=90)
    asked = {
        "dense": ["--scan-um-per-px", 0.5],
        "visium": ["--grid", "visium"],
        "spots": ["--spots", tmp_path / "spots.csv", "--um-per-px", 0.7],
    }
    (tmp_path / "spots.csv").write_text("pixel_x,pixel_y\n300.5,300\n")
    bags = {}
    for name, options in asked.items():
        done = run("features", slide, "--features", "colour_texture", "--output", tmp_path / name, *options)
        assert done.returncode == 0, done.err
        assert Path(done.out.strip()) == tmp_path / name / "slide.h5"
        bags[name] = read_bag(tmp_path / name / "slide.h5")
    dense = np.unique(bags["dense"].coords[:, 0])
    assert bags["dense"].provenance["patch_size_level0"] == round(224 * 0.5 / 0.69)
    assert set(np.diff(dense)) <= {162, 163}, "patches touch each other, but for whole pixels"
    assert bags["visium"].provenance["source"] == "visium grid" and len(bags["visium"]) > len(bags["dense"]) > 20
    assert bags["spots"].coords.tolist() == [[188, 188]] and bags["spots"].provenance["um_per_px"] == 0.7
    done = run("features", slide, "--um-per-px", 0.5)
    assert done.returncode == 1 and "says 0.69 µm per pixel, but 0.5 was passed" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["slides", "classify", "{folder}", "{table}", "--label", "grade"], 1, "no column grade"),
        (["slides", "classify", "{folder}", "{table}", "--layout", "mine"], 1, "unknown layout 'mine'"),
        (["slides", "classify", "{folder}", "{table}", "--folds", "99"], 1, "24 patients cannot be divided into 99"),
        (["slides", "survive", "{folder}", "{table}", "--layout", "tcga"], 1, "is it the GDC's clinical.tsv?"),
        (["slides", "survive", "{folder}", "none.csv"], 1, "none.csv does not exist"),
        (["slides", "survive", "{folder}", "{table}", "--epochs", "0"], 1, "epochs must be at least 1"),
        (["features", "A1", "--um-per-px", "0.5"], 2, "there is no file A1"),
        (["features", "nowhere.svs"], 2, "there is no file nowhere.svs"),
        (["features", "a.svs", "b.svs", "--spots", "s.csv"], 2, "--spots are those of one file"),
        (["features", "a.svs", "--spots", "s.csv", "--grid", "st"], 2, "take the place of a grid"),
        (["features", "{table}"], 1, "is no readable image"),
    ],
)
def test_what_a_user_can_mend_is_one_line(run, on_disk, arguments, code, message):
    folder, table = on_disk
    done = run(*(argument.format(folder=folder, table=table) for argument in arguments))
    assert done.returncode == code and message in " ".join(done.err.split()) and "Traceback" not in done.err


@pytest.mark.parametrize(("command", "words"), [("survive", "TCGA-BRCA clinical.tsv tcga"), ("classify", "BCNB bcnb")])
def test_help_says_how_to_run_on_the_papers_data(run, command, words):
    shown = run("slides", command, "--help").out
    assert set(words.split()) <= set(shown.replace(":", " ").replace(",", " ").split())
