"""The commands about registered versions: decisions on them, their origin, their report cards."""

from pathlib import Path
from typing import Annotated

import typer

from fewshot.cli import console
from fewshot.cli.commands import NameArgument, ReferenceArgument, in_project
from fewshot.project.paths import Home


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(epilog="Examples: fewshot rollback glyphs-protonet | fewshot rollback glyphs-protonet --to 3")(
        in_project(rollback)
    )
    app.command(epilog="Example: fewshot history glyphs-protonet")(in_project(history))
    examples = "Examples: fewshot lineage glyphs-protonet | fewshot lineage glyphs-protonet/3"
    app.command(epilog=examples)(in_project(lineage))
    examples = "Examples: fewshot report glyphs-protonet | fewshot report glyphs-protonet/3 --out card.html"
    app.command(epilog=examples)(in_project(report))


def rollback(
    home: Home,
    model: NameArgument,
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Make this version the champion, also a later one.")
    ] = None,
) -> None:
    """Make the version that was the champion before the champion again. FEWSHOT_WEBHOOK is told.

    Again: the one before that. The gate does not promote a version that was rolled back.
    """
    from fewshot.errors import UsageError
    from fewshot.promotion.champion import rollback as take_back
    from fewshot.promotion.webhook import tell_webhook
    from fewshot.settings.schema import notify_settings
    from fewshot.tracking.store import Store

    if to is not None and not to.strip():
        raise UsageError(f"--to names no version; fewshot history {model} shows which there are")
    notify = notify_settings()  # a wrong address is said before anything changes
    taken_back, champion = take_back(Store.open(home), model, to or "")
    console.print_rollback(model, taken_back, champion)
    outcome = {"model": model, "outcome": "rolled back", "version": champion, "against": taken_back}
    if said := tell_webhook(notify.webhook, outcome):
        console.print_note(said)


def history(home: Home, model: NameArgument) -> None:
    """Tell what was decided on each version of a model, and why."""
    from fewshot.promotion.champion import history as decisions
    from fewshot.tracking.store import Store

    console.print_history(model, decisions(Store.open(home), model))


def lineage(home: Home, model: ReferenceArgument) -> None:
    """Say where a model version comes from, back to data and code, and how to make it again."""
    from fewshot.tracking.store import Store
    from fewshot.tracking.versions import find_version

    console.print_lineage(find_version(Store.open(home), model))


def report(
    home: Home,
    model: ReferenceArgument,
    out: Annotated[Path | None, typer.Option(help="File to write; default: one in the state folder.")] = None,
    episodes: Annotated[int, typer.Option(min=2, max=600, help="Test episodes of each shape.")] = 600,
) -> None:
    """Write the report card of a model version, one HTML file, and log it with the version."""
    from fewshot.reporting.report_card import report_card
    from fewshot.tracking.store import Store

    console.print_report(report_card(Store.open(home), home.data, home.state / "reports", model, out, episodes))
