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
    """List the datasets of this project and of the catalogue: classes, images, disk space, licence, home page."""
    from fewshot.data.pack import packed_classes
    from fewshot.errors import DamagedFileError
    from fewshot.project.paths import find_home
    from fewshot.settings.datasets import dataset_names, home_page
    from fewshot.settings.declarations import catalogue, declared
    from fewshot.system.files import size_of

    own, known, folder, rows = declared(), catalogue(), find_home().data, []
    for name in dataset_names():
        entry = known.get(name)
        licence, home = entry.licence if entry else "yours", home_page(name)
        state = "added" if name in own else "catalogue"
        classes, images, size = (entry.classes, entry.images, 0) if entry else (0, 0, 0)
        if name in own and (folder / name / "split").is_dir():
            try:
                packed = packed_classes(folder / name / "pack")
                state, classes, images = "prepared", len(packed), sum(one.count for one in packed)
            except DamagedFileError:
                state = "damaged"
            size = size_of(folder / name)
        rows.append((name, state, classes, images, size, licence, home))
    console.print_datasets(rows)


def show_data(
    name: Annotated[str, typer.Argument(help="A dataset; `fewshot data list` lists them.")],
    split: Annotated[str, typer.Option(help="A split scheme of it; empty: its default.")] = "",
    duplicates: Annotated[
        bool, typer.Option(help="Look for images that are nearly the same in two splits; 0.2 ms an image.")
    ] = True,
) -> None:
    """Show a prepared dataset: classes and images of each split, a contact sheet of each, the images as they came.

    Images that are nearly the same in two splits are named: a model that learned from one knows the other.
    """
    from fewshot.data.dataset import open_dataset
    from fewshot.data.duplicates import near_duplicates
    from fewshot.data.pack import source_names
    from fewshot.data.stages.pack import ORIGINALS
    from fewshot.project.paths import find_home
    from fewshot.reporting.contact_sheet import contact_sheet
    from fewshot.settings.datasets import home_page
    from fewshot.system.files import read_json

    home = find_home()
    dataset = open_dataset(home.data, name, split)
    place = home.data / name / "pack"
    originals = read_json(place / ORIGINALS, "prepare the data again") if (place / ORIGINALS).is_file() else {}
    console.print_dataset(name, dataset, originals, home_page(name))
    for of_split in dataset.scheme.splits:
        file = home.state / "contact-sheets" / f"{name}-{dataset.scheme.name}-{of_split}.png"
        console.print_sheet(of_split, contact_sheet(dataset, of_split, file))
    if duplicates and len(dataset.scheme.splits) > 1:
        sources = source_names(place)
        console.print_duplicates([(pair, sources[pair.row], sources[pair.other]) for pair in near_duplicates(dataset)])
