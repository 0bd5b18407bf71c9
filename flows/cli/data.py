"""The commands that change data: `fewshot data prepare` and `fewshot data watch`."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from fewshot.cli.commands import in_project
from fewshot.project.paths import Home


def add_to(group: typer.Typer) -> None:
    """Add the commands of this file to the group `fewshot data`."""
    group.command("prepare", epilog="Example: fewshot data prepare glyphs digits")(in_project(prepare_data))
    examples = "Examples: fewshot data watch photos | fewshot data watch scans --side 28 --channels 1"
    group.command("watch", epilog=examples)(watch)


def prepare_data(
    home: Home,
    names: Annotated[list[str], typer.Argument(help="Datasets; `fewshot data list` lists them.")],
) -> None:
    """Bring datasets up to date with DVC: download, pack, split. What is there already is not done again."""
    from fewshot.settings.datasets import check_scheme
    from flows import steps
    from flows.cli import output
    from flows.dvc import commands as dvc

    for name in names:
        check_scheme(name)
    steps.show(output.Reports())
    for name in names:
        began = time.monotonic()
        with steps.waiting(f"preparing {name}"):
            remark = dvc.prepare(home, name)
        if remark:
            steps.remark(remark)
        steps.step_done(f"prepare {name}", False, time.monotonic() - began)


def watch(
    folder: Annotated[Path, typer.Argument(help="Folder of images; each folder in it that holds some is a class.")],
    side: Annotated[int, typer.Option(help="Pixels; images are fitted whole into a square of this size.")] = 84,
    channels: Annotated[int, typer.Option(help="3: colour, 1: grey.")] = 3,
    ink: Annotated[
        Literal["auto", "dark", "bright"],
        typer.Option(help="Of grey images: dark is inverted, auto goes by the border."),
    ] = "bright",
) -> None:
    """Make your own images the dataset called folder: `fewshot retrain folder-protonet` then looks there each time."""
    from fewshot.project.paths import find_home
    from flows.cli import output
    from flows.dvc import watched_folders

    home = find_home()
    options = watched_folders.options(folder, home, side=side, channels=channels, ink=ink)
    watched_folders.watch(home, options)
    output.watched(options.path)
