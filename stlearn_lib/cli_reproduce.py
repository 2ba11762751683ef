"""The commands of ``stlearn-lib reproduce``: what was published, what we found, and how to run it.

As in `stlearn_lib.cli`, what takes seconds to import is imported by the command that needs it.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

reproduce = typer.Typer(no_args_is_help=True, help="Every published table as an experiment that runs, and its ledger.")

out = Console()

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help="Experiments, or patterns such as 'within-C/*'; or all."),
]
Results = Annotated[Path, typer.Option("--results", help="The folder of results.")]
Prepared = Annotated[
    Path | None, typer.Option(help="The folder of prepared sections and bags; without it, one in the cache.")
]
Devices = Annotated[int, typer.Option(help="Devices of one task, on each node.")]
Nodes = Annotated[int, typer.Option(help="Machines of one task; start each with torchrun.")]
Precision = Annotated[str, typer.Option(help="32-true; bf16-mixed or 16-mixed on a GPU.")]
HERE = Path("results")


@reproduce.command("list")
def list_experiments(names: Names = None) -> None:
    """List the experiments, what the papers report of them, and their data."""
    from stlearn_lib.reproduction.catalogue import experiments_of
    from stlearn_lib.reproduction.published import read_published

    published = read_published().groupby("experiment")["value"].size()
    table = Table(Column("name", no_wrap=True), "what it is", "data", "published numbers")
    for experiment in experiments_of(names or ["*"]):
        table.add_row(experiment.name, experiment.what, experiment.data, str(published.get(experiment.name, "")))
    out.print(table)


@reproduce.command()
def show(name: str, prepared: Prepared = None) -> None:
    """Show one experiment: settings, folds, published numbers with their sources, and what is missing to run it."""
    from dataclasses import asdict

    from stlearn_lib.reproduction.catalogue import experiments_of
    from stlearn_lib.reproduction.published import read_published
    from stlearn_lib.reproduction.status import missing_data

    experiment, *others = experiments_of([name])
    if others:
        raise typer.BadParameter(f"{name} names {1 + len(others)} experiments: show one of them")
    facts = Table(show_header=False, box=None)
    for field, value in asdict(experiment).items():
        facts.add_row(field, escape(str(value)))
    facts.add_row("missing", escape(missing_data(experiment, prepared)) or "nothing")
    out.print(facts)
    published = read_published()
    table = Table("measure", "published", "setting", "grade", "read in")
    for row in published[published["experiment"] == experiment.name].itertuples():
        table.add_row(str(row.measure), f"{row.value:g}", str(row.setting), str(row.grade), str(row.where))
    if table.row_count:
        out.print(table)


@reproduce.command(epilog="Example: stlearn-lib reproduce run 'within-C/*' --seeds 0")
def run(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Experiments, or patterns: 'within-C/*'.")],
    folds: Annotated[str | None, typer.Option(help="Names of folds, with commas between; or all.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, with commas between; or its own.")] = None,
    preset: Annotated[str | None, typer.Option(help="Another method or preset in the experiment's place.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    precision: Precision = "32-true",
    engine: Annotated[str, typer.Option(help="here, one task after the other, or ray.")] = "here",
    address: Annotated[str | None, typer.Option(help="Ray: the cluster's address; or one of this machine.")] = None,
    cpus_per_task: Annotated[float, typer.Option(help="Ray: cores of a task.")] = 1,
    gpus_per_task: Annotated[float, typer.Option(help="Ray: GPUs of a task; .25 lets four share one.")] = 0,
    results: Results = HERE,
    prepared: Prepared = None,
    runs: Annotated[Path | None, typer.Option(help="Keep checkpoints here; a stopped training goes on.")] = None,
) -> None:
    """Run experiments, each fold with each seed, and write the ledger; what is there already is not run again.

    Every task's result is kept when it ends, so a run that was stopped goes on. A changed setting, code version or data
    makes new rows beside the old ones.
    """
    from stlearn_lib.reproduction.catalogue import experiments_of
    from stlearn_lib.reproduction.engines import run_here, run_on_ray
    from stlearn_lib.reproduction.status import missing_data
    from stlearn_lib.reproduction.store import Store
    from stlearn_lib.reproduction.tasks import plan
    from stlearn_lib.training import is_first_process

    if engine not in ("here", "ray"):
        raise typer.BadParameter(f"--engine is here or ray, not {engine!r}")
    if engine == "ray" and devices * nodes > 1:
        raise typer.BadParameter("--engine ray gives each task one device: leave out --devices and --nodes")
    settings: dict[str, Any] = {"preset": preset, "device": device, "devices": devices, "nodes": nodes}
    settings |= {"precision": precision, "prepared": _text(prepared), "runs": _text(runs)}
    tasks, absent = [], []
    for experiment in experiments_of(names):
        if missing := missing_data(experiment, prepared, fetchable=False):
            absent.append(f"{experiment.name}: {missing}")
        else:
            tasks += plan(experiment, folds=_split(folds), seeds=_numbers(seeds), **settings)
    store = Store(results)
    done = store.done(tasks)
    pending = [task for task in tasks if task not in done]
    if engine == "ray":
        outcomes = run_on_ray(pending, address=address, cpus=cpus_per_task, gpus=gpus_per_task)
    else:
        outcomes = run_here(pending)
    failed = []
    with _progress() as bar:
        work = bar.add_task(f"{len(done)} of {len(tasks)} are there", total=len(pending), visible=is_first_process())
        for task, result, error in outcomes:
            if result is None:
                failed.append(f"{task.label}: {error}")
            elif is_first_process():
                store.write(result)
            bar.update(work, advance=1, description=task.label)
    if not is_first_process():
        return
    _gather(store)  # in any case: another run may have been stopped before
    out.print(f"{len(pending) - len(failed)} computed, {len(done)} were there, {len(failed)} failed.")
    for line in (*failed, *absent):
        out.print(line, soft_wrap=True, markup=False)
    if failed or absent:
        raise typer.Exit(1)


@reproduce.command()
def status(
    names: Names = None,
    precision: Precision = "32-true",
    devices: Devices = 1,
    nodes: Nodes = 1,
    results: Results = HERE,
    prepared: Prepared = None,
) -> None:
    """Say of each experiment how many of its tasks are done, with this code or with another, and what is missing.

    Precision and number of devices are part of a result's name: say how it was run.
    """
    from stlearn_lib.reproduction.catalogue import experiments_of
    from stlearn_lib.reproduction.status import progress_of
    from stlearn_lib.reproduction.store import Store

    table = Table(Column("name", no_wrap=True), "done", "other versions", "missing")
    missing: dict[str, str] = {}
    run_with = {"precision": precision, "devices": devices, "nodes": nodes}
    for row in progress_of(experiments_of(names or ["*"]), Store(results), prepared, **run_with):
        number = missing.setdefault(row.missing, f"[{len(missing) + 1}]") if row.missing else ""
        done = f"{row.done} of {row.tasks}" if row.tasks else "no data"
        table.add_row(row.name, done, str(row.others or ""), escape(number))
    out.print(table)
    for what, number in missing.items():
        out.print(f"{number} {what}", soft_wrap=True, markup=False)


@reproduce.command("table")
def show_table(
    names: Names = None,
    measures: Annotated[str, typer.Option(help="With commas between.")] = "acg,heg,mse,mae,c_index",
    results: Results = HERE,
) -> None:
    """Set what we found beside what was published: mean over the folds, and the range over the seeds."""
    from stlearn_lib.reproduction.catalogue import experiments_of
    from stlearn_lib.reproduction.ledger import compare_published
    from stlearn_lib.reproduction.store import Store

    chosen = [experiment.name for experiment in experiments_of(names or ["*"])]
    rows = compare_published(Store(results).rows(), chosen, measures.split(","))
    table = Table(Column("experiment", no_wrap=True), "with", "measure", "published", "found", "seeds", "sections")
    for row in rows.to_dict("records"):
        found = f"{row['mean']:.3f}" if row["n_seeds"] else ""
        if row["n_seeds"] > 1:
            found += f" ({row['low']:.3f} to {row['high']:.3f})"
        counts = [str(row[name] or "") for name in ("n_seeds", "n_tests")]
        table.add_row(row["experiment"], row["preset"], row["measure"], row["published"], found, *counts)
    out.print(table)


def _gather(store: Any) -> None:
    from stlearn_lib.errors import ReproductionError

    try:
        store.gather()
    except ReproductionError as error:  # nothing has been computed yet
        out.print(str(error), soft_wrap=True, markup=False)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _split(words: str | None) -> list[str] | None:
    return None if words is None else [word.strip() for word in words.split(",")]


def _numbers(words: str | None) -> list[int] | None:
    try:
        return None if words is None else [int(word) for word in words.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--seeds takes whole numbers with commas between, not {words!r}") from None
