"""The folder of a user's own images: its place in params.yaml, and the changes of its classes between versions."""

from io import BytesIO
from pathlib import Path

from ruamel.yaml import YAML

from fewshot.data.sources.folder import Classes, FolderOptions, changes, classes_in
from fewshot.errors import DataError
from fewshot.project.paths import Home
from fewshot.system.files import write_bytes

NAME = "folder"
"""The dataset that is made of it."""


def watch(home: Home, options: FolderOptions) -> None:
    """Name the folder in params.yaml, where DVC's stages read it; comments and all other entries stay."""
    file, yaml, text = home.project / "params.yaml", YAML(), BytesIO()
    yaml.width = 4096  # long lines stay as they are
    params = yaml.load(file)
    params[NAME].update(options.model_dump())
    yaml.dump(params, text)
    write_bytes(file, text.getvalue())


def check(home: Home) -> None:
    """Raise DataError, with the command that names another, if the folder in params.yaml does not exist."""
    named = YAML(typ="safe").load(home.project / "params.yaml")[NAME]["path"]
    if not (home.project / named).is_dir():
        raise DataError(f"params.yaml names {named}, which is no folder; name yours: fewshot data watch FOLDER")


def classes(home: Home) -> Classes:
    """The classes of the current version of the dataset; empty before the first version."""
    return classes_in(home.data / NAME / "raw")


def remark(before: Classes, after: Classes) -> str:
    """The changes of the classes between two versions as one line; "" for none, and for the first version."""
    return f"{NAME}: {'; '.join(changes(before, after))}" if before and before != after else ""


def options(folder: Path, home: Home, **others: object) -> FolderOptions:
    """Options for a folder, relative to the project where it lies inside. Raises UsageError for a wrong value."""
    place = folder.expanduser().resolve()
    inside = place.is_relative_to(home.project)
    return FolderOptions.parse({"path": str(place.relative_to(home.project) if inside else place), **others})
