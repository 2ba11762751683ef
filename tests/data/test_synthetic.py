import numpy as np

from stlearn_lib.data.sections import check_section, metadata_of, patient_of, read_image
from stlearn_lib.data.synthetic import REGIONS, simulate_section


def test_simulated_sections_keep_the_contract_and_say_so(cohort):
    for section in cohort:
        check_section(section)
        assert metadata_of(section)["simulated"] is True
        assert set(section.obs["label"]) <= set(REGIONS)
    assert [patient_of(section) for section in cohort] == ["S", "S", "T", "T"]


def test_the_name_decides_every_random_number(cohort, tmp_path):
    again = simulate_section("S1", tmp_path)
    assert (again.X != cohort[0].X).nnz == 0
    np.testing.assert_array_equal(np.asarray(read_image(again)), np.asarray(read_image(cohort[0])))
    assert (cohort[1].X != cohort[0].X).nnz > 0


def test_denser_tissue_is_darker_and_has_more_reads(cohort):
    image = np.asarray(read_image(cohort[0]).convert("L")).astype(float)
    centres = cohort[0].obsm["spatial"].astype(int)
    brightness = [image[y - 40 : y + 40, x - 40 : x + 40].mean() for x, y in centres]
    reads = np.asarray(cohort[0].X.sum(axis=1)).ravel()
    assert np.corrcoef(brightness, np.log(reads))[0, 1] < -0.3
