"""The commands over slides, called in this process."""

import pandas as pd
import pytest

from stlearn_lib.slides.bags import read_bag


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
