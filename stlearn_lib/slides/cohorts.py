"""Cohorts: a table with a row for each slide, and the slides' bags.

The table is indexed by slide and has the column ``patient``, and ``label``, or ``time`` and ``event``. Bags may stay on
disk until they are needed: those of a thousand whole slides fill no memory.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from sklearn.cluster import KMeans

from stlearn_lib.data.neighbourhoods import nearest_spots
from stlearn_lib.data.sections import section_name
from stlearn_lib.errors import BagError
from stlearn_lib.slides.bags import Bag, read_bag, section_bag, unknown_slides

IMAGE_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".jpg", ".png", ".h5")
MONTH_DAYS = 365.25 / 12


@dataclass(frozen=True)
class Cohort:
    """Slides, whose they are, what is predicted of them, and their bags.

    Args:
        table: Indexed by slide: ``patient``, and ``label`` (text), or ``time`` (positive) and ``event`` (true where it
            was seen, false where follow-up ended before). Other columns are kept.
        bags: The bag of each slide, or the file that holds it.
        simulated: Whether someone made it up.

    Raises:
        BagError: If a slide is doubled or has no bag or patient, or labels, times and events are not what they should
            be.

    Example:
        >>> table = pd.DataFrame({"patient": ["P", "Q"], "label": ["a", "b"]}, index=["s1", "s2"])
        >>> cohort = Cohort(table, {slide: Bag(slide, np.ones((3, 8))) for slide in table.index})
        >>> len(cohort), cohort.bag("s1").patient
        (2, 'P')
    """

    table: pd.DataFrame
    bags: Mapping[str, Bag | Path]
    simulated: bool = False

    def __post_init__(self) -> None:
        _check_table(self.table)
        if missing := unknown_slides(self.table.index, self.bags):
            raise BagError(f"no bag is given for {missing}.")

    def __len__(self) -> int:
        return len(self.table)

    def bag(self, slide: str) -> Bag:
        """Return the bag of a slide, read if it lies on disk.

        Raises:
            BagError: If the slide is unknown or its file is no bag.
        """
        if slide not in self.table.index:
            raise BagError(f"the cohort has no slide {slide!r}.")
        found, patient = self.bags[slide], str(self.table.loc[slide, "patient"])
        if isinstance(found, Bag):
            return found if found.patient == patient else replace(found, patient=patient)
        return read_bag(found, slide=slide, patient=patient)

    def subset(self, slides: Sequence[str]) -> "Cohort":
        """Return the cohort of some of the slides.

        Raises:
            BagError: If a slide is unknown.
        """
        if missing := unknown_slides(slides, self.table.index):
            raise BagError(f"the cohort has no slides {missing}.")
        return replace(self, table=self.table.loc[list(slides)])


def read_cohort(
    table: Path | str,
    folder: Path | str,
    *,
    slide: str = "slide",
    patient: str = "patient",
    label: str | None = None,
    time: str | None = None,
    event: str | None = None,
    classes: Sequence[str] | None = None,
) -> Cohort:
    """Read a table and find the bags that it names.

    Args:
        table: A CSV, or a TSV by its suffix, with a row for each slide.
        folder: Where the bags are, each named after its slide: ``SLIDE.h5``. An image's suffix in the table
            (``SLIDE.svs``) is left out.
        slide: The column of the slides' names.
        patient: The column of the patients.
        label: The column of the classes, or
        time: that of the time to death or to the end of follow-up, with
        event: that of 1 for death and 0 for the end of follow-up.
        classes: The classes that there may be; all that occur if None.

    Returns:
        The cohort, its bags still on disk.

    Raises:
        BagError: If the table cannot be read, a column or a bag is missing, a slide is doubled, a value is missing, or
            a label is not among the classes.
    """
    rows = _read_table(Path(table))
    columns = {"patient": patient, "label": label, "time": time, "event": event}
    asked = {name: column for name, column in columns.items() if column is not None}
    if missing := [column for column in (slide, *asked.values()) if column not in rows]:
        raise BagError(f"{table} has no column {', '.join(missing)}; it has {', '.join(map(str, rows))}.")
    found = pd.DataFrame({name: rows[column].to_numpy() for name, column in asked.items()})
    found.index = pd.Index([_without_suffix(name) for name in rows[slide]], dtype=object)
    found["patient"] = found["patient"].where(found["patient"].isna(), found["patient"].astype(str))
    if label is not None:
        found["label"] = found["label"].where(found["label"].isna(), found["label"].astype(str))
        unknown = list(found.index[~found["label"].isin(classes)]) if classes is not None else []
        if unknown:
            raise BagError(
                f"{table}: slide {unknown[0]} has the unknown label {found['label'][unknown[0]]!r}; "
                f"known are {', '.join(classes or ())}."
            )
    return Cohort(found, _bag_files(Path(folder), found.index))


def read_tcga_cohort(clinical: Path | str, folder: Path | str) -> Cohort:
    """Join the bags of TCGA's diagnostic slides with the survival of its patients, by barcode.

    Slides of patients without follow-up, and slides of frozen tissue, are left out.

    Args:
        clinical: ``clinical.tsv`` as the GDC portal gives it, of older or newer downloads.
        folder: Bags named by barcode, ``TCGA-A1-A0SB-01Z-00-DX1....h5``, in it or in folders below.

    Returns:
        The cohort, with ``time`` in months.

    Raises:
        BagError: If the table is not as expected, or no slide has survival.

    Reference:
        Liu et al., An integrated TCGA pan-cancer clinical data resource, Cell 173 (2018) 400.
    """
    survival = read_gdc_survival(clinical)
    files = {path.stem: path for path in sorted(Path(folder).rglob("TCGA-*.h5")) if "-DX" in path.stem}
    patients = {slide: slide[:12] for slide in files}  # a patient's barcode begins all that was taken from him
    slides = [slide for slide, patient in patients.items() if patient in survival.index]
    if not slides:
        raise BagError(f"none of {len(files)} diagnostic slides in {folder} is of a patient in {clinical}.")
    table = survival.loc[[patients[slide] for slide in slides]].rename_axis("patient").reset_index()
    return Cohort(table.set_index(pd.Index(slides, dtype=object)), files)


def read_gdc_survival(clinical: Path | str) -> pd.DataFrame:
    """Read overall survival from the GDC's ``clinical.tsv``.

    Args:
        clinical: The table. It has several rows for a patient with several treatments, and ``'--`` for nothing.

    Returns:
        Indexed by patient: ``time`` in months, ``event``; patients without a positive time are left out.

    Raises:
        BagError: If the table cannot be read or lacks a column.
    """
    rows = _read_table(Path(clinical)).rename(columns=lambda name: name.rpartition(".")[2])
    rows = rows.loc[:, ~rows.columns.duplicated()]
    patient = next((name for name in ("case_submitter_id", "submitter_id", "bcr_patient_barcode") if name in rows), "")
    needed = {patient or "case_submitter_id", "vital_status", "days_to_death", "days_to_last_follow_up"}
    if missing := sorted(needed - set(rows)):
        raise BagError(f"{clinical} has no column {', '.join(missing)}: is it the GDC's clinical.tsv?")
    days = rows[["days_to_death", "days_to_last_follow_up"]].apply(pd.to_numeric, errors="coerce")
    dead = rows["vital_status"].astype(str).str.lower().isin(["dead", "deceased"])
    each = pd.DataFrame(
        {
            "time": days["days_to_death"].where(dead, days["days_to_last_follow_up"]) / MONTH_DAYS,
            "event": dead,
            "patient": rows[patient].astype(str),
        }
    )
    return each[each["time"] > 0].groupby("patient").max().astype({"event": bool})


class Layout(NamedTuple):
    """The columns in which a published table names slides and patients."""

    slide: str
    patient: str


LAYOUTS = {
    "ours": Layout("slide", "patient"),
    "clam": Layout("slide_id", "case_id"),
    "bcnb": Layout("Patient ID", "Patient ID"),  # one slide of each patient, named by the patient's number
}
"""Tables by name, for `read_cohort`: ours, those of CLAM and MCAT, and BCNB's clinical table saved as CSV."""


def layout_of(name: str) -> Layout:
    """Return a layout by name.

    Raises:
        BagError: If the name is unknown.

    Example:
        >>> layout_of("clam").patient
        'case_id'
    """
    if name not in LAYOUTS:
        raise BagError(f"unknown layout {name!r}; known: {', '.join(LAYOUTS)}, and tcga for survival.")
    return LAYOUTS[name]


def neighbour_bags(
    section: AnnData,
    features: np.ndarray,
    *,
    k: int = 9,
    n_blocks: int = 25,
    ignore: Sequence[str] = ("undetermined", "unlabelled"),
    seed: int = 0,
) -> Cohort:
    """Make a cohort of small regions out of one labelled section: each spot and its neighbours are a bag.

    The section is cut into blocks, which take the patients' place in folds, and neighbours are looked for within a
    block only: two bags of different blocks share no spot. (Patches at a border may still overlap by a few pixels.) The
    class of a region is the label that most of its spots have.

    Args:
        section: A section with labels.
        features: Features of its spots, (N, D).
        k: Spots in a bag, fewer in a block of fewer spots.
        n_blocks: Blocks, by k-means of the spots' centres.
        ignore: Labels that are no class: their regions are left out.
        seed: Of the k-means.

    Returns:
        A cohort with the columns ``patient`` (the block) and ``label``; slides are ``SECTION:SPOT``.

    Raises:
        BagError: If the section has no labels, the features do not fit it, or there are fewer spots than blocks.

    Example:
        >>> from tempfile import mkdtemp
        >>> from stlearn_lib.data.synthetic import simulate_section
        >>> section = simulate_section("S1", Path(mkdtemp()))
        >>> cohort = neighbour_bags(section, np.ones((168, 4)), n_blocks=12)
        >>> len(cohort), cohort.bag("S1:1x1").features.shape
        (168, (9, 4))
    """
    name, whole = section_name(section), section_bag(section, features)
    if "label" not in section.obs or k < 1 or not 1 <= n_blocks <= section.n_obs:
        raise BagError(f"section {name}: bags of {k} spots in {n_blocks} blocks need labels and {n_blocks} spots.")
    labels, centres = section.obs["label"].astype(str).to_numpy(), section.obsm["spatial"]
    blocks = KMeans(n_blocks, n_init=10, random_state=seed).fit_predict(centres)
    rows, bags = {}, {}
    for block in range(n_blocks):
        spots = np.flatnonzero(blocks == block)
        for near in nearest_spots(section[spots], min(k, len(spots))):
            near, patient = spots[near], f"{name} block {block}"
            values, counts = np.unique(labels[near], return_counts=True)
            label = values[counts.argmax()]
            if label not in ignore:
                slide = f"{name}:{section.obs_names[near[0]]}"
                rows[slide] = {"patient": patient, "label": label}
                bags[slide] = Bag(slide, whole.features[near], centres[near], patient, whole.provenance)
    return Cohort(pd.DataFrame.from_dict(rows, orient="index"), bags, bool(whole.provenance["simulated"]))


def check_survival(table: pd.DataFrame) -> None:
    """Check times and events.

    Args:
        table: With the columns ``time`` and ``event``.

    Raises:
        BagError: If a column is missing, a time is not positive, or an event is neither 0 nor 1.
    """
    if missing := [name for name in ("time", "event") if name not in table]:
        raise BagError(f"survival needs the column(s) {', '.join(missing)}.")
    times = pd.to_numeric(table["time"], errors="coerce").to_numpy(float)
    wrong = ~(np.isfinite(times) & (times > 0))
    if wrong.any():
        slide = table.index[wrong][0]
        raise BagError(f"{int(wrong.sum())} times are not positive numbers, first {table['time'][slide]!r} of {slide}.")
    wrong = ~table["event"].isin([0, 1]).to_numpy()
    if wrong.any():
        slide = table.index[wrong][0]
        raise BagError(f"an event is 1 (seen) or 0 (follow-up ended), not {table['event'][slide]!r} of {slide}.")


def _check_table(table: pd.DataFrame) -> None:
    if table.empty or "patient" not in table:
        raise BagError(f"a cohort's table has rows and the column patient, not {len(table)} rows of {list(table)}.")
    if table.index.has_duplicates:
        raise BagError(f"the slide {table.index[table.index.duplicated()][0]!r} occurs more than once.")
    for column in ("patient", "label"):
        if column in table:
            empty = table.index[table[column].isna() | (table[column].astype(str).str.strip() == "")]
            if len(empty):
                raise BagError(f"{len(empty)} slides have no {column}, first {empty[0]}: mend or remove their rows.")
    if "time" in table or "event" in table:
        check_survival(table)
        differing = (table.groupby("patient")[["time", "event"]].nunique() > 1).any(axis=1)
        if differing.any():
            raise BagError(
                f"the slides of patient {differing.idxmax()} disagree on time or event: one of them is wrong."
            )


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise BagError(f"the table {path} does not exist.")
    if path.suffix in (".xlsx", ".xls"):
        raise BagError(f"{path} is a workbook: save its sheet as CSV.")
    try:
        return pd.read_csv(path, sep="\t" if path.suffix in (".tsv", ".txt") else ",", low_memory=False)
    except (ValueError, OSError) as error:  # pandas' parser errors and undecodable text are ValueErrors
        raise BagError(f"{path} is no readable table ({error}).") from error


def _bag_files(folder: Path, slides: Iterable[str]) -> dict[str, Path]:
    files = {slide: folder / f"{slide}.h5" for slide in slides}
    if missing := [slide for slide, path in files.items() if not path.is_file()]:
        raise BagError(
            f"{len(missing)} of {len(files)} slides have no bag in {folder}, first {missing[0]}.h5: extract their "
            "features, or remove their rows."
        )
    return files


def _without_suffix(name: object) -> str:
    path = PurePath(str(name))
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else str(name)
