"""Write what came out into the README, from the ledger: ``python book/readme_table.py``.

The table stands between two marks; what is between them is replaced. A test fails when it is not what the ledger gives.
"""

from pathlib import Path

import pandas as pd

from stlearn_lib.reproduction.ledger import read_ledger, seed_averages

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- ledger:start -->", "<!-- ledger:end -->"
PLACES = {"C": "within-C", "B4": "across-patients", "A1": "across-patients"}
TRAINED = {
    "mclstexp-released": "mclSTExp, released choices",
    "mclstexp-paper": "mclSTExp, as its paper has it",
    "mclstexp-corrected": "mclSTExp, corrected",
    "nh2st-corrected": "NH2ST, corrected",
    "rankbygene-released": "RankByGene, released loss",
    "rankbygene-corrected": "RankByGene, corrected",
}
SIMPLE = {
    "ridge-both": "ridge on the same features",
    "ridge-colour": "ridge on 26 colour statistics",
    "total-counts": "total counts, no image (oracle)",
}


def scores(rows: pd.DataFrame, method: str, place: str, measure: str) -> pd.Series:
    """Return a method's score on C, B4 or A1 for each seed, the mean over sections; empty if it has not been run."""
    own = rows[rows["test"].str.startswith("C") if place == "C" else rows["test"] == place]
    return seed_averages(own, f"{PLACES[place]}/{method}", measure)


def what_came_out(rows: pd.DataFrame) -> str:
    """Return the table and two sentences, Markdown.

    Args:
        rows: The ledger.
    """
    lines = [
        "| mean of seeds | C: ACG | C: HEG | B4: ACG | B4: HEG | A1: ACG | A1: HEG |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, label in (TRAINED | SIMPLE).items():
        found = [scores(rows, method, place, measure) for place in PLACES for measure in ("acg", "heg")]
        lines.append(f"| {label} | {' | '.join(f'{seeds.mean():.3f}' if len(seeds) else '' for seeds in found)} |")
    above = ", ".join(f"{len(_above(rows, place))} on {place}" for place in PLACES)
    n_seeds = {len(scores(rows, method, place, "acg")) for method in TRAINED for place in PLACES}
    seeds = " to ".join(str(n) for n in sorted({min(n_seeds), max(n_seeds)})) + " seed" + "s" * (max(n_seeds) > 1)
    text = (
        f"Real HER2+ sections, spot-wise space, frozen image encoders, no GPU, {seeds}; *C*: one of C2-C6 left out, "
        "the\nother four of this patient trained on; *B4* and *A1*: other patients, trained on C2-C6. Of the "
        f"{len(TRAINED)} trained versions so many\nhave a higher mean ACG than the ridge on the same features: {above}."
        " Chapter 13 of the book says\nwhich of these differences leave the noise, and what was published.\n\n"
        "*ACG*: correlation of prediction and measurement over the spots, mean over all genes; *HEG*: over the 50\n"
        "most highly expressed. *Spot-wise*: counts divided by each spot's total over the chosen genes. *Ridge*: a\n"
        "penalised linear regression. The *oracle* is told each test spot's total count."
    )
    return "\n".join([*lines, "", text])


def replaced(readme: str, rows: pd.DataFrame) -> str:
    """Return the README's text with the ledger's numbers between the marks.

    Raises:
        ValueError: If it has not one of each mark.
    """
    before, found, rest = readme.partition(START)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"the README needs the marks {START} and {END}.")
    return f"{before}{START}\n{what_came_out(rows)}\n{END}{after}"


def _above(rows: pd.DataFrame, place: str) -> list[str]:
    ridge = scores(rows, "ridge-both", place, "acg").mean()
    return [method for method in TRAINED if scores(rows, method, place, "acg").mean() > ridge]


if __name__ == "__main__":
    README.write_text(replaced(README.read_text(encoding="utf-8"), read_ledger()), encoding="utf-8")
