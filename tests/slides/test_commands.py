"""The commands over slides, called in this process."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stlearn_lib.slides.averages import AverageSurvival
from stlearn_lib.slides.bags import Bag, read_bag, write_bag


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


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["slides", "classify", "{folder}", "{table}", "--label", "grade"], 1, "no column grade"),
        (["slides", "classify", "{folder}", "{table}", "--layout", "mine"], 1, "unknown layout 'mine'"),
        (["slides", "classify", "{folder}", "{table}", "--folds", "99"], 1, "24 patients cannot be divided into 99"),
        (["slides", "survive", "{folder}", "{table}", "--layout", "tcga"], 1, "is it the GDC's clinical.tsv?"),
        (["slides", "survive", "{folder}", "none.csv"], 1, "none.csv does not exist"),
        (["slides", "survive", "{folder}", "{table}", "--epochs", "0"], 1, "epochs must be at least 1"),
        (["features", "A1", "--um-per-px", "0.5"], 2, "takes both --spots and --um-per-px"),
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
