"""A number that is quoted, in the README, in a preset or in chapter 13, is that of its rows in the ledger.

What is held against the quotes is averaged here anew, from the plain rows, and not with the functions that wrote them.
"""

import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from book.readme_table import END, PLACES, SIMPLE, START, TRAINED, replaced
from stlearn_lib.methods.presets import PRESETS
from stlearn_lib.reproduction.catalogue import EXPERIMENTS, SectionExperiment
from stlearn_lib.reproduction.comparison import paired_difference
from stlearn_lib.reproduction.ledger import keys_of, read_genes, read_ledger
from stlearn_lib.reproduction.published import read_published

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHAPTER = ROOT / "book" / "13_benchmark_tables.ipynb"
OF_C = ("C2", "C3", "C4", "C5", "C6")
TESTS = {"C": OF_C, "B4": ("B4",), "A1": ("A1",), "gene": OF_C, **{name: (name,) for name in OF_C}}
SPLITS = PLACES | {"gene": "gene-wise"}
ROUNDING = 0.0005 + 1e-9
PRESETS_CPU = ("mclstexp_her2st_cpu", "nh2st_stnet_cpu", "rankbygene_breast_cpu")
OF_PRESETS = 0.0015  # written from an earlier run, perhaps on another processor


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    table = read_ledger()
    if table.empty:
        pytest.skip("there is no ledger: stlearn-lib reproduce run 'within-C/*' 'across-patients/*' 'gene-wise/*'")
    return table


@pytest.fixture(scope="module")
def outputs() -> list:
    cells = nbformat.read(CHAPTER, as_version=4).cells
    return [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.fixture(scope="module")
def glued(outputs) -> dict[str, str]:
    shown = {}
    for output in outputs:
        name = output.get("metadata", {}).get("scrapbook", {}).get("name", "")
        if name:
            shown[name] = output["data"]["application/papermill.record/text/plain"]
    return shown


def score(rows: pd.DataFrame, experiment: str, place: str, measure: str, seed: int | None = None) -> float:
    """Mean over seeds of the mean over test sections, of the newest rows."""
    own = rows[(rows["experiment"] == experiment) & rows["test"].isin(TESTS[place])]
    own = own[own["preset"] == EXPERIMENTS[experiment].method]
    own = own if seed is None else own[own["seed"] == seed]
    latest = own.sort_values("date").groupby(["seed", "test"])[measure].last().unstack("test")
    return float(latest.dropna().mean(axis=1).mean()) if set(latest) == set(TESTS[place]) else float("nan")


# -------------------------------------------------------------------------------------------------------------- README


def table_in(markdown: str) -> dict[str, list[str]]:
    between = markdown[markdown.index(START) : markdown.index(END)]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in between.splitlines() if "|" in line]
    return {label: values for label, *values in cells[2:]}


def wrong_in_readme(markdown: str, rows: pd.DataFrame) -> list[str]:
    methods = {label: method for method, label in (TRAINED | SIMPLE).items()}
    asked = [(place, measure) for place in PLACES for measure in ("acg", "heg")]
    return [
        f"{label}, {measure} on {place}: {value}"
        for label, values in table_in(markdown).items()
        for value, (place, measure) in zip(values, asked, strict=True)
        if not np.isclose(
            float(value or "nan"),
            score(rows, f"{PLACES[place]}/{methods[label]}", place, measure),
            rtol=0, atol=ROUNDING, equal_nan=True,
        )
    ]  # fmt: skip


def test_the_readme_is_what_the_ledger_gives(rows):
    assert len(table_in(README)) == len(TRAINED | SIMPLE)
    assert not wrong_in_readme(README, rows)
    assert replaced(README, rows) == README, "run: python book/readme_table.py"


def test_a_row_that_changes_is_seen_in_the_readme(rows):
    other = rows.copy()
    other.loc[(other["experiment"] == "within-C/ridge-both") & (other["test"] == "C4"), "heg"] += 0.01
    assert len(wrong_in_readme(README, other)) == 1
    assert replaced(README, other) != README


def test_a_readme_without_the_marks():
    with pytest.raises(ValueError, match="needs the marks"):
        replaced("nothing here", pd.DataFrame())


# ------------------------------------------------------------------------------------------------------------- presets

NUMBER = re.compile(
    r"(?P<place>one of C2-C6 left out|\bC3\b|\bB4\b)(?:, mean)? ACG (?P<acg>\.\d+) and HEG (?P<heg>\.\d+)"
)


def quoted_by(preset: str) -> dict[tuple[str, str], float]:
    """What a preset expects, by place and measure."""
    found = [match.groupdict() for match in NUMBER.finditer(PRESETS[preset].expected)]
    places = [(one["place"] if one["place"] in TESTS else "C", one) for one in found]
    return {(place, measure): float(one[measure]) for place, one in places for measure in ("acg", "heg")}


def experiments_with(preset: str) -> list[str]:
    """The experiments that run a preset as it stands, on the labels that it speaks of."""
    return [
        name
        for name, experiment in EXPERIMENTS.items()
        if isinstance(experiment, SectionExperiment)
        and (experiment.method, experiment.space) == (preset, "spot_log10_10k")
        and not experiment.changes and not experiment.smooth
    ]  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS_CPU)
def test_what_a_preset_expects_is_read_whole(preset):
    assert len(quoted_by(preset)) == PRESETS[preset].expected.count("ACG") + PRESETS[preset].expected.count("HEG") == 4


@pytest.mark.parametrize("preset", PRESETS_CPU)
def test_what_a_preset_expects_is_what_the_ledger_has(preset, rows):
    wrong = []
    for name in experiments_with(preset):
        for (place, measure), quoted in quoted_by(preset).items():
            found = score(rows, name, place, measure, seed=0)
            if name.startswith(SPLITS.get(place, "within-C")) and abs(found - quoted) > OF_PRESETS:
                wrong.append(f"{measure} on {place}: {quoted} expected, {found:.4f} in {name}")
    assert not wrong


# ------------------------------------------------------------------------------------------------------------- chapter

PLAIN = re.compile(r"c13_(C|B4|A1|gene)_([a-z0-9-]+)_(acg|heg|best|mse|mae|r2)")
PAIRS = {
    "mclSTExp, released − ridge": ("mclstexp-released", "ridge-both"),
    "mclSTExp, paper − ridge": ("mclstexp-paper", "ridge-both"),
    "mclSTExp, corrected − ridge": ("mclstexp-corrected", "ridge-both"),
    "NH2ST, corrected − ridge": ("nh2st-corrected", "ridge-both"),
    "RankByGene, released − ridge": ("rankbygene-released", "ridge-both"),
    "RankByGene, corrected − ridge": ("rankbygene-corrected", "ridge-both"),
    "NH2ST, released* − ridge*": ("nh2st-released", "ridge-both-smoothed"),
    "mclSTExp, corrected − released": ("mclstexp-corrected", "mclstexp-released"),
    "mclSTExp, paper − released": ("mclstexp-paper", "mclstexp-released"),
    "RankByGene, corrected − released": ("rankbygene-corrected", "rankbygene-released"),
}


def wrong_in_chapter(glued: dict[str, str], rows: pd.DataFrame) -> list[str]:
    return [
        name
        for name, value in glued.items()
        if (found := PLAIN.fullmatch(name))
        and not np.isclose(float(value), score(rows, f"{SPLITS[found[1]]}/{found[2]}", found[1], found[3]), atol=1e-6)
    ]


def test_the_scores_of_the_chapter_are_those_of_the_ledger(rows, glued):
    assert sum(PLAIN.fullmatch(name) is not None for name in glued) > 100
    assert not wrong_in_chapter(glued, rows), "run: python book/chapters.py book/13_benchmark_tables.ipynb"
    run = rows[rows["experiment"].str.startswith(tuple(f"{split}/" for split in SPLITS.values()))]
    for experiment, test in run[["experiment", "test"]].drop_duplicates().itertuples(index=False):
        split, method = experiment.split("/")
        places = [place for place in SPLITS if SPLITS[place] == split and test in TESTS[place]]
        assert all(f"c13_{place}_{method}_mse" in glued for place in places), f"{experiment} is in no table"


def test_a_row_that_changes_is_seen_in_the_chapter(rows, glued):
    other = rows.copy()
    other.loc[(other["experiment"] == "across-patients/ridge-both") & (other["test"] == "B4"), "acg"] += 0.001
    assert wrong_in_chapter(glued, other) == ["c13_B4_ridge-both_acg"]


def test_the_differences_of_the_chapter_are_those_of_the_ledger(rows, outputs):
    """Every cell of both tables; on B4, where seeds and genes alone are drawn again, the interval and its dot, too."""
    genes = read_genes()
    shown = [table for table in tables_in(outputs) if table[0] == ["", "C", "B4", "A1"] and "−" in table[1][0]]
    assert len(shown) == 2, "ACG and HEG"
    for measure, (header, *lines) in zip(("acg", "heg"), shown, strict=True):
        assert [label for label, *_ in lines] == list(PAIRS)
        for place, of_place in zip(header[1:], zip(*(cells for _, *cells in lines), strict=True), strict=True):
            for pair, cell in zip(PAIRS.values(), of_place, strict=True):
                keys = [keys_of(rows[rows["test"].isin(TESTS[place])], f"{SPLITS[place]}/{method}") for method in pair]
                expected = difference(genes, *keys, TESTS[place], measure)
                assert float(cell.split()[0]) == pytest.approx(expected, abs=ROUNDING), (measure, place, pair)
                if place == "B4":
                    found = paired_difference(genes[genes["test"] == "B4"], *keys, measure)
                    assert cell.startswith(f"{found.estimate:+.3f} ({found.low:+.3f} to {found.high:+.3f})")
                    assert cell.endswith("•") == found.clear, (measure, pair)


def difference(genes: pd.DataFrame, first: list[str], second: list[str], tests: tuple, measure: str) -> float:
    own = genes[genes["key"].isin(first + second) & genes["test"].isin(tests)]
    if measure == "heg":
        place = own.groupby(["test", "gene"])["mean"].first().groupby("test").rank(ascending=False)
        own = own.set_index(["test", "gene"]).loc[place[place <= 50].index].reset_index()
    own = own[own.groupby(["experiment", "seed"])["test"].transform("nunique") == len(tests)]
    of_first, of_second = (own[own["key"].isin(of)].groupby(["test", "gene"])["r"].mean() for of in (first, second))
    return float((of_first - of_second).groupby("test").mean().mean())


def test_the_tables_of_the_chapter_show_the_numbers_of_its_prose(glued, outputs):
    """A table that puts a number into another row or column would be wrong however right the number is."""
    scores = [table for table in tables_in(outputs) if {"ACG", "HEG", "MSE", "seeds"} <= set(table[0])]
    assert len(scores) == 4, "C, B4, A1, and smoothed labels"
    for place, table in zip(("C", "B4", "A1"), scores, strict=False):
        (header, *lines) = table
        ridge = dict(zip(header, next(line for line in lines if line[0] == "ridge, both"), strict=True))
        for measure in ("acg", "heg", "mse"):
            assert ridge[measure.upper()] == f"{float(glued[f'c13_{place}_ridge-both_{measure}']):.3f}"


def tables_in(outputs: list) -> list[list[list[str]]]:
    pages = (output.get("data", {}).get("text/html", "") for output in outputs)
    return [rows_of(page) for page in pages if "<table" in page]


def rows_of(page: str) -> list[list[str]]:
    lines = BeautifulSoup(page, "html.parser").find_all("tr")
    return [[cell.get_text() for cell in line.find_all(["th", "td"])] for line in lines]


# ------------------------------------------------------------------------------------------------ published, in prose

TYPED = re.compile(r"(?<![\w.:}`])\.\d{3,4}\b")
INVENTED = {"09_nh2st_ablations": {".004"}}  # of a question in the quiz


@pytest.mark.parametrize("path", sorted((ROOT / "book").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_number_that_is_typed_into_prose_is_a_published_one(path):
    """Our own numbers are glued from the run; what is typed is a paper's, and has to be that of its row."""
    values = read_published()["value"]
    known = {f"{value:.{digits}f}".removeprefix("0") for value in values for digits in (3, 4)}
    prose = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    assert not set(TYPED.findall(prose)) - known - INVENTED.get(path.stem, set())
