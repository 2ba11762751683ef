"""Broken tables: of the Spatial Transcriptomics pipeline, of anyone."""

import pandas as pd
from PIL import Image

from stlearn_lib.data.readers import read_plain, read_st
from tests.data.readers.damage import FACTS, Edit, Reader, cell, content, replaced, shuffled, table, with_image
from tests.data.readers.written import PLAIN_COUNTS, PLAIN_SPOTS, write_plain, write_st


def counts_cases(file: str, gene: str, other_gene: str) -> dict[str, tuple[str, Edit, str]]:
    """What can be wrong with a table of counts; `gene` is its first, and `other_gene` any other."""
    text = f"gene '{gene}' has values that are not numbers"
    values = {
        "words": ("many", text),
        "true": ("true", text),
        "nan": ("nan", f"{gene} in spot .* is missing or infinite"),
        "missing value": ("", f"{gene} in spot .* is missing"),
        "infinite": ("inf", f"{gene} in spot .* is missing or infinite"),
        "negative": ("-3", f"{gene} in spot .* is negative"),
        "fraction": ("1.5", f"{gene} in spot .* is not a whole number; raw counts are needed"),
        "huge": ("1e300", f"{gene} in spot .* is too large"),
        "too large": ("16777217", f"{gene} in spot .* is too large"),
        "many digits": ("9" * 23, gene),
    }
    return {f"{name} in {file}": (file, cell(1, 1, value), message) for name, (value, message) in values.items()} | {
        f"gene twice in {file}": (file, replaced(other_gene, gene), f"gene '{gene}' occurs more than once"),
        f"spot twice in {file}": (
            file,
            table(lambda f: pd.concat([f, f.iloc[[1]]])),
            "the spot '.*' occurs more than once",
        ),
        f"no name in {file}": (file, cell(1, 0, ""), "row 3 names no spot"),
    }


def longer_rows(path) -> None:
    """Put one more cell before every row, but none before the header."""
    separator = "\t" if path.suffix == ".tsv" else ","
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"{i}{separator}{row}" for i, row in enumerate(rows))]))


def places_cases(file: str, *columns: str) -> dict[str, tuple[str, Edit, str]]:
    """What can be wrong with columns of coordinates."""
    wrong = {"words": "far", "missing value": "", "nan": "nan", "infinite": "inf"}
    cases = {
        f"{name} in {column}": (file, cell(1, column, value), f"row 3, column {column} is not a number")
        for column in columns
        for name, value in wrong.items()
    }
    cases |= {
        f"{name} in {column}": (file, cell(1, column, value), "row 3, a position beyond")
        for column in columns
        for name, value in {"huge": "1e300", "many digits": "9" * 23}.items()
    }
    cases |= {
        f"{column} missing": (
            file,
            table(lambda f, column=column: f.drop(columns=column)),
            rf"the column\(s\) {column} are missing",
        )
        for column in columns
    }
    return cases | {
        f"spot twice in {file}": (file, table(lambda f: pd.concat([f, f.iloc[[1]]])), "occurs more than once"),
        f"header only in {file}": (file, table(lambda f: f.iloc[:0]), "no rows"),
        f"long rows in {file}": (file, longer_rows, "more columns than its first line"),
    }


PLAIN_LAYOUTS = {
    "no genes": ("spot\na\n", "names no genes"),
    "header only": ("spot,GNAS\n", "no rows"),
    "tabs in a .csv": (PLAIN_COUNTS.replace(",", "\t"), "names no genes"),
    "short row": ("spot,GNAS,FASN\na,3,1\nb,3\n", "Row #3: Expected 3 columns, got 2"),
    "long rows": ("spot,GNAS\na,3,1\nb,3,1\n", "Row #2: Expected 2 columns, got 3"),
    "one long row": ("spot,GNAS\na,3\nb,3,1\n", "Row #3: Expected 2 columns, got 3"),
    "a header without a corner": ("GNAS,FASN\na,3,1\n", "Row #2: Expected 2 columns, got 3"),
    "another encoding": ("spot,GNÄS\na,3\n".encode("latin-1"), "no readable table"),
    "another encoding below": (b"spot,GNAS\na\xe4,3\n", "no readable table"),
    "binary": (bytes(range(256)) * 20, "readable table|names no genes|once"),
}

TABLES: dict[str, Reader] = {
    "ST": Reader(
        write_st,
        lambda folder: read_st(folder / "counts.tsv", folder / "spots.tsv", **FACTS),
        ("counts.tsv", "spots.tsv"),
        counts_cases("counts.tsv", "GNAS", "FASN")
        | places_cases("spots.tsv", "x", "y", "new_x", "new_y", "pixel_x", "pixel_y")
        | {"spot without a place": ("spots.tsv", table(lambda f: f.iloc[1:]), "counts but no position")},
        {"counts.tsv": shuffled(), "spots.tsv": shuffled()},
    ),
    "plain": Reader(
        write_plain,
        lambda folder: with_image(
            read_plain(folder / "counts.csv", folder / "spots.csv", folder / "scan.png", um_per_px=10.0, **FACTS)
        ),
        ("counts.csv", "spots.csv", "scan.png"),
        counts_cases("counts.csv", "ERBB2", "GNAS")
        | places_cases("spots.csv", "pixel_x", "pixel_y")
        | {f"{name} in counts.csv": ("counts.csv", content(new), text) for name, (new, text) in PLAIN_LAYOUTS.items()}
        | {
            "unknown spot": ("counts.csv", cell(1, 0, "z"), r"1 spots are not in .*spots\.csv, first 'z'"),
            "no spot": ("spots.csv", replaced("spot", "name"), "spot are missing; found name"),
            "no name in spots.csv": ("spots.csv", cell(1, "spot", ""), "row 3 names no spot"),
            "half an array": ("spots.csv", replaced("array_y", "row"), "array_x needs its companion"),
            "words in array_x": ("spots.csv", cell(1, "array_x", "far"), "row 3, column array_x is not a number"),
            "huge array_x": ("spots.csv", cell(1, "array_x", "1e300"), "row 3, a position beyond"),
            "another encoding in spots.csv": (
                "spots.csv",
                content(PLAIN_SPOTS.replace("fat", "Fettgewebe ä").encode("latin-1")),
                "no readable table",
            ),
            "beside the image": (
                "scan.png",
                lambda path: Image.new("RGB", (25, 25)).save(path),
                r"section X1: 1 of 2 spots lie outside the image \(25 x 25 px\), first b",
            ),
        },
        {"counts.csv": shuffled(), "spots.csv": shuffled()},
    ),
}
