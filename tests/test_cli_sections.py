"""``stlearn-lib data unpack`` and ``stlearn-lib data section``: from what was published to what experiments read."""

import io
import re
import tarfile
from inspect import signature

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from stlearn_lib import cli_sections
from stlearn_lib.data import readers
from stlearn_lib.data.readers import read_st
from stlearn_lib.data.section_files import read_section
from stlearn_lib.data.sections import image_path_of, patient_of, um_per_px_of
from stlearn_lib.errors import SectionError
from stlearn_lib.reproduction.prepared import patients_of

STEP_PX, MARGIN_PX = 20, 60


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setattr(cli_sections.out, "width", 400)


def tissue(spots):
    """Tissue under the spots, on a grey slide."""
    image = Image.new("RGB", (spots["pixel_x"].max() + 120, spots["pixel_y"].max() + 120), (230, 230, 230))
    edges = spots["pixel_x"].min(), spots["pixel_y"].min(), spots["pixel_x"].max(), spots["pixel_y"].max()
    ImageDraw.Draw(image).rectangle(tuple(int(edge) for edge in edges), (190, 90, 150))
    return image


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write one section as tables of Spatial Transcriptomics, with its image."""
    folder = tmp_path_factory.mktemp("files")
    x, y = (axis.ravel() + 1 for axis in np.meshgrid(np.arange(14), np.arange(8)))
    spots = pd.DataFrame({"x": x, "y": y, "new_x": x, "new_y": y, "pixel_x": x * STEP_PX, "pixel_y": y * STEP_PX})
    spots[["pixel_x", "pixel_y"]] += MARGIN_PX
    spots.to_csv(folder / "spots.tsv", sep="\t", index=False)
    ids = [f"{a}x{b}" for a, b in zip(x, y, strict=True)]
    counts = pd.DataFrame(np.random.default_rng(0).poisson(2, (len(x), 5)), ids, list("ABCDE"))
    counts.to_csv(folder / "counts.tsv", sep="\t")
    counts.to_csv(folder / "counts.csv")
    spots.assign(spot=ids).to_csv(folder / "spots.csv", index=False)
    tissue(spots).save(folder / "image.png")
    return folder


def st_arguments(files, *more):
    return ["st", files / "counts.tsv", *more, "--spots", files / "spots.tsv", "--image", files / "image.png"]


def test_a_section_of_tables(run, files, tmp_path):
    done = run("data", "section", *st_arguments(files, "A1=A"), "-o", tmp_path / "mine")
    assert done.returncode == 0 and "1 written" in done.out, done.err
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"A1.h5ad", "A1.png"}
    section = read_section(tmp_path / "mine/A1.h5ad")
    own = read_st(files / "counts.tsv", files / "spots.tsv", name="A1", patient="A")
    assert (section.X != own.X).nnz == 0 and patient_of(section) == "A"
    assert um_per_px_of(section) == pytest.approx(200 / STEP_PX)
    assert image_path_of(section) == tmp_path / "mine/A1.png"
    finer = ["--spot-pitch-um", "100", "--spot-diameter-um", "55.5"]
    assert run("data", "section", *st_arguments(files, "A2=A"), *finer, "-o", tmp_path / "mine").returncode == 0
    assert um_per_px_of(read_section(tmp_path / "mine/A2.h5ad")) == pytest.approx(100 / STEP_PX)


def test_the_real_mouse_bulb(run, mirror, tmp_path):
    root = mirror / "st_mouse_olfactory_bulb"
    done = run(
        *("data", "section", "st", root / "counts.tsv", "MOB=mouse", "-o", tmp_path),
        *("--spots", root / "spots.tsv", "--image", root / "image.jpg"),
    )
    assert done.returncode == 0, done.err
    assert read_section(tmp_path / "MOB.h5ad").shape == (282, 10)


def test_plain_tables(run, files, tmp_path):
    plain = ["data", "section", "plain", files / "counts.csv", "A1=A", "--spots", files / "spots.csv", "-o", tmp_path]
    assert run(*plain, "--image", files / "image.png", "--um-per-px", "10").returncode == 0
    section = read_section(tmp_path / "A1.h5ad")
    assert um_per_px_of(section) == 10 and section["3x2"].obs[["array_x", "array_y"]].to_numpy().tolist() == [[2, 1]]


@pytest.fixture
def cscc(tmp_path):
    """Write the twelve sections as GEO's tar."""
    x, y = (axis.ravel() + 1 for axis in np.meshgrid(np.arange(16), np.arange(10)))
    x, y = x[(x + y) % 2 == 0], y[(x + y) % 2 == 0]
    spots = pd.DataFrame({"x": x, "y": y, "new_x": x, "new_y": y, "pixel_x": x * STEP_PX, "pixel_y": y * STEP_PX})
    spots[["pixel_x", "pixel_y"]] += MARGIN_PX
    ids = [f"{a}x{b}" for a, b in zip(x, y, strict=True)]
    counts = pd.DataFrame(np.random.default_rng(0).poisson(2, (len(x), 5)), ids, list("ABCDE"))
    buffer = io.BytesIO()
    tissue(spots).save(buffer, "JPEG")
    with tarfile.open(tmp_path / "GSE144240_RAW.tar", "w") as archive:
        for i, name in enumerate(f"P{p}_ST_rep{n}" for p in (2, 5, 9, 10) for n in (1, 2, 3)):
            for file, content in {
                f"{name}_stdata.tsv": counts.to_csv(sep="\t").encode(),
                f"spot_data-selection-{name}.tsv": spots.to_csv(sep="\t", index=False).encode(),
                f"{name}.jpg": buffer.getvalue(),
            }.items():
                info = tarfile.TarInfo(f"GSM42843{16 + i}_{file}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return tmp_path / "GSE144240_RAW.tar"


NAMES = [f"P{patient}_ST_rep{n}" for patient in (2, 5, 9, 10) for n in (1, 2, 3)]


def test_from_the_tar_to_the_sections_that_an_experiment_reads(run, cscc, tmp_path):
    raw, prepared = tmp_path / "raw", tmp_path / "prepared"
    missing = run("reproduce", "show", "nh2st/skin", "--prepared", prepared)
    command = "stlearn-lib data section cscc SOURCE SECTION=PATIENT ..."
    assert command in " ".join(missing.out.replace("│", " ").split())
    done = run("data", "unpack", cscc, "-o", raw)
    assert done.returncode == 0 and f"36 files in {raw}" in done.out
    done = run("data", "section", "cscc", raw, *NAMES, "-o", prepared / "cscc")
    assert done.returncode == 0 and "12 written" in done.out, done.out
    assert patients_of("cscc", prepared) == {name: name.split("_")[0] for name in sorted(NAMES)}
    shown = run("reproduce", "show", "nh2st/skin", "--prepared", prepared)
    assert re.search(r"missing +nothing", shown.out)


def test_what_was_done_is_kept_and_what_failed_is_named(run, cscc, tmp_path):
    raw, prepared = tmp_path / "raw", tmp_path / "prepared"
    run("data", "unpack", cscc, "-o", raw)
    spoilt = raw / "GSM4284317_P2_ST_rep2_stdata.tsv"
    kept = spoilt.read_bytes()
    spoilt.write_bytes(b"")
    names = ["P2_ST_rep1", "P2_ST_rep2", "P2_ST_rep3", "P7_ST_rep1"]
    done = run("data", "section", "cscc", raw, *names, "-o", prepared)
    assert done.returncode == 1 and "2 written" in done.out and "2 failed" in done.out
    assert f"P2_ST_rep2: {spoilt} is no readable table" in done.out and "P7_ST_rep1: " in done.out
    assert {path.stem for path in prepared.glob("*.h5ad")} == {"P2_ST_rep1", "P2_ST_rep3"}
    spoilt.write_bytes(kept)
    before = (prepared / "P2_ST_rep1.h5ad").stat()
    again = run("data", "section", "cscc", raw, *names[:3], "-o", prepared)
    assert again.returncode == 0 and "1 written" in again.out and "2 were there, 0 failed" in again.out
    assert (prepared / "P2_ST_rep1.h5ad").stat() == before


def test_a_section_that_does_not_lie_on_its_tissue_is_not_written(run, files, tmp_path):
    spots = pd.read_csv(files / "spots.tsv", sep="\t")
    spots["pixel_x"], spots["pixel_y"] = spots["pixel_x"] // 4, spots["pixel_y"] // 4
    spots.to_csv(tmp_path / "spots.tsv", sep="\t", index=False)
    done = run(
        *("data", "section", "st", files / "counts.tsv", "A1=A", "-o", tmp_path / "mine"),
        *("--spots", tmp_path / "spots.tsv", "--image", files / "image.png"),
    )
    assert done.returncode == 1 and "A1: section A1: " in done.out and "tissue" in done.out
    assert not list(tmp_path.glob("mine/*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["xenium", "x", "A=A"], "'xenium' is no format: choose st, visium"),
        (["st", "x", "A=A"], "st needs --spots"),
        (["plain", "x", "A=A", "--spots", "y"], "plain needs --um-per-px"),
        (["st", "x", "A=A", "--spots", "y", "--bin-um", "8"], "st takes no --bin-um"),
        (["cscc", "x", "A", "--spots", "y"], "cscc takes no --spots"),
        (["visium", "x", "A=A", "--undo-log1p"], "visium takes no --undo-log1p"),
        (["st", "x", "A=A", "B=B", "--spots", "y"], "st reads one section at a time, not 2"),
        (["visium", "x", "A"], "whose section is A? Give A=PATIENT"),
        (["stimage", "x", "A=P", "B"], "whose section is B? Give B=PATIENT"),
        (["cscc", "x", "P2_ST_rep1=P2"], "cscc names its patients itself: give P2_ST_rep1 alone"),
        (["cscc", "x"], "Missing argument"),
    ],
)
def test_wrong_usage_says_what_is_wrong(run, tmp_path, arguments, message):
    done = run("data", "section", *arguments, "-o", tmp_path)
    assert done.returncode == 2 and message in " ".join(done.err.replace("│", " ").split())


def test_arguments_reach_the_readers_as_they_declare_them(run, monkeypatch, tmp_path):
    """Every format calls its reader with arguments that the reader accepts."""
    seen = {}
    for form in cli_sections.FORMATS:
        reader = getattr(readers, f"read_{form.replace('-', '_')}")

        def stand_in(*places, _form=form, _reader=reader, **options):
            seen[_form] = signature(_reader).bind(*places, **options).arguments
            raise SectionError("enough")

        stand_in.__signature__ = signature(reader)
        monkeypatch.setattr(readers, reader.__name__, stand_in)
    options = {
        "st": ["--spots", "s.tsv", "--labels", "l.tsv"],
        "plain": ["--spots", "s.csv", "--um-per-px", "0.5"],
        "visium": ["--image", "i.tif"],
        "visium-hd": ["--bin-um", "16"],
        "visium-h5ad": ["--layer", "counts", "--undo-log1p"],
        "spatialdata": ["--table", "t", "--region", "r", "--image", "he"],
        "stimage": ["--um-per-px", "0.6"],
    }
    for form in cli_sections.FORMATS:
        name = "S1" if form == "cscc" else "S1=P"
        done = run("data", "section", form, "source", name, *options.get(form, ()), "-o", tmp_path)
        assert done.returncode == 1 and "S1: enough" in done.out, (form, done.err)
    assert set(seen) == set(cli_sections.FORMATS)
    assert all("S1" in bound.values() for bound in seen.values())
    assert seen["visium-hd"]["bin_um"] == 16 and seen["spatialdata"]["image"] == "he"
    assert seen["hest"]["patient"] == "P" and seen["visium-h5ad"]["undo_log1p"] is True


def test_an_archive_that_is_refused_is_one_line(run, tmp_path):
    (tmp_path / "raw.tar").write_bytes(b"no tar")
    done = run("data", "unpack", tmp_path / "raw.tar", "-o", tmp_path / "raw")
    assert done.returncode == 1 and done.err.startswith("error:") and "raw.tar is broken" in done.err
