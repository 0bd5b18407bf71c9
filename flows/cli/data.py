"""The commands that change data: `fewshot data add`, `remove` and `prepare`."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from fewshot.cli.commands import in_project
from fewshot.project.paths import Home

Ink = Literal["auto", "dark", "bright"]
PathArgument = Annotated[
    Path | None,
    typer.Argument(
        help="Your images: a folder with a folder for each class, a table, zip archives; or a source (.py)."
    ),
]
SideOption = Annotated[int | None, typer.Option(help="Pixels; images are fitted whole into a square of this size.")]
ChannelsOption = Annotated[int | None, typer.Option(help="3: colour, 1: grey.")]
InkOption = Annotated[
    Ink | None, typer.Option(help="Of grey images: dark is inverted, auto goes by the border.", show_default=False)
]
SplitsOption = Annotated[
    list[str] | None,
    typer.Option(
        help="hash (train, val, gate and test by a hash of the class name), test-only (all classes held out), column "
        "(of the table), or a published list such as cub/closer-look; may be given repeatedly. Default: column if "
        "there is one, hash from 50 classes on, else test-only."
    ),
]


def add_to(group: typer.Typer) -> None:
    """Add the commands of this file to the group `fewshot data`."""
    examples = (
        "Examples: fewshot data add birds ~/birds | fewshot data add omniglot | fewshot data add sketches labels.csv "
        "--side 64 --channels 1"
    )
    group.command("add", epilog=examples)(in_project(add_data))
    group.command("remove", epilog="Example: fewshot data remove birds")(in_project(remove_data))
    group.command("prepare", epilog="Example: fewshot data prepare glyphs digits")(in_project(prepare_data))
    group.command("watch", hidden=True)(in_project(watch))


def add_data(
    home: Home,
    name: Annotated[str, typer.Argument(help="Its name here; one of the catalogue, or a new one for your own images.")],
    path: PathArgument = None,
    side: SideOption = None,
    channels: ChannelsOption = None,
    ink: InkOption = None,
    splits: SplitsOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Change a dataset that is there.")] = False,
) -> None:
    """Declare a dataset in data/datasets.yaml. Your images are read where they are, and never changed."""
    from flows.cli import output
    from flows.dvc import adding

    given = {"side": side, "channels": channels, "ink": ink}
    options = {key: value for key, value in given.items() if value is not None}
    output.added(adding.add(home, name, path, options, tuple(splits or ()), replace))


def remove_data(
    home: Home,
    name: Annotated[str, typer.Argument(help="A dataset of this project.")],
) -> None:
    """Take a dataset out of data/datasets.yaml. Models that were trained on it stay, and so do its files."""
    from flows.cli import output
    from flows.dvc import datasets

    datasets.remove(home, name)
    output.removed(home, name)


def prepare_data(
    home: Home,
    names: Annotated[list[str], typer.Argument(help="Datasets; `fewshot data list` lists them.")],
) -> None:
    """Bring datasets up to date with DVC: fetch, pack, split. What is there already is not done again."""
    from fewshot.settings.datasets import check_declared
    from flows import steps
    from flows.cli import output
    from flows.dvc import commands as dvc

    for name in names:
        check_declared(name)
    steps.show(output.Reports())
    for name in names:
        began = time.monotonic()
        with steps.waiting(f"preparing {name}"):
            remark = dvc.prepare(home, name)
        if remark:
            steps.remark(remark)
        steps.step_done(f"prepare {name}", False, time.monotonic() - began)


def watch(
    home: Home,
    folder: Annotated[Path, typer.Argument(help="Folder of images; each folder in it that holds some is a class.")],
    side: SideOption = None,
    channels: ChannelsOption = None,
    ink: InkOption = None,
) -> None:
    """As `fewshot data add folder FOLDER --splits hash --replace`: the command of earlier releases."""
    add_data(home, "folder", folder, side, channels, ink, ["hash"], replace=True)
