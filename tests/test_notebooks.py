"""What every chapter has to be, read from its file; nbval executes it besides."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml

from book.agreement import printed
from book.chapters import first_cell, repository_url

ROOT = Path(__file__).parents[1]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
CHAPTERS = [ROOT / chapter["file"] for part in TOC["parts"] if part.get("numbered") for chapter in part["chapters"]]
NOTEBOOKS = [path.with_suffix(".ipynb") for path in CHAPTERS]
LINES_IN_A_CELL = 10
MAX_BYTES = 1_000_000
PICTURES = {"image/png", "image/jpeg", "image/svg+xml"}
WIDGET = "application/vnd.jupyter.widget-view+json"
COMPARED = {"nbval-check-output", "nbval-ignore-output"}  # the second: durations, and what follows from them

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def test_small_and_for_the_plain_kernel(path):
    assert path.stat().st_size < MAX_BYTES
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"


def test_first_cell_installs_the_library_on_colab(path):
    first = code_cells(path)[0]
    assert first.source == first_cell(repository_url()), "run: make notebooks"
    assert "remove-cell" in tags(first)


def test_cells_are_short(path):
    for cell in code_cells(path)[1:]:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert 0 < len(lines) <= LINES_IN_A_CELL, cell.source


def test_executed_once_from_top_to_bottom(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


def test_outputs_are_clean(path):
    for cell in code_cells(path):
        kinds = [output.output_type for output in cell.outputs]
        streams = [output.name for output in cell.outputs if output.output_type == "stream"]
        assert "error" not in kinds and "stderr" not in streams, cell.source


def test_widgets_bring_a_picture_of_themselves(path):
    """No Python answers on a page: what is shown there is the widget's own HTML."""
    for cell in code_cells(path):
        for output in cell.outputs:
            mimes = set(output.get("data", {}))
            assert WIDGET not in mimes or "text/html" in mimes, cell.source


def test_what_a_page_prints_is_compared(path):
    """Prose reads printed lines and tables aloud, so each is compared when it is computed again."""
    for cell in code_cells(path):
        if {"remove-cell", "remove-output"} & set(tags(cell)):
            continue
        drawn = {*PICTURES, WIDGET}
        text = [output for output in cell.outputs if not drawn & set(output.get("data", {}))]
        text = [output for output in text if 'class="stlearn-data-' not in output.get("data", {}).get("text/html", "")]
        assert not printed(text).strip() or COMPARED & set(tags(cell)), f"tag nbval-check-output:\n{cell.source}"


def test_checked_cells_hold_outputs(path):
    """A stripped cell would pass nbval silently; so would a chapter that checks nothing."""
    checked = [cell for cell in code_cells(path) if "nbval-check-output" in tags(cell)]
    assert checked
    for cell in checked:
        assert cell.outputs, cell.source


def test_every_picture_has_a_caption_and_an_alternative_text(path):
    for cell in code_cells(path):
        shown = [output for output in cell.outputs if PICTURES & set(output.get("data", {}))]
        if not shown or "remove-output" in tags(cell) or "remove-cell" in tags(cell):
            continue
        beside = [output for output in cell.outputs if output.output_type == "execute_result" and output not in shown]
        assert len(shown) == 1 and not beside, f"one picture a cell, as one text describes it:\n{cell.source}"
        page = cell.metadata.get("mystnb", {})
        alt, caption = page.get("image", {}).get("alt", ""), page.get("figure", {}).get("caption", "")
        assert len(alt) >= 30, f"metadata.mystnb.image.alt says what is to be seen:\n{cell.source}"
        assert caption, f"metadata.mystnb.figure.caption is missing:\n{cell.source}"
        assert page["figure"].get("name", "").startswith("fig-"), f"metadata.mystnb.figure.name:\n{cell.source}"


def test_says_which_data_it_computed_on(path):
    assert 'class="stlearn-data-real"' in "".join(
        str(output.get("data", {}).get("text/html", "")) for cell in code_cells(path) for output in cell.outputs
    )


def test_no_path_of_a_machine(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.*/-])/(?:work|root|home|Users|opt|tmp|mnt|content)/\w", text)
