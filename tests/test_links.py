"""Addresses on the network: whole, each in one spelling, and told dead from alive; `make check-links` tries them."""

import re
from collections import defaultdict

import nbformat
import pytest

from book import links
from data_registry import DATASETS


def test_whole_and_encrypted():
    for url, place in links.addresses().items():
        assert re.fullmatch(r"https://(?:[a-z0-9-]+\.)+[a-z]{2,}(?:/\S*)?", url), f"{place}: {url}"


def test_one_spelling_each():
    spellings = defaultdict(set)
    for url in links.addresses():
        spellings[re.sub(r"^www\.|/$", "", url.removeprefix("https://").lower())].add(url)
    assert not [same for same in spellings.values() if len(same) > 1]


def test_data_are_named_by_the_registry_alone():
    """What a page calls the address of a file is the registry's, at the commit that it pins."""
    known = {file.url for dataset in DATASETS.values() for file in dataset.files}
    for url, place in links.addresses().items():
        if "raw.githubusercontent.com/" in url:
            assert url in known, place


def test_finds_them_in_pages_code_references_and_the_registry():
    found = links.addresses()
    assert found["https://doi.org/10.1093/bib/bbae551"] == "book/references.bib"
    assert {"README.md", "book/references.bib", "data_registry.py"} <= set(found.values())
    assert any(url.endswith("ST-cnts/A1.tsv.gz") for url in found)


def test_reads_prose_and_code_of_a_notebook(tmp_path):
    code = nbformat.v4.new_code_cell("load('https://example.org/in-code')")
    code.outputs = [nbformat.v4.new_output("stream", text="https://example.org/printed")]
    prose = nbformat.v4.new_markdown_cell("[here](https://example.org/in-prose)")
    nbformat.write(nbformat.v4.new_notebook(cells=[prose, code]), tmp_path / "chapter.ipynb")
    found = links.ADDRESS.findall(links.text(tmp_path / "chapter.ipynb"))
    assert found == ["https://example.org/in-prose", "https://example.org/in-code"]
    assert "book/*.ipynb" in links.PATTERNS


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("see [this](https://example.org/a_b), or", "https://example.org/a_b"),
        ("at <https://example.org/a/>.", "https://example.org/a/"),
        ("`https://example.org/?q=1&f=2`;", "https://example.org/?q=1&f=2"),
        ("**https://example.org**", "https://example.org"),
    ],
)
def test_an_address_ends_before_the_sentence_does(text, url):
    assert links.ADDRESS.findall(text) == [url]


@pytest.mark.parametrize(("status", "wrong"), [(200, None), (403, None), (429, None), (404, "404"), (410, "410")])
def test_tells_dead_from_alive(httpserver, status, wrong):
    """Who refuses programs is there; a page that its host does not know is not."""
    httpserver.expect_request("/page").respond_with_data("", status=status)
    assert links.problem(httpserver.url_for("/page")) == wrong


def test_follows_where_a_page_has_moved(httpserver):
    httpserver.expect_request("/old").respond_with_data("", status=301, headers={"Location": "/gone"})
    httpserver.expect_request("/gone").respond_with_data("", status=404)
    assert links.problem(httpserver.url_for("/old")) == "404"


def test_no_host_is_no_link():
    assert links.problem("http://127.0.0.1:9/") == "ConnectionError"  # the discard port: nothing listens there


def test_a_work_is_looked_up_and_not_visited(httpserver, monkeypatch):
    monkeypatch.setattr(links, "DOI", httpserver.url_for("/"))
    httpserver.expect_request("/api/handles/10.1000/1<2").respond_with_json({"responseCode": 1})
    httpserver.expect_request("/api/handles/10.1000/gone").respond_with_json({"responseCode": 100}, status=404)
    assert links.problem(httpserver.url_for("/") + "10.1000/1<2") is None
    assert links.problem(httpserver.url_for("/") + "10.1000/gone") == "404"


def test_the_command_fails_for_a_dead_link(httpserver, monkeypatch, capsys):
    dead, alive = httpserver.url_for("/dead"), httpserver.url_for("/alive")
    httpserver.expect_request("/dead").respond_with_data("", status=404)
    httpserver.expect_request("/alive").respond_with_data("")
    monkeypatch.setattr(links, "addresses", lambda: {dead: "book/intro.md", alive: "README.md"})
    with pytest.raises(SystemExit) as stopped:
        links.main()
    assert stopped.value.code == 1
    assert capsys.readouterr().out == f"book/intro.md: {dead}: 404\n1 of 2 addresses answer\n"
