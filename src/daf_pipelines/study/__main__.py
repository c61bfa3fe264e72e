"""``python -m daf_pipelines.study``: run a study, list its cells, or run one of them."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from daf_pipelines.errors import DAFError, explain_files
from daf_pipelines.study.cell import describe_data, run_cell
from daf_pipelines.study.plan import Study
from daf_pipelines.study.run import Runner, unfinished


def _explained(command: Callable[..., None]) -> Callable[..., None]:
    """A user's mistake is one message."""

    @functools.wraps(command)
    def explained(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except DAFError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            told = explain_files(error)
            if told is None:
                raise
            raise click.ClickException(told) from error

    return explained


FOLDER = click.argument("folder", type=click.Path(path_type=Path))


@click.group()
def main() -> None:
    """Studies: datasets x strategies x methods x seeds. See docs/studies.md."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


@main.command()
@FOLDER
@click.option("--workers", type=click.IntRange(1), help="Cells at once.")
@click.option("--limit", type=click.IntRange(1), help="Run so many cells, then end.")
@_explained
def run(folder: Path, workers: int | None, limit: int | None) -> None:
    """Run the cells that are not finished."""
    study = Study.read(folder)
    study.check(unfinished(folder, study))
    Runner(folder, study, workers).run(limit)


@main.command(name="list")
@FOLDER
@_explained
def list_cells(folder: Path) -> None:
    """List the cells that are not finished, in their order; `run` sees changed images, too."""
    for cell in unfinished(folder, Study.read(folder)):
        click.echo(cell.name)


@main.command()
@FOLDER
@click.argument("name")
@_explained
def cell(folder: Path, name: str) -> None:
    """Run one cell: what its DVC stage does."""
    study = Study.read(folder)
    run_cell(folder, study, study.cell(name))


@main.command()
@FOLDER
@click.argument("dataset")
@_explained
def data(folder: Path, dataset: str) -> None:
    """Describe a dataset, for DVC to see whether it has changed."""
    describe_data(folder, Study.read(folder), dataset)


if __name__ == "__main__":
    main()
