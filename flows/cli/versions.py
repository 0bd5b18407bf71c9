"""The commands about registered versions: what was decided on them, where they come from, how good they are."""

from pathlib import Path
from typing import Annotated

import typer

from fewshot.cli.app import app

Name = Annotated[str, typer.Argument(help="Name of a registered model.")]
Reference = Annotated[str, typer.Argument(help="NAME (its champion), NAME@ALIAS or NAME/VERSION.")]


@app.command(epilog="Example: fewshot rollback glyphs-protonet")
def rollback(model: Name) -> None:
    """Make the version that was the champion before the champion again."""
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import prepare_environment
    from fewshot.promotion.champion import rollback as take_back
    from fewshot.tracking.store import Store

    home = find_home()
    prepare_environment(home)
    taken_back, champion = take_back(Store.open(home), model)
    print(f"{model}: version {champion} is the champion again, version {taken_back or 'none'} is not")


@app.command(epilog="Example: fewshot history glyphs-protonet")
def history(model: Name) -> None:
    """Tell what was decided on each version of a model, and why."""
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import prepare_environment
    from fewshot.promotion.champion import history as tell
    from fewshot.tracking.store import Store
    from flows.cli import output

    home = find_home()
    prepare_environment(home)
    output.history(model, tell(Store.open(home), model))


@app.command(epilog="Examples: fewshot lineage glyphs-protonet | fewshot lineage glyphs-protonet/3")
def lineage(model: Reference) -> None:
    """Say where a model version comes from, back to data and code, and how to make it again."""
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import prepare_environment
    from fewshot.tracking.store import Store
    from fewshot.tracking.versions import find_version
    from flows.cli import output

    home = find_home()
    prepare_environment(home)
    output.lineage(find_version(Store.open(home), model))


@app.command(epilog="Examples: fewshot report glyphs-protonet | fewshot report glyphs-protonet/3 --out card.html")
def report(
    model: Reference,
    out: Annotated[Path | None, typer.Option(help="File to write; default: one in the state folder.")] = None,
    episodes: Annotated[int, typer.Option(min=2, max=600, help="Test episodes of each shape.")] = 600,
) -> None:
    """Write the report card of a model version, one HTML file, and log it with the version."""
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import prepare_environment
    from fewshot.reporting.report_card import report_card
    from fewshot.tracking.store import Store

    home = find_home()
    prepare_environment(home)
    file = report_card(Store.open(home), home.data, home.state / "reports", model, out, episodes)
    print(f"wrote {file}; open it in a browser")


@app.command(epilog="Examples: fewshot verify glyphs-protonet/3 | fewshot verify glyphs-protonet --evaluate-only")
def verify(
    model: Reference,
    evaluate_only: Annotated[
        bool, typer.Option("--evaluate-only", help="Train nothing: check the stored weights and measure them again.")
    ] = False,
) -> None:
    """Make a model version again from its record alone, and say whether it is the same to the bit."""
    from fewshot.cli.console import print_findings
    from fewshot.project.paths import find_home
    from fewshot.project.tool_environment import prepare_environment
    from flows.verify import verify as findings

    home = find_home()
    prepare_environment(home)
    if not all([print_findings([finding]) for finding in findings(home, model, evaluate_only)]):
        raise typer.Exit(1)
