"""The commands about this machine: `fewshot doctor` and `fewshot encoders`."""

import typer

from fewshot.cli.commands import in_project
from fewshot.cli.console import print_encoders, print_findings
from fewshot.project.paths import Home


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(epilog="Example: fewshot doctor")(doctor)
    examples = "Example: fewshot encoders, then fewshot train --set backbone.name=lite0"
    app.command(epilog=examples)(in_project(encoders))


def doctor() -> None:
    """Check this machine and installation; exit status 1 if something is broken."""
    from fewshot.project.doctor import examine

    if not print_findings(examine()):
        raise typer.Exit(1)


def encoders(home: Home) -> None:
    """List pretrained encoders with licence, size and speed, and whether their weights are on this machine."""
    from fewshot.backbones.encoder_list import list_encoders, measured_on

    print_encoders(list_encoders(), measured_on())
