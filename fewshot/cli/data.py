"""The commands `fewshot data list` and `fewshot data show`; those that change data are in `flows/cli.py`."""

from typing import Annotated

import typer

from fewshot.cli.console import make_console, make_table

data = typer.Typer(no_args_is_help=True, help="Datasets: what there is, what is prepared, what is in them.")


@data.command("list", epilog="Example: fewshot data list")
def list_data() -> None:
    """List the datasets, their splits, and whether they are prepared on this machine."""
    from fewshot.data.dataset import open_dataset
    from fewshot.errors import DamagedFileError, DataError
    from fewshot.project.paths import find_home
    from fewshot.settings.datasets import dataset_names, schemes_of

    table, folder = make_table("dataset", "splits (first: default)", "images", "classes", "state"), find_home().data
    for name in dataset_names():
        try:
            classes = open_dataset(folder, name).pack.classes
            images, number, state = str(sum(packed.count for packed in classes)), str(len(classes)), "prepared"
        except DamagedFileError as error:
            images, number, state = "", "", str(error)
        except DataError:
            images, number, state = "", "", f"not prepared: fewshot data prepare {name}"
        table.add_row(name, ", ".join(schemes_of(name)), images, number, state)
    make_console().print(table)


@data.command("show", epilog="Example: fewshot data show omniglot --split vinyals")
def show_data(
    name: Annotated[str, typer.Argument(help="A dataset; `fewshot data list` lists them.")],
    split: Annotated[str, typer.Option(help="A split of it; empty: its default.")] = "",
) -> None:
    """Show the parts of a prepared dataset: classes and images of each, image size, digests."""
    from fewshot.data.dataset import open_dataset
    from fewshot.data.splits import SPLITS
    from fewshot.project.paths import find_home

    dataset = open_dataset(find_home().data, name, split)
    table = make_table("part", "classes", "images", "first classes")
    for part in SPLITS:
        if dataset.scheme.splits.get(part):
            names = dataset.class_names(part)
            table.add_row(part, str(len(names)), str(int(dataset.class_table(part).count.sum())), ", ".join(names[:3]))
    shape = tuple(dataset.pack.images.shape[1:])
    console = make_console()
    console.print(f"{name}, split {dataset.scheme.name}: images of (channel, height, width) = {shape}")
    console.print(table)
    console.print(f"digest {dataset.digest}\nfrozen episodes {dataset.scheme.episodes_digest}")
