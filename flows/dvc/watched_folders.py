"""The folder of a user's own images: which one it is, and how its classes changed from version to version."""

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
    """Name the folder in params.yaml, where DVC's stages look; comments and everything else there stay."""
    file, yaml, text = home.project / "params.yaml", YAML(), BytesIO()
    yaml.width = 4096  # long lines stay as they are
    params = yaml.load(file)
    params[NAME].update(options.model_dump())
    yaml.dump(params, text)
    write_bytes(file, text.getvalue())


def check(home: Home) -> None:
    """Raises DataError that says how to name a folder if the one in params.yaml is not there."""
    named = YAML(typ="safe").load(home.project / "params.yaml")[NAME]["path"]
    if not (home.project / named).is_dir():
        raise DataError(f"params.yaml names {named}, which is no folder; name yours: fewshot data watch FOLDER")


def classes(home: Home) -> Classes:
    """What the present version of the dataset holds; empty before the first."""
    return classes_in(home.data / NAME / "raw")


def remark(before: Classes, after: Classes) -> str:
    """What is to be said of a new version, one that follows on another: how the classes changed."""
    return f"{NAME}: {'; '.join(changes(before, after))}" if before and before != after else ""


def options(folder: Path, home: Home, **others: object) -> FolderOptions:
    """Options for a folder, relative to the project where it lies inside. Raises UsageError for a wrong value."""
    place = folder.expanduser().resolve()
    inside = place.is_relative_to(home.project)
    return FolderOptions.parse({"path": str(place.relative_to(home.project) if inside else place), **others})
