"""The command about this machine: `fewshot doctor`."""

import typer

from fewshot.cli.console import print_findings


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(epilog="Example: fewshot doctor")(doctor)


def doctor() -> None:
    """Check this machine and installation; exit status 1 if something is broken."""
    from fewshot.project.doctor import examine

    if not print_findings(examine()):
        raise typer.Exit(1)
