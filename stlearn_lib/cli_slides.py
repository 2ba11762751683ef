"""The commands of ``stlearn-lib slides``: bags of features and a table in, cross-validated scores and models out.

As in `stlearn_lib.cli`, what takes seconds to import is imported by the command that needs it.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import data_registry

slides = typer.Typer(no_args_is_help=True, help="Classes and survival from whole slides, as bags of features.")

out = Console()

Folder = Annotated[Path, typer.Argument(help="Bags, SLIDE.h5, as TRIDENT, CLAM or `stlearn-lib features` write them.")]
Rows = Annotated[Path, typer.Argument(metavar="TABLE", help="CSV with a row for each slide; see LAYOUTS.")]
LayoutName = Annotated[str, typer.Option(help="How the table names slides and patients; see LAYOUTS.")]
Folds = Annotated[int, typer.Option(help="Folds, of whole patients, alike in classes or events.")]
Seed = Annotated[int, typer.Option(help="Of the folds and of training.")]
Epochs = Annotated[int, typer.Option(help="Passes over the slides.")]
BatchSize = Annotated[int, typer.Option(help="Slides of one step; memory is batch x largest bag x features.")]
Patience = Annotated[
    int | None,
    typer.Option(help="Stop after so many epochs without progress on a fifth of the training patients, held back."),
]
Predictions = Annotated[Path | None, typer.Option(help="Write the predictions here (.csv), a row for each slide.")]
Figure = Annotated[Path | None, typer.Option(help="Draw Kaplan-Meier curves of high and low risk here (.png, .svg).")]
Runs = Annotated[Path | None, typer.Option(help="Keep checkpoints and histories here; a stopped run goes on.")]
Save = Annotated[
    Path | None,
    typer.Option(help="Fit on all slides, too, and save the models here: attention and average, for `slides predict`."),
]
LAYOUT_HELP = (
    "LAYOUTS: ours has the columns slide and patient; clam (CLAM, MCAT) slide_id and case_id; bcnb is BCNB's clinical "
    "table, saved as CSV, whose Patient ID names both; "
)


@slides.command(
    epilog=LAYOUT_HELP + "all have the column that --label names.\n\n"
    "BCNB: ask for the slides (stlearn-lib data info bcnb), extract features with TRIDENT, one 12.h5 for 12.jpg, then: "
    "stlearn-lib slides classify FEATURES patient-clinical-data.csv --layout bcnb --label 'ALN status'"
)
def classify(
    folder: Folder,
    table: Rows,
    layout: LayoutName = "ours",
    label: Annotated[str, typer.Option(help="The column of the classes.")] = "label",
    folds: Folds = 5,
    seed: Seed = 0,
    epochs: Epochs = 20,
    batch_size: BatchSize = 16,
    patience: Patience = None,
    output: Predictions = None,
    runs: Runs = None,
    save: Save = None,
) -> None:
    """Cross-validate the classification of slides: attention pooling, beside a linear model on average features."""
    from stlearn_lib.slides.averages import AverageClassifier
    from stlearn_lib.slides.classification import SlideClassifier, classification_scores
    from stlearn_lib.slides.cohorts import layout_of, read_cohort

    cohort = read_cohort(table, folder, label=label, **layout_of(layout)._asdict())
    attention = SlideClassifier(folder=runs, training=_slide_training(epochs, batch_size, patience, seed))
    models = {"attention": attention, "average": AverageClassifier()}
    predictions = _cross_validated(models, cohort, folds, seed, patience, classification_scores)
    _write_table(predictions, output)
    _save(models, cohort, seed, patience, save)


@slides.command(
    epilog=LAYOUT_HELP + "all have the columns that --time and --event name; tcga is the GDC's clinical.tsv, joined "
    "to slides by barcode.\n\n"
    "TCGA-BRCA: stlearn-lib data info tcga_brca says where features of its slides and clinical.tsv are, then: "
    "stlearn-lib slides survive FEATURES clinical.tsv --layout tcga"
)
def survive(
    folder: Folder,
    table: Rows,
    layout: LayoutName = "ours",
    time: Annotated[str, typer.Option(help="The column of the time to death or end of follow-up.")] = "time",
    event: Annotated[str, typer.Option(help="The column of 1 for death, 0 for end of follow-up.")] = "event",
    loss: Annotated[str, typer.Option(help="cox, or discrete, whose batches may be small.")] = "cox",
    folds: Folds = 5,
    seed: Seed = 0,
    epochs: Epochs = 20,
    batch_size: BatchSize = 16,
    patience: Patience = None,
    output: Predictions = None,
    figure: Figure = None,
    runs: Runs = None,
    save: Save = None,
) -> None:
    """Cross-validate the prediction of survival: attention pooling, beside a linear model on average features."""
    from stlearn_lib.slides.averages import AverageSurvival
    from stlearn_lib.slides.cohorts import layout_of, read_cohort, read_tcga_cohort
    from stlearn_lib.slides.survival import SlideSurvival, survival_scores

    if layout == "tcga":
        cohort = read_tcga_cohort(table, folder)
    else:
        cohort = read_cohort(table, folder, time=time, event=event, **layout_of(layout)._asdict())
    training = _slide_training(epochs, batch_size, patience, seed)
    models = {"attention": SlideSurvival(loss=loss, folder=runs, training=training), "average": AverageSurvival()}
    predictions = _cross_validated(models, cohort, folds, seed, patience, survival_scores)
    _write_survival(predictions, output, figure)
    _save(models, cohort, seed, patience, save)


@slides.command(
    epilog="Example: stlearn-lib slides predict models/attention new/*.h5 --output predictions.csv --attention maps"
)
def predict(
    model: Annotated[Path, typer.Argument(help="The folder of a saved model: one of the two that --save writes.")],
    bags: Annotated[list[Path], typer.Argument(help="Bags of the same features, SLIDE.h5.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the predictions here (.csv).")],
    attention: Annotated[
        Path | None, typer.Option(help="Write where the model looked here, SLIDE.csv and SLIDE.png of each slide.")
    ] = None,
) -> None:
    """Predict slides with a saved model: a row for each, and whether the model was fitted on a slide of this name."""
    from stlearn_lib.slides.bags import read_bag
    from stlearn_lib.slides.prediction import load_slide_model, predict_files, write_attention

    fitted = load_slide_model(model)
    _write_table(predict_files(fitted, bags), output)
    if attention is not None:
        for bag in bags:
            write_attention(fitted, read_bag(bag, slide=bag.stem), attention)


@slides.command()
def rna(
    table: Annotated[Path | None, typer.Argument(help="A table of MCAT; without it, the registry's tcga_luad.")] = None,
    folds: Folds = 5,
    seed: Seed = 0,
    output: Predictions = None,
    figure: Figure = None,
) -> None:
    """Cross-validate survival from RNA, by a linear Cox model on principal components: TCGA-LUAD, no slides needed."""
    from stlearn_lib.slides.profiles import CoxRidge, read_mcat_profiles
    from stlearn_lib.slides.survival import survival_scores

    if table is None:
        (table,) = data_registry.fetch("tcga_luad").values()
    profiles = read_mcat_profiles(table)
    predictions = _cross_validated({"cox on RNA": CoxRidge()}, profiles, folds, seed, None, survival_scores)
    _write_survival(predictions, output, figure)


def _slide_training(epochs: int, batch_size: int, patience: int | None, seed: int) -> Any:
    from dataclasses import replace

    from stlearn_lib.slides.pooling import TRAINING

    return replace(TRAINING, epochs=epochs, batch_size=batch_size, patience=patience, seed=seed)


def _cross_validated(models: Any, cohort: Any, n_folds: int, seed: int, patience: int | None, scores: Any) -> Any:
    """Print the scores of models on the same folds; return the first one's predictions."""
    from stlearn_lib.slides.cross_validation import cross_validate_slides, scores_by_fold
    from stlearn_lib.slides.folds import stratified_folds, with_validation

    folds = stratified_folds(cohort.table, n_splits=n_folds, seed=seed)
    if patience is not None:
        folds = with_validation(folds, cohort.table, seed=seed)
    tables = {name: cross_validate_slides(model, cohort, folds) for name, model in models.items()}
    for name, table in tables.items():
        scored = scores_by_fold(table, scores)
        shown = Table("fold", *scored, title=f"{name}, {cohort.table['patient'].nunique()} patients")
        for fold, row in scored.iterrows():
            shown.add_row(str(fold), *(f"{value:.3g}" for value in row))
        shown.add_section()
        shown.add_row("mean", *(f"{value:.3g}" for value in scored.mean()))
        out.print(shown)
    return next(iter(tables.values()))


def _save(models: Any, cohort: Any, seed: int, patience: int | None, folder: Path | None) -> None:
    """Fit models on all slides, but for those that they stop early by, and save each in a folder of its name."""
    from stlearn_lib.slides.cross_validation import fit_anew
    from stlearn_lib.slides.folds import stratified_folds

    if folder is None:
        return
    train, validation = cohort, None
    if patience is not None:
        fold = stratified_folds(cohort.table, seed=seed)[0]
        train, validation = cohort.subset(fold.train), cohort.subset(fold.test)
    for name, model in models.items():
        out.print(fit_anew(model, "all slides", train, validation).save(folder / name), soft_wrap=True)


def _write_table(predictions: Any, output: Path | None) -> None:
    from stlearn_lib.cache import written_whole

    if output is not None:
        with written_whole(output) as path:
            predictions.to_csv(path, index_label="slide")


def _write_survival(predictions: Any, output: Path | None, figure: Path | None) -> None:
    _write_table(predictions, output)
    if figure is not None:
        from matplotlib.figure import Figure as Page

        from stlearn_lib.cache import written_whole
        from stlearn_lib.slides.figures import plot_survival

        patients = predictions.groupby("patient").first()
        page = Page(figsize=(6, 5))
        risks = {True: "high risk", False: "low risk"}
        plot_survival(patients["time"], patients["event"], patients["high_risk"], page.subplots(), names=risks)
        with written_whole(figure) as path:
            page.savefig(path, bbox_inches="tight")
