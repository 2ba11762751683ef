"""Find the addresses on the network that the repository names, and try them: ``make check-links``.

Pages inside the book are looked at by ``make check-book``. A work with a DOI is looked up at doi.org itself, as many
publishers refuse programs.
"""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from urllib.parse import quote

import nbformat
import requests
from pybtex.database import parse_file
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from data_registry import DATASETS

ROOT = Path(__file__).parents[1]
REFERENCES = ROOT / "book" / "references.bib"
PATTERNS = ("*.md", "*.cff", "_config.yml", "book/*.md", "book/*.ipynb", "results/*.yaml", "data_registry.py")
PATTERNS += ("stlearn_lib/**/*.py",)
ADDRESS = re.compile(r"https?://[^\s<>\"'`\\{}|]*[^\s<>\"'`\\{}|.,:;!?*_)\]]")
DOI = "https://doi.org/"
GONE = {404, 410}  # other answers come from someone who is there: a login, a limit, a refusal of programs
TIMEOUT_S = 30


def text(path: Path) -> str:
    """Return what an author wrote in a file: of a notebook prose and code, without what the code printed."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)


def _of_works() -> list[str]:
    fields = [entry.fields for entry in parse_file(REFERENCES).entries.values()]
    dois = [DOI + field["doi"] for field in fields if "doi" in field]
    return [*dois, *(field["url"] for field in fields if "url" in field)]


@cache
def addresses() -> dict[str, str]:
    """Return every address with the place where it stands; of a data set's files the first."""
    named = {}
    for path in (path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))):
        named |= dict.fromkeys(ADDRESS.findall(text(path)), str(path.relative_to(ROOT)))
    named |= dict.fromkeys(_of_works(), str(REFERENCES.relative_to(ROOT)))
    files = [next((file.url for file in dataset.files if file.url), None) for dataset in DATASETS.values()]
    return named | dict.fromkeys(filter(None, files), "data_registry.py")


def problem(url: str) -> str | None:
    """Try an address.

    Args:
        url: The address.

    Returns:
        What is wrong with it, or None.
    """
    asked = f"{DOI}api/handles/{quote(url.removeprefix(DOI))}" if url.startswith(DOI) else url
    with requests.Session() as session:
        session.mount("https://", HTTPAdapter(max_retries=Retry(3, backoff_factor=2)))
        try:
            with session.get(asked, timeout=TIMEOUT_S, stream=True) as answer:
                return str(answer.status_code) if answer.status_code in GONE else None
        except requests.RequestException as error:
            return type(error).__name__


def main() -> None:
    """Try every address, and fail if one leads nowhere."""
    named = addresses()
    with ThreadPoolExecutor(8) as pool:
        dead = {url: wrong for url, wrong in zip(named, pool.map(problem, named), strict=True) if wrong}
    for url, wrong in dead.items():
        print(f"{named[url]}: {url}: {wrong}")
    print(f"{len(named) - len(dead)} of {len(named)} addresses answer")
    sys.exit(bool(dead))


if __name__ == "__main__":
    main()
