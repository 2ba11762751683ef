"""The command line, ``stlearn-lib``: data in, scores out.

What takes seconds to import (torch, scanpy) is imported by the command that needs it; hence names stand in help texts
as plain words, and a test compares them with the tables they come from.
"""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

import data_registry
from stlearn_lib.cli_apply import predict, train
from stlearn_lib.cli_reproduce import reproduce
from stlearn_lib.cli_sections import EPILOG, section, unpack
from stlearn_lib.cli_slides import slides
from stlearn_lib.errors import StlearnError


class _Commands(TyperGroup):
    """The commands, which Ctrl-C ends with one line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            Console(stderr=True).print("stopped; what is done is kept, the same command goes on", soft_wrap=True)
            raise typer.Exit(130) from None  # what shells expect of a process that a signal stopped


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Learn, check and apply the prediction of spatial gene expression from H&E slides.\n\n"
    "Start with `stlearn-lib data list`, then `stlearn-lib evaluate ridge-colour --protocol within-C`.",
    epilog="Files come from the folder that STLEARN_DATA_MIRROR names, then from STLEARN_CACHE, then from the network.",
)
data = typer.Typer(no_args_is_help=True, help="Find, fetch and verify the data sets that the papers use.")
app.add_typer(data, name="data")
data.command()(unpack)
data.command(epilog=EPILOG)(section)
app.command()(train)
app.command()(predict)
app.add_typer(slides, name="slides")
app.add_typer(reproduce, name="reproduce")

out = Console()
SHOWN = ("acg", "heg", "best", "mse", "mae", "n_undefined_genes")

Files = Annotated[
    list[str] | None, typer.Argument(help="Names or patterns such as 'ST-cnts/C*'; without them, all files.")
]


@data.command("list")
def list_datasets() -> None:
    """List every data set: name, size, whether it is open."""
    table = Table("name", "what it is", "size", "access")
    for name, dataset in data_registry.DATASETS.items():
        table.add_row(name, dataset.title, dataset.size, "open" if dataset.access == "open" else "by a person")
    out.print(table)


@data.command()
def info(dataset: str) -> None:
    """Show one data set: licence, citation, how to get it, its files."""
    entry = data_registry.describe(dataset)
    table = Table(show_header=False, box=None)
    for field in ("title", "description", "format", "size", "licence", "citation", "access"):
        table.add_row(field, getattr(entry, field))
    table.add_row("files", "\n".join(file.name for file in entry.files) or "not listed here")
    out.print(table)


@data.command()
def fetch(dataset: str, files: Files = None) -> None:
    """Fetch files, from the mirror, the cache or the network, and verify them.

    Interrupted downloads continue with the next call. Example: stlearn-lib data fetch her2st 'ST-cnts/C*'
    """
    for path in data_registry.fetch(dataset, files).values():
        out.print(path, soft_wrap=True)


@data.command()
def verify(dataset: str, files: Files = None) -> None:
    """Compare local files with their hashes; exit code 1 if one is corrupt. Nothing is downloaded."""
    statuses = data_registry.verify(dataset, files)
    for name, status in statuses.items():
        out.print(f"{status.state:8} {name}", soft_wrap=True)
    if any(status.state == "corrupt" for status in statuses.values()):
        raise typer.Exit(1)


@app.command()
def presets() -> None:
    """List the settings of the papers and their small versions: source, cost, and the scores to expect."""
    from stlearn_lib.methods.presets import PRESETS

    for name, preset in PRESETS.items():
        table = Table(show_header=False, box=None, title=name, title_justify="left")
        for field in ("source", "cost", "expected", "gene_list"):
            table.add_row(field, getattr(preset, field))
        out.print(table)


@app.command(
    epilog="METHODS: mean, oracle (knows each spot's total count), ridge-colour, ridge-colour-section (features scaled "
    "within each section), ridge-deep, ridge-both, nearest-both; and networks by the names of their presets, see "
    "`stlearn-lib presets`.\n\n"
    "PROTOCOLS: within-C leaves one of C2-C6 out, and the patient leaks; C-to-B4 trains on C2-C6 and tests on another "
    "patient; C-to-A1 on another patient, stain and scanner; across-patients on both; mclstexp_her2st is the "
    "evaluation that mclSTExp released: it leaves each of 32 sections out, and patients leak; mclstexp_her2st_within_C "
    "is the same on C2-C6; her2st_by_patient leaves each of 8 patients out of all 36 sections, and nobody leaks.\n\n"
    "SPACES: spot_log10_10k, gene_log10_10k (mclSTExp's released evaluation), spot_ln_1m, cp10k_log1p.\n\n"
    "GENE LISTS: mclstexp_her2st, mclstexp_cscc, mclstexp_alex10x, nh2st_stnet, nh2st_skin, nh2st_pcw, nh2st_mouse, "
    "nh2st_int, nh2st_zen, rankbygene_breast, rankbygene_lung."
)
def evaluate(
    method: Annotated[str, typer.Argument(help="What to fit and score; see METHODS.")],
    protocol: Annotated[str, typer.Option(help="Folds, space and genes; see PROTOCOLS.")] = "within-C",
    space: Annotated[
        str | None, typer.Option(help="What to predict and score; see SPACES. Without it, the protocol's.")
    ] = None,
    genes: Annotated[
        str | None, typer.Option(help="Published gene list; see GENE LISTS. Without it, the protocol's.")
    ] = None,
    smooth: Annotated[bool, typer.Option("--smooth", help="Average each spot with its 3x3 neighbours.")] = False,
    validation: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Share of the training patients to hold back for methods that stop early; of the sections, where all "
            "are of one patient.",
        ),
    ] = None,
    select_on_test: Annotated[
        bool,
        typer.Option(
            "--select-on-test",
            help="Stop by the test sections, as the released code of NH2ST does; its scores are too good.",
        ),
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write the table here (.csv), a row for each test section.")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Networks: keep checkpoints and histories here; a stopped run goes on.")
    ] = None,
    devices: Annotated[int | None, typer.Option(help="Networks: devices on each node; 1 if not given.")] = None,
    nodes: Annotated[int | None, typer.Option(help="Networks: machines; 1 if not given.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="Networks: 32-true if not given; bf16-mixed or 16-mixed on a GPU.")
    ] = None,
) -> None:
    """Cross-validate a method on real sections and print its scores.

    ACG is the mean correlation over all genes, HEG over the 50 most highly expressed, best over the 50 best predicted.
    The score depends on the space more than on most methods: compare within one protocol and space only.
    """
    from dataclasses import replace

    from stlearn_lib.cache import written_whole
    from stlearn_lib.data.expression import Target
    from stlearn_lib.data.splits import validation_from_training
    from stlearn_lib.datasets import load_gene_list, load_sections
    from stlearn_lib.evaluation import Protocol, cross_validate, summarise
    from stlearn_lib.methods.registry import create_method
    from stlearn_lib.protocols import PATIENT_OF, protocol_of, sections_of
    from stlearn_lib.training import Compute, is_first_process

    asked = {"devices": devices, "nodes": nodes, "precision": precision}
    compute: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    training: dict[str, Any] = ({"folder": runs} if runs else {}) | ({"compute": Compute(**compute)} if compute else {})
    chosen, named = create_method(method, **training), protocol_of(protocol)
    space, genes, folds = space or named.space, genes or named.gene_list, named.folds
    if validation is not None:
        folds = tuple(validation_from_training(fold, PATIENT_OF, fraction=validation, seed=0) for fold in folds)
    if select_on_test:
        folds = tuple(replace(fold, select_on_test=True) for fold in folds)
    target = Target(load_gene_list(genes, allow_simulated=False), space, smooth, gene_list=genes)
    sections = load_sections(sections_of(folds), allow_simulated=False)
    scores = cross_validate(chosen, sections, Protocol(protocol, folds, target))
    if not is_first_process():
        return
    if output is not None:
        with written_whole(output) as path:
            scores.to_csv(path, index=False)
    table = Table("test", *SHOWN, title=f"{scores['method'].iloc[0]}, {protocol}, {space}, {len(target.genes)} genes")
    for _, row in scores.iterrows():
        table.add_row(row["test"], *(f"{row[name]:.3f}" for name in SHOWN[:-1]), str(row["n_undefined_genes"]))
    mean = summarise(scores).iloc[0]
    table.add_section()
    table.add_row("mean", *(f"{mean[name]:.3f}" for name in SHOWN[:-1]), "")
    out.print(table)


@app.command()
def features(
    names: Annotated[
        list[str],
        typer.Argument(metavar="SLIDE...", help="Names of sections (A1 C2), or files: whole slides, other images."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the files, SLIDE.h5.")] = Path("features"),
    encoder: Annotated[
        str, typer.Option("--features", help="colour_texture, or deep: and any timm backbone, also deep:hf-hub:NAME.")
    ] = "deep:mobilenetv2_100",
    weights: Annotated[str, typer.Option(help="Of the backbone: auto, or the path of a checkpoint.")] = "auto",
    grid: Annotated[
        str | None,
        typer.Option(help="Where to look in a file's tissue: dense (touching patches, the default), st, or visium."),
    ] = None,
    spots: Annotated[
        Path | None, typer.Option(help="Or where exactly: a CSV with pixel_x and pixel_y, the centres; or a section.")
    ] = None,
    um_per_px: Annotated[
        float | None, typer.Option(help="Resolution of the files, micrometres per pixel, where they do not say.")
    ] = None,
    scan_um_per_px: Annotated[
        float | None, typer.Option(help="Resolution that the backbone was trained at; if not given, the files' own.")
    ] = None,
) -> None:
    """Write features of patches for other tools, as TRIDENT and CLAM do: features (N, D) and coords (N, 2).

    A stopped run goes on with the next call. Example: stlearn-lib features SLIDE.svs --scan-um-per-px 0.5
    """
    from stlearn_lib.data.whole_slides import slide_section
    from stlearn_lib.datasets import load_sections
    from stlearn_lib.slides.export import export_features

    asked = {"grid": grid, "spots": spots, "um_per_px": um_per_px, "scan_um_per_px": scan_um_per_px}
    options: dict[str, Any] = {option: value for option, value in asked.items() if value is not None}
    if spots is not None and (grid is not None or len(names) > 1):
        raise typer.BadParameter("--spots are those of one file, and take the place of a grid")
    for slide in names:
        if Path(slide).is_file():
            section = slide_section(slide, **{"grid": "dense", **options})
        elif options or Path(slide).suffix:
            raise typer.BadParameter(f"there is no file {slide}; a section, named A1 or C2, has its own spots")
        else:
            (section,) = load_sections([slide], allow_simulated=False)
        out.print(export_features(section, encoder, output, weights=weights), soft_wrap=True)


def main() -> None:
    """Run the command line.

    Its exit code is 0 if all went well, 1 with one line if the user can mend it, 2 if it was called wrongly, and 130 if
    it was stopped with Ctrl-C.
    """
    logging.captureWarnings(True)
    logging.basicConfig(format="%(message)s")
    try:
        app()
    except (StlearnError, data_registry.DataError, OSError) as error:
        Console(stderr=True).print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
