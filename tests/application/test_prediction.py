import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from matplotlib import pyplot as plt
from PIL import Image

from stlearn_lib.application.prediction import predict_slide
from stlearn_lib.application.preview import most_variable
from stlearn_lib.application.slides import open_slide
from stlearn_lib.data.expression import Target
from stlearn_lib.data.section_files import write_section
from stlearn_lib.data.sections import image_path_of, image_size, read_image, um_per_px_of, without_counts
from stlearn_lib.datasets import load_gene_list, load_sections
from stlearn_lib.errors import ImageError, NotFittedError, StlearnError, WriteError
from stlearn_lib.methods.baselines import Ridge, TotalCountOracle, TrainingMean
from stlearn_lib.methods.registry import load_method


@pytest.fixture
def quiet(ridge):
    """Predict without picture and bar."""
    return lambda section, output, model=ridge: predict_slide(model, section, output, preview=False, progress=False)


def test_a_prediction_is_that_of_the_method_and_says_where_it_is_from(ridge, section, quiet, tmp_path):
    model = load_method(ridge.save(tmp_path / "model"))
    quiet(section, tmp_path / "slide.h5ad", model)
    found, expected = anndata.read_h5ad(tmp_path / "slide.h5ad"), ridge.predict(section)
    np.testing.assert_allclose(found.X, expected.X, rtol=1e-6)
    np.testing.assert_allclose(found.layers["spread"], ridge.spread(section), rtol=1e-5)
    assert found.X.dtype == found.layers["spread"].dtype == np.float32
    pd.testing.assert_index_equal(found.var_names, expected.var_names, check_names=False)
    pd.testing.assert_frame_equal(
        found.obs.astype({"section": str, "patient": str}), section.obs[["array_x", "array_y", "section", "patient"]]
    )
    facts = found.uns["prediction"]
    hashes = {
        name: hashlib.sha256((tmp_path / "model" / name).read_bytes()).hexdigest()
        for name in ("method.json", "weights.safetensors")
    }
    assert dict(reversed(line.split("  ")) for line in facts["model_sha256"]) == hashes
    assert facts["slide_sha256"] == hashlib.sha256(image_path_of(section).read_bytes()).hexdigest()
    assert facts["trained_on"].tolist() == ["S1", "S2"] and facts["patients"].tolist() == ["S"]
    assert facts["slide"] == "S1.png" and facts["spots"] == "stlearn_lib.data.synthetic"
    assert facts["formula"].startswith("Scale each spot to 10,000 counts") and "refits" in facts["spread_kind"]
    assert facts["um_per_px"] == pytest.approx(4 / 3) and facts["field_of_view_um"] == pytest.approx(224 * 4 / 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "slide.h5ad"]


def test_the_same_slide_gives_the_same_file(section, quiet, tmp_path):
    quiet(section, tmp_path / "a.h5ad")
    quiet(without_counts(section), tmp_path / "b.h5ad")
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()
    before = (tmp_path / "a.h5ad").stat().st_mtime_ns
    again = quiet(section, tmp_path / "a.h5ad")
    assert (tmp_path / "a.h5ad").stat().st_mtime_ns == before and again.shape == (section.n_obs, 12)
    assert "images" not in section.uns["spatial"]["S1"] or not section.uns["spatial"]["S1"]["images"], "left as it was"


def test_what_is_there_is_not_overwritten(cohort, quiet, target, tmp_path):
    output = tmp_path / "slide.h5ad"
    quiet(cohort[0], output)
    before = output.read_bytes()
    other = Ridge(target=target, alpha=1.0).fit(cohort[:2])
    for section, model in [(cohort[1], None), (cohort[0][:50].copy(), None), (cohort[0], other)]:
        with pytest.raises(StlearnError, match=r"slide\.h5ad holds something else than this prediction"):
            quiet(section, output, *([model] if model else []))
    assert output.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["slide.h5ad"]
    output.write_bytes(b"damaged")
    with pytest.raises(StlearnError, match="something else"):
        quiet(cohort[0], output)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_prediction_goes_on(tmp_path):
    """Killed in every moment that matters, and at any, the file is that of an undisturbed run; nothing is beside it."""
    script = Path(__file__).with_name("killed_prediction.py")
    subprocess.run([sys.executable, script, tmp_path], check=True, timeout=300)
    left = {moment.name: {file.name: file.read_bytes() for file in moment.iterdir()} for moment in tmp_path.iterdir()}
    assert len(left) == 9 and set(left["never"]) == {"slide.h5ad"}
    for moment, files in left.items():
        assert files == left["never"], moment


def test_scanpy_and_squidpy_find_what_they_draw(section, quiet, tmp_path):
    """The keys of a section of Space Ranger, and a picture over the tissue whose scale fits the spots."""
    found = quiet(section, tmp_path / "slide.h5ad")
    (entry,) = found.uns["spatial"].values()
    assert {"hires", "lowres"} <= set(entry["images"]) and {"spot_diameter_fullres"} <= set(entry["scalefactors"])
    width, height = image_size(section)
    for name, longest in (("hires", 2000), ("lowres", 600)):
        rows, columns, channels = entry["images"][name].shape
        scale = entry["scalefactors"][f"tissue_{name}_scalef"]
        assert (max(rows, columns), channels) == (longest, 3)
        assert columns == pytest.approx(width * scale, abs=1) and rows == pytest.approx(height * scale, abs=1)
    gene = found.var_names[0]
    for key in ("hires", "lowres"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scanpy would have squidpy draw it, and matplotlib has news for scanpy
            (ax,) = sc.pl.spatial(found, color=gene, img_key=key, show=False)
        scale = entry["scalefactors"][f"tissue_{key}_scalef"]
        circles = next(part for part in ax.collections if part.get_offsets() is not None and len(part.get_paths()) > 1)
        centres = np.array([path.vertices[:-1].mean(axis=0) for path in circles.get_paths()])
        spots = found.obsm["spatial"] * scale
        assert np.abs(np.sort(centres[:, 0]) - np.sort(spots[:, 0])).max() < 5
        plt.close("all")


def test_the_picture_shows_the_genes_that_vary_most(ridge, section, tmp_path):
    found = predict_slide(ridge, section, tmp_path / "slide.h5ad", progress=False)
    table = pd.DataFrame(found.X, columns=found.var_names)
    assert most_variable(found, 3) == table.var().sort_values(ascending=False).index[:3].tolist()
    with Image.open(tmp_path / "slide.png") as picture:
        assert picture.width > 4 * picture.height, "five panels"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slide.h5ad", "slide.png"]


def test_a_slide_unlike_training_is_warned_of(ridge, section, quiet, tmp_path):
    alike = quiet(section, tmp_path / "alike.h5ad").uns["prediction"]
    assert alike["warnings"].tolist() == [] and 0 <= alike["likeness"]["share_unlike"] < 0.05
    dark = tmp_path / "dark.png"
    Image.open(image_path_of(section)).point(lambda value: value // 3).save(dark)
    entry = section.uns["spatial"]["S1"]
    entry["metadata"] |= {"image_path": str(dark), "um_per_px": 0.5, "simulated": False}
    entry["scalefactors"]["spot_diameter_fullres"] = 55 / 0.5
    facts = quiet(section, tmp_path / "dark.h5ad").uns["prediction"]
    said = " ".join(facts["warnings"])
    for part in ("simulated tissue", "55 µm wide, those of training 100 µm", "show 112 µm", "299 µm", "is darker than"):
        assert part in said
    assert facts["likeness"]["stain_distance"] > 1


def test_models_without_records_are_warned_of(section, target, quiet, tmp_path):
    """As earlier versions saved them: a prediction is made, and says what nobody can check."""
    model = TrainingMean(target).fit([section])
    model.training = model.appearance = None
    facts = quiet(section, tmp_path / "slide.h5ad", model).uns["prediction"]
    assert len(facts["warnings"]) == 2 and all("no record" in warning for warning in facts["warnings"])
    assert "spread" not in anndata.read_h5ad(tmp_path / "slide.h5ad").layers and facts["spread_kind"] == ""


def test_what_cannot_be_predicted(cohort, section, target, quiet, ridge, tmp_path):
    for model, error, message in [
        (Ridge(target=target), NotFittedError, "has not been fitted"),
        (Ridge(), NotFittedError, "has not been fitted"),
        (TotalCountOracle(target).fit(cohort[:1]), StlearnError, "looks at the counts that it should predict"),
    ]:
        with pytest.raises(error, match=message):
            quiet(section, tmp_path / "slide.h5ad", model)
    with pytest.raises(StlearnError, match=r"a file that ends in \.h5ad"):
        quiet(section, tmp_path / "slide.csv")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match="a file is in its place"):
        quiet(section, tmp_path / "file" / "slide.h5ad")
    broken = tmp_path / "broken.png"
    broken.write_bytes(image_path_of(section).read_bytes()[:50_000])
    section.uns["spatial"]["S1"]["metadata"]["image_path"] = str(broken)
    with pytest.raises(ImageError, match=r"broken\.png is broken"):
        quiet(section, tmp_path / "slide.h5ad")
    assert not (tmp_path / "slide.h5ad").exists()


def test_a_real_slide(mirror, tmp_path):
    """B4's image with B4's spots gives what the section gives, and so does a pyramid of it."""
    tifffile = pytest.importorskip("tifffile")
    train, measured = load_sections(["C2", "B4"], allow_simulated=False)
    genes = load_gene_list("mclstexp_her2st", allow_simulated=False)[:50]
    model = Ridge(target=Target(genes), n_bootstrap=2).fit([train])
    spots, image = write_section(measured[::4].copy(), tmp_path), image_path_of(measured)
    slide = open_slide(image, model.training, spots=spots)
    found = predict_slide(model, slide, tmp_path / "out" / "B4.h5ad", preview=False, progress=False)
    expected = model.predict(measured[::4].copy())
    np.testing.assert_allclose(found.X, expected.X, rtol=1e-5, atol=1e-5)

    pyramid, pixels = tmp_path / "B4.tiff", np.asarray(read_image(measured))
    resolution = 1e4 / um_per_px_of(slide)
    options = {"tile": (256, 256), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(pyramid) as file:
        for step in (1, 4):
            level = {"subfiletype": 1 if step > 1 else 0, "resolution": (resolution / step,) * 2}
            file.write(pixels[::step, ::step], **options, **level)
    slide = open_slide(pyramid, model.training, spots=spots)
    again = predict_slide(model, slide, tmp_path / "out" / "pyramid.h5ad", preview=False, progress=False)
    np.testing.assert_allclose(again.X, expected.X, rtol=1e-4, atol=1e-4)
