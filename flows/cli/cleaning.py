"""The command that removes what nothing needs any more: `fewshot clean`."""

from typing import Annotated

import typer

from fewshot.cli.commands import in_project
from fewshot.project.paths import Home


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(epilog="Examples: fewshot clean --dry-run | fewshot clean --keep-days 90")(in_project(clean))


def clean(
    home: Home,
    keep_days: Annotated[
        int, typer.Option(min=1, max=36_500, help="Days for which things stay after nothing needs them any more.")
    ] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing: say what would be.")] = False,
) -> None:
    """Remove what no alias, rollback or unfinished work needs, and say what is there, by kind.

    Trainings, evaluations, reports, Prefect's runs, and the data of models that go. All versions stay in the registry
    with their records; those that the gate kept back, or that were rolled back, lose their files: a run of the same
    settings, or `fewshot verify`, makes them again, if git has the dvc.lock of their data. Checkpoints of finished
    trainings go at once. With `--set clean.keep_days=30`, fewshot retrain and fewshot up
    do the same after each retraining.
    """
    from flows.cleaning.clean import clean as remove
    from flows.cli import output

    output.cleaned(remove(home, keep_days, dry_run), dry_run)
