"""The commands that turn published files into sections: ``stlearn-lib data unpack`` and ``stlearn-lib data section``.

As in `stlearn_lib.cli`, what takes seconds to import is imported by the command that needs it.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stlearn_lib.errors import StlearnError

FORMATS = ("st", "visium", "visium-hd", "visium-h5ad", "spatialdata", "plain", "hest", "stimage", "cscc")
"""Each is read by the function ``read_FORMAT`` of `stlearn_lib.data.readers`, whose parameters are the options."""

out = Console()


def unpack(
    archive: Annotated[Path, typer.Argument(help="A tar, compressed or not, or a zip.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for its files.")],
) -> None:
    """Unpack an archive: only files, only into the folder, each whole or not at all.

    Example: stlearn-lib data unpack GSE144240_RAW.tar -o cscc
    """
    from stlearn_lib.data import archives

    out.print(f"{len(archives.unpack(archive, output))} files in {output}", soft_wrap=True, markup=False)


EPILOG = (
    "FORMATS: st (SOURCE is the table of counts, with --spots), plain (likewise, CSV or TSV, with --um-per-px, too), "
    "visium and visium-hd (the outs folder of Space Ranger), visium-h5ad, spatialdata (.zarr), and, several sections "
    "at a time: hest and stimage (the data set's folder), cscc (the unpacked GSE144240_RAW.tar).\n\n"
    "Examples: stlearn-lib data section st counts.tsv A1=patientA --spots spots.tsv --image A1.jpg -o prepared/mine\n\n"
    "stlearn-lib data section cscc raw P{2,5,9,10}_ST_rep{1,2,3} -o prepared/cscc\n\n"
    "stlearn-lib data section hest hest_data INT1 INT2 TENX158=mine -o prepared/hest_1k/int"
)


def section(
    form: Annotated[str, typer.Argument(metavar="FORMAT", help="How the files are laid out; see FORMATS.")],
    source: Annotated[Path, typer.Argument(help="The file or folder; see FORMATS.")],
    names: Annotated[
        list[str],
        typer.Argument(metavar="SECTION[=PATIENT]...", help="Each section's name, and whose it is; folds rely on it."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the sections, such as prepared/cscc.")],
    spots: Annotated[Path | None, typer.Option(help="st, plain: the table of spots.")] = None,
    image: Annotated[str | None, typer.Option(help="The H&E image; spatialdata: the element's name.")] = None,
    labels: Annotated[Path | None, typer.Option(help="st: a pathologist's labels.")] = None,
    um_per_px: Annotated[float | None, typer.Option(help="plain, stimage: micrometres per pixel of the image.")] = None,
    spot_diameter_um: Annotated[
        float | None, typer.Option(help="st, plain: 100 if not given; spatialdata: 55 if not given.")
    ] = None,
    spot_pitch_um: Annotated[float | None, typer.Option(help="st: 200 if not given.")] = None,
    bin_um: Annotated[int | None, typer.Option(help="visium-hd: 2, 8 or 16; 8 if not given.")] = None,
    layer: Annotated[str | None, typer.Option(help="visium-h5ad: the layer of raw counts.")] = None,
    undo_log1p: Annotated[bool, typer.Option("--undo-log1p", help="visium-h5ad: counts were normalised.")] = False,
    table: Annotated[str | None, typer.Option(help="spatialdata: the table of raw counts.")] = None,
    region: Annotated[str | None, typer.Option(help="spatialdata: the spots' element, if there are several.")] = None,
) -> None:
    """Read sections, check that spots lie on tissue, and write SECTION.h5ad with the image beside it.

    That is what `stlearn-lib reproduce` looks for in its prepared folder. A section that is there already is left as it
    is, so a stopped command goes on.
    """
    from stlearn_lib.data import readers
    from stlearn_lib.data.placement import check_placement
    from stlearn_lib.data.section_files import SUFFIX, write_section

    if form not in FORMATS:
        raise typer.BadParameter(f"{form!r} is no format: choose {', '.join(FORMATS)}")
    reader = getattr(readers, f"read_{form.replace('-', '_')}")
    given = {"spots": spots, "image": image, "labels": labels, "um_per_px": um_per_px, "bin_um": bin_um}
    given |= {"spot_diameter_um": spot_diameter_um, "spot_pitch_um": spot_pitch_um}
    given |= {"layer": layer, "undo_log1p": undo_log1p or None, "table": table, "region": region}
    calls = _calls(form, reader, source, names, given)
    n_there, failed = 0, []
    with _progress() as bar:
        work = bar.add_task("", total=len(calls))
        for name, (places, options) in calls.items():
            bar.update(work, description=name)
            if (output / f"{name}{SUFFIX}").exists():
                n_there += 1
            else:
                try:
                    read = reader(*places, **options)
                    check_placement(read)
                    write_section(read, output)
                except StlearnError as error:
                    failed.append(f"{name}: {error}")
            bar.advance(work)
    n_written = len(calls) - n_there - len(failed)
    out.print(
        f"{n_written} written to {output}, {n_there} were there, {len(failed)} failed.", soft_wrap=True, markup=False
    )
    for line in failed:
        out.print(line, soft_wrap=True, markup=False)
    if failed:
        raise typer.Exit(1)


Call = tuple[list[Any], dict[str, Any]]


def _calls(
    form: str, reader: Callable[..., Any], source: Path, names: list[str], given: dict[str, Any]
) -> dict[str, Call]:
    """The arguments with which to read each section, or what is wrong with them."""
    parameters = inspect.signature(reader).parameters
    options = {option: value for option, value in given.items() if value is not None}
    for option in given:
        if option in options and option not in parameters:
            raise typer.BadParameter(f"{form} takes no {_flag(option)}")
        if option not in options and option in parameters and parameters[option].default is inspect.Parameter.empty:
            raise typer.BadParameter(f"{form} needs {_flag(option)}")
    one_by_one = parameters.get("name") is not None and parameters["name"].kind is inspect.Parameter.KEYWORD_ONLY
    if one_by_one and len(names) > 1:
        raise typer.BadParameter(f"{form} reads one section at a time, not {len(names)}")
    calls: dict[str, Call] = {}
    for text in names:
        name, _, patient = text.partition("=")
        whose = {"patient": patient} if patient else {}
        if patient and "patient" not in parameters:
            raise typer.BadParameter(f"{form} names its patients itself: give {name} alone")
        if not patient and "patient" in parameters and parameters["patient"].default is inspect.Parameter.empty:
            raise typer.BadParameter(f"whose section is {name}? Give {name}=PATIENT")
        calls[name] = ([source], {"name": name} | whose | options) if one_by_one else ([source, name], whose | options)
    return calls


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=out,
    )
