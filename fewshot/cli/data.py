"""The commands `fewshot data list` and `fewshot data show`; those that change data are in `flows/cli/data.py`."""

from typing import Annotated

import typer

from fewshot.cli import console


def build_group() -> typer.Typer:
    """The group `fewshot data`."""
    group = typer.Typer(no_args_is_help=True, help="Datasets: what there is, what is prepared, what is in them.")
    group.command("list", epilog="Example: fewshot data list")(list_data)
    group.command("show", epilog="Example: fewshot data show omniglot --split vinyals")(show_data)
    return group


def list_data() -> None:
    """List the datasets, their splits, and whether they are prepared on this machine."""
    from fewshot.data.dataset import open_dataset
    from fewshot.errors import DamagedFileError, DataError
    from fewshot.project.paths import find_home
    from fewshot.settings.datasets import dataset_names, schemes_of

    rows, folder = [], find_home().data
    for name in dataset_names():
        try:
            classes = open_dataset(folder, name).pack.classes
            images, number, state = str(sum(packed.count for packed in classes)), str(len(classes)), "prepared"
        except DamagedFileError as error:
            images, number, state = "", "", str(error)
        except DataError:
            images, number, state = "", "", f"not prepared: fewshot data prepare {name}"
        rows.append((name, ", ".join(schemes_of(name)), images, number, state))
    console.print_datasets(rows)


def show_data(
    name: Annotated[str, typer.Argument(help="A dataset; `fewshot data list` lists them.")],
    split: Annotated[str, typer.Option(help="A split of it; empty: its default.")] = "",
) -> None:
    """Show the parts of a prepared dataset: classes and images of each, image size, digests."""
    from fewshot.data.dataset import open_dataset
    from fewshot.project.paths import find_home

    console.print_dataset(name, open_dataset(find_home().data, name, split))
