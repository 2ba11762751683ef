"""What the papers report: ``results/published.yaml`` as a table."""

from pathlib import Path

import pandas as pd
import yaml

KEYS = ("source", "method", "data", "setting", "experiment")
_LIBRARY = Path(__file__).parents[1]


def results_folder() -> Path:
    """Return the folder of the facts and the ledger: inside an installed library, beside it in a checkout."""
    installed = _LIBRARY / "results"
    return installed if installed.is_dir() else _LIBRARY.parent / "results"


def read_published() -> pd.DataFrame:
    """Return the published numbers, each with its grade and source.

    Returns:
        One row for each number: ``paper``, ``method``, ``data``, ``setting`` (empty where there is one only),
        ``measure``, ``value``, ``grade`` (primary, secondary or quoted), ``where`` it was read, ``protocol``, and the
        ``experiment`` that repeats it, empty if none does.

    Example:
        >>> table = read_published()
        >>> row = table[(table["experiment"] == "mclstexp/her2st") & (table["setting"] == "")].iloc[0]
        >>> row["measure"], float(row["value"]), row["grade"]
        ('acg', 0.2304, 'secondary')
    """
    facts = yaml.safe_load((results_folder() / "published.yaml").read_text(encoding="utf-8"))
    rows = [
        facts["sources"][row["source"]]
        | {key: row.get(key, "") for key in KEYS[1:]}
        | {"measure": measure, "value": float(value)}
        for row in facts["rows"]
        for measure, value in row.items()
        if measure not in KEYS
    ]
    columns = ["paper", "method", "data", "setting", "measure", "value", "grade", "where", "protocol", "experiment"]
    return pd.DataFrame(rows)[columns]
