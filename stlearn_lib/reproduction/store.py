"""Results on disk: one file for each task, written once, and the ledger that gathers them.

::

    FOLDER/tasks/within-C/ridge-both/C3-seed0-0f3a....json   one task, whole or not there
    FOLDER/ledger.parquet, ledger.csv                        a row for each test section of each task
    FOLDER/genes.parquet                                     the correlation of each gene in each of them

A result is named by a hash of what it was computed from. Another setting, code or data is another file, and nothing is
ever overwritten.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from stlearn_lib.cache import written_whole
from stlearn_lib.errors import ReproductionError
from stlearn_lib.reproduction.identity import key_of
from stlearn_lib.reproduction.tasks import Result, Task, identify
from stlearn_lib.storage import locked, writing_in

_ORDER = ["experiment", "seed", "fold", "key"]
_CATEGORIES = ["experiment", "test", "gene"]
_LOCK = ".lock"


class Store:
    """A folder of results.

    Args:
        folder: The folder; made when the first result is written.

    Example:
        >>> from tempfile import mkdtemp
        >>> Store(mkdtemp()).rows().empty
        True
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def write(self, result: Result) -> Path:
        """Keep a result; one that is there already stays as it is."""
        name = f"{result.identity['fold']}-seed{result.identity['seed']}-{result.key}.json"
        path = self.folder / "tasks" / result.identity["experiment"] / name
        if not path.exists():
            with written_whole(path) as temporary:
                temporary.write_text(json.dumps(asdict(result)))
        return path

    def done(self, tasks: Iterable[Task]) -> set[Task]:
        """Return those of some tasks whose result is here: of the same settings, code and data."""
        here = self.keys()
        return {task for task in tasks if key_of(identify(task)) in here}

    def keys(self) -> set[str]:
        """Return the keys of all results that are here."""
        ledger = self._kept("ledger.parquet")
        files = (self.folder / "tasks").rglob("[!.]*-seed*.json")
        return {path.stem.rsplit("-", 1)[1] for path in files} | (set(ledger["key"]) if len(ledger) else set())

    def rows(self) -> pd.DataFrame:
        """Return the ledger: a row for each test section of each task; see `gather`."""
        rows = [row for result in self._results() for row in result["rows"]]
        return self._table("ledger.parquet", rows, ["key", "test"])

    def genes(self) -> pd.DataFrame:
        """Return the correlation of each gene in each test section; see `ledger.read_genes`."""
        parts = [
            {"key": result["key"], "test": test, "gene": gene, "r": r, "mean": mean}
            | {name: result["identity"][name] for name in ("experiment", "seed")}
            for result in self._results()
            for test, found in result["genes"].items()
            for gene, r, mean in zip(found["gene"], found["r"], found["mean"], strict=True)
        ]
        return self._table("genes.parquet", parts, ["key", "test", "gene"])

    def gather(self) -> pd.DataFrame:
        """Write the ledger anew from all results, and return it. What an earlier ledger had stays in it.

        Processes that gather at once take turns, so that none writes a ledger without what another has gathered.
        """
        if not self.keys():
            raise ReproductionError(f"there are no results in {self.folder}.")
        with writing_in(self.folder), locked(self.folder / _LOCK, wait=True):
            return self._gather()

    def _gather(self) -> pd.DataFrame:
        rows, genes = self.rows(), self.genes()
        with written_whole(self.folder / "ledger.parquet") as path:
            rows.to_parquet(path, index=False, compression="zstd")
        with written_whole(self.folder / "ledger.csv") as path:
            rows.to_csv(path, index=False)
        with written_whole(self.folder / "genes.parquet") as path:
            kinds = {"r": "float32", "mean": "float32"} | dict.fromkeys(["key", *_CATEGORIES], "category")
            small = genes.astype({column: kind for column, kind in kinds.items() if column in genes})
            small.to_parquet(path, index=False, compression="zstd")
        return rows

    def _results(self) -> Iterator[dict[str, Any]]:
        for path in sorted((self.folder / "tasks").rglob("[!.]*-seed*.json")):
            yield read_result(path)

    def _table(self, name: str, rows: list[dict[str, Any]], keys: list[str]) -> pd.DataFrame:
        """What the ledger has, and what is new; in an order that does not depend on when it was computed."""
        kept, new = self._kept(name), pd.DataFrame(rows)
        both = [table for table in (kept, new) if not table.empty]
        if not both:
            return pd.DataFrame()
        columns = dict.fromkeys(column for table in both for column in table)
        known = [table.dropna(axis=1, how="all") for table in both]  # what is missing everywhere has no type to keep
        table = pd.concat(known, ignore_index=True).reindex(columns=list(columns)).drop_duplicates(keys, keep="first")
        return table.sort_values([column for column in _ORDER if column in table], kind="stable", ignore_index=True)

    def _kept(self, name: str) -> pd.DataFrame:
        path = self.folder / name
        if not path.exists():
            return pd.DataFrame()
        try:
            table = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise ReproductionError(f"{path} is no readable ledger ({str(error).splitlines()[0]}).") from error
        return table.astype({name: str for name in table if isinstance(table[name].dtype, pd.CategoricalDtype)})


def read_result(path: Path) -> dict[str, Any]:
    """Read the file of one result.

    Raises:
        ReproductionError: If it is broken.
    """
    try:
        result: dict[str, Any] = json.loads(path.read_text())
        if not {"identity", "key", "rows", "genes"} <= result.keys():
            raise KeyError("identity, key, rows or genes")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ReproductionError(f"{path} is no result ({error}): delete it, and it is computed again.") from error
    return result
