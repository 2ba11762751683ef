"""The commands ``stlearn-lib train`` and ``stlearn-lib predict``: a model from measured sections, a slide through it.

As in `stlearn_lib.cli`, what takes seconds to import is imported by the command that needs it.
"""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

out = Console()
err = Console(stderr=True)


def train(
    method: Annotated[str, typer.Argument(help="What to fit: a method or preset as of `stlearn-lib evaluate`.")],
    sections: Annotated[
        list[str] | None,
        typer.Argument(metavar="SECTION...", help="HER2+ sections such as C2 C3; of --sections, or all of them."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The model's folder.")] = Path("model"),
    folder: Annotated[
        Path | None, typer.Option("--sections", help="A folder of your own sections, NAME.h5ad with their images.")
    ] = None,
    genes: Annotated[
        str, typer.Option(help="A published gene list, see `stlearn-lib evaluate --help`, or a file, one gene a line.")
    ] = "mclstexp_her2st",
    space: Annotated[str, typer.Option(help="What to predict; see `stlearn-lib evaluate --help`.")] = "spot_log10_10k",
    smooth: Annotated[bool, typer.Option("--smooth", help="Average each spot with its 3x3 neighbours.")] = False,
    validation: Annotated[
        float | None,
        typer.Option(metavar="FRACTION", help="Share of the patients to hold back for methods that stop early."),
    ] = None,
    members: Annotated[
        int, typer.Option(help="Networks: train so many; a prediction is their mean, its spread how far they disagree.")
    ] = 1,
    runs: Annotated[
        Path | None,
        typer.Option(help="Networks: keep checkpoints and histories here; without it, until the model is saved."),
    ] = None,
    devices: Annotated[int, typer.Option(help="Networks: devices on each node.")] = 1,
    nodes: Annotated[int, typer.Option(help="Networks: machines.")] = 1,
    precision: Annotated[str, typer.Option(help="Networks: 32-true; bf16-mixed or 16-mixed on a GPU.")] = "32-true",
) -> None:
    """Fit a method on measured sections and save it, to be applied to slides that nobody measured.

    A stopped training goes on with the next call. Example: stlearn-lib train ridge-both C2 C3 C4 C5 C6 -o models/ridge
    """
    from stlearn_lib.application import training
    from stlearn_lib.data.expression import Target
    from stlearn_lib.data.genes import shared_genes
    from stlearn_lib.training import Compute, is_first_process

    read, listed = training.training_sections(sections or [], folder), training.listed_genes(genes)
    target = Target(shared_genes(read, listed), space, smooth, gene_list=Path(genes).stem)
    if lacking := len(listed) - len(target.genes):
        err.print(f"[yellow]{lacking} of {len(listed)} genes are left out: not every section has them.[/yellow]")
    compute = Compute(devices=devices, nodes=nodes, precision=precision)  # type: ignore[arg-type]
    model = training.train(
        method, read, target, output, members=members, validation=validation, folder=runs, compute=compute
    )
    if is_first_process():
        out.print(model, soft_wrap=True)
        out.print(f"Next: stlearn-lib predict {escape(str(model))} SLIDE -o PREDICTION.h5ad", soft_wrap=True)


def predict(
    model: Annotated[Path, typer.Argument(help="The folder of a model that `stlearn-lib train` saved.")],
    slide: Annotated[Path, typer.Argument(help="A whole-slide file, another image, or a section, NAME.h5ad.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the prediction here (.h5ad).")],
    spots: Annotated[Path | None, typer.Option(help="Where to look, in place of a grid over the tissue.")] = None,
    grid: Annotated[
        str | None, typer.Option(help="st, visium or dense; without it, the one nearest to the training's spots.")
    ] = None,
    pitch_um: Annotated[float | None, typer.Option(help="Distance of the grid's spots, in micrometres.")] = None,
    um_per_px: Annotated[
        float | None, typer.Option(help="The image's resolution, micrometres per pixel, if the file does not say.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The slide's name; without it, the file's.")] = None,
    preview: Annotated[bool, typer.Option(help="Draw a picture beside the prediction.")] = True,
) -> None:
    """Predict a slide's gene expression, spot by spot, into a file that scanpy and squidpy draw.

    Nothing of the slide leaves this machine. A stopped run goes on with the next call. Example:
    stlearn-lib predict models/ridge slide.svs -o slide.h5ad
    """
    from stlearn_lib.application.prediction import predict_slide
    from stlearn_lib.application.slides import open_slide
    from stlearn_lib.methods.registry import load_method

    fitted = load_method(model)
    section = open_slide(
        slide, fitted.training, spots=spots, grid=grid, pitch_um=pitch_um, um_per_px=um_per_px, name=name
    )
    command = shlex.join(["stlearn-lib", *sys.argv[1:]])
    prediction = predict_slide(fitted, section, output, preview=preview, command=command)
    for warning in prediction.uns["prediction"]["warnings"]:
        err.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)
    out.print(output, soft_wrap=True)
