"""Where papers and released code part ways: ``results/discrepancies.yaml`` as a table, with what was measured.

An *effect* is the score with the other choice minus the score with the released one. It was measured in a chapter of
the book, or is a comparison of two experiments of the ledger of runs; what has not been measured stays NaN.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from stlearn_lib.errors import ReproductionError
from stlearn_lib.reproduction.catalogue import EXPERIMENTS, SectionExperiment
from stlearn_lib.reproduction.comparison import Difference, Measure, paired_difference
from stlearn_lib.reproduction.ledger import keys_of, read_genes, read_ledger
from stlearn_lib.reproduction.published import results_folder

METHODS = ("mclSTExp", "NH2ST", "RankByGene")
STAGES = ("data", "model", "loss", "training", "prediction", "evaluation")
GRADES = ("read in paper and code", "read in code", "inferred")
KINDS = (
    "beyond the widest band of seeds",
    "within the widest band of seeds",
    "in another measure than ACG",
    "proved to change nothing",
    "not measured alone",
)
_NEEDED = ("id", "method", "stage", "title", "paper", "code", "here", "consequence", "grade", "tests")
_OPTIONAL: dict[str, Any] = {"harmless": False, "why_untested": "", "effects": []}
_BOOK = Path(__file__).parents[2] / "book"


def read_discrepancies(path: Path | None = None) -> pd.DataFrame:
    """Return the differences between papers and released code.

    Args:
        path: The file; the project's own if None.

    Returns:
        One row for each: ``id``, ``method``, ``stage``, ``title``, what ``paper`` and ``code`` say, how to choose
        between them ``here``, the ``consequence``, the ``grade`` of the evidence, ``tests`` that prove it (or
        ``why_untested``), ``harmless``, ``effects`` as they are written in the file, ``paper_source``, ``code_source``.

    Raises:
        ReproductionError: If a row is incomplete, unknown in its words, or there twice.

    Example:
        >>> table = read_discrepancies().set_index("id")
        >>> table.loc["no-order", ["method", "stage", "grade"]].tolist()
        ['RankByGene', 'loss', 'read in paper and code']
    """
    file = path or results_folder() / "discrepancies.yaml"
    facts = _parsed(file)
    rows = [_OPTIONAL | facts["sources"].get(row.get("method"), {}) | row for row in facts["rows"]]
    for row in rows:
        if missing := [key for key in _NEEDED if row.get(key) in (None, "")]:
            raise ReproductionError(f"{file}: {row.get('id', 'a row')} lacks {', '.join(missing)}.")
        for key, known in (("method", METHODS), ("stage", STAGES), ("grade", GRADES)):
            if row[key] not in known:
                raise ReproductionError(f"{file}: {row['id']}: {key} is none of {', '.join(known)}: {row[key]!r}.")
        if not row["tests"] and not row["why_untested"]:
            raise ReproductionError(f"{file}: {row['id']} has neither tests nor why_untested.")
        if wrong := [effect for effect in row["effects"] if not {"chapter", "experiment"} & set(effect)]:
            raise ReproductionError(
                f"{file}: {row['id']}: an effect is of a chapter or of experiments, not {wrong[0]}."
            )
    table = pd.DataFrame(rows)
    if len(twice := table["id"][table["id"].duplicated()]):
        raise ReproductionError(f"{file}: {twice.iloc[0]} is there twice.")
    return table


def read_together(path: Path | None = None) -> pd.DataFrame:
    """Return comparisons of experiments that differ in several rows at once: the rows, and what was found.

    Args:
        path: The file; the project's own if None.

    Returns:
        ``experiment``, ``against``, ``rows`` (their ids), ``value`` (the former's ACG minus the latter's), ``low``,
        ``high``; NaN where runs are missing.
    """
    pairs = _parsed(path or results_folder() / "discrepancies.yaml")["together"]
    nothing = dict.fromkeys(("value", "low", "high"), float("nan"))
    return pd.DataFrame([pair | nothing | _found(pair["experiment"], pair["against"], "acg") for pair in pairs])


def _parsed(file: Path) -> dict[str, Any]:
    try:
        facts = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ReproductionError(f"{file} cannot be read ({str(error).splitlines()[0]}).") from error
    if not isinstance(facts, dict) or not {"sources", "together", "rows"} <= facts.keys():
        raise ReproductionError(f"{file} must have sources, together and rows.")
    return facts


# ------------------------------------------------------------------------------------------------------------- effects


@cache
def chapter_values(chapter: int) -> Mapping[str, Any]:
    """Return the values that a chapter of the book glued into its text; none where the book is not at hand.

    Args:
        chapter: Its number.
    """
    values: dict[str, Any] = {}
    for path in _BOOK.glob(f"{chapter:02d}_*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
                    values[name] = "".join(next(iter(output["data"].values())))
    return values


def compare_runs(experiment: str, against: str, measure: Measure = "acg") -> Difference | None:
    """Compare two experiments of the ledger of runs; None unless every fold and seed of both is there.

    Args:
        experiment: Name of the one.
        against: Name of the other, which is subtracted.
        measure: ``"acg"`` or ``"heg"``.

    Raises:
        ReproductionError: If there is no such experiment.
    """
    rows, genes = _runs(results_folder())
    keys = []
    for name in (experiment, against):
        planned = EXPERIMENTS.get(name)
        if not isinstance(planned, SectionExperiment):
            raise ReproductionError(f"no experiment on sections is called {name!r}.")
        here = len(rows) and (rows["experiment"] == name).any()
        keys.append(keys_of(rows, name) if here else [])
        if len(keys[-1]) < len(planned.folds({})) * len(planned.seeds):
            return None
    first, second = keys
    return paired_difference(genes, first, second, measure)


@cache
def _runs(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The ledger and its genes, read once: they are many files while runs are going on."""
    return read_ledger(folder), read_genes(folder)


def measure_effects(table: pd.DataFrame, own: Mapping[int, Mapping[str, Any]] | None = None) -> pd.DataFrame:
    """Look up what was measured.

    Args:
        table: What `read_discrepancies` returns.
        own: Values of chapters by their number, in the place of those that are written in them.

    Returns:
        One row for each effect: ``id``, ``measure``, ``where``, ``value`` (the other choice minus the released one), an
        interval ``low`` to ``high`` for experiments, and ``source``. NaN where nothing was measured.
    """
    rows: list[dict[str, Any]] = []
    for row in table.to_dict("records"):
        for effect in row["effects"]:
            one = {"id": row["id"], "measure": effect["measure"], "where": effect.get("where", "")}
            if "chapter" in effect:
                values = (own or {}).get(effect["chapter"]) or chapter_values(effect["chapter"])
                rows.append(one | {"value": _difference(effect, values), "source": f"chapter {effect['chapter']}"})
            else:
                pair = effect["experiment"], effect["against"]
                named = {"measure": effect["measure"].upper(), "where": " - ".join(pair), "source": "runs"}
                rows.append(one | named | _found(*pair, effect["measure"]))
    return pd.DataFrame(rows, columns=["id", "measure", "where", "value", "low", "high", "source"])


def _found(experiment: str, against: str, measure: Measure) -> dict[str, float]:
    found = compare_runs(experiment, against, measure)
    return {} if found is None else {"value": found.estimate, "low": found.low, "high": found.high}


def _difference(effect: Mapping[str, Any], values: Mapping[str, Any]) -> float:
    keys = effect["glue"] if isinstance(effect["glue"], list) else [effect["glue"]]
    numbers = [_number(values.get(key, "nan")) for key in keys]
    return float(effect.get("sign", 1)) * (numbers[0] - numbers[1] if len(numbers) == 2 else numbers[0])


def _number(value: Any) -> float:
    """A number that was glued, or the middle of a text such as ``'+0.010 to +0.012'``."""
    found = [float(part) for part in re.findall(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", str(value))]
    return sum(found) / len(found) if found else float("nan")


def kinds_of(table: pd.DataFrame, effects: pd.DataFrame, seed_noise: float) -> pd.Series:
    """Say of each row what is known of its effect, a word of `KINDS`.

    Args:
        table: What `read_discrepancies` returns.
        effects: What `measure_effects` returns.
        seed_noise: By how much the ACG of two seeds of one model differ at most, of all that were compared: one band
            for all rows, so that what lies within it may still be more than a change of seed of its own model.
    """
    known = effects.dropna(subset="value")
    largest = known[known["measure"] == "ACG"].groupby("id")["value"].agg(lambda values: values.abs().max())
    elsewhere = set(known["id"])

    def kind(name: str, harmless: bool) -> str:
        if harmless:
            return KINDS[3]
        if name in largest:
            return KINDS[0] if largest[name] > seed_noise else KINDS[1]
        return KINDS[2] if name in elsewhere else KINDS[4]

    kinds = [kind(name, harmless) for name, harmless in zip(table["id"], table["harmless"], strict=True)]
    return pd.Series(kinds, index=table["id"], name="kind")


# ------------------------------------------------------------------------------------------------------------ as a page


def ledger_html(table: pd.DataFrame, effects: pd.DataFrame, kinds: pd.Series) -> str:
    """Write rows as HTML that folds: a line for each, and behind it everything that is known of it.

    Args:
        table: Rows of what `read_discrepancies` returns, with their numbers as the index.
        effects: What `measure_effects` returns.
        kinds: What `kinds_of` returns.
    """
    folded = []
    for number, row in zip(table.index, table.to_dict("records"), strict=True):
        own = effects[effects["id"] == row["id"]].to_dict("records")
        nothing = "proved to change nothing" if row["harmless"] else "not measured here"
        facts = {
            "Paper": row["paper"],
            "Code": row["code"],
            "Here": row["here"],
            "Changes": row["consequence"],
            "Measured": "; ".join(_told(one) for one in own) or nothing,
            "Tests": ", ".join(f"`{name}`" for name in row["tests"]) or f"none. {row['why_untested']}",
            "Sources": f"{row['paper_source']}; {row['code_source']}",
        }
        listed = "".join(f"<dt>{name}</dt><dd>{_marked(text)}</dd>" for name, text in facts.items())
        small = f"{row['stage']}; {row['grade']}; {kinds[row['id']]}"
        head = f"<b>{number}. {_marked(row['title'])}</b> <small>{small}</small>"
        folded.append(f'<details id="row-{row["id"]}"><summary>{head}</summary><dl>{listed}</dl></details>')
    return f'<div class="stlearn-ledger" style="overflow-wrap: anywhere">{"".join(folded)}</div>'


def _told(effect: Mapping[str, Any]) -> str:
    value = effect["value"]
    if pd.isna(value):
        return f"{effect['measure']}: not measured here ({effect['where']}, {effect['source']})"
    number = f"{value:+.0f}" if float(value).is_integer() else f"{value:+.3f}"
    interval = "" if pd.isna(effect["low"]) else f", {effect['low']:+.3f} to {effect['high']:+.3f}"
    return f"{effect['measure']} {number}{interval} ({effect['where']}; {effect['source']})"


def _marked(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
