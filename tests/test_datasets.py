import shutil

import numpy as np
import pytest

import data_registry
from stlearn_lib.data.patches import cut_patches
from stlearn_lib.data.sections import image_size, metadata_of, read_image, um_per_px_of
from stlearn_lib.data.synthetic import gene_names
from stlearn_lib.datasets import SimulatedDataWarning, data_notice, load_gene_list, load_sections
from stlearn_lib.errors import StlearnError


@pytest.fixture
def no_data(monkeypatch, tmp_path):
    """Neither mirror nor network nor anything cached."""
    monkeypatch.delenv("STLEARN_DATA_MIRROR", raising=False)
    monkeypatch.delenv("STLEARN_REQUIRE_REAL_DATA", raising=False)
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path))

    def unreachable(*_, **__):
        raise data_registry.NetworkError("the network is closed")

    monkeypatch.setattr(data_registry, "fetch", unreachable)
    monkeypatch.setattr(data_registry, "fetch_sections", unreachable)


def test_real_sections_by_name(mirror):
    sections = load_sections(["C2", "B4"])
    assert [section.n_obs for section in sections] == [187, 283]
    assert image_size(sections[0]) == (9274, 9911)
    assert not any(metadata_of(section)["simulated"] for section in sections)
    page = data_notice(sections).data
    assert "stlearn-data-real" in page and "C2, B4" in page


def test_a1_is_read_with_its_reduced_image(mirror):
    (section,) = load_sections(["A1"])
    assert image_size(section) == (2000, 2138)
    # 200 µm on the array are about 58 to 63 px of the reduced copy, whichever way one measures.
    assert 3.1 < um_per_px_of(section) < 3.5
    image = np.asarray(read_image(section))
    assert (image[:535, 1500:] == 255).all(), "the thumbnail in the corner is masked"
    assert not (image == 0).all(axis=-1).any(), "the black background is masked"
    at_spots = [image[int(y) - 8 : int(y) + 9, int(x) - 8 : int(x) + 9].mean() for x, y in section.obsm["spatial"]]
    assert max(at_spots) < 245, "every spot lies on tissue"
    assert cut_patches(section).shape == (346, 224, 224, 3)


def test_tables_without_images(mirror):
    (section,) = load_sections(["D5"], images=False)
    assert section.n_obs == 306 and "image_path" not in metadata_of(section)


def test_simulated_sections_are_loudly_simulated(no_data):
    with pytest.warns(
        SimulatedDataWarning, match="simulated tissue takes the place of real data, because: the network"
    ):
        sections = load_sections(["C2", "B4"])
    assert all(metadata_of(section)["simulated"] for section in sections)
    page = data_notice(sections).data
    assert "stlearn-data-simulated" in page and "says nothing about breast cancer" in page
    with pytest.warns(SimulatedDataWarning):
        assert load_gene_list("mclstexp_her2st") == gene_names()


def test_simulated_data_can_be_forbidden(no_data, monkeypatch):
    with pytest.raises(StlearnError, match=r"real data is required, but it cannot be had\. the network is closed"):
        load_sections(["C2"], allow_simulated=False)
    monkeypatch.setenv("STLEARN_REQUIRE_REAL_DATA", "1")
    for load in (lambda: load_sections(["C2"]), lambda: load_gene_list("mclstexp_her2st")):
        with pytest.raises(StlearnError, match="real data is required"):
            load()


def test_a_wrong_hash_is_no_reason_to_simulate(mirror, monkeypatch, tmp_path):
    table = "her2st/ST-cnts/C2.tsv.gz"
    for name in (table, "her2st/ST-spotfiles/C2_selection.tsv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(mirror / name, tmp_path / name)
    (tmp_path / table).chmod(0o644)
    (tmp_path / table).write_bytes(b"not the table")
    monkeypatch.setenv("STLEARN_DATA_MIRROR", str(tmp_path))
    with pytest.raises(data_registry.HashError, match="C2"):
        load_sections(["C2"], images=False)
