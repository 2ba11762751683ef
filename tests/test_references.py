"""The bibliography: whole, without doubles, written so that it renders well, and all of it used."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml
from pybtex.database import Entry, parse_file

import stlearn_lib

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
ENTRIES = parse_file(BOOK / "references.bib").entries
DOI = re.compile(r"10\.\d{4,}/\S+")
ARXIV = re.compile(r"\d{4}\.\d{4,5}")
VENUE = {"article": "journal", "inproceedings": "booktitle"}

every_entry = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)


def pages() -> dict[str, str]:
    """Return what the authors wrote: prose, and the captions of chapters."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in BOOK.glob("*.md")}
    for path in BOOK.glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
        texts[path.name] = "\n\n".join([*prose, *(str(cell.metadata.get("mystnb", "")) for cell in cells)])
    return texts


def cited() -> set[str]:
    lists = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", "\n".join(pages().values()))
    return {key.strip() for keys in lists for key in keys.split(",")}


def test_what_is_cited_is_listed_and_what_is_listed_is_cited():
    assert cited() == set(ENTRIES)


@every_entry
def test_says_who_what_when_and_where(entry: Entry):
    assert entry.persons["author"]
    assert re.fullmatch(r"(?:19|20)\d\d", entry.fields["year"])
    assert entry.fields["title"]
    assert entry.type == "misc" or entry.fields[VENUE[entry.type]]


@every_entry
def test_leads_to_the_work(entry: Entry):
    """By a DOI; without one by an address, and a note that says why."""
    fields = entry.fields
    if "doi" in fields:
        assert DOI.fullmatch(fields["doi"])
    else:
        assert fields["url"].startswith("https://") and "No DOI" in fields["note"]
    if "eprint" in fields:
        assert ARXIV.fullmatch(fields["eprint"])
    if fields.get("doi", "").startswith("10.48550/arXiv."):
        assert fields["doi"].removeprefix("10.48550/arXiv.") == fields["eprint"]


@pytest.mark.parametrize("field", ["doi", "eprint", "title"])
def test_no_work_twice(field):
    values = [entry.fields[field].lower() for entry in ENTRIES.values() if field in entry.fields]
    assert len(values) == len(set(values))


@every_entry
def test_names_keep_their_capitals(entry: Entry):
    """The style lowers a title but for its first letter and what stands in braces."""
    title = re.sub(r"\\\W|\{[^{}]*\}", "", entry.fields["title"])
    assert not re.search(r"[A-Z]", title[1:]), entry.fields["title"]
    assert not entry.fields["title"][0].islower(), f"{{{entry.fields['title'].split(':')[0]}}} would be capitalised"


def test_one_can_cite_the_book():
    """Readers copy an entry, reference managers read a file: both are of this version and name the three methods."""
    page = pages()["references.md"]
    entry = re.search(r"```bibtex\n(.+?)```", page, flags=re.DOTALL)[1].replace("\\", "")
    file = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert f"version = {{{stlearn_lib.__version__}}}" in entry
    assert file["version"] == stlearn_lib.__version__
    assert f"{{{{{file['authors'][0]['name']}}}}}" in entry
    for key in ("min2024mclstexp", "qu2025nh2st", "huang2024rankbygene", "andersson2021"):
        assert key in page
        assert ENTRIES[key].fields["doi"] in [reference["doi"] for reference in file["references"]]
