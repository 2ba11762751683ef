"""Words are spelt right, and as in Britain: in chapters, pages, docstrings and comments."""

import ast
import io
import re
import subprocess
import sysconfig
import tokenize
from pathlib import Path

import codespell_lib
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
CODESPELL = Path(sysconfig.get_path("scripts")) / "codespell"
BRITISH_TO_AMERICAN = Path(codespell_lib.__file__).parent / "data" / "dictionary_en-GB_to_en-US.txt"
FOLDERS = ("book", "stlearn_lib", "tests", "benchmarks")

CHAPTERS = sorted(ROOT.glob("book/*.ipynb"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("book/*.md")])
CODE = [ROOT / "data_registry.py", *(path for folder in FOLDERS for path in sorted(ROOT.glob(f"{folder}/**/*.py")))]
OTHERS = [ROOT / "Makefile", *ROOT.glob("results/*.yaml"), *ROOT.glob(".github/workflows/*.yml")]

NOT_MISSPELT = {
    "nce": "noise-contrastive estimation",
    "temprature": "a setting misspelt on purpose, for the error that comes of it",
}
NOT_AMERICAN = {"math": "a directive", "practice": "the noun", "program": "of a computer", "story": "a tale"}
NOT_AMERICAN |= {"stories": "tales", "licensed": "of the verb", "penalized": "in the title of an article"}

NOT_PROSE = [
    re.compile(r"^ *(```+|:::+)(?:\{(?:code|math|eval-rst|glue)|[^{\s]).*?^ *\1$", flags=re.MULTILINE | re.DOTALL),
    re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$", flags=re.DOTALL),
    re.compile(r"(?<!`)(`{1,2})(?!`).+?(?<!`)\1(?!`)", flags=re.DOTALL),
    re.compile(r"\]\([^)]*\)|<[^<>\n]+>|https?://\S+"),
    re.compile(r"^ *(?:>>>|\.\.\.) .*$", flags=re.MULTILINE),
]


def text_of(chapter: Path) -> str:
    """Return a chapter's text, captions and alternative texts."""
    pieces = []
    for cell in nbformat.read(chapter, as_version=4).cells:
        page = cell.metadata.get("mystnb", {})
        pieces += [page.get("figure", {}).get("caption", ""), page.get("image", {}).get("alt", "")]
        pieces += [cell.source] if cell.cell_type == "markdown" else []
    return "\n\n".join(pieces)


def docstrings_and_comments(path: Path) -> str:
    """Return what a Python file says beside its code, without the names that stand in the code."""
    source = path.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    pieces = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    pieces += [token.string for token in tokens if token.type == tokenize.COMMENT]
    names = {token.string for token in tokens if token.type == tokenize.NAME}
    return re.sub(r"\w+", lambda word: "" if word[0] in names else word[0], "\n\n".join(pieces))


def prose(path: Path) -> str:
    """Return what people read in a file, without code, formulas and addresses.

    A fence around a directive stays, as it holds prose: an exercise, an admonition.
    """
    text = {".ipynb": text_of, ".py": docstrings_and_comments}.get(path.suffix, Path.read_text)(path)
    for pattern in NOT_PROSE:
        text = pattern.sub(" ", text)
    return text


def american() -> dict[str, str]:
    """Return the British spelling of American words, by codespell's list of the opposite."""
    pairs = [line.split("->") for line in BRITISH_TO_AMERICAN.read_text().splitlines()]
    return {them: us for us, them in pairs if them not in NOT_AMERICAN}


def test_no_misspelt_words(tmp_path):
    texts = []
    for chapter in CHAPTERS:
        texts.append(tmp_path / f"{chapter.stem}.md")
        code = [cell.source for cell in nbformat.read(chapter, as_version=4).cells if cell.cell_type == "code"]
        texts[-1].write_text("\n\n".join([text_of(chapter), *code]))
    command = [CODESPELL, "--builtin", "clear,rare", "--ignore-words-list", ",".join(NOT_MISSPELT)]
    done = subprocess.run([*command, *texts, *PAGES, *CODE, *OTHERS], check=False, capture_output=True, text=True)
    assert not done.returncode, done.stdout or done.stderr


@pytest.mark.parametrize("files", [CHAPTERS, PAGES, CODE], ids=["chapters", "pages", "code"])
def test_british_english(files):
    british = american()
    assert british["color"] == "colour" and british["center"] == "centre"
    found = [
        f"{path.relative_to(ROOT)}: {word}, in Britain {british[word.lower()]}"
        for path in files
        for word in re.findall(r"[A-Za-z]+", prose(path))
        if word.lower() in british
    ]
    assert not found, "\n".join(found)
