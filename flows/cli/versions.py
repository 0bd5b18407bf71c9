"""The command that rebuilds a registered version: `fewshot verify`."""

from typing import Annotated

import typer

from fewshot.cli.commands import ReferenceArgument, in_project
from fewshot.project.paths import Home


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    examples = "Examples: fewshot verify glyphs-protonet/3 | fewshot verify glyphs-protonet --evaluate-only"
    app.command(epilog=examples)(in_project(verify))


def verify(
    home: Home,
    model: ReferenceArgument,
    evaluate_only: Annotated[
        bool, typer.Option("--evaluate-only", help="Train nothing: check the stored weights and measure them again.")
    ] = False,
) -> None:
    """Make a model version again from its record alone, and say whether it is the same to the bit."""
    from fewshot.cli.console import print_findings
    from flows import steps
    from flows.cli import output
    from flows.verify import verify as findings

    steps.show(output.Reports())
    if not all([print_findings([finding]) for finding in findings(home, model, evaluate_only)]):
        raise typer.Exit(1)
